//! The steps that fill the root filesystem before it becomes `/`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::super::error::{Doing, Errno};
use super::super::paths::{self, Root, Want};
use super::super::plan::{DEVICES, Devices, Filesystem, Step, Tree};
use super::super::root::Overlay;
use super::super::spec::{Access, MountPoints, Source};
use super::super::{SandboxError, devices, masks, mount};
use super::{Inside, Report};
use crate::sys::Reach;

impl Inside<'_> {
    pub(super) fn root_overlay(&mut self, step: &Step) -> Result<(), SandboxError> {
        let Step::RootOverlay { lowers, data, state, upper, work, durability, attributes } = step else {
            return Ok(());
        };
        let overlay = Overlay {
            lowers: lowers
                .iter()
                .map(|(tree, how)| Ok((self.take(*tree)?, *how)))
                .collect::<Result<_, SandboxError>>()?,
            data: data.map(|tree| self.take(tree)).transpose()?,
            state: self.take(*state)?,
            upper,
            work,
            durability: *durability,
            attributes: *attributes,
        };
        let mounted = overlay.mount(self.scratch()?);
        let tree = mounted.map_err(|error| SandboxError::RootFilesystem { source: error.into() })?;
        self.set_root(tree)
    }

    pub(super) fn set_root(&mut self, tree: OwnedFd) -> Result<(), SandboxError> {
        // Only what is in place can be mounted on (before Linux 6.15).
        self.scratch()?.hold(&tree, "rootfs").map_err(|error| SandboxError::RootFilesystem { source: error.into() })?;
        self.root = Some(Root::new(tree));
        Ok(())
    }

    pub(super) fn mount(
        &mut self,
        filesystem: &Filesystem,
        target: &Path,
        attributes: MountAttrFlags,
    ) -> Result<(), SandboxError> {
        let failed = |source: Errno| SandboxError::MountTarget { target: target.to_owned(), source };
        if *filesystem == Filesystem::Cgroups {
            let Some(place) = self.place_of_cgroups().map_err(|error| failed(error.into()))? else { return Ok(()) };
            return mount::cgroups(&self.tier.cgroups, place.as_fd(), attributes).map_err(|error| failed(error.into()));
        }
        let tree = mount::new(filesystem, attributes, self.gids.contains(5)).map_err(|error| failed(error.into()))?;
        self.put(&tree, target)?;
        match target.to_str() {
            Some("/proc") => self.proc = Some(tree),
            Some("/sys") => self.sys = Some(tree),
            Some("/dev") => self.dev = Some(tree),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn bind(&mut self, tree: Tree, target: &Path) -> Result<(), SandboxError> {
        let tree = self.take(tree)?;
        self.put(&tree, target)?;
        match target.to_str() {
            Some("/proc") => self.proc = Some(tree),
            Some("/sys") => self.sys = Some(tree),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn host_cgroups(&mut self, tree: Tree) -> Result<(), SandboxError> {
        let tree = self.take(tree)?;
        let doing = || "show the host's cgroups".to_owned();
        let Some(place) = self.place_of_cgroups().doing(doing)? else { return Ok(()) };
        mount::attach(&tree, place).doing(doing)
    }

    /// A kernel without cgroups has no such directory.
    fn place_of_cgroups(&self) -> std::io::Result<Option<OwnedFd>> {
        let Some(sys) = self.sys.as_ref() else { return Ok(None) };
        Ok(Root::new(sys.try_clone()?).open("fs/cgroup", OFlags::PATH).ok())
    }

    pub(super) fn device(&mut self, tree: Tree, target: &Path) -> Result<(), SandboxError> {
        let tree = self.take(tree)?;
        let doing = || format!("show a device at {}", target.display());
        // Only what is in place can be copied (before Linux 6.15).
        self.scratch()?.hold(&tree, &format!("device{}", tree.as_raw_fd())).doing(doing)?;
        let node =
            rustix::fs::openat(&tree, devices::NODE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let node = mount::copy_of(node.as_fd(), Reach::Single, MountAttrFlags::empty()).doing(doing)?;
        self.put(&node, target)
    }

    /// Puts a tree where `target` leads in the root filesystem, which nothing of the image can bend.
    fn put(&mut self, tree: &OwnedFd, target: &Path) -> Result<(), SandboxError> {
        let failed =
            |source: rustix::io::Errno| SandboxError::MountTarget { target: target.to_owned(), source: source.into() };
        let want = match paths::kind(tree.as_fd()).map_err(failed)? {
            rustix::fs::FileType::Directory => Want::Directory,
            _ => Want::File,
        };
        let place = self.root()?.find_or_make(target, want).map_err(failed)?;
        if paths::is_kernel_filesystem(place.file.as_fd()).map_err(failed)? {
            return Err(SandboxError::MountTargetRefused { target: target.to_owned() });
        }
        if !place.made.is_empty() && !self.keeps_mount_point(target) {
            self.report(&Report::Made(place.made), &[])?;
        }
        mount::attach(tree, place.file).map_err(failed)
    }

    fn keeps_mount_point(&self, target: &Path) -> bool {
        let is_of_spec = || self.spec.mounts.iter().any(|mount| mount.target == target);
        self.spec.mount_points == MountPoints::Kept && is_of_spec()
    }

    pub(super) fn devices(&mut self, devices: &Devices) -> Result<(), SandboxError> {
        let doing = || "make /dev".to_owned();
        let dev = self.dev()?.try_clone_to_owned().doing(doing)?;
        devices::make_links(dev.as_fd()).doing(doing)?;
        match devices {
            Devices::Made => self.make_devices(dev.as_fd()).doing(doing),
            Devices::AllOfHost => devices::make_all_of(Path::new("/dev"), dev.as_fd()).doing(doing),
            Devices::Bound(nodes) => nodes.iter().try_for_each(|(name, tree)| {
                let tree = self.take(*tree)?;
                devices::bind(dev.as_fd(), name, &tree).doing(doing)
            }),
        }
    }

    /// The usual nodes, made where only kiln can make any, and mounted one by one.
    fn make_devices(&self, dev: BorrowedFd<'_>) -> std::io::Result<()> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let nodes = mount::tmpfs(0o755, Some(1 << 16), attributes)?;
        let scratch = self.scratch.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        scratch.hold(&nodes, "devices")?;
        devices::make(nodes.as_fd())?;
        for name in DEVICES {
            let node = rustix::fs::openat(&nodes, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            devices::bind(dev, name, &mount::copy_of(node.as_fd(), Reach::Single, MountAttrFlags::empty())?)?;
        }
        Ok(())
    }

    pub(super) fn file(&mut self, index: usize, target: &Path, access: Access) -> Result<(), SandboxError> {
        let Source::File { bytes, mode, uid, gid } = &self.spec.mounts[index].source else { return Ok(()) };
        let failed =
            |source: std::io::Error| SandboxError::MountTarget { target: target.to_owned(), source: source.into() };
        let file = self.new_file(&format!("mount-{index}"), bytes).map_err(failed)?;
        for (id, existing) in [(*uid, &self.uids), (*gid, &self.gids)] {
            if !existing.contains(id) {
                return Err(SandboxError::IdOutOfRange { id: id.to_string(), maximum: existing.greatest() });
            }
        }
        let (user, group) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        rustix::fs::fchown(&file, Some(user), Some(group)).map_err(|error| failed(error.into()))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode)).map_err(|error| failed(error.into()))?;
        self.put_file(&file, target, access)
    }

    pub(super) fn etc(&mut self, access: Access) -> Result<(), SandboxError> {
        for (target, bytes) in std::mem::take(&mut self.go.etc) {
            let name = format!("etc-{}", target.file_name().unwrap_or_default().display());
            let file = self.new_file(&name, &bytes).doing(|| format!("write {}", target.display()))?;
            self.put_file(&file, &target, access)?;
        }
        Ok(())
    }

    fn put_file(&mut self, file: &OwnedFd, target: &Path, access: Access) -> Result<(), SandboxError> {
        let attributes = match access {
            Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
            Access::ReadWrite => MountAttrFlags::empty(),
        };
        let tree = mount::copy_of(file.as_fd(), Reach::Single, attributes);
        let tree =
            tree.map_err(|error| SandboxError::MountTarget { target: target.to_owned(), source: error.into() })?;
        self.put(&tree, target)
    }

    /// A file on a tmpfs that can be reached only where the file is mounted.
    fn new_file(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
        if self.files.is_none() {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let files = mount::tmpfs(0o700, None, attributes)?;
            let scratch = self.scratch.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
            scratch.hold(&files, "files")?;
            self.files = Some(files);
        }
        let directory = self.files.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = &rest[written..];
        }
        Ok(file)
    }

    pub(super) fn console(&mut self, rows: u16, columns: u16) -> Result<(), SandboxError> {
        let console = devices::console(self.dev()?, rows, columns).doing(|| "make a terminal".to_owned())?;
        self.report(&Report::Console, &[console.master.as_fd()])?;
        self.terminal = Some(console.terminal);
        Ok(())
    }

    pub(super) fn sysctls(&self, parameters: &[(String, String)]) -> Result<(), SandboxError> {
        let proc = self.proc.as_ref().ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })?;
        parameters.iter().try_for_each(|(name, value)| {
            masks::sysctl(proc.as_fd(), name, value)
                .map_err(|source| SandboxError::Sysctl { name: name.clone(), source: source.into() })
        })
    }

    pub(super) fn mask(&mut self) -> Result<(), SandboxError> {
        let doing = || "mask paths in /proc and /sys".to_owned();
        let missing = || SandboxError::Lost { part: "sandbox".to_owned() };
        let null =
            rustix::fs::openat(self.dev()?, "null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let (proc, sys) = (self.proc.as_ref().ok_or_else(missing)?, self.sys.as_ref().ok_or_else(missing)?);
        masks::apply(proc.as_fd(), sys.as_fd(), null.as_fd()).doing(doing)
    }
}
