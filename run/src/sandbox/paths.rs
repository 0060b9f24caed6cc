//! Paths inside a root filesystem that nobody has vouched for: the one module that follows them.
//!
//! A path is walked one name at a time with `O_NOFOLLOW`, on descriptors. Symlinks are read and
//! walked in turn; an absolute one, or `..`, goes no higher than the root, because `..` is a step back
//! among the descriptors already held and never a lookup. So nothing that changes under the walk
//! can lead it out, and what was made on the way is known exactly.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::stubs::{Made, MadeKind};

/// As many symlinks as the kernel follows in one lookup.
const MAX_SYMLINKS: usize = 40;

/// The root that paths are looked up in.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
}

/// What a path must lead to, and is made as if it leads to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// A directory.
    Directory,
    /// Anything but a directory; an empty file is made.
    File,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Place {
    /// The file or directory itself (`O_PATH`).
    pub(super) file: OwnedFd,
    /// What had to be made, parents first.
    pub(super) made: Vec<Made>,
}

impl Root {
    /// Takes the directory that is the root.
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens a file to read, following symlinks within the root.
    pub(super) fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.directory, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Finds `path`, making whatever of it is missing with mode 0755, or 0644 for a file.
    pub(super) fn find_or_make(&self, path: &Path, want: Want) -> Result<Place> {
        let mut walk = Walk::new(self.directory.as_fd(), path)?;
        while let Some(name) = walk.pending.pop() {
            walk.step(name, want)?;
        }
        Ok(Place { file: walk.here()?, made: walk.made })
    }
}

/// A walk in progress.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories walked through below the root, with their names.
    trail: Vec<(OsString, OwnedFd)>,
    /// What is still to be walked, last first.
    pending: Vec<OsString>,
    symlinks: usize,
    made: Vec<Made>,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>, path: &Path) -> Result<Self> {
        let mut walk = Self { root, trail: Vec::new(), pending: Vec::new(), symlinks: 0, made: Vec::new() };
        walk.push(path);
        Ok(walk)
    }

    fn step(&mut self, name: OsString, want: Want) -> Result<()> {
        if name == ".." {
            self.trail.pop();
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(self.top(), &name, flags, Mode::empty()) {
            Err(Errno::NOENT) => self.make(&name, want)?,
            other => other?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        match kind {
            FileType::Symlink => self.follow(&file),
            FileType::Directory if self.is_last() && want == Want::File => Err(Errno::ISDIR),
            FileType::Directory => self.enter(name, file),
            _ if self.is_last() && want == Want::File => self.enter(name, file),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn enter(&mut self, name: OsString, file: OwnedFd) -> Result<()> {
        self.trail.push((name, file));
        Ok(())
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        self.symlinks += 1;
        if self.symlinks > MAX_SYMLINKS {
            return Err(Errno::LOOP);
        }
        let target = OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes());
        self.push(Path::new(&target));
        Ok(())
    }

    fn make(&mut self, name: &OsStr, want: Want) -> Result<OwnedFd> {
        let top = self.top();
        let before = rustix::fs::fstat(top)?;
        let kind = if self.is_last() && want == Want::File { MadeKind::File } else { MadeKind::Directory };
        match kind {
            MadeKind::Directory => rustix::fs::mkdirat(top, name, Mode::from_raw_mode(0o755))?,
            MadeKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(rustix::fs::openat(top, name, flags, Mode::from_raw_mode(0o644))?);
            }
        }
        let after = rustix::fs::fstat(top)?;
        let mut path: PathBuf = self.trail.iter().map(|(name, _)| name).collect();
        path.as_mut_os_string().push(if self.trail.is_empty() { "" } else { "/" });
        path.as_mut_os_string().push(name);
        self.made.push(Made::new(path, kind, &before, &after));
        rustix::fs::openat(self.top(), name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    fn push(&mut self, path: &Path) {
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.pending.push(name.to_owned()),
                Component::ParentDir => self.pending.push("..".into()),
                Component::RootDir => self.trail.clear(),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn is_last(&self) -> bool {
        self.pending.is_empty()
    }

    fn top(&self) -> BorrowedFd<'_> {
        self.trail.last().map_or(self.root, |(_, directory)| directory.as_fd())
    }

    fn here(&mut self) -> Result<OwnedFd> {
        match self.trail.pop() {
            Some((_, file)) => Ok(file),
            None => rustix::io::fcntl_dupfd_cloexec(self.root, 3),
        }
    }
}

/// Whether a file is on one of the kernel's own file systems, where nothing may be mounted over.
pub(super) fn is_kernel_filesystem(file: BorrowedFd<'_>) -> Result<bool> {
    const PROC: u32 = 0x9fa0;
    const SYSFS: u32 = 0x6265_6572;
    const CGROUP: u32 = 0x0027_e0eb;
    const CGROUP2: u32 = 0x6367_7270;
    let magic = rustix::fs::fstatfs(file)?.f_type as u32;
    Ok([PROC, SYSFS, CGROUP, CGROUP2].contains(&magic))
}

/// The kind of a file that is open already.
pub(super) fn kind(file: BorrowedFd<'_>) -> Result<FileType> {
    let status = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn made(setup: impl FnOnce(&Path), path: &str, want: Want) -> std::result::Result<Vec<String>, Errno> {
        let outer = tempfile::tempdir().expect("a directory");
        let root = outer.path().join("root");
        std::fs::create_dir(&root).expect("a root");
        setup(&root);
        let directory = std::fs::File::open(&root).expect("the root");
        let place = Root::new(directory.into()).find_or_make(Path::new(path), want)?;
        assert_eq!(std::fs::read_dir(outer.path()).expect("outside").count(), 1, "{path} left the root");
        Ok(place.made.iter().map(|made| made.path.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn missing_parts_are_made_and_known() {
        assert_eq!(made(|_| {}, "/a/b", Want::Directory), Ok(vec!["a".into(), "a/b".into()]));
        assert_eq!(made(|_| {}, "a/./f", Want::File), Ok(vec!["a".into(), "a/f".into()]));
        assert_eq!(made(|_| {}, "/", Want::Directory), Ok(vec![]));
    }

    #[test]
    fn symlinks_stay_in_the_root() {
        let link = |to: &'static str| move |root: &Path| symlink(to, root.join("l")).expect("a link");
        for to in ["/x", "../../../x", "./x", "/../x"] {
            assert_eq!(made(link(to), "/l/y", Want::File), Ok(vec!["x".into(), "x/y".into()]), "{to}");
            assert_eq!(made(link(to), "/l", Want::File), Ok(vec!["x".into()]), "{to}");
        }
        assert_eq!(made(link("l"), "/l/y", Want::File), Err(Errno::LOOP));
    }

    #[test]
    fn kinds_must_fit() {
        let file = |root: &Path| std::fs::write(root.join("f"), "").expect("a file");
        assert_eq!(made(file, "/f/y", Want::File), Err(Errno::NOTDIR));
        assert_eq!(made(file, "/f", Want::Directory), Err(Errno::NOTDIR));
        assert_eq!(made(|_| {}, "/", Want::File).map(|_| ()), Ok(()));
    }
}
