//! What a file system says of one file.

use std::os::fd::AsFd;

use rustix::fs::FileType;
use rustix::io::Result;

use crate::tree::Timestamp;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket; in no tree.
    Socket,
}

/// The metadata of one file, as it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content was last changed.
    pub mtime: Timestamp,
    /// When anything of it was last changed; nobody can set this one.
    pub ctime: Timestamp,
    /// The size of a file.
    pub size_bytes: u64,
    /// How many names it has.
    pub links: u64,
    /// The file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// What a device node stands for: major and minor.
    pub node: (u32, u32),
}

impl Stat {
    /// Reads the metadata behind a descriptor.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        rustix::fs::fstat(fd).map(Self::from)
    }

    /// Whether overlayfs means "removed" by it: a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::Character && self.node == (0, 0)
    }
}

// The widths of these fields differ between architectures.
#[allow(clippy::unnecessary_cast)]
impl From<rustix::fs::Stat> for Stat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            kind: kind(FileType::from_raw_mode(stat.st_mode)),
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Timestamp { secs: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
            ctime: Timestamp { secs: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
            size_bytes: stat.st_size as u64,
            links: stat.st_nlink as u64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            node: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        }
    }
}

fn kind(of: FileType) -> Kind {
    match of {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    }
}
