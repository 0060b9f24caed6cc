//! The client's side: terminal and signals here, frames there.
//!
//! One thread, one `poll`: the socket, standard input, and the pipe that signals are written to. It
//! reads no more input than the container takes, and it waits for nobody but the user's own output.
//! Signals travel over a connection of their own, so that input which nobody reads does not hold them up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::connection::{Connection, Peer};
use super::frame::{Frame, Report, Request};
use crate::container::directory::Directory;
use crate::container::error::ContainerError;
use crate::container::log::Stream;
use crate::container::record::Config;
use crate::container::signal::Signal;
use crate::container::signals::{self, SignalPipe};
use crate::container::terminal::{DetachKeys, DetachMatcher, RawMode, Size, Typed, is_terminal};
use crate::sandbox::VisitId;

/// So many interrupts have to do; whoever sends one more wants to leave (as with `docker run`).
const PATIENCE: usize = 3;

/// How much input may wait for the container.
const INPUT_AHEAD: usize = 64 * 1024;

/// What of the caller is attached to a container.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// Standard input, if the container gets any.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where its standard output goes; `None` drops it.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where its standard error goes; `None` drops it.
    pub stderr: Option<BorrowedFd<'a>>,
    /// What leaves it without ending it, if it has a terminal.
    pub detach_keys: DetachKeys,
    /// What becomes of signals to the caller.
    pub signals: SignalProxy,
}

/// What becomes of signals to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalProxy {
    /// They are the container's.
    Forward,
    /// They are the caller's.
    Keep,
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container ended, with this code.
    Exited(u8),
    /// The user left, or the caller's output was closed; the container runs on.
    Detached,
    /// The caller was told to end several times, and the container, to which that was passed on, did not.
    Unheeded,
}

/// Whose container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum Role {
    /// The caller's: it was started to be attached to.
    Owner,
    /// Somebody's.
    Visitor,
    /// Somebody's who has a command of his own in it.
    Exec(VisitId, Console),
}

/// Whether there is a terminal at the container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum Console {
    /// There is.
    Terminal,
    /// There are pipes.
    Pipes,
}

impl Console {
    /// What a process has that asks for a terminal, or does not.
    pub(in crate::container) fn of(has_terminal: bool) -> Self {
        if has_terminal { Self::Terminal } else { Self::Pipes }
    }
}

/// Catches the signals that will be the container's, which should be done before there is one.
pub(in crate::container) fn catch(attachment: &Attachment<'_>, console: Console) -> io::Result<SignalPipe> {
    let forwarded = if attachment.signals == SignalProxy::Forward { signals::FORWARDED } else { &[] };
    let caught = [forwarded, if console == Console::Terminal { &[signals::WINDOW] } else { &[] }].concat();
    SignalPipe::catch(&caught)
}

/// Carries input, output and signals until the container ends or the user leaves.
pub(in crate::container) fn follow(
    connection: Connection,
    attachment: &Attachment<'_>,
    pipe: SignalPipe,
    (directory, config): (&Directory, &Config),
    role: Role,
) -> Result<Ended, ContainerError> {
    let console = match role {
        Role::Exec(_, console) => console,
        Role::Owner | Role::Visitor => Console::of(config.process.terminal),
    };
    let terminal = attachment.stdin.filter(|stdin| console == Console::Terminal && is_terminal(stdin));
    let raw = terminal
        .map(RawMode::enter)
        .transpose()
        .map_err(ContainerError::io("take the terminal for", directory.path()))?;
    let keys = if console == Console::Terminal { attachment.detach_keys.clone() } else { DetachKeys::none() };
    let mut session = Session {
        connection,
        attachment,
        directory,
        config,
        role,
        console,
        input: attachment.stdin,
        matcher: DetachMatcher::new(keys),
        pipe,
        interrupts: 0,
    };
    session.tell_size();
    let ended = session.run();
    drop(raw);
    ended
}

struct Session<'a> {
    connection: Connection,
    attachment: &'a Attachment<'a>,
    directory: &'a Directory,
    config: &'a Config,
    role: Role,
    console: Console,
    /// Standard input, as long as it has not ended.
    input: Option<BorrowedFd<'a>>,
    matcher: DetachMatcher,
    pipe: SignalPipe,
    /// How often the caller was told to end.
    interrupts: usize,
}

