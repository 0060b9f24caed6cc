//! The one place of the store that touches paths which somebody else chose.
//!
//! Everything goes through a [`Dir`], the descriptor of a directory. A lookup of one [`Name`] never
//! follows a symbolic link; a lookup of a [`RelPath`] is resolved by the kernel as if the directory
//! were `/` (openat2 with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, Linux 5.6). Metadata is read
//! and written through descriptors, so nothing is looked up twice and no path is ever put together
//! from text. This module knows nothing of trees and layers.

mod hash;
mod make;
mod stat;
mod walkers;
mod xattr;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::{Errno, Result};

pub use hash::{HashError, hash};
pub use make::Owner;
pub(crate) use make::{set_mode, set_mtime, set_owner};
pub use stat::{Kind, Stat};
pub(crate) use walkers::on_walkers;
pub use xattr::{get_xattr, list_xattrs, remove_xattr, set_xattr};

use crate::{Name, RelPath};

/// Something could not be done to a file below a directory that kiln walks.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct FsError {
    /// What was being done, as a verb: `read`, `open`.
    pub doing: &'static str,
    /// To what, from the directory where the walk began.
    pub path: RelPath,
    /// What the operating system said.
    pub source: std::io::Error,
}

impl FsError {
    /// Adds what was being done to an error number; for `map_err`.
    pub fn of(doing: &'static str, path: &RelPath) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { doing, path: path.clone(), source: errno.into() }
    }

    /// The same, of another file.
    pub(crate) fn at(self, path: &RelPath) -> Self {
        Self { path: path.clone(), ..self }
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory by a path that the user or kiln itself chose; links are followed.
    pub fn open(path: &Path) -> Result<Self> {
        rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()).map(Self)
    }

