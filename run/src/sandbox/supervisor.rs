//! The host's side of a box: a kiln process that makes what only the host can make, and outlives the box
//! by the moment that it takes to remove it.
//!
//! It has one thread. Its only tie to its starter is a socket; when that closes, the box is killed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, Doors, Place};
use super::error::Doing;
use super::inside::{Go, Report};
use super::namespaces::Belonging;
use super::plan::{Namespace, Step, plan};
use super::process::{Exit, Outcome, Stub, Usage};
use super::remainder::Remainder;
use super::spec::{Network, Rootfs, Spec, UserNamespace};
use super::stubs::{self, Made};
use super::visit::VisitId;
use super::visitors::{self, Hosted};
use super::{Notice, SandboxError, confine, inside, trees};
use crate::network::{self, Egress};
use crate::part::Part;
use crate::probe::Tier;
use crate::sys::{self, Forked, Parent};
use crate::wire;

/// The supervisor as a part of kiln.
pub(crate) const SUPERVISOR: Part = Part { name: "kiln-sandbox", run: main };

/// What a starter asks for; descriptors 0, 1, 2 and mount sources come with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) spec: Spec,
    pub(super) tier: Tier,
}

/// What a starter hears.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The command is executing; a pidfd comes along, and the master of a terminal.
    Started(Started),
    /// There will be no box.
    Failed(SandboxError),
    /// The box is gone.
    Ended(Outcome),
    /// A visitor's command is executing; a pidfd comes along, and the master of a terminal.
    Entered { id: VisitId, pid: i32 },
    /// There will be no such visitor.
    NotEntered { id: VisitId, error: SandboxError },
    /// A visitor has ended.
    Left { id: VisitId, exit: Exit },
}

/// A box that has started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) notices: Vec<Notice>,
    pub(super) stubs: Vec<Stub>,
    pub(super) addresses: BTreeMap<String, IpAddr>,
    pub(super) cgroups: Vec<Place>,
}

/// Ends a part of kiln.
pub(crate) fn leave(code: ExitCode) -> ! {
    sys::exit(i32::from(code != ExitCode::SUCCESS))
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_gone) => ExitCode::FAILURE,
    }
}

/// Serves one request. What fails here has nobody left to be told.
fn serve() -> std::io::Result<()> {
    let control = control_socket()?;
    let Some((request, descriptors)) = wire::receive::<Request>(&control)? else { return Ok(()) };
    let mut descriptors = descriptors.into_iter();
    let stdio: [OwnedFd; 3] = match [descriptors.next(), descriptors.next(), descriptors.next()] {
        [Some(stdin), Some(stdout), Some(stderr)] => [stdin, stdout, stderr],
        _ => return wire::send(&control, &Reply::Failed(protocol_broken()), &[]),
    };
    let sources = descriptors.collect();
    let supervisor =
        Supervisor { control: &control, spec: &request.spec, tier: &request.tier, sources, notices: Vec::new() };
    match supervisor.run(stdio) {
        Ok((outcome, egress)) => {
            let told = wire::send(&control, &Reply::Ended(outcome), &[]);
            // The kernel takes its time to remove address translation, and nobody has to wait for it.
            drop(egress);
            told
        }
        Err(error) => wire::send(&control, &Reply::Failed(error), &[]),
    }
}

/// Takes the socket that is standard input, and leaves `/dev/null` in its place.
fn control_socket() -> std::io::Result<UnixStream> {
    sys::close_on_exec_from(3)?;
    sys::reset_signals();
    let control = sys::inherited(0)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    nix::unistd::dup2_stdin(&null)?;
    // Not among the processes that a terminal's interrupt or a `kill -9 -GROUP` reaches.
    let _leader_already = rustix::process::setsid();
    Ok(control.into())
}

struct Supervisor<'a> {
    control: &'a UnixStream,
    spec: &'a Spec,
    tier: &'a Tier,
    sources: Vec<OwnedFd>,
    notices: Vec<Notice>,
}

/// What exists of a box while it is made, and then runs.
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    egress: Option<Egress>,
    /// What does not end with the first process, where that is not the init of a namespace of its own.
    remainder: Option<Remainder>,
    made: Vec<Made>,
    console: Option<OwnedFd>,
}

