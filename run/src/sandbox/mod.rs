//! One command in a box of its own: what it is ([`Spec`]), what is done ([`plan()`]), and doing it ([`start`]).
//!
//! [`start`] talks to a supervisor, which is kiln executed again: it stays on the host's side, and
//! with it the box. When kiln dies, however it dies, the supervisor sees its socket close, kills
//! the box and removes cgroup and network; when the supervisor dies, the kernel kills the box.

mod account;
mod capabilities;
mod cgroup;
mod command;
mod confine;
mod devices;
mod disks;
pub(crate) mod entrance;
mod error;
mod inside;
mod lent;
mod masks;
mod mount;
mod namespaces;
mod paths;
mod plan;
mod process;
mod reaper;
mod remainder;
mod root;
mod seccomp;
mod spec;
mod stubs;
mod supervisor;
pub(crate) mod text;
mod trees;
mod visit;
mod visitors;

pub use capabilities::{Capability, CapabilitySet, UnknownCapability};
pub use cgroup::{
    Controller as CgroupController, Hierarchy as CgroupHierarchy, Layout as CgroupLayout, Motion, Place as CgroupPlace,
    Version as CgroupVersion, freeze,
};
pub use disks::{OomKiller, Throttle, Throttled};
pub use error::{Errno, SandboxError};
pub use namespaces::{Belonging, Sharing};
pub use plan::{Step, plan};
pub use process::{Event, Exit, Outcome, Process, Stdio, Stub, Usage, start};
pub use spec::{
    AbstractSockets, Access, Command, DEFAULT_PIDS, DEFAULT_SHM_BYTES, Dns, Durability, Etc, EtcFile, Freezer,
    HostAddress, Init, Limits, Lower, Mount, MountPoints, Network, Paths, PidsLimit, Rlimit, Rootfs, Seccomp, Source,
    Spec, Stacking, Swap, Terminal, UserNamespace,
};
pub use visit::{Privileges, Visit, VisitId};

pub(crate) use cgroup::change as change_limits;
pub(crate) use process::fails_to_start;
pub(crate) use supervisor::{SUPERVISOR, leave};

use serde::{Deserialize, Serialize};

/// The controllers of limits that this user can use, by name.
pub(crate) fn usable_controllers(layout: &CgroupLayout) -> Vec<String> {
    cgroup::usable_controllers(layout)
}

/// Whether there is a system call filter for this architecture.
pub(crate) fn filters_system_calls() -> bool {
    seccomp::filter(CapabilitySet::docker_default()).is_some()
}

/// Something that a box does not have although it was asked for, because this machine has less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Notice {
    /// Root inside is root outside.
    #[error("root in the sandbox is root outside: {why}")]
    NoUserNamespace {
        /// What is missing.
        why: String,
    },
    /// A bind mount shows its files as nobody's.
    #[error("{} shows its files as owned by nobody: its file system has no idmapped mounts", path.display())]
    UnmappedMount {
        /// The host's path.
        #[serde(with = "text")]
        path: std::path::PathBuf,
    },
    /// The default limit of processes is not in force.
    #[error("the number of processes is not limited: {why}")]
    NoPidsLimit {
        /// What is missing.
        why: String,
    },
    /// The host's abstract sockets can be connected to.
    #[error("the host's abstract sockets can be reached: Landlock's scopes need Linux 6.12")]
    AbstractSocketsReachable,
    /// All system calls can be made.
    #[error("system calls are not filtered: {why}")]
    NoSeccomp {
        /// What is missing.
        why: String,
    },
    /// The box has no way out.
    #[error("the sandbox has no network: {why}")]
    NoEgress {
        /// What is missing.
        why: String,
    },
    /// The box shares the host's network.
    #[error("the sandbox shares the host's network, its loopback included: {why}")]
    HostNetwork {
        /// Why it has none of its own.
        why: String,
    },
    /// A part of `/proc` or `/sys` is the host's.
    #[error("{what} in the sandbox is the host's, read-only: {why}")]
    HostFilesystem {
        /// `/proc` or `/sys`.
        what: String,
        /// Why it cannot be the sandbox's own.
        why: String,
    },
}
