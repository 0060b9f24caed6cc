//! The supervisor while its box runs: it lets visitors in, and sees them end.
//!
//! A visitor is forked into the box's namespaces and is the supervisor's own child. Its first process ends
//! only when all visitors have been waited for, which the kernel sees to; so that comes last here, too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::error::Doing;
use super::inside::{Report, Room, visit};
use super::process::Exit;
use super::spec::{Network, Spec, UserNamespace};
use super::supervisor::Reply;
use super::visit::{Visit, VisitId};
use super::{SandboxError, confine};
use crate::identity::IdMap;
use crate::probe::Tier;
use crate::sys::Forked;
use crate::wire;

/// What a starter asks for while the box runs; descriptors 0, 1 and 2 come with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Enter {
    pub(super) id: VisitId,
    pub(super) visit: Visit,
}

/// The box that is visited.
pub(super) struct Hosted<'a> {
    pub(super) spec: &'a Spec,
    pub(super) tier: &'a Tier,
    pub(super) pid: Pid,
    pub(super) pidfd: BorrowedFd<'a>,
    pub(super) cgroup: &'a Cgroup,
}

/// Serves visitors until the box has ended, which is also the end of its starter.
pub(super) fn watch(control: &UnixStream, hosted: &Hosted<'_>) {
    let mut visitors = Visitors { hosted, control, known: Vec::new() };
    let mut starter = Some(control);
    loop {
        let ready = visitors.poll(starter);
        visitors.serve();
        if ready.ended {
            return;
        }
        if ready.starter && !visitors.hear() {
            starter = None;
            hosted.cgroup.thaw();
            let _ended_already = rustix::process::pidfd_send_signal(hosted.pidfd, Signal::KILL);
        }
    }
}

struct Visitors<'a> {
    hosted: &'a Hosted<'a>,
    control: &'a UnixStream,
    known: Vec<Visitor>,
}

struct Visitor {
    id: VisitId,
    pid: Pid,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
    progress: Progress,
}

/// How far a visitor is.
enum Progress {
    /// It is kiln still, at the other end of this.
    Entering(UnixStream),
    /// The next thing is its command.
    Executing(UnixStream),
    /// It is its command.
    Inside,
    /// It never became its command, and that has been told.
    Failed,
}

struct Ready {
    starter: bool,
    ended: bool,
}

impl Visitors<'_> {
    fn poll(&self, starter: Option<&UnixStream>) -> Ready {
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.hosted.pidfd, PollFlags::IN)];
        for visitor in &self.known {
            descriptors.push(PollFd::new(&visitor.pidfd, PollFlags::IN));
            descriptors.extend(visitor.progress.socket().map(|socket| PollFd::new(socket, PollFlags::IN)));
        }
        descriptors.extend(starter.map(|control| PollFd::new(control, PollFlags::IN)));
        let _interrupted = poll(&mut descriptors, None);
        let is_ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
        let ended = is_ready(descriptors.first());
        Ready { starter: starter.is_some() && is_ready(descriptors.last()), ended }
    }

    /// Hears from the visitors and waits for those that have ended.
    fn serve(&mut self) {
        for mut visitor in std::mem::take(&mut self.known) {
            // Asked first: who has ended has said everything, and all of that is heard before it is forgotten.
            let exit = visitor.exit();
            while visitor.progress.socket().is_some_and(|socket| exit.is_some() || is_readable(socket)) {
                self.progress(&mut visitor);
            }
            match exit {
                None => self.known.push(visitor),
                Some(exit) if matches!(visitor.progress, Progress::Inside) => {
                    self.tell(&Reply::Left { id: visitor.id, exit }, &[]);
                }
                Some(_) => {}
            }
        }
    }

    fn progress(&self, visitor: &mut Visitor) {
        let Some(socket) = visitor.progress.socket() else { return };
        match wire::receive::<Report>(socket).ok().flatten() {
            Some((Report::Console, descriptors)) => visitor.console = descriptors.into_iter().next(),
            Some((Report::Executing, _)) => visitor.progress = visitor.progress.executing(),
            Some((Report::Failed(error), _)) => self.fail(visitor, error),
            Some(_) => {}
            None if matches!(visitor.progress, Progress::Executing(_)) => {
                visitor.progress = Progress::Inside;
                let console = visitor.console.take();
                let descriptors: Vec<BorrowedFd<'_>> =
                    std::iter::once(visitor.pidfd.as_fd()).chain(console.as_ref().map(AsFd::as_fd)).collect();
                let pid = visitor.pid.as_raw_nonzero().get();
                self.tell(&Reply::Entered { id: visitor.id, pid }, &descriptors);
            }
            None => self.fail(visitor, SandboxError::Lost { part: "visitor".to_owned() }),
        }
    }

    fn fail(&self, visitor: &mut Visitor, error: SandboxError) {
        visitor.progress = Progress::Failed;
        self.tell(&Reply::NotEntered { id: visitor.id, error }, &[]);
    }

    fn tell(&self, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        // If nobody hears it, the next look at the socket says so.
        let _starter_gone = wire::send(self.control, reply, descriptors);
    }

    /// Takes one request of the starter; false if there is no starter any more.
    fn hear(&mut self) -> bool {
        let Ok(Some((Enter { id, visit }, descriptors))) = wire::receive::<Enter>(self.control) else { return false };
        match <[OwnedFd; 3]>::try_from(descriptors) {
            Ok(stdio) => match self.hosted.let_in(id, &visit, &stdio) {
                Ok(visitor) => self.known.push(visitor),
                Err(error) => self.tell(&Reply::NotEntered { id, error }, &[]),
            },
            Err(_) => return false,
        }
        true
    }
}

