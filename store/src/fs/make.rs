//! Making files: always new ones, never through what is already there.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::{Errno, Result};

use super::{Dir, Kind, Stat};
use crate::Name;
use crate::tree::Timestamp;

/// Who a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Dir {
    /// Makes a regular file, open for reading and writing; an error if the name is taken.
    pub fn make_file(&self, name: &Name) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self, name.as_os_str(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Opens a regular file that is there for writing, without its content.
    pub(crate) fn emptied_file(&self, name: &Name) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self, name.as_os_str(), flags, Mode::empty()).map(File::from)
    }

    /// Makes a directory (0700) and opens it; an error if the name is taken.
    pub fn make_dir(&self, name: &Name) -> Result<Self> {
        rustix::fs::mkdirat(self, name.as_os_str(), Mode::RWXU)?;
        self.child(name)
    }

    /// Makes a symbolic link with that target, verbatim.
    pub fn make_link(&self, name: &Name, target: &[u8]) -> Result<()> {
        rustix::fs::symlinkat(OsStr::from_bytes(target), self, name.as_os_str())
    }

    /// Makes a device node or a named pipe, without any permission bits.
    pub fn make_node(&self, name: &Name, kind: Kind, (major, minor): (u32, u32)) -> Result<()> {
        let kind = match kind {
            Kind::Character => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Directory | Kind::File | Kind::Symlink | Kind::Socket => return Err(Errno::INVAL),
        };
        rustix::fs::mknodat(self, name.as_os_str(), kind, Mode::empty(), rustix::fs::makedev(major, minor))
    }

    /// Marks a name as removed, as overlayfs reads it: a character device 0:0, which needs no
    /// privilege (Linux 5.8).
    pub fn make_whiteout(&self, name: &Name) -> Result<()> {
        self.make_node(name, Kind::Character, (0, 0))
    }

    /// Gives what has a name another one, in place of whatever has that.
    pub(crate) fn rename(&self, name: &Name, new_name: &Name) -> Result<()> {
        rustix::fs::renameat(self, name.as_os_str(), self, new_name.as_os_str())
    }

    /// Gives a file a second name, in another directory perhaps.
    pub fn link(&self, name: &Name, to: &Self, new_name: &Name) -> Result<()> {
        rustix::fs::linkat(self, name.as_os_str(), to, new_name.as_os_str(), AtFlags::empty())
    }

    /// Sets the owner of a name, of the link itself if it is one.
    pub fn set_owner(&self, name: &Name, Owner { uid, gid }: Owner) -> Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(self, name.as_os_str(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Sets the permission bits of a node that [`make_node`](Self::make_node) has just made here.
    /// A link that somebody has put in its place is an error (`ELOOP`).
    pub(crate) fn set_mode(&self, name: &Name, mode: u16) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(self, name.as_os_str(), flags, Mode::empty())?;
        if Stat::of(&node)?.kind == Kind::Symlink {
            return Err(Errno::LOOP);
        }
        // A node cannot always be opened, and before Linux 6.6 no call by name leaves links alone.
        rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(mode.into()))
    }

    /// Sets the modification time of a name, of the link itself if it is one.
    pub fn set_mtime(&self, name: &Name, mtime: Timestamp) -> Result<()> {
        rustix::fs::utimensat(self, name.as_os_str(), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Sets the owner of an open file. Clears setuid and capabilities, so it comes first.
pub(crate) fn set_owner(fd: impl AsFd, Owner { uid, gid }: Owner) -> Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// Sets the permission bits of an open file.
pub(crate) fn set_mode(fd: impl AsFd, mode: u16) -> Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode.into()))
}

/// Sets the modification time of an open file; the access time stays.
pub(crate) fn set_mtime(fd: impl AsFd, mtime: Timestamp) -> Result<()> {
    rustix::fs::futimens(fd, &times(mtime))
}

fn times(mtime: Timestamp) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: omit, last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() } }
}