impl Session<'_> {
    fn run(&mut self) -> Result<Ended, ContainerError> {
        // What came with the answer that this began with is here already, and nothing may come after it.
        if let Some(ended) = self.take_frames()? {
            return Ok(ended);
        }
        loop {
            let ready = self.poll().map_err(ContainerError::io("wait for", self.directory.path()))?;
            if ready.signals {
                self.take_signals();
            }
            if self.interrupts >= PATIENCE {
                return Ok(Ended::Unheeded);
            }
            if ready.input && self.take_input() == Typed::Detach {
                self.connection.drain();
                return Ok(Ended::Detached);
            }
            let gone = self.connection.flush() == Peer::Gone || (ready.socket && self.connection.fill() == Peer::Gone);
            if let Some(ended) = self.take_frames()? {
                return Ok(ended);
            }
            if gone {
                return self.look_it_up();
            }
        }
    }

    fn poll(&self) -> io::Result<Ready> {
        let input = self.input.filter(|_| self.connection.unsent() < INPUT_AHEAD);
        let mut fds =
            vec![PollFd::new(&self.connection, self.connection.interest()), PollFd::new(&self.pipe, PollFlags::IN)];
        fds.extend(input.map(|stdin| PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| fd.revents().intersects(!PollFlags::OUT));
        Ok(Ready { socket: is_ready(0), signals: is_ready(1), input: is_ready(2) })
    }

    fn take_signals(&mut self) {
        for signal in self.pipe.taken() {
            if signal == signals::WINDOW {
                self.tell_size();
            } else {
                self.interrupts += usize::from(matches!(signal, Signal::INT | Signal::TERM));
                self.forward(signal);
            }
        }
    }

    /// A container that ends in this moment needs no signal any more.
    fn forward(&self, signal: Signal) {
        let Ok(Some(stream)) = self.directory.connect() else { return };
        let Ok(mut connection) = Connection::new(stream) else { return };
        let request = match self.role {
            Role::Exec(visit, _) => Request::SignalVisitor(visit, signal),
            Role::Owner | Role::Visitor => Request::Signal(signal),
        };
        connection.queue(&Frame::Request(request));
        let _ = connection.wait();
    }

    fn tell_size(&mut self) {
        let size = [self.attachment.stdin, self.attachment.stdout].into_iter().flatten().find_map(Size::of);
        if let Some(size) = size.filter(|_| self.console == Console::Terminal) {
            self.connection.queue(&Frame::Resize(size));
        }
    }

    fn take_input(&mut self) -> Typed {
        let Some(stdin) = self.input else { return Typed::Input };
        let mut buffer = [0; 16 * 1024];
        let length = match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Typed::Input,
            // A terminal that is gone ends like a file.
            Err(_) | Ok(0) => 0,
            Ok(length) => length,
        };
        if length == 0 {
            self.input = None;
            self.connection.queue(&Frame::StdinEnd);
            return Typed::Input;
        }
        let mut typed = Vec::with_capacity(length);
        let outcome = self.matcher.feed(&buffer[..length], &mut typed);
        if !typed.is_empty() {
            self.connection.queue(&Frame::Stdin(typed));
        }
        outcome
    }

    fn take_frames(&mut self) -> Result<Option<Ended>, ContainerError> {
        while let Some(frame) =
            self.connection.next().map_err(ContainerError::io("hear from", self.directory.path()))?
        {
            match frame {
                Frame::Output(stream, bytes) if self.show(stream, &bytes).is_err() => {
                    return self.output_closed().map(Some);
                }
                Frame::Report(Report::Exited(exited)) => return Ok(Some(Ended::Exited(exited.code))),
                Frame::Report(Report::Left { code }) => return Ok(Some(Ended::Exited(code))),
                Frame::Report(Report::Refused(message)) => {
                    return Err(ContainerError::Refused { name: self.config.name.clone(), message });
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn show(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let to = match stream {
            Stream::Stdout => self.attachment.stdout,
            Stream::Stderr => self.attachment.stderr,
        };
        to.map_or(Ok(()), |to| write_all(to, bytes))
    }

    /// Nobody reads the output any more. A process that is not in a container ends then, by SIGPIPE;
    /// so does a container that was started for this output.
    fn output_closed(&mut self) -> Result<Ended, ContainerError> {
        if self.role == Role::Visitor {
            return Ok(Ended::Detached);
        }
        self.forward(Signal::KILL);
        loop {
            match self.connection.wait() {
                Ok(Some(Frame::Report(Report::Exited(_) | Report::Left { .. })) | None) | Err(_) => {
                    return Ok(Ended::Exited(BROKEN_PIPE));
                }
                Ok(Some(_)) => {}
            }
        }
    }

    /// The monitor went away without a word: what it wrote down last is all there is.
    fn look_it_up(&self) -> Result<Ended, ContainerError> {
        let state = self.directory.state()?;
        match state.as_ref().and_then(|state| state.exited()) {
            Some(exited) => Ok(Ended::Exited(exited.code)),
            None => Err(ContainerError::MonitorLost(self.config.name.clone())),
        }
    }
}

/// The exit code of a process that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

#[derive(Default)]
struct Ready {
    socket: bool,
    signals: bool,
    input: bool,
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Somebody has made the terminal non-blocking: wait as if it were not.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
