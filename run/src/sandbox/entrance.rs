//! Entering the mounts of a box that runs: its files as it sees them, its own symlinks included, and
//! nothing of the host's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::confine;
use crate::identity::IdMap;

/// The namespaces of a process that say what its files are. Held open, they stay what they are whatever
/// becomes of the process.
#[derive(Debug)]
pub(crate) struct Entrance {
    user: OwnedFd,
    mounts: OwnedFd,
}

impl Entrance {
    /// Opens the namespaces of a process. The caller makes sure afterwards that it was the one meant.
    pub(crate) fn of(pid: i32) -> std::io::Result<Self> {
        let open = |name: &str| {
            rustix::fs::open(format!("/proc/{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self { user: open("user")?, mounts: open("mnt")? })
    }

    /// Moves this process, which has one thread, to where the files are, as root there; gives their root.
    pub(crate) fn enter(self) -> std::io::Result<OwnedFd> {
        if is_own(&self.mounts, "mnt")? {
            // No box has the host's mounts: the process that was meant is gone.
            return Err(std::io::ErrorKind::NotFound.into());
        }
        if !is_own(&self.user, "user")? {
            rustix::thread::move_into_link_name_space(self.user.as_fd(), None)?;
            confine::become_root(&IdMap::read(Path::new("/proc/self/uid_map")))?;
        }
        rustix::thread::move_into_link_name_space(self.mounts.as_fd(), None)?;
        rustix::process::umask(Mode::empty());
        Ok(rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }
}

fn is_own(namespace: &OwnedFd, name: &str) -> std::io::Result<bool> {
    let own = rustix::fs::stat(format!("/proc/self/ns/{name}"))?;
    Ok(rustix::fs::fstat(namespace)?.st_ino == own.st_ino)
}
