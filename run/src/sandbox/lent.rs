//! What a box lends to another that shares a namespace of its: `/dev/shm`, or the files that describe its
//! network, as detached mount trees.
//!
//! A tree can be copied only in the mount namespace that it is in. So a process goes there and passes the
//! copy out; it looks the path up inside, where no symlink leads to anything but that box's own files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::OFlags;
use rustix::mount::MountAttrFlags;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::UnshareFlags;

use super::entrance::Entrance;
use super::error::Errno;
use super::mount;
use super::paths::Root;
use crate::sys::{self, Forked, Parent, Reach};
use crate::wire;

/// A copy of what the box of process `pid` has at `path`.
pub(super) fn copy_of(pid: i32, path: &str) -> io::Result<OwnedFd> {
    let entrance = Entrance::of(pid)?;
    let (ours, theirs) = UnixStream::pair()?;
    match sys::fork(UnshareFlags::empty(), Parent::Caller, None)? {
        Forked::Child => sys::exit(i32::from(lend(entrance, path, &theirs).is_err())),
        Forked::Parent(_, lender) => {
            drop(theirs);
            let answer = wire::receive::<Result<(), Errno>>(&ours);
            let _ended = rustix::process::waitid(WaitId::PidFd(lender.as_fd()), WaitIdOptions::EXITED);
            let (answer, mut descriptors) = answer?.ok_or(io::ErrorKind::BrokenPipe)?;
            answer.map_err(|Errno(number)| io::Error::from_raw_os_error(number))?;
            descriptors.pop().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
        }
    }
}

fn lend(entrance: Entrance, path: &str, socket: &UnixStream) -> io::Result<()> {
    match copy(entrance, path) {
        Ok(tree) => wire::send(socket, &Ok::<(), Errno>(()), &[tree.as_fd()]),
        Err(error) => wire::send(socket, &Err::<(), Errno>(error.into()), &[]),
    }
}

fn copy(entrance: Entrance, path: &str) -> io::Result<OwnedFd> {
    let root = Root::new(entrance.enter()?);
    let file = root.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
    mount::copy_of(file.as_fd(), Reach::Single, MountAttrFlags::empty())
}
