//! A root that paths are looked up in: the host's, or a container's from within.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{FilesError, Links, failed};

/// As many symlinks as the kernel follows in one lookup.
const MOST_SYMLINKS: usize = 40;

/// A root directory.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// How paths are looked up from the root.
    resolve: ResolveFlags,
    /// Whether symlinks below a destination are the destination's own business.
    below: Below,
}

/// What symlinks below a destination mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    /// They may be followed: whatever they say, they stay in the container.
    Followed,
    /// Nobody follows them.
    Refused,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The path, with a last symlink followed if that was asked for.
    #[serde(with = "crate::sandbox::text")]
    pub path: PathBuf,
    /// What it is; `None` if nothing is there.
    pub kind: Option<Kind>,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symlink that was not followed.
    Symlink,
    /// Anything else.
    File,
}

impl Tree {
    /// The host's.
    pub(super) fn host() -> Result<Self, FilesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).map_err(failed("open", "/"))?;
        Ok(Self { root, resolve: ResolveFlags::empty(), below: Below::Refused })
    }

    /// A container's, seen by a process in its mounts.
    pub(super) fn of_container(root: OwnedFd) -> Self {
        Self { root, resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS, below: Below::Followed }
    }

    pub(super) fn below(&self) -> Below {
        self.below
    }

    /// Looks what is at an absolute path.
    pub(super) fn examine(&self, path: &Path, links: Links) -> Result<Found, FilesError> {
        let mut path = path.to_owned();
        for _link in 0..MOST_SYMLINKS {
            let file = match self.open(&path, OFlags::PATH | OFlags::NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(Found { path, kind: None }),
                other => other.map_err(failed("examine", path.display()))?,
            };
            let status = rustix::fs::fstat(&file).map_err(failed("examine", path.display()))?;
            let kind = match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Symlink,
                _ => Kind::File,
            };
            if kind != Kind::Symlink || links == Links::Kept {
                return Ok(Found { path, kind: Some(kind) });
            }
            let target = rustix::fs::readlinkat(&file, "", Vec::new()).map_err(failed("examine", path.display()))?;
            let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
            path = path.parent().unwrap_or(Path::new("/")).join(target);
        }
        Err(failed("examine", path.display())(Errno::LOOP))
    }

    /// Opens an absolute path.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        // A path that is looked up in a root must not leave it by being absolute.
        let relative = if self.resolve.is_empty() { path } else { path.strip_prefix("/").unwrap_or(path) };
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        rustix::fs::openat2(&self.root, relative, flags | OFlags::CLOEXEC, Mode::empty(), self.resolve)
    }
}

/// Opens a path below a directory, following no symlink.
pub(super) fn open_below(directory: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
