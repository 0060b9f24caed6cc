//! Mount points that are made for a box and removed after it, without a trace.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use super::process::Stub;
use super::text;

/// A file or directory that was made to mount something on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Relative to the root, without symlinks in it.
    #[serde(with = "text")]
    pub(super) path: PathBuf,
    kind: MadeKind,
    /// Times of the directory it was made in: before, and the changed one after.
    parent_accessed: Time,
    parent_modified: Time,
    parent_modified_after: Time,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MadeKind {
    Directory,
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

impl Made {
    /// Notes what was made at `path`, in a directory that was as `before` says, and `after` it.
    pub(super) fn new(path: PathBuf, kind: MadeKind, before: &Stat, after: &Stat) -> Self {
        Self {
            path,
            kind,
            parent_accessed: Time { seconds: before.st_atime, nanoseconds: before.st_atime_nsec as i64 },
            parent_modified: Time { seconds: before.st_mtime, nanoseconds: before.st_mtime_nsec as i64 },
            parent_modified_after: Time { seconds: after.st_mtime, nanoseconds: after.st_mtime_nsec as i64 },
        }
    }

    /// What the box's starter is told of it.
    pub(super) fn stub(&self) -> Stub {
        Stub { path: self.path.clone() }
    }
}

/// Removes what is still as it was made, last first, below the directory `root` of the host; gives
/// back what is not.
pub(super) fn remove(root: &Path, made: &[Made]) -> Vec<Stub> {
    let Ok(root) = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return made.iter().map(Made::stub).collect();
    };
    let left = made.iter().rev().filter(|made| remove_one(&root, made).is_err());
    left.map(Made::stub).collect()
}

fn remove_one(root: &OwnedFd, made: &Made) -> Result<()> {
    let (parent, name) = match (made.path.parent(), made.path.file_name()) {
        (Some(parent), Some(name)) if parent != Path::new("") => (parent, name),
        (_, Some(name)) => (Path::new("."), name),
        _ => return Err(Errno::INVAL),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = match rustix::fs::openat2(root, parent, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let untouched = Time::modified(&rustix::fs::fstat(&parent)?) == made.parent_modified_after;
    match made.kind {
        MadeKind::Directory => gone(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR))?,
        MadeKind::File => remove_empty_file(&parent, name)?,
    }
    if untouched {
        let times =
            Timestamps { last_access: made.parent_accessed.into(), last_modification: made.parent_modified.into() };
        rustix::fs::futimens(&parent, &times)?;
    }
    Ok(())
}

fn remove_empty_file(parent: &OwnedFd, name: &std::ffi::OsStr) -> Result<()> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) if status.st_size == 0 => gone(rustix::fs::unlinkat(parent, name, AtFlags::empty())),
        Ok(_) => Err(Errno::NOTEMPTY),
        Err(error) => gone(Err(error)),
    }
}

fn gone(result: Result<()>) -> Result<()> {
    if result == Err(Errno::NOENT) { Ok(()) } else { result }
}

impl Time {
    fn modified(status: &Stat) -> Self {
        Self { seconds: status.st_mtime, nanoseconds: status.st_mtime_nsec as i64 }
    }
}

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Self { tv_sec: time.seconds, tv_nsec: time.nanoseconds as _ }
    }
}
