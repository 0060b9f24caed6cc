//! Forking into the namespaces of another box.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;

use super::super::SandboxError;
use super::super::error::{Doing, Errno};
use super::super::plan::Joined;
use crate::sys::{self, Forked, Parent};
use crate::wire;

/// Namespaces of other boxes, held open, and the user namespace that has power over them.
struct Others {
    user: OwnedFd,
    namespaces: Vec<OwnedFd>,
}

/// Forks a sibling of the caller's future children in namespaces of other boxes, in the user namespace that
/// those boxes are in.
pub(in super::super) fn join_and_fork(joined: &[Joined], namespaces: UnshareFlags) -> Result<Forked, SandboxError> {
    let others = Others::open(joined)?;
    let doing = || {
        let pids: Vec<String> = joined.iter().map(|joined| joined.pid.to_string()).collect();
        format!("enter the namespaces of process {}", pids.join(", "))
    };
    fork_elsewhere(None, || others.enter(), namespaces, doing)
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

impl Others {
    fn open(joined: &[Joined]) -> Result<Self, SandboxError> {
        let open = |pid: i32, name: &str| {
            rustix::fs::open(format!("/proc/{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .doing(|| format!("open the {name} namespace of process {pid}"))
        };
        let mut users = Vec::new();
        let mut namespaces = Vec::new();
        for Joined { namespace, pid } in joined {
            users.push(open(*pid, "user")?);
            namespaces.push(open(*pid, namespace.name())?);
        }
        let inode = |user: &OwnedFd| rustix::fs::fstat(user).map(|stat| stat.st_ino).ok();
        if users.iter().any(|user| inode(user) != users.first().and_then(inode)) {
            return Err(SandboxError::UnrelatedBoxes);
        }
        let user = users.pop().ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })?;
        Ok(Self { user, namespaces })
    }

    fn enter(&self) -> std::io::Result<()> {
        let own = rustix::fs::stat("/proc/self/ns/user")?;
        if rustix::fs::fstat(&self.user)?.st_ino != own.st_ino {
            rustix::thread::move_into_link_name_space(self.user.as_fd(), None)?;
        }
        self.namespaces
            .iter()
            .try_for_each(|namespace| Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?))
    }
}
