//! What a box is: plain data, complete, and the same for a RUN step and for a container.
//!
//! A `Spec` holds no descriptor and no decision of this machine; [`super::plan`] makes the steps of
//! it. Paths below `rootfs` and mount sources are the host's and trusted; everything else that names
//! a file ([`Command::cwd`], [`Mount::target`], the user) is looked up inside the root filesystem,
//! where no symlink leads out.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capabilities::CapabilitySet;
use super::disks::{OomKiller, Throttle};
use super::namespaces::Sharing;
use super::text;

/// How many processes a box may have unless told otherwise.
pub const DEFAULT_PIDS: u64 = 4096;

/// Docker's size of `/dev/shm`.
pub const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// A command and the box it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What the command sees as `/`.
    pub rootfs: Rootfs,
    /// Whether it may change `/`.
    pub rootfs_access: Access,
    /// What runs.
    pub command: Command,
    /// The host name inside.
    pub hostname: String,
    /// The domain name inside (`setdomainname(2)`), and in `/etc/hosts`.
    pub domain: Option<String>,
    /// Kernel parameters of the box's own namespaces, with dots: `net.ipv4.ip_forward`.
    pub sysctls: Vec<(String, String)>,
    /// `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.
    pub etc: Etc,
    /// What else is mounted. Shorter targets first, whatever the order here.
    pub mounts: Vec<Mount>,
    /// What becomes of the mount points that are made for `mounts`.
    pub mount_points: MountPoints,
    /// What it can reach.
    pub network: Network,
    /// Whether root inside is root outside.
    pub user_namespace: UserNamespace,
    /// Which other namespaces are not its own.
    pub sharing: Sharing,
    /// What root inside may do.
    pub capabilities: CapabilitySet,
    /// Which system calls there are.
    pub seccomp: Seccomp,
    /// Whether set-user-ID programs and file capabilities are without effect (sudo, su, ping).
    pub no_new_privileges: bool,
    /// What of `/proc` and `/sys` is hidden or read-only.
    pub paths: Paths,
    /// Resource limits of `setrlimit(2)`. They only ever lower what kiln itself has.
    pub rlimits: Vec<Rlimit>,
    /// Limits for all processes of the box together.
    pub limits: Limits,
    /// How gladly the kernel kills its processes for want of memory, -1000 to 1000; kiln's own value if `None`.
    pub oom_score: Option<i16>,
    /// The size of `/dev/shm`, which is not there if it is 0.
    pub shm_bytes: u64,
    /// What stands at the other end of standard input and output.
    pub terminal: Terminal,
    /// Who is process 1.
    pub init: Init,
}

/// A root filesystem, on the host's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Rootfs {
    /// Directories stacked by overlayfs, with `userxattr`.
    Overlay {
        /// The read-only directories, topmost first.
        lowers: Vec<Lower>,
        /// A data-only layer at the very bottom: contents that `lowers` refer to.
        #[serde(with = "text::optional")]
        data: Option<PathBuf>,
        /// Where changes go. It must have the same parent directory as `work`.
        #[serde(with = "text")]
        upper: PathBuf,
        /// Overlayfs's own directory, empty.
        #[serde(with = "text")]
        work: PathBuf,
        /// What an fsync inside is worth.
        durability: Durability,
    },
    /// A directory as it is; it is written to directly.
    Directory {
        /// The directory.
        #[serde(with = "text")]
        path: PathBuf,
    },
}

/// A read-only directory of a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lower {
    /// The directory.
    #[serde(with = "text")]
    pub path: PathBuf,
    /// How it gets into the stack.
    pub stacking: Stacking,
}

/// How a directory gets into a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stacking {
    /// As it is.
    Direct,
    /// As a read-only overlay of its own over the data-only layer: overlayfs follows references to
    /// contents only from the lowest directory of a stack.
    Nested,
}

impl Lower {
    /// A directory that is stacked as it is.
    pub fn direct(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stacking: Stacking::Direct }
    }
}

/// What an fsync inside a root filesystem is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Nothing: the upper directory is thrown away after a crash (overlayfs `volatile`).
    Volatile,
    /// As usual.
    Durable,
}

/// Whether something may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and written.
    ReadWrite,
}

/// What runs, as whom and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments. A program without a slash is looked up in the `PATH` of `env`.
    #[serde(with = "text::many")]
    pub argv: Vec<OsString>,
    /// The whole environment. `HOME` is added from the user's entry in `passwd`, if it is missing.
    #[serde(with = "text::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; what is missing of it is made, owned by the user.
    #[serde(with = "text")]
    pub cwd: PathBuf,
    /// `USER` as in a Dockerfile: a name or id, or two of them with a colon. Empty is root.
    pub user: String,
    /// Groups beyond the user's own, by name or id (`--group-add`).
    pub additional_groups: Vec<String>,
}

