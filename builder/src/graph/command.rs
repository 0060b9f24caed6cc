//! RUN as data: a command and all that it sees.

use std::path::PathBuf;

use run::sandbox::{CapabilitySet, Dns, EtcFile, HostAddress, Seccomp, Sharing as Namespaces, Swap, UserNamespace};
use store::{Platform, RelPath};

use super::{Clock, VertexId};

/// RUN.
#[derive(Debug, Clone)]
pub struct RunOp {
    /// The root filesystem it starts with.
    pub base: VertexId,
    /// The command, shell included.
    pub argv: Vec<String>,
    /// The environment, in order: the config's and the arguments in scope.
    pub env: Vec<(String, String)>,
    /// Proxy variables: seen by the command, but in no key (docs/dockerfile.md, A077).
    pub proxies: Vec<(String, String)>,
    /// `USER`; empty is root.
    pub user: String,
    /// The working directory.
    pub cwd: RelPath,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// `--network`, or what the request says.
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--add-host` of the request.
    pub hosts: Vec<(String, HostAddress)>,
    /// `--dns` and the like of the request.
    pub dns: Dns,
    /// Files of `/etc` that stay the image's: `--no-hosts`, `--no-hostname`, `--dns none` of the request.
    pub kept_files: Vec<EtcFile>,
    /// `--cap-add` and the like of the request.
    pub privileges: Privileges,
    /// `--volume` of the request.
    pub volumes: Vec<Volume>,
    /// The host name inside.
    pub hostname: String,
    /// Limits and sizes of the request.
    pub limits: Limits,
    /// The platform that it runs on.
    pub platform: Platform,
    /// What the step takes for the time.
    pub clock: Clock,
}

/// Limits of the request for every RUN. They do not decide what comes out, and are in no key,
/// except for the size of `/dev/shm` and `--ulimit`, which commands can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory (`--memory`).
    pub memory_bytes: Option<u64>,
    /// Memory and swap together (`--memory-swap`).
    pub swap: Swap,
    /// Microseconds of processor time in each period (`--cpu-quota`).
    pub cpu_quota_us: Option<u64>,
    /// How long a period is, in microseconds (`--cpu-period`).
    pub cpu_period_us: Option<u64>,
    /// Weight against others (`--cpu-shares`).
    pub cpu_shares: Option<u64>,
    /// Processors it may run on (`--cpuset-cpus`).
    pub cpuset: Option<String>,
    /// Memory nodes it may use (`--cpuset-mems`).
    pub cpuset_mems: Option<String>,
    /// The cgroup in which steps have theirs (`--cgroup-parent`).
    pub cgroup_parent: Option<String>,
    /// Processors' worth of time, in thousandths.
    pub milli_cpus: Option<u64>,
    /// The size of `/dev/shm` (`--shm-size`).
    pub shm_bytes: Option<u64>,
    /// `--ulimit`: name, soft and hard limit; `None` is unlimited.
    pub ulimits: Vec<(String, Option<u64>, Option<u64>)>,
}

/// What every RUN may do, beyond `--security`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// Of root inside (`--cap-add`, `--cap-drop`).
    pub capabilities: CapabilitySet,
    /// Which system calls there are (`--security-opt seccomp=`).
    pub seccomp: Seccomp,
    /// Whether set-user-ID programs are without effect (`--security-opt no-new-privileges`).
    pub no_new_privileges: bool,
    /// Groups beyond the user's own (`--group-add`).
    pub groups: Vec<String>,
    /// Whether root inside is root outside (`--userns`).
    pub users: UserNamespace,
    /// Which further namespaces are the machine's (`--pid`, `--ipc`, `--uts`, `--cgroupns`).
    pub namespaces: Namespaces,
    /// Device nodes of the machine (`--device`).
    pub devices: Vec<Device>,
}

impl Default for Privileges {
    fn default() -> Self {
        let capabilities = CapabilitySet::docker_default();
        Self {
            capabilities,
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            groups: Vec::new(),
            users: UserNamespace::Mapped,
            namespaces: Namespaces::default(),
            devices: Vec::new(),
        }
    }
}

/// A device node of the machine that every RUN sees, as far as its permissions allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// On the machine.
    pub source: PathBuf,
    /// Inside.
    pub target: RelPath,
}

/// A directory or file of the machine that every RUN sees; what is in it is in no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// On the machine.
    pub source: PathBuf,
    /// Inside.
    pub target: RelPath,
    /// Whether it may be written to.
    pub access: Access,
}

/// What network a RUN sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// As kiln sees fit: the host's, without its abstract sockets.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// How much a RUN may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// As usual.
    #[default]
    Sandbox,
    /// Everything that root may.
    Insecure,
}

/// Whether something may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and written.
    ReadWrite,
}

/// One `--mount` of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where; the root for a secret that is only a variable.
    pub target: RelPath,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of a tree; what is written to it is dropped.
    Bind {
        /// The tree.
        from: VertexId,
        /// Where in it.
        source: RelPath,
        /// Whether it may be written to.
        access: Access,
    },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// A file system in memory.
    Tmpfs {
        /// Its size.
        size_bytes: Option<u64>,
    },
    /// A value that is in no layer and no key.
    Secret(SecretMount),
    /// The socket of an SSH agent.
    Ssh(SshMount),
    /// A file that stands in the Dockerfile, executable and read-only.
    Script {
        /// What it holds.
        content: Vec<u8>,
    },
}

/// `--mount=type=cache`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// What names the directory, in all builds of the store.
    pub id: String,
    /// Who may use it at once.
    pub sharing: Sharing,
    /// What it holds when it is new: a directory of a tree.
    pub seed: Option<(VertexId, RelPath)>,
    /// Permission bits when it is new.
    pub mode: u16,
    /// Owner when it is new.
    pub uid: u32,
    /// Group when it is new.
    pub gid: u32,
    /// Whether it may be written to.
    pub access: Access,
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One; others get a directory of their own.
    Private,
    /// One; others wait.
    Locked,
}

/// `--mount=type=secret`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Its name in the request.
    pub id: String,
    /// Whether there is a file.
    pub file: Option<SecretFile>,
    /// The variable that holds it.
    pub env: Option<String>,
    /// Whether its absence is an error.
    pub need: Need,
}

/// `--mount=type=ssh`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshMount {
    /// Its name in the request.
    pub id: String,
    /// How the socket looks.
    pub file: SecretFile,
    /// Whether its absence is an error.
    pub need: Need,
}

/// How the file of a secret, or an agent's socket, looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFile {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Whether the absence of something is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// It is.
    Required,
    /// It is not.
    Optional,
}

impl Mount {
    pub(crate) fn from(&self) -> Option<VertexId> {
        match &self.kind {
            MountKind::Bind { from, .. } => Some(*from),
            MountKind::Cache(cache) => cache.seed.as_ref().map(|(from, _)| *from),
            MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Ssh(_) | MountKind::Script { .. } => None,
        }
    }
}
