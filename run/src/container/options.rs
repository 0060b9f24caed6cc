//! What can be asked of a new container: the flags of `docker create`, parsed but not resolved.
//!
//! Everything here is plain data that somebody else read from a command line. What it becomes for a
//! given image is decided once, by [`create`](super::create), and recorded as a
//! [`Config`](super::record::Config), of which some of these structures are part as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::ImageId;

use super::mount::MountRequest;
use super::name::ContainerName;
use super::port::{ContainerPort, PortMapping};
use super::signal::Signal;

/// A wish for a container.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// The image, which must be in the store.
    pub image: ImageId,
    /// What the user called it.
    pub image_name: String,
    /// The container's name; one is made up if `None`.
    pub name: Option<ContainerName>,
    /// What runs in it.
    pub process: ProcessOptions,
    /// What is mounted into it, in the order of the flags.
    pub mounts: Vec<MountRequest>,
    /// How it reaches others and others reach it.
    pub network: NetworkOptions,
    /// What it may use up.
    pub limits: Limits,
    /// What keeps it apart from the host.
    pub isolation: Isolation,
    /// What becomes of it when its process has ended.
    pub after: After,
    /// Labels, which win over the image's.
    pub labels: BTreeMap<String, String>,
}

impl CreateOptions {
    /// Asks for a container of an image as its config describes it.
    pub fn new(image: ImageId, image_name: impl Into<String>) -> Self {
        Self {
            image,
            image_name: image_name.into(),
            name: None,
            process: ProcessOptions::default(),
            mounts: Vec::new(),
            network: NetworkOptions::default(),
            limits: Limits::default(),
            isolation: Isolation::default(),
            after: After::Keep,
            labels: BTreeMap::new(),
        }
    }
}

/// The process, where the image's config does not say it as wished.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    /// Replaces the image's entrypoint, and drops its command; an empty list leaves neither.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// `NAME=value` sets a variable, `NAME` alone takes it away; over the image's.
    pub environment: Vec<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// The working directory, absolute; made if it is missing.
    pub working_directory: Option<String>,
    /// Whether standard input stays open (`-i`).
    pub stdin_open: bool,
    /// Whether there is a terminal (`-t`).
    pub terminal: bool,
    /// What `stop` sends first; the image's, else SIGTERM, if `None`.
    pub stop_signal: Option<Signal>,
    /// How long `stop` waits before it kills; 10 s if `None`.
    pub stop_timeout: Option<Duration>,
    /// Whether a small init of kiln's is process 1 and reaps orphans (`--init`).
    pub init: bool,
}

/// Which network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Its own, with a way out where the machine allows one.
    #[default]
    Private,
    /// Its own, with nothing but a loopback interface.
    None,
    /// The host's.
    Host,
    /// That of another container, given by name or id.
    Container(String),
}

/// The network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOptions {
    /// Which network namespace.
    pub mode: NetworkMode,
    /// Ports of the host that lead to ports of the container.
    pub ports: Vec<PortMapping>,
    /// Further ports that are declared, as by EXPOSE.
    pub expose: Vec<ContainerPort>,
    /// Whether all declared ports are published on ports that are free (`-P`).
    pub publish_all: bool,
    /// The host name; the short id if `None`.
    pub hostname: Option<String>,
    /// Name servers instead of the host's.
    pub dns_servers: Vec<String>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options instead of the host's.
    pub dns_options: Vec<String>,
    /// `name:address` lines for /etc/hosts; `host-gateway` is an address, too.
    pub extra_hosts: Vec<String>,
}

/// What a container may use up; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together; twice the memory if `None`.
    pub memory_swap: Option<MemorySwap>,
    /// Processor time, in billionths of a processor (`--cpus 1.5` is 1 500 000 000).
    pub nano_cpus: Option<u64>,
    /// Weight against others, 2 to 262144, where 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; the sandbox's default if `None`, `Some(None)` for no limit.
    pub pids: Option<Option<u64>>,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm; 64 MiB if `None`.
    pub shm_size_bytes: Option<u64>,
}

/// How much swap stands beside the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemorySwap {
    /// So much, memory included.
    TotalBytes(u64),
    /// As much as there is.
    Unlimited,
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The name without `RLIMIT_`, in lower case: `nofile`.
    pub name: String,
    /// What the process starts with; `None` is unlimited.
    pub soft: Option<u64>,
    /// What it may raise it to; `None` is unlimited.
    pub hard: Option<u64>,
}

/// What keeps a container apart from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Capabilities beyond the default ones; `ALL` is every one.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default ones.
    pub cap_drop: Vec<String>,
    /// Everything the host may do (`--privileged`).
    pub privileged: bool,
    /// Whether the root file system can be written.
    pub read_only: bool,
    /// Whether set-user-id programs gain nothing.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Whether the user namespace is the host's (`--userns=host`).
    pub host_users: bool,
    /// Kernel parameters of the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
}

/// Which system calls are let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Those of Docker's default policy.
    #[default]
    Default,
    /// All.
    Unconfined,
}

/// What becomes of a container when its process has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// It stays, with its log and its files.
    #[default]
    Keep,
    /// It goes, and its anonymous volumes with it (`--rm`).
    Remove,
}