/// The three files that describe the network to the C library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Etc {
    /// The image's own stay as they are.
    Image,
    /// Written for this box and mounted over the image's.
    Generated {
        /// Whether the box may change them (for its own lifetime).
        access: Access,
        /// Lines added to `hosts`: name and address (`--add-host`).
        hosts: Vec<(String, HostAddress)>,
        /// What differs from the host's `resolv.conf`.
        dns: Dns,
        /// Those that stay as the image has them.
        #[serde(default)]
        kept: Vec<EtcFile>,
    },
}

/// One of the three files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcFile {
    /// `/etc/resolv.conf`
    ResolvConf,
    /// `/etc/hosts`
    Hosts,
    /// `/etc/hostname`
    Hostname,
}

impl EtcFile {
    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::ResolvConf => "/etc/resolv.conf",
            Self::Hosts => "/etc/hosts",
            Self::Hostname => "/etc/hostname",
        }
    }
}

/// What is to be said in `resolv.conf` instead of what the host's says; empty fields keep the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers (`--dns`).
    pub servers: Vec<IpAddr>,
    /// Search domains (`--dns-search`); a single `.` means none.
    pub search: Vec<String>,
    /// Resolver options (`--dns-option`).
    pub options: Vec<String>,
}

/// Something mounted into the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside. Missing directories, or the file, are made for as long as the box lives.
    #[serde(with = "text")]
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// Whether it may be written to.
    pub access: Access,
}

/// What becomes of mount points that were not there. Those of kiln's own mounts always go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountPoints {
    /// They go with the box, as a RUN step's.
    Removed,
    /// They stay, empty, as a container's in Docker.
    Kept,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A file or directory of the host, with what is mounted below it. Device nodes in it do not work.
    Path {
        /// The host's path, which must exist. Symlinks in it are followed.
        #[serde(with = "text")]
        path: PathBuf,
    },
    /// A file or directory that the caller has opened (`O_PATH` suffices).
    Descriptor {
        /// Its place in [`Stdio::mount_sources`](super::Stdio::mount_sources).
        index: usize,
    },
    /// One device node of the host (`--device`); it works.
    Device {
        /// The host's path.
        #[serde(with = "text")]
        path: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Its size; the kernel's default is half of the memory.
        size_bytes: Option<u64>,
        /// The permissions of its root.
        mode: u32,
        /// Whether programs in it can be executed; Docker's `--tmpfs` has it off, RUN's mounts on.
        executables: bool,
    },
    /// A file with these bytes, in memory only: a secret.
    File {
        /// What it says.
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
        /// Its owner, as seen inside.
        uid: u32,
        /// Its group, as seen inside.
        gid: u32,
    },
}

/// Where a name in `/etc/hosts` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAddress {
    /// To this address.
    At(IpAddr),
    /// To the host, by the address that it has for the box (`host-gateway`).
    Host,
}

/// What a box can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Network {
    /// The host's network.
    Host {
        /// Whether abstract Unix sockets of the host are part of it.
        abstract_sockets: AbstractSockets,
    },
    /// A loopback interface of its own and nothing else.
    None,
    /// A network of its own with a way out, as well as the machine can give one.
    Private,
    /// A network of its own with a way out; where the machine can give none, the host's with its abstract
    /// sockets shut, and a notice.
    PrivateOrHost,
    /// The network, and with it the user namespace, of another box.
    Join {
        /// Any process of that box, as kiln sees it.
        pid: i32,
    },
}

/// Whether the abstract Unix sockets of the host can be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbstractSockets {
    /// They can: the user asked for the host's network.
    Reachable,
    /// They cannot (Landlock, Linux 6.12; on older kernels a notice says that they can).
    Shut,
}

/// Whether root inside is root outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespace {
    /// Ids inside are other ids outside, and files keep the image's by idmapped mounts.
    Mapped,
    /// Ids inside are the host's. Device nodes and power over the host's network need it.
    Host,
}

/// Which system calls there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// Docker's default policy.
    Default,
    /// All.
    Unconfined,
}

/// What of `/proc`, `/sys` and `/dev` is kept from the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Paths {
    /// Docker's masked and read-only paths, and some more; `/sys` is read-only; a minimal `/dev`.
    Restricted,
    /// Nothing is: `/sys` is writable, `/dev` is the host's (`--privileged`).
    Open,
}

/// A limit of `setrlimit(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Docker's name for it: `nofile`, `nproc`, `core` and so on.
    pub name: String,
    /// What the process starts with; `None` is unlimited.
    pub soft: Option<u64>,
    /// What it can raise that to; `None` is unlimited.
    pub hard: Option<u64>,
}

