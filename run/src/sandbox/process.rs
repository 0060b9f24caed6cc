//! A started box as its starter sees it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::cgroup::Place;
use super::error::Doing;
use super::spec::{AbstractSockets, Network, Spec, UserNamespace};
use super::supervisor::{Reply, Request, SUPERVISOR};
use super::visit::{Visit, VisitId};
use super::visitors::Enter;
use super::{Notice, SandboxError, text};
use crate::probe::Tier;
use crate::wire;

/// The descriptors that a box is given.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input; `/dev/null` for a RUN step.
    pub stdin: OwnedFd,
    /// Standard output. The box holds the only copy once it has started.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
    /// What [`Source::Descriptor`](super::Source::Descriptor) counts.
    pub mount_sources: Vec<OwnedFd>,
}

impl Stdio {
    /// Three descriptors and no mount sources.
    pub fn new(stdin: impl Into<OwnedFd>, stdout: impl Into<OwnedFd>, stderr: impl Into<OwnedFd>) -> Self {
        Self { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), mount_sources: Vec::new() }
    }

    /// `/dev/null` three times: for a box with a terminal.
    pub fn null() -> std::io::Result<Self> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self::new(null.try_clone()?, null.try_clone()?, null))
    }

    /// `/dev/null` as input, and kiln's own output and error.
    pub fn inherit() -> std::io::Result<Self> {
        let null = std::fs::File::open("/dev/null")?;
        let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(null, stdout, std::io::stderr().as_fd().try_clone_to_owned()?))
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code that a shell reports: 128 and the signal for one that a signal ended.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// What a command used, with all its descendants that it waited for or that its cgroup counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time.
    pub cpu: Duration,
    /// The most memory at once: of the cgroup where there is one for memory, else of the largest process.
    pub peak_memory_bytes: Option<u64>,
}

/// How a box ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of its first process.
    pub exit: Exit,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// What it used.
    pub usage: Usage,
    /// Mount points that were made and could not be removed again, because the command put something
    /// there. They are no content of a layer if they are empty.
    pub stubs: Vec<Stub>,
}

/// A file or directory that was made so that something could be mounted there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stub {
    /// Relative to the root filesystem, without symlinks in it.
    #[serde(with = "text")]
    pub path: PathBuf,
}

/// A running box. Dropping it kills the box.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
    notices: Vec<Notice>,
    stubs: Vec<Stub>,
    addresses: BTreeMap<String, IpAddr>,
    cgroups: Vec<Place>,
    /// The supervisor's socket again, to be polled. It goes before the supervisor, which waits for its end.
    events: UnixStream,
    supervisor: Mutex<Supervisor>,
}

/// What a supervisor has to say while its box runs.
#[derive(Debug)]
pub enum Event {
    /// A visitor's command is executing.
    Entered {
        /// Which.
        id: VisitId,
        /// The process, as kiln sees it.
        pid: i32,
        /// The same as a descriptor.
        pidfd: OwnedFd,
        /// The master of its terminal, if it has one.
        console: Option<OwnedFd>,
    },
    /// A visitor could not become its command.
    NotEntered {
        /// Which.
        id: VisitId,
        /// Why.
        error: SandboxError,
    },
    /// A visitor has ended.
    Left {
        /// Which.
        id: VisitId,
        /// How.
        exit: Exit,
    },
}

/// The supervisor, and what it said last.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    control: Option<UnixStream>,
    end: Option<Result<Outcome, SandboxError>>,
}

/// Starts `spec`'s command in its box; it is executing when this returns.
///
/// Where the machine cannot do all of it and less is still safe, the box has less and
/// [`Process::notices`] says so.
pub fn start(spec: &Spec, stdio: Stdio) -> Result<Process, SandboxError> {
    let tier = Tier::of_this_process();
    let mut spec = Cow::Borrowed(spec);
    let mut notices = Vec::new();
    loop {
        match start_in(&spec, &stdio, &tier) {
            Ok(mut process) => {
                process.notices.splice(0..0, notices);
                return Ok(process);
            }
            Err(error) => notices.push(lessen(spec.to_mut(), error)?),
        }
    }
}

/// Makes of `spec` the next best that the machine may be able to do, if what it cannot do has one.
fn lessen(spec: &mut Spec, obstacle: SandboxError) -> Result<Notice, SandboxError> {
    match obstacle {
        SandboxError::IdmapUnsupported { path, source } if spec.user_namespace == UserNamespace::Mapped => {
            spec.user_namespace = UserNamespace::Host;
            Ok(Notice::NoUserNamespace { why: format!("cannot map the ids of {}: {source}", path.display()) })
        }
        SandboxError::NoEgress { why } if spec.network == Network::PrivateOrHost => {
            spec.network = Network::Host { abstract_sockets: AbstractSockets::Shut };
            Ok(Notice::HostNetwork { why })
        }
        other => Err(other),
    }
}

/// Why exactly `spec`'s box, with nothing less, does not start.
pub(crate) fn fails_to_start(spec: &Spec, tier: &Tier) -> Option<SandboxError> {
    let stdio = Stdio::null().doing(|| "open /dev/null".to_owned());
    stdio.and_then(|stdio| start_in(spec, &stdio, tier)).err()
}

