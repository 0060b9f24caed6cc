//! What is done to make a box, as data: pure, printable, in order.
//!
//! Steps of the host's side run in the supervisor, the others in the box's first process, which
//! becomes the command with the last step. Files of the host are opened outside, as detached mount
//! trees with their attributes and id maps already on them; inside they are only put in place. The
//! order is that of the capabilities that each step needs: identity goes late, seccomp last.

mod files;
mod processes;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::mount::MountAttrFlags as Attributes;

use super::capabilities::CapabilitySet;
use super::spec::{AbstractSockets, Access, Durability, Limits, Network, Paths, Rlimit, Seccomp, Spec, Stacking};
use crate::identity::IdMap;
use crate::probe::Tier;
use crate::sys::Reach;

/// A detached mount tree, by its place among the plan's [`Step::OpenTree`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree(pub usize);

/// One thing done to make a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Outside: a cgroup with these limits.
    Cgroup(Limits),
    /// Outside: the first process, in these new namespaces.
    Fork {
        /// What is new for it.
        namespaces: Vec<Namespace>,
        /// Which of other boxes it enters before, with their user namespace.
        join: Vec<Joined>,
    },
    /// Outside: how gladly the kernel kills it for want of memory.
    OomScore(i16),
    /// Outside: which ids exist inside.
    MapIds {
        /// Of users.
        uids: IdMap,
        /// Of groups.
        gids: IdMap,
    },
    /// Outside: a file or directory of the host as a detached mount tree.
    OpenTree {
        /// Its place.
        tree: Tree,
        /// What is opened.
        from: From,
        /// Whose ids its files show.
        ids: Ids,
        /// Whether mounts below it come along.
        below: Below,
        /// Attributes set on all of it.
        attributes: Attributes,
    },
    /// Outside: a way out of the box's network.
    Egress,

    /// Inside: leave kiln's session, keyring and mount propagation.
    Detach,
    /// Inside: a cgroup namespace, whose root is the box's cgroup.
    CgroupNamespace,
    /// Inside: the loopback interface, up.
    Loopback,
    /// Inside: the root filesystem of stacked directories.
    RootOverlay {
        /// Topmost first.
        lowers: Vec<(Tree, Stacking)>,
        /// Data-only, at the bottom.
        data: Option<Tree>,
        /// The directory that `upper` and `work` are in.
        state: Tree,
        /// Name of the upper directory in `state`.
        upper: OsString,
        /// Name of the work directory in `state`.
        work: OsString,
        /// What an fsync is worth.
        durability: Durability,
        /// Attributes of the mount.
        attributes: Attributes,
    },
    /// Inside: the root filesystem that is one directory.
    RootDirectory(Tree),
    /// Inside: a new file system.
    Mount {
        /// Which.
        filesystem: Filesystem,
        /// Where.
        target: PathBuf,
        /// How.
        attributes: Attributes,
    },
    /// Inside: a tree put in place.
    Bind {
        /// Which.
        tree: Tree,
        /// Where.
        target: PathBuf,
    },
    /// Inside: device nodes and links in `/dev`.
    Devices(Devices),
    /// Inside: a file whose content the spec has.
    File {
        /// The mount's place in the spec.
        mount: usize,
        /// Where.
        target: PathBuf,
        /// Whether it may be changed.
        access: Access,
    },
    /// Inside: `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.
    Etc {
        /// Whether they may be changed.
        access: Access,
    },
    /// Inside: a terminal, as `/dev/console` and standard input and output.
    Console {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Inside: the hierarchies of cgroups as the host sees them.
    HostCgroups(Tree),
    /// Inside: the only node of a tree.
    Device {
        /// The tree.
        tree: Tree,
        /// Where it is mounted.
        target: PathBuf,
    },
    /// Inside: what of `/proc` and `/sys` is hidden or read-only.
    Mask,
    /// Inside: no changes to the root filesystem itself.
    RootReadOnly,
    /// Inside: the root filesystem becomes `/`, and the host's is gone.
    Pivot,
    /// Inside: kernel parameters, with dots in their names.
    Sysctls(Vec<(String, String)>),
    /// Inside: the host name.
    Hostname(String),
    /// Inside: the domain name.
    Domain(String),
    /// Inside: resource limits, only ever lower.
    Rlimits(Vec<Rlimit>),
    /// Inside: the working directory, which must turn out to be below `/`.
    WorkingDirectory(PathBuf),
    /// Inside: user and groups, keeping capabilities until seccomp is in place.
    Identity,
    /// Inside: no way to abstract sockets of the host.
    ShutAbstractSockets,
    /// Inside: no gain of privileges by execve.
    NoNewPrivileges,
    /// Inside: the system call filter.
    Seccomp(CapabilitySet),
    /// Inside: the capabilities that stay.
    Capabilities(CapabilitySet),
    /// Inside: the command.
    Execute,
}

/// A namespace that a box gets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Ids and capabilities.
    User,
    /// Mounts.
    Mount,
    /// Processes.
    Pid,
    /// System V and POSIX queues and memory.
    Ipc,
    /// Host name.
    Uts,
    /// Network.
    Network,
}