impl Supervisor<'_> {
    /// Serves the box to its end; what is left of its network is the caller's to drop.
    fn run(mut self, stdio: [OwnedFd; 3]) -> Result<(Outcome, Option<Egress>), SandboxError> {
        let steps = plan(self.spec, self.tier);
        let (outside, inside): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(Step::is_outside);
        let (ours, theirs) = UnixStream::pair().doing(|| "make a socket".to_owned())?;
        give_to_root_inside(&outside, &stdio);
        let mut running = self.fork(&outside, &inside, (theirs, &ours), &stdio)?;
        // The box's descriptors are its own from here: their other ends see when it closes them.
        drop(stdio);
        let made = self.make(&outside, &mut running, &ours);
        let started = made.and_then(|()| self.hear(&mut running, &ours));
        if let Err(error) = started {
            running.kill();
            running.clean_up(&self.spec.rootfs);
            return Err(error);
        }
        self.announce(&mut running)?;
        let hosted = Hosted {
            spec: self.spec,
            tier: self.tier,
            pid: running.pid,
            pidfd: running.pidfd.as_fd(),
            cgroup: &running.cgroup,
        };
        visitors::watch(self.control, &hosted);
        let egress = running.egress.take();
        Ok((running.end(&self.spec.rootfs), egress))
    }

    /// Makes the cgroup and the first process, which waits inside until it is told to go on.
    fn fork(
        &mut self,
        outside: &[Step],
        inside: &[Step],
        (theirs, ours): (UnixStream, &UnixStream),
        stdio: &[OwnedFd; 3],
    ) -> Result<Running, SandboxError> {
        let mut cgroup = Cgroup::default();
        for step in outside {
            match step {
                Step::Cgroup(limits) => cgroup = Cgroup::create(&self.tier.cgroups, limits, &mut self.notices)?,
                Step::Fork { namespaces, join } => {
                    let doors = cgroup.doors().doing(|| "open the sandbox's cgroup".to_owned())?;
                    let (forked, is_born_in_it) = match &join[..] {
                        [] => fork_in(&doors, flags(namespaces))?,
                        join => (inside::join_and_fork(join, flags(namespaces))?, false),
                    };
                    let Forked::Parent(pid, pidfd) = forked else {
                        if doors.enter().is_err() {
                            sys::exit(125);
                        }
                        let _closed_in_the_box = rustix::io::fcntl_setfd(ours, rustix::io::FdFlags::CLOEXEC);
                        inside::main(self.spec, self.tier, inside, theirs, stdio);
                    };
                    if !is_born_in_it {
                        cgroup
                            .add_where_it_cannot_go_itself(pid)
                            .doing(|| "move the sandbox into its cgroup".to_owned())?;
                    }
                    let remainder = self.remainder(pid)?;
                    return Ok(Running {
                        pid,
                        pidfd,
                        cgroup,
                        egress: None,
                        remainder,
                        made: Vec::new(),
                        console: None,
                    });
                }
                _ => {}
            }
        }
        Err(protocol_broken())
    }

    fn remainder(&self, pid: Pid) -> Result<Option<Remainder>, SandboxError> {
        match self.spec.sharing.processes {
            Belonging::Own => Ok(None),
            Belonging::Host | Belonging::Of { .. } => {
                Remainder::of(pid).map(Some).doing(|| "open the sandbox's mount namespace".to_owned())
            }
        }
    }

    /// Does what is done outside once the first process exists, and tells it to go on.
    fn make(&mut self, outside: &[Step], running: &mut Running, inside: &UnixStream) -> Result<(), SandboxError> {
        let mut trees = Vec::new();
        let process = PathBuf::from(format!("/proc/{}", running.pid.as_raw_nonzero()));
        for step in outside {
            match step {
                Step::OomScore(score) => write_oom_score(running.pid, *score)?,
                Step::MapIds { uids, gids } => {
                    write_map(running.pid, "uid_map", &uids.to_string())?;
                    write_map(running.pid, "gid_map", &gids.to_string())?;
                }
                Step::OpenTree { from, ids, below, attributes, .. } => {
                    let opener = trees::Opener { sources: &self.sources, process: &process };
                    trees.push(opener.open(from, *ids, *below, *attributes, &mut self.notices)?);
                }
                Step::Egress => match Egress::attach(running.pid, self.tier.standing) {
                    Ok(egress) => running.egress = Some(egress),
                    Err(error) if self.spec.network == Network::PrivateOrHost => {
                        return Err(SandboxError::NoEgress { why: error.to_string() });
                    }
                    Err(error) => self.notices.push(Notice::NoEgress { why: error.to_string() }),
                },
                _ => {}
            }
        }
        self.go(running, inside, &trees)
    }

    fn go(&mut self, running: &Running, inside: &UnixStream, trees: &[OwnedFd]) -> Result<(), SandboxError> {
        if self.spec.user_namespace == UserNamespace::Mapped {
            // In a user namespace RLIMIT_NPROC takes the place of the cgroup.
            self.notices.retain(|notice| !matches!(notice, Notice::NoPidsLimit { .. }));
        }
        let lost = |_| SandboxError::Lost { part: "sandbox".to_owned() };
        let go = Go {
            trees: trees.len(),
            etc: network::files(self.spec, running.egress.as_ref()),
            interface: running.egress.as_ref().and_then(Egress::interface).cloned(),
            pids_limit: !running.cgroup.limits_pids(),
        };
        wire::send(inside, &go, &[]).map_err(lost)?;
        for batch in trees.chunks(wire::BATCH) {
            let batch: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            wire::send(inside, &(), &batch).map_err(lost)?;
        }
        Ok(())
    }

    /// Hears from the first process until it has become the command: then its end of the socket closes.
    fn hear(&mut self, running: &mut Running, inside: &UnixStream) -> Result<(), SandboxError> {
        let mut executing = false;
        loop {
            if wait_for(self.control.as_fd(), inside.as_fd()) == Ready::First {
                return Err(SandboxError::Lost { part: "starter".to_owned() });
            }
            let heard = wire::receive::<Report>(inside).doing(|| "hear from the sandbox".to_owned())?;
            match heard {
                Some((Report::Made(made), _)) => running.made.extend(made),
                Some((Report::Console, descriptors)) => running.console = descriptors.into_iter().next(),
                Some((Report::Notice(notice), _)) => self.notices.push(notice),
                Some((Report::Executing, _)) => executing = true,
                Some((Report::Failed(error), _)) => return Err(error),
                None if executing => return Ok(()),
                None => return Err(SandboxError::Lost { part: "sandbox".to_owned() }),
            }
        }
    }

    fn announce(&mut self, running: &mut Running) -> Result<(), SandboxError> {
        let started = Started {
            pid: running.pid.as_raw_nonzero().get(),
            notices: std::mem::take(&mut self.notices),
            stubs: running.made.iter().map(Made::stub).collect(),
            addresses: running.egress.as_ref().map(Egress::addresses).unwrap_or_default(),
            cgroups: running.cgroup.places(),
        };
        let console = running.console.take();
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(running.pidfd.as_fd()).chain(console.as_ref().map(AsFd::as_fd)).collect();
        // If nobody hears it, `watch` sees that at once.
        let _starter_gone = wire::send(self.control, &Reply::Started(started), &descriptors);
        Ok(())
    }
}

