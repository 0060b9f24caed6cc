//! What can be asked of a new container: the flags of `docker create`, parsed but not resolved.
//!
//! Everything here is plain data that somebody else read from a command line. What it becomes for a
//! given image is decided once, by [`create`](super::create), and recorded as a
//! [`Config`](super::record::Config), of which some of these structures are part as they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::ImageId;

use super::device::Device;
use super::health::Healthcheck;
use super::inherit::VolumesFrom;
use super::limits::{CgroupParent, FineLimits};
use super::mount::MountRequest;
use super::name::ContainerName;
use super::namespaces::NamespaceOptions;
use super::port::{ContainerPort, PortMapping};
use super::restart::RestartPolicy;
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
    /// Containers whose volumes and binds it gets, too.
    pub volumes_from: Vec<VolumesFrom>,
    /// How it reaches others and others reach it.
    pub network: NetworkOptions,
    /// What it may use up.
    pub limits: Limits,
    /// What keeps it apart from the host.
    pub isolation: Isolation,
    /// Devices of the host that it may use.
    pub devices: Vec<Device>,
    /// Which namespaces it shares.
    pub namespaces: NamespaceOptions,
    /// What becomes of it when its process has ended.
    pub after: After,
    /// Labels, which win over the image's.
    pub labels: BTreeMap<String, String>,
    /// When it is started again by itself.
    pub restart: RestartPolicy,
    /// How to find out whether it is well, where the image does not say it as wished.
    pub healthcheck: Healthcheck,
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
            volumes_from: Vec::new(),
            network: NetworkOptions::default(),
            limits: Limits::default(),
            isolation: Isolation::default(),
            devices: Vec::new(),
            namespaces: NamespaceOptions::default(),
            after: After::Keep,
            labels: BTreeMap::new(),
            restart: RestartPolicy::No,
            healthcheck: Healthcheck::default(),
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

impl std::fmt::Display for NetworkMode {
    /// As Docker names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Private => f.write_str("bridge"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(other) => write!(f, "container:{other}"),
        }
    }
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
    pub dns_servers: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options instead of the host's.
    pub dns_options: Vec<String>,
    /// Lines for /etc/hosts: name and address (`--add-host`).
    pub extra_hosts: Vec<(String, IpAddr)>,
}

/// What a container may use up; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together; twice the memory if `None`.
    pub memory_swap: Option<MemorySwap>,
    /// Processors' worth of time, in thousandths (`--cpus 1.5` is 1500).
    pub milli_cpus: Option<u64>,
    /// Weight against others, 2 to 262144, where 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory that it may keep while the machine runs short (`--memory-reservation`).
    #[serde(default)]
    pub memory_reservation_bytes: Option<u64>,
    /// Over which time its quota is counted, in microseconds (`--cpu-period`).
    #[serde(default)]
    pub cpu_period_micros: Option<u64>,
    /// How much processor time it gets in a period, in microseconds (`--cpu-quota`).
    #[serde(default)]
    pub cpu_quota_micros: Option<u64>,
    /// Memory nodes that it may use, as `0-1`.
    #[serde(default)]
    pub cpuset_mems: Option<String>,
    /// How gladly the kernel kills it for want of memory, -1000 to 1000 (`--oom-score-adj`).
    #[serde(default)]
    pub oom_score: Option<i16>,
    /// Below which cgroup its own is, from the top (`--cgroup-parent`).
    #[serde(default)]
    pub cgroup_parent: Option<CgroupParent>,
    /// What else of memory, processors and disks.
    #[serde(default)]
    pub fine: FineLimits,
    /// Processes and threads.
    pub pids: PidsLimit,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm; 64 MiB if `None`.
    pub shm_size_bytes: Option<u64>,
}

/// How many processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidsLimit {
    /// As many as the sandbox allows by itself.
    #[default]
    Default,
    /// So many.
    Max(u64),
    /// As many as the host has.
    Unlimited,
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

/// Reads a number of bytes as Docker's `-m` does: digits, a fraction perhaps, and `b`, `k`, `m`, `g` or
/// `t` in either case, with or without a `b` after it; powers of 1024. `None` if it is no such number.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    if let Ok(number) = digits.parse::<u64>() {
        return number.checked_mul(1 << shift);
    }
    let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    Some((number * (1u64 << shift) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("6", Some(6)),
            ("6b", Some(6)),
            ("1k", Some(1024)),
            ("1.5K", Some(1536)),
            ("500M", Some(500 << 20)),
            ("64mb", Some(64 << 20)),
            ("2GiB", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("99999999999t", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