/// Limits of a cgroup. What is asked for and cannot be had is an error; the default for processes is
/// given where it can be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory (`--memory`).
    pub memory_bytes: Option<u64>,
    /// Memory and swap together (`--memory-swap`).
    pub swap: Swap,
    /// Processors' worth of time, in thousandths (`--cpus` 1.5 is 1500).
    pub milli_cpus: Option<u64>,
    /// Microseconds of processor time in each period (`--cpu-quota`); in place of `milli_cpus`.
    pub cpu_quota_us: Option<u64>,
    /// How long a period is, in microseconds (`--cpu-period`); 100 ms unless told otherwise.
    pub cpu_period_us: Option<u64>,
    /// Weight against others (`--cpu-shares`, 1024 is one share).
    pub cpu_shares: Option<u64>,
    /// Processors it may run on (`--cpuset-cpus`, as `0-2,7`).
    pub cpuset: Option<String>,
    /// Memory nodes it may use (`--cpuset-mems`, as `0,1`).
    pub cpuset_mems: Option<String>,
    /// Memory that it may keep while the machine runs short (`--memory-reservation`).
    pub memory_reservation_bytes: Option<u64>,
    /// How many processes.
    pub pids: PidsLimit,
    /// Which devices can be opened, as the file `devices.allow` of version 1 has it; all that are to be seen if `None`.
    pub devices: Option<Vec<String>>,
    /// Below which cgroup its own is made (`--cgroup-parent`), from the top.
    pub parent: Option<String>,
    /// How gladly its memory is written to swap, 0 to 100 (`--memory-swappiness`).
    pub swappiness: Option<u8>,
    /// What happens without memory.
    pub oom_killer: OomKiller,
    /// Over how many microseconds the next is counted (`--cpu-rt-period`).
    pub realtime_period_us: Option<u64>,
    /// How many microseconds real-time processes get (`--cpu-rt-runtime`).
    pub realtime_runtime_us: Option<u64>,
    /// Weight against others at disks, 10 to 1000 (`--blkio-weight`).
    pub disk_weight: Option<u16>,
    /// How fast disks are.
    pub throttles: Vec<Throttle>,
    /// Whether it can be made to stand still.
    pub freezer: Freezer,
}

/// Whether all processes of a box can be stopped where they are, where the machine can do that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freezer {
    /// Nobody will ask for it.
    #[default]
    NotNeeded,
    /// They can.
    Wanted,
}

/// How much swap stands beside the memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// As much as memory, where the machine counts swap.
    #[default]
    AsMemory,
    /// So many bytes, those of memory included.
    Total(u64),
    /// As much as there is.
    Unlimited,
}

/// How many processes a box may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidsLimit {
    /// [`DEFAULT_PIDS`], by the best means that the machine has.
    #[default]
    Default,
    /// Exactly so many, or it is an error.
    Max(u64),
    /// As many as the host has.
    Unlimited,
}

/// What stands at the other end of standard input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Terminal {
    /// The descriptors of [`Stdio`](super::Stdio).
    Pipes,
    /// A new terminal of the box; [`Process::take_console`](super::Process::take_console) is its master.
    Console {
        /// Lines at the start.
        rows: u16,
        /// Columns at the start.
        columns: u16,
    },
}

/// Who is process 1 inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// The command itself.
    Command,
    /// A part of kiln that forwards signals and collects orphans (`--init`).
    Reaper,
    /// A part of kiln that does nothing: the box is there for its files, and no command runs.
    Still,
}

impl Spec {
    /// `argv` as root in `rootfs`, with Docker's defaults, in the host's network without its abstract sockets.
    pub fn new(rootfs: Rootfs, argv: Vec<OsString>) -> Self {
        Self {
            rootfs,
            rootfs_access: Access::ReadWrite,
            command: Command::new(argv),
            hostname: "kiln".to_owned(),
            domain: None,
            sysctls: Vec::new(),
            etc: Etc::Generated { access: Access::ReadOnly, hosts: Vec::new(), dns: Dns::default(), kept: Vec::new() },
            mounts: Vec::new(),
            mount_points: MountPoints::Removed,
            network: Network::Host { abstract_sockets: AbstractSockets::Shut },
            user_namespace: UserNamespace::Mapped,
            sharing: Sharing::default(),
            capabilities: CapabilitySet::docker_default(),
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            paths: Paths::Restricted,
            rlimits: Vec::new(),
            limits: Limits::default(),
            oom_score: None,
            shm_bytes: DEFAULT_SHM_BYTES,
            terminal: Terminal::Pipes,
            init: Init::Command,
        }
    }

    /// The same with everything that `--privileged` (or `RUN --security=insecure`) opens.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.user_namespace = UserNamespace::Host;
        self.capabilities = CapabilitySet::all();
        self.seccomp = Seccomp::Unconfined;
        self.no_new_privileges = false;
        self.paths = Paths::Open;
        self
    }
}

impl Command {
    /// `argv` as root in `/`, with nothing but a `PATH` in its environment.
    pub fn new(argv: Vec<OsString>) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            argv,
            env: vec![("PATH".into(), path.into())],
            cwd: "/".into(),
            user: String::new(),
            additional_groups: Vec::new(),
        }
    }
}
