//! The root filesystem, mounted: overlayfs over trees that came from outside, or one such tree.
//!
//! Overlayfs takes its layers from mounts of the caller's own mount namespace only, so the detached
//! trees are put on a scratch tmpfs first. The scratch disappears with the host's mounts at the pivot;
//! the overlay has copies of its own.
//!
//! Overlayfs follows a file's reference to its content in a data-only layer from the lowest directory
//! of a stack alone (Linux 6.16, `userxattr`). A directory further up that has such files is mounted
//! as a read-only overlay of its own, and that is stacked.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsopen, open_tree,
};

use super::mount;
use super::spec::{Durability, Stacking};

/// Where the scratch is mounted: the one directory that every host has, or kiln could not run itself.
const SCRATCH: &str = "/proc";

/// A tmpfs of the box's first process, to hold mounts on their way.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: OwnedFd,
}

/// The parts of an overlay.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    /// Topmost first.
    pub(super) lowers: Vec<(OwnedFd, Stacking)>,
    /// Data-only layer.
    pub(super) data: Option<OwnedFd>,
    /// The mount that upper and work are in: overlayfs wants them in one.
    pub(super) state: OwnedFd,
    pub(super) upper: &'a OsStr,
    pub(super) work: &'a OsStr,
    pub(super) durability: Durability,
    pub(super) attributes: MountAttrFlags,
}

impl Scratch {
    /// Mounts it.
    pub(super) fn new() -> Result<Self> {
        let directory = mount::tmpfs(0o700, Some(16 << 20), MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        let place = rustix::fs::open(SCRATCH, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(&directory, place)?;
        Ok(Self { directory })
    }

    /// Puts `tree` into a directory of that name.
    pub(super) fn hold(&self, tree: &OwnedFd, name: &str) -> Result<()> {
        rustix::fs::mkdirat(&self.directory, name, Mode::from_raw_mode(0o700))?;
        let place = rustix::fs::openat(&self.directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(tree, place)
    }

    /// Makes it the working directory, for what takes only paths.
    fn enter(&self) -> Result<()> {
        rustix::process::fchdir(&self.directory)
    }
}

impl Overlay<'_> {
    /// Mounts it, detached (or, where descriptors are not taken, in the scratch as `root`).
    pub(super) fn mount(&self, scratch: &Scratch) -> Result<OwnedFd> {
        for (index, (lower, _)) in self.lowers.iter().enumerate() {
            scratch.hold(lower, &index.to_string())?;
        }
        if let Some(data) = &self.data {
            scratch.hold(data, "data")?;
        }
        scratch.hold(&self.state, "state")?;
        match self.by_descriptors(scratch) {
            // Linux before 6.13 takes no descriptors, before 6.5 (where overlayfs has no configuration of its own) not even
            // `lowerdir+`.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) if self.data.is_none() => {
                self.by_names(scratch)
            }
            other => other,
        }
    }

    fn by_descriptors(&self, scratch: &Scratch) -> Result<OwnedFd> {
        let context = Self::context()?;
        for (index, (lower, stacking)) in self.lowers.iter().enumerate() {
            match stacking {
                Stacking::Direct => fsconfig_set_fd(&context, "lowerdir+", lower)?,
                Stacking::Nested => {
                    let nested = self.nested(lower)?;
                    scratch.hold(&nested, &format!("nested{index}"))?;
                    fsconfig_set_fd(&context, "lowerdir+", nested)?;
                }
            }
        }
        if let Some(data) = &self.data {
            fsconfig_set_fd(&context, "datadir+", data)?;
        }
        fsconfig_set_fd(&context, "upperdir", self.part(self.upper)?)?;
        fsconfig_set_fd(&context, "workdir", self.part(self.work)?)?;
        // Nested layers are file systems of their own: without `xino` files would have another device
        // number than their directories.
        let has_nested = self.lowers.iter().any(|(_, stacking)| *stacking == Stacking::Nested);
        fsconfig_set_string(&context, "xino", if has_nested { "on" } else { "off" })?;
        if self.durability == Durability::Volatile {
            fsconfig_set_flag(&context, "volatile")?;
        }
        mount::finish(&context, self.attributes)
    }

    /// One of the directories as a read-only overlay.
    fn nested(&self, lower: &OwnedFd) -> Result<OwnedFd> {
        let context = Self::context()?;
        fsconfig_set_fd(&context, "lowerdir+", lower)?;
        fsconfig_set_fd(&context, "datadir+", self.data.as_ref().ok_or(Errno::INVAL)?)?;
        fsconfig_set_string(&context, "xino", "off")?;
        mount::finish(&context, self.attributes)
    }

    /// An overlay with the options that all have.
    fn context() -> Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_flag(&context, "userxattr")?;
        for (key, value) in [("source", "overlay"), ("index", "off"), ("redirect_dir", "nofollow")] {
            fsconfig_set_string(&context, key, value)?;
        }
        Ok(context)
    }

    fn by_names(&self, scratch: &Scratch) -> Result<OwnedFd> {
        scratch.enter()?;
        rustix::fs::mkdirat(&scratch.directory, "root", Mode::from_raw_mode(0o755))?;
        let names: Vec<String> = (0..self.lowers.len()).map(|index| index.to_string()).collect();
        let volatile = if self.durability == Durability::Volatile { ",volatile" } else { "" };
        let mut options = format!("userxattr,index=off,xino=off{volatile},lowerdir={}", names.join(":")).into_bytes();
        for (key, name) in [("upperdir", self.upper), ("workdir", self.work)] {
            options.extend([b",", key.as_bytes(), b"=state/"].concat());
            options.extend(name.as_encoded_bytes().iter().flat_map(|byte| escaped(*byte)));
        }
        let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
        let flags = if self.attributes.contains(MountAttrFlags::MOUNT_ATTR_NODEV) {
            MountFlags::NODEV
        } else {
            MountFlags::empty()
        };
        rustix::mount::mount("overlay", "root", "overlay", flags, options.as_c_str())?;
        open_tree(rustix::fs::CWD, "root", OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE)
    }

    fn part(&self, name: &OsStr) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.state.as_fd(), name, flags, Mode::empty())
    }
}

fn escaped(byte: u8) -> impl Iterator<Item = u8> {
    let escape = matches!(byte, b',' | b':' | b'\\').then_some(b'\\');
    escape.into_iter().chain([byte])
}