impl Process {
    /// The box's first process, as kiln sees it. Its namespaces are those of `/proc/PID/ns`.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The same as a descriptor; it is readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master of the box's terminal, once, if the spec asks for one.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// What the box has less than the spec asks for.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Mount points that were made in the root filesystem and will be removed when the box ends.
    pub fn stubs(&self) -> &[Stub] {
        &self.stubs
    }

    /// The addresses of the box's own network, by interface.
    pub fn addresses(&self) -> &BTreeMap<String, IpAddr> {
        &self.addresses
    }

    /// Where the box's processes are counted. The directories go with the box.
    pub fn cgroups(&self) -> &[Place] {
        &self.cgroups
    }

    /// Sends a signal to the first process. It is no error if that has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.doing(|| format!("send signal {} to the sandbox", signal.as_raw())),
        }
    }

    /// Kills every process of the box.
    pub fn kill(&self) -> Result<(), SandboxError> {
        // The first process is its pid namespace's init: the kernel kills the others with it.
        self.signal(Signal::KILL)
    }

    /// Sends a further command into the box; an [`Event`] says what comes of it.
    pub fn enter(&self, id: VisitId, visit: &Visit, stdio: &Stdio) -> Result<(), SandboxError> {
        let descriptors = [&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsFd::as_fd);
        wire::send(&self.events, &Enter { id, visit: visit.clone() }, &descriptors).map_err(|_| lost())
    }

    /// What can be read when there is an [`Event`], and when the box has ended.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Waits for the next event; `None` when the box has ended.
    pub fn next_event(&self) -> Option<Event> {
        let mut supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        supervisor.next()
    }

    /// Waits until the box has ended; no process, mount point or cgroup of it is left then. What is left of its
    /// network goes before this value is dropped. Any thread may wait, and again.
    pub fn wait(&self) -> Result<Outcome, SandboxError> {
        let mut supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        supervisor.wait()
    }
}

impl Supervisor {
    fn wait(&mut self) -> Result<Outcome, SandboxError> {
        while self.next().is_some() {}
        // The supervisor still tidies up; dropping this waits for that.
        self.end.clone().unwrap_or_else(|| Err(lost()))
    }

    fn next(&mut self) -> Option<Event> {
        if self.end.is_some() {
            return None;
        }
        let reply = self.control.as_ref().and_then(|control| wire::receive(control).ok().flatten());
        let Some((reply, descriptors)) = reply else {
            self.end = Some(Err(lost()));
            return None;
        };
        let mut descriptors: std::vec::IntoIter<OwnedFd> = descriptors.into_iter();
        match reply {
            Reply::Ended(outcome) => self.end = Some(Ok(outcome)),
            Reply::Failed(error) => self.end = Some(Err(error)),
            Reply::Entered { id, pid } => match descriptors.next() {
                Some(pidfd) => return Some(Event::Entered { id, pid, pidfd, console: descriptors.next() }),
                None => self.end = Some(Err(lost())),
            },
            Reply::NotEntered { id, error } => return Some(Event::NotEntered { id, error }),
            Reply::Left { id, exit } => return Some(Event::Left { id, exit }),
            Reply::Started(_) => self.end = Some(Err(lost())),
        }
        None
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The supervisor kills the box when its socket closes, and then ends.
        self.control = None;
        let _ended = self.child.wait();
    }
}

fn start_in(spec: &Spec, stdio: &Stdio, tier: &Tier) -> Result<Process, SandboxError> {
    let (ours, theirs) = UnixStream::pair().doing(|| "make a socket".to_owned())?;
    let child = SUPERVISOR.command(theirs.into()).spawn().doing(|| "execute kiln again".to_owned())?;
    let supervisor = Supervisor { child, control: Some(ours), end: None };
    let ours = supervisor.control.as_ref().ok_or_else(lost)?;
    let descriptors: Vec<BorrowedFd<'_>> =
        [&stdio.stdin, &stdio.stdout, &stdio.stderr].into_iter().chain(&stdio.mount_sources).map(AsFd::as_fd).collect();
    let events = ours.try_clone().doing(|| "copy a descriptor".to_owned())?;
    wire::send(ours, &Request { spec: spec.clone(), tier: tier.clone() }, &descriptors).map_err(|_| lost())?;
    let (reply, descriptors) = wire::receive(ours).doing(|| "hear from the supervisor".to_owned())?.ok_or_else(lost)?;
    match reply {
        Reply::Started(started) => {
            let mut descriptors = descriptors.into_iter();
            Ok(Process {
                pid: Pid::from_raw(started.pid).ok_or_else(lost)?,
                pidfd: descriptors.next().ok_or_else(lost)?,
                console: descriptors.next(),
                notices: started.notices,
                stubs: started.stubs,
                addresses: started.addresses,
                cgroups: started.cgroups,
                events,
                supervisor: Mutex::new(supervisor),
            })
        }
        Reply::Failed(error) => Err(error),
        _ => Err(lost()),
    }
}

fn lost() -> SandboxError {
    SandboxError::Lost { part: "supervisor".to_owned() }
}
