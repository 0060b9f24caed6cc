//! The mount API on detached trees (`fsopen`, `open_tree`, `move_mount`): nothing here takes a path
//! of a root filesystem.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::cgroup::Layout;
use super::plan::Filesystem;
use crate::sys::{self, Reach};

/// Puts a detached tree on top of `place`.
pub(super) fn attach(tree: impl AsFd, place: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}

/// A detached copy of the mount (or part of one) that `file` is in, attributes added.
pub(super) fn copy_of(file: BorrowedFd<'_>, reach: Reach, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let recursive = if reach == Reach::Recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(file, "", flags | recursive)?;
    if !attributes.is_empty() {
        sys::mount_setattr(tree.as_fd(), reach, u64::from(attributes.bits()), None)?;
    }
    Ok(tree)
}

/// A new file system, detached. The hierarchies of cgroups are several and made by [`cgroups`].
pub(super) fn new(filesystem: &Filesystem, attributes: MountAttrFlags, has_gid_5: bool) -> rustix::io::Result<OwnedFd> {
    match filesystem {
        Filesystem::Proc => make("proc", &[], attributes),
        Filesystem::Sysfs => make("sysfs", &[], attributes),
        Filesystem::Mqueue => make("mqueue", &[], attributes),
        Filesystem::Tmpfs { mode, size_bytes } => tmpfs(*mode, *size_bytes, attributes),
        Filesystem::Devpts => {
            let group: &[_] = if has_gid_5 { &[("gid", "5")] } else { &[] };
            let options = [&[("mode", "0620"), ("ptmxmode", "0666")], group].concat();
            make("devpts", &options, attributes)
        }
        Filesystem::Cgroups => make("cgroup2", &[], attributes),
    }
}

/// A file system in memory, detached.
pub(super) fn tmpfs(mode: u32, size_bytes: Option<u64>, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let mode = format!("{mode:o}");
    let size = size_bytes.map(|size| size.to_string());
    let options = [("mode", mode.as_str())].into_iter().chain(size.as_deref().map(|size| ("size", size)));
    make("tmpfs", &options.collect::<Vec<_>>(), attributes)
}

/// What belongs on `/sys/fs/cgroup`: the one hierarchy, or a directory with the several of version 1.
pub(super) fn cgroups(layout: &Layout, place: BorrowedFd<'_>, attributes: MountAttrFlags) -> io::Result<()> {
    match layout {
        Layout::Absent => Ok(()),
        Layout::Unified { .. } => Ok(attach(make("cgroup2", &[], attributes)?, place)?),
        Layout::Legacy { hierarchies, .. } => {
            let directory = tmpfs(0o755, Some(1 << 20), attributes.difference(MountAttrFlags::MOUNT_ATTR_RDONLY))?;
            attach(&directory, place)?;
            for hierarchy in hierarchies {
                let name = hierarchy.directory_name();
                rustix::fs::mkdirat(&directory, &name, Mode::from_raw_mode(0o755))?;
                let place = rustix::fs::openat(&directory, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                attach(legacy_hierarchy(&hierarchy.options, attributes)?, place)?;
            }
            sys::mount_setattr(directory.as_fd(), Reach::Single, u64::from(attributes.bits()), None)
        }
    }
}

fn legacy_hierarchy(options: &[String], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    if options.is_empty() {
        return make("cgroup2", &[], attributes);
    }
    let context = fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => {
                fsconfig_set_flag(&context, "none")?;
                fsconfig_set_string(&context, key, value)?;
            }
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    finish(&context, attributes)
}

fn make(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What `mount` and `df` show as the device.
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    finish(&context, attributes)
}

/// Makes the superblock that was configured and mounts it, detached.
pub(super) fn finish(context: &OwnedFd, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
