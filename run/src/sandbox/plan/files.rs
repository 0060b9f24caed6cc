//! The part of a plan that says what the box sees: its root, `/proc`, `/sys`, `/dev`, and what is mounted.

use std::path::Path;

use super::{
    Attributes, Below, DEVICES, Devices, Filesystem, From, Ids, NODEV, NOEXEC, NOSUID, Planner, RDONLY, Step, Tree,
};
use crate::identity::Standing;
use crate::sandbox::namespaces::Belonging;
use crate::sandbox::spec::{Access, Etc, Network, Rootfs, Source, Terminal, UserNamespace};

impl Planner<'_> {
    pub(super) fn root(&mut self) {
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

    pub(super) fn kernel_filesystems(&mut self) {
        self.proc();
        let read_only = if self.is_open() { Attributes::empty() } else { RDONLY };
        if self.can_mount_sysfs() {
            self.mount(Filesystem::Sysfs, "/sys", NOSUID | NODEV | NOEXEC | read_only);
            self.cgroups(read_only);
            return;
        }
        // Root can leave out what is mounted below /sys. In a user namespace those mounts are locked
        // to it and come along, the hierarchies of cgroups among them.
        let below = self.below_host();
        self.bind_host("/sys", below, RDONLY);
        if below == Below::Left {
            self.cgroups(RDONLY);
        }
    }

    /// Processes of the host are in the host's `/proc`: whoever is not root there cannot mount another.
    fn proc(&mut self) {
        match self.spec.sharing.processes {
            Belonging::Host => self.bind_host("/proc", self.below_host(), Attributes::empty()),
            Belonging::Own | Belonging::Of { .. } => {
                self.mount(Filesystem::Proc, "/proc", NOSUID | NODEV | NOEXEC);
            }
        }
    }

    /// Hierarchies of cgroups can be mounted by whoever owns the namespace of cgroups.
    fn cgroups(&mut self, access: Attributes) {
        match self.spec.sharing.cgroups {
            Belonging::Host => {
                let attributes = NOSUID | NODEV | NOEXEC | access;
                let tree = self.open(From::OfHost("/sys/fs/cgroup"), Ids::Host, Below::Kept, attributes);
                self.inside.push(Step::HostCgroups(tree));
            }
            Belonging::Own | Belonging::Of { .. } => {
                self.mount(Filesystem::Cgroups, "/sys/fs/cgroup", NOSUID | NODEV | NOEXEC | access);
            }
        }
    }

    fn below_host(&self) -> Below {
        if self.tier.standing == Standing::Root { Below::Left } else { Below::Kept }
    }

    fn bind_host(&mut self, path: &'static str, below: Below, access: Attributes) {
        let tree = self.open(From::OfHost(path), Ids::Host, below, NOSUID | NODEV | NOEXEC | access);
        self.inside.push(Step::Bind { tree, target: path.into() });
    }

    pub(super) fn devices(&mut self) {
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
        self.shared_memory();
    }

    fn shared_memory(&mut self) {
        let ipc = self.spec.sharing.ipc;
        match ipc {
            Belonging::Host => self.bind_host("/dev/shm", Below::Left, Attributes::empty()),
            Belonging::Of { pid } => {
                let attributes = NOSUID | NODEV | NOEXEC;
                let tree = self.open(From::Lent { pid, path: "/dev/shm" }, Ids::Host, Below::Left, attributes);
                self.inside.push(Step::Bind { tree, target: "/dev/shm".into() });
            }
            Belonging::Own if self.spec.shm_bytes > 0 => {
                let shm = Filesystem::Tmpfs { mode: 0o1777, size_bytes: Some(self.spec.shm_bytes) };
                self.mount(shm, "/dev/shm", NOSUID | NODEV | NOEXEC);
            }
            Belonging::Own => {}
        }
        // Queues belong to the namespace, and can be mounted by whoever owns that.
        if ipc != Belonging::Host || self.can_make_devices() {
            self.mount(Filesystem::Mqueue, "/dev/mqueue", NOSUID | NODEV | NOEXEC);
        }
    }

    pub(super) fn mounts(&mut self) {
        let spec = self.spec;
        // Shorter targets first, so that a mount below another is not hidden by it. /etc comes
        // before them: a file that the user mounts there wins.
        self.names_of_hosts();
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

    /// Who shares a network shares the files that describe it.
    fn names_of_hosts(&mut self) {
        let Etc::Generated { access, .. } = &self.spec.etc else { return };
        let Network::Join { pid } = self.spec.network else {
            return self.inside.push(Step::Etc { access: *access });
        };
        for path in ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"] {
            let tree = self.open(From::Lent { pid, path }, Ids::Host, Below::Left, NOSUID | NODEV | NOEXEC);
            self.inside.push(Step::Bind { tree, target: path.into() });
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
            // The host's own node belongs to nobody inside, and its file system cannot show it otherwise.
            Source::Device { path } if self.tier.standing == Standing::Root => {
                let from = From::NodeOf(path.clone());
                let tree = self.open(from, Ids::Host, Below::Left, NOSUID | NOEXEC | read_only);
                Step::Device { tree, target }
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

    pub(super) fn mount(&mut self, filesystem: Filesystem, target: &str, attributes: Attributes) {
        self.inside.push(Step::Mount { filesystem, target: target.into(), attributes });
    }

    pub(super) fn open_root(&mut self, path: &Path) -> Tree {
        let attributes = match self.spec.rootfs {
            Rootfs::Directory { .. } => self.root_attributes(),
            Rootfs::Overlay { .. } => Attributes::empty(),
        };
        self.open(From::Root(path.to_owned()), self.inside_ids(), Below::Left, attributes)
    }

    pub(super) fn open(&mut self, from: From, ids: Ids, below: Below, attributes: Attributes) -> Tree {
        let tree = Tree(self.trees);
        self.trees += 1;
        self.outside.push(Step::OpenTree { tree, from, ids, below, attributes });
        tree
    }

    pub(super) fn root_attributes(&self) -> Attributes {
        if self.is_open() { Attributes::empty() } else { NODEV }
    }

    pub(super) fn inside_ids(&self) -> Ids {
        let mapped = self.tier.standing == Standing::Root && self.is_user_namespace_entered();
        if mapped { Ids::Inside } else { Ids::Host }
    }

    pub(super) fn can_mount_sysfs(&self) -> bool {
        match self.spec.network {
            Network::None | Network::Private | Network::PrivateOrHost | Network::Join { .. } => true,
            Network::Host { .. } => {
                self.tier.standing == Standing::Root && self.spec.user_namespace == UserNamespace::Host
            }
        }
    }

    pub(super) fn can_make_devices(&self) -> bool {
        self.tier.standing == Standing::Root && self.spec.user_namespace == UserNamespace::Host
    }
}