    /// Takes a descriptor that is known to be a directory's.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A second descriptor of the same directory.
    pub fn try_clone(&self) -> Result<Self> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 0).map(Self)
    }

    /// Opens a directory in this one; a symbolic link is an error (`ENOTDIR`).
    pub fn child(&self, name: &Name) -> Result<Self> {
        rustix::fs::openat(&self.0, name.as_os_str(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map(Self)
    }

    /// Opens a regular file in this directory for reading. A symbolic link is an error (`ELOOP`);
    /// a pipe or device does not block, but is opened: look at what came back.
    pub fn file(&self, name: &Name) -> Result<File> {
        rustix::fs::openat(&self.0, name.as_os_str(), READ, Mode::empty()).map(File::from)
    }

    /// Opens the directory at a path, symbolic links resolved inside this directory.
    pub fn resolve_dir(&self, path: &RelPath) -> Result<Self> {
        self.open_at(path, DIRECTORY, ResolveFlags::IN_ROOT).map(Self)
    }

    /// Opens the file at a path for reading, symbolic links resolved inside this directory.
    pub fn resolve_file(&self, path: &RelPath) -> Result<File> {
        self.open_at(path, READ - OFlags::NOFOLLOW, ResolveFlags::IN_ROOT).map(File::from)
    }

    /// Opens the directory at a path on which no component may be a symbolic link.
    pub fn exact_dir(&self, path: &RelPath) -> Result<Self> {
        self.open_at(path, DIRECTORY, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).map(Self)
    }

    /// Opens the file at a path on which no component may be a symbolic link.
    pub fn exact_file(&self, path: &RelPath) -> Result<File> {
        self.open_at(path, READ, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).map(File::from)
    }

    /// What is in the directory, in no order. The kind is what the directory itself says; few file
    /// systems leave it open.
    pub fn entries(&self) -> Result<Vec<(Name, Option<Kind>)>> {
        let mut found = Vec::new();
        let listing = rustix::fs::openat(&self.0, ".", DIRECTORY, Mode::empty())?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut raw = RawDir::new(&listing, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            if let Ok(name) = Name::new(entry.file_name().to_bytes()) {
                found.push((name, Kind::from_entry(entry.file_type())));
            }
        }
        Ok(found)
    }

    /// Reads the metadata of a name, of the link itself if it is one.
    pub fn examine(&self, name: &Name) -> Result<Stat> {
        rustix::fs::statat(&self.0, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW).map(Stat::from)
    }

    /// Reads the directory's own metadata.
    pub fn stat(&self) -> Result<Stat> {
        Stat::of(&self.0)
    }

    /// Reads where a symbolic link points, verbatim.
    pub fn read_link(&self, name: &Name) -> Result<Box<[u8]>> {
        let target = rustix::fs::readlinkat(&self.0, name.as_os_str(), Vec::new())?;
        Ok(target.into_bytes().into())
    }

    /// Removes what has that name, with everything under it. Directories that deny their owner are
    /// opened up first.
    pub fn remove_tree(&self, name: &Name) -> Result<()> {
        match rustix::fs::unlinkat(&self.0, name.as_os_str(), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            result => return result,
        }
        // Names are remembered on the way down, and not descriptors: trees may be deeper than a process
        // may have files open.
        let mut at = self.unlocked_child(name)?;
        let mut below = at.remove_files()?;
        let mut above = Vec::new();
        let mut here = name.clone();
        loop {
            if let Some(next) = below.pop() {
                let parent = at.stat()?;
                at = at.unlocked_child(&next)?;
                let rest = std::mem::replace(&mut below, at.remove_files()?);
                above.push((std::mem::replace(&mut here, next), rest, parent));
                continue;
            }
            let Some((parent, rest, was)) = above.pop() else { break };
            at = rustix::fs::openat(&at, "..", DIRECTORY, Mode::empty()).map(Self)?;
            // Moved elsewhere meanwhile, it would have names removed there.
            let is = at.stat()?;
            if (is.device, is.inode) != (was.device, was.inode) {
                return Err(Errno::STALE);
            }
            rustix::fs::unlinkat(&at.0, here.as_os_str(), AtFlags::REMOVEDIR)?;
            (here, below) = (parent, rest);
        }
        rustix::fs::unlinkat(&self.0, name.as_os_str(), AtFlags::REMOVEDIR)
    }

    /// Opens a directory in this one, which its owner may then change whatever its mode was.
    fn unlocked_child(&self, name: &Name) -> Result<Self> {
        let mut child = self.child(name);
        if matches!(child, Err(Errno::ACCESS)) {
            rustix::fs::chmodat(&self.0, name.as_os_str(), Mode::RWXU, AtFlags::empty())?;
            child = self.child(name);
        }
        let child = child?;
        rustix::fs::fchmod(&child, Mode::RWXU)?;
        Ok(child)
    }

    /// Removes everything in this directory but directories; says which those are.
    fn remove_files(&self) -> Result<Vec<Name>> {
        let mut directories = Vec::new();
        for (name, _) in self.entries()? {
            match rustix::fs::unlinkat(&self.0, name.as_os_str(), AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => directories.push(name),
                result => result?,
            }
        }
        Ok(directories)
    }

    fn open_at(&self, path: &RelPath, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
        let path = if path.is_root() { OsStr::from_bytes(b".") } else { path.as_os_str() };
        loop {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS) {
                // A rename somewhere on the way made the kernel give up on proving that it stayed inside.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.0
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`, so that opening a pipe without a writer does not wait for one.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Kind {
    fn from_entry(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => Some(Self::File),
            FileType::Directory => Some(Self::Directory),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Fifo => Some(Self::Fifo),
            FileType::Socket => Some(Self::Socket),
            FileType::CharacterDevice => Some(Self::Character),
            FileType::BlockDevice => Some(Self::Block),
            FileType::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    /// A directory `victim` outside and a root whose links all try to reach it.
    fn trap() -> (tempfile::TempDir, Dir) {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(base.path().join("victim")).unwrap();
        std::fs::write(base.path().join("victim/secret"), "secret").unwrap();
        std::fs::create_dir_all(root.join("dir")).unwrap();
        std::fs::write(root.join("dir/file"), "inside").unwrap();
        std::os::unix::fs::symlink(base.path().join("victim"), root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../victim", root.join("relative")).unwrap();
        std::os::unix::fs::symlink("/dir", root.join("home")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", root.join("magic")).unwrap();
        let dir = Dir::open(&root).unwrap();
        (base, dir)
    }

    #[test]
    fn no_lookup_leaves_the_root() {
        let (_base, root) = trap();
        for link in ["absolute", "relative", "magic"] {
            assert!(root.child(&name(link)).is_err(), "{link}");
            assert!(root.file(&name(link)).is_err(), "{link}");
            assert!(root.resolve_dir(&path(link)).is_err(), "{link}");
            assert!(root.resolve_file(&path(&format!("{link}/secret"))).is_err(), "{link}");
            assert!(root.exact_file(&path(&format!("{link}/secret"))).is_err(), "{link}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_root_only_where_asked() {
        let (_base, root) = trap();
        assert!(root.resolve_file(&path("home/file")).is_ok());
        assert!(root.exact_file(&path("home/file")).is_err());
        assert!(root.exact_file(&path("dir/file")).is_ok());
        assert_eq!(&*root.read_link(&name("home")).unwrap(), b"/dir");
    }

    #[test]
    fn a_tree_deeper_than_open_files_can_be_removed() {
        let (base, root) = trap();
        let deep = name("deep");
        let mut at = root.make_dir(&deep).unwrap();
        for _ in 0..3_000 {
            at = at.make_dir(&deep).unwrap();
        }
        at.make_file(&name("file")).unwrap();
        drop(at);
        std::os::unix::fs::symlink("../victim", base.path().join("root/deep/link")).unwrap();
        root.remove_tree(&deep).unwrap();
        assert!(root.examine(&deep).is_err());
        assert!(base.path().join("victim/secret").exists());
    }

    /// threats.md A8
    #[test]
    fn a_mode_is_not_set_through_a_link() {
        use std::os::unix::fs::MetadataExt;
        let (base, root) = trap();
        let secret = base.path().join("victim/secret");
        let before = std::fs::metadata(&secret).unwrap().mode();
        std::os::unix::fs::symlink(&secret, base.path().join("root/node")).unwrap();
        assert_eq!(root.set_mode(&name("node"), 0o777), Err(Errno::LOOP));
        assert_eq!(std::fs::metadata(&secret).unwrap().mode(), before);
        root.make_node(&name("pipe"), Kind::Fifo, (0, 0)).unwrap();
        root.set_mode(&name("pipe"), 0o640).unwrap();
        assert_eq!(root.examine(&name("pipe")).unwrap().mode, 0o640);
    }

    #[test]
    fn removal_takes_links_and_not_what_they_name() {
        let (base, root) = trap();
        for (entry, _) in root.entries().unwrap() {
            root.remove_tree(&entry).unwrap();
        }
        assert!(root.entries().unwrap().is_empty());
        assert!(base.path().join("victim/secret").exists());
    }
}