impl Hosted<'_> {
    fn let_in(&self, id: VisitId, visit: &Visit, stdio: &[OwnedFd; 3]) -> Result<Visitor, SandboxError> {
        let map = |file: &str| IdMap::read(format!("/proc/{}/{file}", self.pid.as_raw_nonzero()).as_ref());
        let (uids, gids) = (map("uid_map"), map("gid_map"));
        let joins = matches!(self.spec.network, Network::Join { .. }) || self.spec.sharing.boxes().next().is_some();
        if self.spec.user_namespace == UserNamespace::Mapped && !joins {
            let (below, groups) = (self.tier.uids.nested(), self.tier.gids.nested());
            if let (Some(uid), Some(gid)) = (below.outside_of_root(), groups.outside_of_root()) {
                confine::give_pipes(stdio, uid, gid);
            }
        }
        let (ours, theirs) = UnixStream::pair().doing(|| "make a socket".to_owned())?;
        let room = Room { spec: self.spec, tier: self.tier, visit, uids, gids, limits_pids: self.cgroup.limits_pids() };
        let doors = self.cgroup.doors().doing(|| "open the sandbox's cgroup".to_owned())?;
        let Forked::Parent(pid, pidfd) = visit::fork_into(self.pid, self.pidfd, &doors)? else {
            drop(ours);
            visit::main(&room, theirs, stdio);
        };
        drop(theirs);
        if let Some(score) = self.spec.oom_score {
            super::supervisor::write_oom_score(pid, score)?;
        }
        Ok(Visitor { id, pid, pidfd, console: None, progress: Progress::Entering(ours) })
    }
}

impl Visitor {
    /// How it ended, if it has.
    fn exit(&self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let waited = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options));
        let status = waited.ok().flatten()?;
        let code = status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        Some(status.terminating_signal().map_or(Exit::Code(code), Exit::Signal))
    }
}

impl Progress {
    fn socket(&self) -> Option<&UnixStream> {
        match self {
            Self::Entering(socket) | Self::Executing(socket) => Some(socket),
            Self::Inside | Self::Failed => None,
        }
    }

    fn executing(&mut self) -> Self {
        match std::mem::replace(self, Self::Failed) {
            Self::Entering(socket) => Self::Executing(socket),
            other => other,
        }
    }
}

fn is_readable(socket: &UnixStream) -> bool {
    let mut descriptors = [PollFd::new(socket, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut descriptors, Some(&now)).is_ok_and(|ready| ready > 0)
}