impl Running {
    fn kill(&self) {
        let _ended_already = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    fn end(mut self, rootfs: &Rootfs) -> Outcome {
        let exit = self.wait();
        self.kill_remainder();
        let counted = self.cgroup.counted();
        let used = used_by_children();
        let usage = Usage {
            cpu: counted.cpu.unwrap_or(used.cpu),
            peak_memory_bytes: counted.peak_memory_bytes.or(used.peak_memory_bytes),
        };
        let stubs = self.remove(rootfs);
        Outcome { exit, oom_killed: counted.oom_killed, usage, stubs }
    }

    fn clean_up(mut self, rootfs: &Rootfs) {
        self.wait();
        self.kill_remainder();
        self.remove(rootfs);
    }

    fn kill_remainder(&mut self) {
        if let Some(remainder) = self.remainder.take() {
            remainder.kill(&self.cgroup);
        }
    }

    fn remove(&mut self, rootfs: &Rootfs) -> Vec<Stub> {
        self.cgroup.remove();
        self.egress = None;
        let directory = match rootfs {
            Rootfs::Overlay { upper, work, .. } => {
                // Overlayfs's note that a volatile overlay was never synced, which keeps it from being
                // mounted again. The store syncs, or throws away, on its own account.
                let _not_volatile = std::fs::remove_dir_all(work.join("work/incompat/volatile"));
                upper
            }
            Rootfs::Directory { path } => path,
        };
        stubs::remove(directory, &self.made)
    }

    fn wait(&self) -> Exit {
        let ended = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        let status = ended.ok().flatten();
        let signal = status.as_ref().and_then(|status| status.terminating_signal());
        let code = status.as_ref().and_then(|status| status.exit_status());
        match (signal, code) {
            (Some(signal), _) => Exit::Signal(signal),
            (None, code) => Exit::Code(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    First,
    Second,
}

/// Waits until one of two descriptors can be read or is closed; if both, the second counts.
fn wait_for(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> Ready {
    loop {
        let mut descriptors =
            [PollFd::from_borrowed_fd(first, PollFlags::IN), PollFd::from_borrowed_fd(second, PollFlags::IN)];
        let _interrupted = poll(&mut descriptors, None);
        if !descriptors[1].revents().is_empty() {
            return Ready::Second;
        }
        if !descriptors[0].revents().is_empty() {
            return Ready::First;
        }
    }
}

/// Gives kiln's pipes to the box's root, which may then open `/dev/stdout` by name and hand them to the
/// user. Where this is refused they can still be written to.
fn give_to_root_inside(outside: &[Step], stdio: &[OwnedFd; 3]) {
    for step in outside {
        let Step::MapIds { uids, gids } = step else { continue };
        if let (Some(uid), Some(gid)) = (uids.outside_of_root(), gids.outside_of_root()) {
            confine::give_pipes(stdio, uid, gid);
        }
    }
}

/// Forks, into the cgroup if the kernel does that; says whether it did.
fn fork_in(doors: &Doors, namespaces: UnshareFlags) -> Result<(Forked, bool), SandboxError> {
    if doors.birthplace().is_some()
        && let Ok(forked) = sys::fork(namespaces, Parent::Caller, doors.birthplace())
    {
        return Ok((forked, true));
    }
    sys::fork(namespaces, Parent::Caller, None).map(|forked| (forked, false)).map_err(refused)
}

fn write_map(pid: Pid, file: &str, map: &str) -> Result<(), SandboxError> {
    let path = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join(file);
    std::fs::write(path, map).doing(|| format!("write the sandbox's {file}"))
}

/// To lower it below kiln's own takes CAP_SYS_RESOURCE, which not every root has.
pub(super) fn write_oom_score(pid: Pid, score: i16) -> Result<(), SandboxError> {
    let path = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("oom_score_adj");
    std::fs::write(path, score.to_string()).doing(|| format!("set the OOM score to {score}"))
}

fn flags(namespaces: &[Namespace]) -> UnshareFlags {
    namespaces.iter().fold(UnshareFlags::empty(), |flags, namespace| {
        flags
            | match namespace {
                Namespace::User => UnshareFlags::NEWUSER,
                Namespace::Mount => UnshareFlags::NEWNS,
                Namespace::Pid => UnshareFlags::NEWPID,
                Namespace::Ipc => UnshareFlags::NEWIPC,
                Namespace::Uts => UnshareFlags::NEWUTS,
                Namespace::Network => UnshareFlags::NEWNET,
            }
    })
}

fn refused(error: std::io::Error) -> SandboxError {
    let hint = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::PERM) => "this user may not make them",
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::USERS) => "a limit in /proc/sys/user is reached",
        _ => "the kernel refuses",
    };
    SandboxError::Namespaces { hint: hint.to_owned(), source: error.into() }
}

fn used_by_children() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Usage::default() };
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Usage {
        cpu: Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)),
        // The kernel counts kibibytes.
        peak_memory_bytes: u64::try_from(usage.max_rss()).ok().map(|kibibytes| kibibytes * 1024),
    }
}

fn protocol_broken() -> SandboxError {
    SandboxError::Lost { part: "starter".to_owned() }
}
