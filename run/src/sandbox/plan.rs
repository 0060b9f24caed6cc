//! What is done to make a box, as data: pure, printable, in order.
//!
//! Steps of the host's side run in the supervisor, the others in the box's first process, which
//! becomes the command with the last step. Files of the host are opened outside, as detached mount
//! trees with their attributes and id maps already on them; inside they are only put in place. The
//! order is that of the capabilities that each step needs: identity goes late, seccomp last.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::mount::MountAttrFlags as Attributes;

use super::capabilities::CapabilitySet;
use super::spec::{
    AbstractSockets, Access, Durability, Etc, Limits, Network, Paths, Rlimit, Rootfs, Seccomp, Source, Spec, Stacking,
    Terminal, UserNamespace,
};
use crate::identity::{IdMap, Standing};
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
        /// A process whose user and network namespace it enters before.
        join: Option<i32>,
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
    /// Inside: what of `/proc` and `/sys` is hidden or read-only.
    Mask,
    /// Inside: no changes to the root filesystem itself.
    RootReadOnly,
    /// Inside: the root filesystem becomes `/`, and the host's is gone.
    Pivot,
    /// Inside: the host name.
    Hostname(String),
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

/// What a tree is opened from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The host's path to a part of the root filesystem.
    Root(PathBuf),
    /// The host's path that somebody asked to be mounted.
    Path(PathBuf),
    /// A descriptor that came with the request.
    Descriptor(usize),
    /// A device node.
    Device(PathBuf),
    /// The host's own `/sys`.
    HostSys,
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
    fn processes(&mut self) {
        self.outside.push(Step::Cgroup(self.spec.limits.clone()));
        self.outside.push(Step::Fork { namespaces: self.namespaces(), join: self.joined() });
        self.outside.extend(self.spec.oom_score.map(Step::OomScore));
        if self.has_own_user_namespace() {
            self.outside.push(Step::MapIds { uids: self.tier.uids.nested(), gids: self.tier.gids.nested() });
        }
        if self.spec.network == Network::Private {
            self.outside.push(Step::Egress);
        }
        self.inside.extend([Step::Detach, Step::CgroupNamespace]);
        if self.has_own_network() {
            self.inside.push(Step::Loopback);
        }
    }

    fn root(&mut self) {
        let step = match &self.spec.rootfs {
            Rootfs::Directory { path } => Step::RootDirectory(self.open_root(path)),
            Rootfs::Overlay { lowers, data, upper, work, durability } => Step::RootOverlay {
                lowers: lowers.iter().map(|lower| (self.open_root(&lower.path), lower.stacking)).collect(),
                data: data.as_deref().map(|data| self.open_root(data)),
                state: self.open_root(upper.parent().unwrap_or(Path::new("/"))),
                upper: upper.file_name().unwrap_or_default().to_owned(),
                work: work.file_name().unwrap_or_default().to_owned(),
                durability: *durability,
                attributes: self.root_attributes(),
            },
        };
        self.inside.push(step);
    }

    fn kernel_filesystems(&mut self) {
        self.mount(Filesystem::Proc, "/proc", NOSUID | NODEV | NOEXEC);
        let read_only = if self.is_open() { Attributes::empty() } else { RDONLY };
        if self.can_mount_sysfs() {
            self.mount(Filesystem::Sysfs, "/sys", NOSUID | NODEV | NOEXEC | read_only);
            self.mount(Filesystem::Cgroups, "/sys/fs/cgroup", NOSUID | NODEV | NOEXEC | read_only);
            return;
        }
        // Root can leave out what is mounted below /sys. In a user namespace those mounts are locked
        // to it and come along, the hierarchies of cgroups among them.
        let below = if self.tier.standing == Standing::Root { Below::Left } else { Below::Kept };
        let tree = self.open(From::HostSys, Ids::Host, below, NOSUID | NODEV | NOEXEC | RDONLY);
        self.inside.push(Step::Bind { tree, target: "/sys".into() });
        if below == Below::Left {
            self.mount(Filesystem::Cgroups, "/sys/fs/cgroup", NOSUID | NODEV | NOEXEC | RDONLY);
        }
    }

    fn devices(&mut self) {
        // What works in a closed box's /dev is mounted there one by one: a node that the box makes itself, which
        // root of the host's users can, works nowhere.
        let nodev = if self.is_open() { Attributes::empty() } else { NODEV };
        self.mount(Filesystem::Tmpfs { mode: 0o755, size_bytes: Some(64 << 20) }, "/dev", NOSUID | NOEXEC | nodev);
        let devices = if self.can_make_devices() {
            if self.is_open() { Devices::AllOfHost } else { Devices::Made }
        } else {
            let open = |name| {
                let device = From::Device(Path::new("/dev").join(name));
                (name, self.open(device, Ids::Host, Below::Left, NOSUID | NOEXEC))
            };
            Devices::Bound(DEVICES.map(open).into())
        };
        self.inside.push(Step::Devices(devices));
        self.mount(Filesystem::Devpts, "/dev/pts", NOSUID | NOEXEC);
        let shm = Filesystem::Tmpfs { mode: 0o1777, size_bytes: Some(self.spec.shm_bytes) };
        self.mount(shm, "/dev/shm", NOSUID | NODEV | NOEXEC);
        self.mount(Filesystem::Mqueue, "/dev/mqueue", NOSUID | NODEV | NOEXEC);
    }

    fn mounts(&mut self) {
        let spec = self.spec;
        // Shorter targets first, so that a mount below another is not hidden by it. /etc comes
        // before them: a file that the user mounts there wins.
        if let Etc::Generated { access, .. } = &spec.etc {
            self.inside.push(Step::Etc { access: *access });
        }
        let mut order: Vec<usize> = (0..spec.mounts.len()).collect();
        order.sort_by_key(|index| spec.mounts[*index].target.components().count());
        for index in order {
            let step = self.mount_of_spec(index);
            self.inside.push(step);
        }
        if let Terminal::Console { rows, columns } = spec.terminal {
            self.inside.push(Step::Console { rows, columns });
        }
    }

    fn mount_of_spec(&mut self, index: usize) -> Step {
        let mount = &self.spec.mounts[index];
        let target = mount.target.clone();
        let read_only = if mount.access == Access::ReadOnly { RDONLY } else { Attributes::empty() };
        let nodev = if self.is_open() { Attributes::empty() } else { NODEV };
        match &mount.source {
            Source::Path { path } => {
                let tree = self.open(From::Path(path.clone()), self.inside_ids(), Below::Kept, nodev | read_only);
                Step::Bind { tree, target }
            }
            Source::Descriptor { index } => {
                let tree = self.open(From::Descriptor(*index), self.inside_ids(), Below::Kept, nodev | read_only);
                Step::Bind { tree, target }
            }
            Source::Device { path } => {
                let tree = self.open(From::Device(path.clone()), Ids::Host, Below::Left, NOSUID | NOEXEC | read_only);
                Step::Bind { tree, target }
            }
            Source::Tmpfs { size_bytes, mode, executables } => {
                let noexec = if *executables { Attributes::empty() } else { NOEXEC };
                let filesystem = Filesystem::Tmpfs { mode: *mode, size_bytes: *size_bytes };
                Step::Mount { filesystem, target, attributes: NOSUID | NODEV | noexec | read_only }
            }
            Source::File { .. } => Step::File { mount: index, target, access: mount.access },
        }
    }

    fn closing(&mut self) {
        if !self.is_open() {
            self.inside.push(Step::Mask);
        }
        if self.spec.rootfs_access == Access::ReadOnly {
            self.inside.push(Step::RootReadOnly);
        }
        self.inside.extend([
            Step::Pivot,
            Step::Hostname(self.spec.hostname.clone()),
            Step::WorkingDirectory(self.spec.command.cwd.clone()),
        ]);
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

    fn mount(&mut self, filesystem: Filesystem, target: &str, attributes: Attributes) {
        self.inside.push(Step::Mount { filesystem, target: target.into(), attributes });
    }

    fn open_root(&mut self, path: &Path) -> Tree {
        let attributes = match self.spec.rootfs {
            Rootfs::Directory { .. } => self.root_attributes(),
            Rootfs::Overlay { .. } => Attributes::empty(),
        };
        self.open(From::Root(path.to_owned()), self.inside_ids(), Below::Left, attributes)
    }

    fn open(&mut self, from: From, ids: Ids, below: Below, attributes: Attributes) -> Tree {
        let tree = Tree(self.trees);
        self.trees += 1;
        self.outside.push(Step::OpenTree { tree, from, ids, below, attributes });
        tree
    }

    /// Device nodes of an image are of no use in any box but an open one.
    fn root_attributes(&self) -> Attributes {
        if self.is_open() { Attributes::empty() } else { NODEV }
    }

    fn inside_ids(&self) -> Ids {
        let mapped = self.tier.standing == Standing::Root && self.is_user_namespace_entered();
        if mapped { Ids::Inside } else { Ids::Host }
    }

    fn namespaces(&self) -> Vec<Namespace> {
        let mut namespaces = vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts];
        if self.has_own_network() {
            namespaces.push(Namespace::Network);
        }
        if self.has_own_user_namespace() {
            namespaces.insert(0, Namespace::User);
        }
        namespaces
    }

    fn joined(&self) -> Option<i32> {
        if let Network::Join { pid } = self.spec.network { Some(pid) } else { None }
    }

    fn has_own_user_namespace(&self) -> bool {
        self.spec.user_namespace == UserNamespace::Mapped && self.joined().is_none()
    }

    fn is_user_namespace_entered(&self) -> bool {
        self.spec.user_namespace == UserNamespace::Mapped
    }

    fn has_own_network(&self) -> bool {
        matches!(self.spec.network, Network::None | Network::Private)
    }

    /// Sysfs shows a network namespace and can be mounted by whoever owns that.
    fn can_mount_sysfs(&self) -> bool {
        match self.spec.network {
            Network::None | Network::Private | Network::Join { .. } => true,
            Network::Host { .. } => {
                self.tier.standing == Standing::Root && self.spec.user_namespace == UserNamespace::Host
            }
        }
    }

    fn can_make_devices(&self) -> bool {
        self.tier.standing == Standing::Root && self.spec.user_namespace == UserNamespace::Host
    }

    fn is_open(&self) -> bool {
        self.spec.paths == Paths::Open
    }
}
