//! Forking into the namespaces of another box.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;

use super::super::SandboxError;
use super::super::error::{Doing, Errno};
use crate::sys::{self, Forked, Parent};
use crate::wire;

/// Forks a sibling of the caller's future children in the user and network namespace of `pid`.
pub(in super::super) fn join_and_fork(pid: i32, namespaces: UnshareFlags) -> Result<Forked, SandboxError> {
    let missing = |what: &str| format!("enter the {what} namespace of process {pid}");
    let open = |name: &str| {
        rustix::fs::open(format!("/proc/{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let user = open("user").doing(|| missing("user"))?;
    let network = open("net").doing(|| missing("network"))?;
    fork_elsewhere(None, || enter(&user, &network), namespaces, || missing("network"))
}

/// Forks a child of the caller's by way of a process in between, which goes where `enter` leads; it is born in
/// a cgroup of version 2 if one is given.
pub(super) fn fork_elsewhere(
    birthplace: Option<BorrowedFd<'_>>,
    enter: impl FnOnce() -> std::io::Result<()>,
    namespaces: UnshareFlags,
    doing: impl FnOnce() -> String,
) -> Result<Forked, SandboxError> {
    let (ours, theirs) = UnixStream::pair().doing(|| "make a socket".to_owned())?;
    let forked = sys::fork(UnshareFlags::empty(), Parent::Caller, birthplace).doing(|| "fork".to_owned())?;
    if let Forked::Parent(_, between) = forked {
        drop(theirs);
        let answer = wire::receive::<Result<i32, Errno>>(&ours).doing(|| "hear from the sandbox".to_owned());
        let _ended = rustix::process::waitid(
            rustix::process::WaitId::PidFd(between.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
        let (pid, mut descriptors) = answer?.ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })?;
        let pid = pid.doing(doing)?;
        let lost = || SandboxError::Lost { part: "sandbox".to_owned() };
        let pidfd = descriptors.pop().ok_or_else(lost)?;
        return Ok(Forked::Parent(rustix::process::Pid::from_raw(pid).ok_or_else(lost)?, pidfd));
    }
    match enter().and_then(|()| sys::fork(namespaces, Parent::Parent, None)) {
        Ok(Forked::Child) => Ok(Forked::Child),
        Ok(Forked::Parent(pid, pidfd)) => {
            let sent = wire::send(&theirs, &Ok::<_, Errno>(pid.as_raw_nonzero().get()), &[pidfd.as_fd()]);
            sys::exit(i32::from(sent.is_err()))
        }
        Err(error) => {
            let _supervisor_gone = wire::send(&theirs, &Err::<i32, _>(Errno::from(error)), &[]);
            sys::exit(1)
        }
    }
}

fn enter(user: &OwnedFd, network: &OwnedFd) -> std::io::Result<()> {
    let own = rustix::fs::stat("/proc/self/ns/user")?;
    if rustix::fs::fstat(user)?.st_ino != own.st_ino {
        rustix::thread::move_into_link_name_space(user.as_fd(), None)?;
    }
    Ok(rustix::thread::move_into_link_name_space(network.as_fd(), None)?)
}