/// A namespace of another box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Which.
    pub namespace: Namespace,
    /// A process of that box.
    pub pid: i32,
}

/// What a tree is opened from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The host's path to a part of the root filesystem.
    Root(PathBuf),
    /// The host's path that somebody asked to be mounted.
    Path(PathBuf),
    /// A descriptor that came with the request.
    Descriptor(usize),
    /// A device node of the host.
    Device(PathBuf),
    /// A new node of the same device as this one, in a file system of its own; the box's ids own it as the
    /// host's own the other.
    NodeOf(PathBuf),
    /// A kernel file system of the host's own, such as `/sys`.
    OfHost(&'static str),
    /// What another box has at a path.
    Lent {
        /// A process of that box.
        pid: i32,
        /// The path in its root filesystem.
        path: &'static str,
    },
}

/// Whose ids the files of a tree show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Those on disk, seen through the box's map.
    Host,
    /// Those on disk are the box's: an idmapped mount.
    Inside,
}

/// Whether mounts below a tree come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// They do.
    Kept,
    /// They do not.
    Left,
}

/// A file system that is made new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filesystem {
    /// `/proc`.
    Proc,
    /// `/sys`.
    Sysfs,
    /// The hierarchies of cgroups below `/sys/fs/cgroup`.
    Cgroups,
    /// Memory.
    Tmpfs {
        /// Permissions of the root.
        mode: u32,
        /// Size; the kernel's default if missing.
        size_bytes: Option<u64>,
    },
    /// Terminals.
    Devpts,
    /// POSIX message queues.
    Mqueue,
}

/// How `/dev` gets its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// Bound from the host's, which these trees are.
    Bound(Vec<(&'static str, Tree)>),
    /// Made: the usual ones.
    Made,
    /// Made: all that the host has.
    AllOfHost,
}

/// The nodes that every `/dev` has.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const NOSUID: Attributes = Attributes::MOUNT_ATTR_NOSUID;
const NODEV: Attributes = Attributes::MOUNT_ATTR_NODEV;
const NOEXEC: Attributes = Attributes::MOUNT_ATTR_NOEXEC;
const RDONLY: Attributes = Attributes::MOUNT_ATTR_RDONLY;

/// The steps that make `spec`'s box on a machine of `tier`, in order.
pub fn plan(spec: &Spec, tier: &Tier) -> Vec<Step> {
    let mut planner = Planner { spec, tier, outside: Vec::new(), inside: Vec::new(), trees: 0 };
    planner.processes();
    planner.root();
    planner.kernel_filesystems();
    planner.devices();
    planner.mounts();
    planner.closing();
    planner.confinement();
    planner.outside.append(&mut planner.inside);
    planner.outside
}

impl Step {
    /// Whether the supervisor does it, or the box's first process.
    pub(super) fn is_outside(&self) -> bool {
        matches!(
            self,
            Self::Cgroup(_)
                | Self::Fork { .. }
                | Self::OomScore(_)
                | Self::MapIds { .. }
                | Self::OpenTree { .. }
                | Self::Egress
        )
    }
}

impl Namespace {
    /// Its name in `/proc/PID/ns`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "net",
        }
    }
}

impl Below {
    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Kept => Reach::Recursive,
            Self::Left => Reach::Single,
        }
    }
}

struct Planner<'a> {
    spec: &'a Spec,
    tier: &'a Tier,
    outside: Vec<Step>,
    inside: Vec<Step>,
    trees: usize,
}

impl Planner<'_> {
    fn closing(&mut self) {
        if !self.spec.sysctls.is_empty() {
            self.inside.push(Step::Sysctls(self.spec.sysctls.clone()));
        }
        if !self.is_open() {
            self.inside.push(Step::Mask);
        }
        if self.spec.rootfs_access == Access::ReadOnly {
            self.inside.push(Step::RootReadOnly);
        }
        self.inside.push(Step::Pivot);
        self.names();
        self.inside.push(Step::WorkingDirectory(self.spec.command.cwd.clone()));
    }

    fn confinement(&mut self) {
        self.inside.push(Step::Identity);
        if self.spec.network == (Network::Host { abstract_sockets: AbstractSockets::Shut }) {
            self.inside.push(Step::ShutAbstractSockets);
        }
        if self.spec.no_new_privileges {
            self.inside.push(Step::NoNewPrivileges);
        }
        // A filter needs CAP_SYS_ADMIN (or no_new_privs); the policy allows the capset that follows.
        if self.spec.seccomp == Seccomp::Default {
            self.inside.push(Step::Seccomp(self.spec.capabilities));
        }
        // Last of all: what kiln itself still has to open must not count against the command's limits.
        let rlimits = Step::Rlimits(self.spec.rlimits.clone());
        self.inside.extend([Step::Capabilities(self.spec.capabilities), rlimits, Step::Execute]);
    }

    fn is_open(&self) -> bool {
        self.spec.paths == Paths::Open
    }
}
