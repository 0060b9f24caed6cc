//! Further commands in the container (`exec`), as the monitor serves them.
//!
//! Each has streams of its own, which go to the one client that asked for it and into no log. It outlives
//! that client, as with Docker, and then speaks to nobody.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::client::Role;
use super::output::{Input, Output, Read};
use super::serve::Server;
use crate::container::attach::connection::Peer;
use crate::container::attach::frame::{Exec, Failure, Frame, Report};
use crate::container::error::ContainerError;
use crate::container::log::Stream;
use crate::container::signal::Signal;
use crate::container::spec;
use crate::sandbox::{Event, SandboxError, Stdio, VisitId};

/// One further command.
pub(super) struct Visit {
    pub(super) id: VisitId,
    terminal: bool,
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
    pub(super) pidfd: Option<OwnedFd>,
}

impl Visit {
    fn new(id: VisitId, exec: &Exec) -> io::Result<(Self, Stdio)> {
        let mut visit =
            Self { id, terminal: exec.options.terminal, input: Input::closed(), outputs: Vec::new(), pidfd: None };
        if exec.options.terminal || exec.detached {
            return Ok((visit, Stdio::null()?));
        }
        let stdin = if exec.stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            visit.input = Input::new(write);
            read
        } else {
            OwnedFd::from(File::open("/dev/null")?)
        };
        let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
        visit.outputs = vec![Output::new(stdout, Stream::Stdout), Output::new(stderr, Stream::Stderr)];
        Ok((visit, Stdio::new(stdin, out, err)))
    }
}

impl Server {
    /// Sends a command into the container for a client.
    pub(super) fn exec(&mut self, client: usize, exec: &Exec) {
        self.last_visit += 1;
        let id = VisitId(self.last_visit);
        match self.let_in(id, exec) {
            Ok(visitor) => {
                self.clients[client].role = Role::Visiting(id);
                self.visits.push(visitor);
            }
            Err(error) => {
                let failure = Failure { code: 126, message: super::with_causes(&error) };
                self.clients[client].connection.queue(&Frame::Report(Report::NotEntered(failure)));
            }
        }
    }

    /// Has the supervisor execute a further command; an event says what comes of it.
    pub(super) fn let_in(&self, id: VisitId, exec: &Exec) -> Result<Visit, ContainerError> {
        let visit = spec::visit(&self.started.config, exec);
        let path = self.started.directory.path();
        let (visitor, stdio) = Visit::new(id, exec).map_err(ContainerError::io("make pipes for", path))?;
        self.started.life.process.enter(id, &visit, &stdio)?;
        Ok(visitor)
    }

    /// Takes the next word of the supervisor; false when the container has ended.
    pub(super) fn take_event(&mut self) -> bool {
        let Some(event) = self.started.life.process.next_event() else { return false };
        match event {
            Event::Entered { id, pidfd, console, .. } => self.entered(id, pidfd, console),
            Event::NotEntered { id, error } => {
                let code = exit_code(&error);
                let message = super::with_causes(&ContainerError::Sandbox(error));
                self.forget(id, &Report::NotEntered(Failure { code, message }));
            }
            Event::Left { id, exit } => self.left(id, exit.code()),
        }
        true
    }

    fn entered(&mut self, id: VisitId, pidfd: OwnedFd, console: Option<OwnedFd>) {
        let Some(visit) = self.visits.iter_mut().find(|visit| visit.id == id) else { return };
        visit.pidfd = Some(pidfd);
        if let Some((console, copy)) = console.and_then(|console| Some((console.try_clone().ok()?, console))) {
            visit.input = Input::new(copy);
            visit.outputs = vec![Output::new(console, Stream::Stdout)];
        }
        self.tell_visitor(id, &Report::Entered { visit: id });
    }

    /// What is in its pipes still goes to its client; what others have put into them later does not.
    fn left(&mut self, id: VisitId, code: u8) {
        while let Some(visit) = self.visits.iter().position(|visit| visit.id == id && !visit.outputs.is_empty()) {
            if let Read::Nothing = self.read_visit(visit, 0) {
                self.visits[visit].outputs.remove(0);
            }
        }
        self.forget(id, &Report::Left { code });
    }

    /// The container has ended, and every visitor with it.
    pub(super) fn end_visits(&mut self) {
        while self.take_event() {}
        while let Some(id) = self.visits.first().map(|visit| visit.id) {
            self.left(id, Signal::KILL.exit_code());
        }
    }

    fn forget(&mut self, id: VisitId, report: &Report) {
        self.tell_visitor(id, report);
        self.visits.retain(|visit| visit.id != id);
    }

    fn tell_visitor(&mut self, id: VisitId, report: &Report) {
        for client in self.clients.iter_mut().filter(|client| client.role == Role::Visiting(id)) {
            client.connection.queue(&Frame::Report(report.clone()));
        }
        self.follow_probe(id, report);
    }

    /// Reads once and hands it on.
    pub(super) fn read_visit(&mut self, visit: usize, output: usize) -> Read {
        let Some(visit) = self.visits.get_mut(visit) else { return Read::Nothing };
        let Some(output) = visit.outputs.get(output) else { return Read::Nothing };
        let stream = output.stream;
        let read = output.read(&mut self.buffer);
        match read {
            Read::Bytes(length) => {
                for client in self.clients.iter_mut().filter(|client| client.role == Role::Visiting(visit.id)) {
                    client.connection.queue_output(stream, &self.buffer[..length]);
                    client.gone |= client.connection.flush() == Peer::Gone;
                }
                let id = visit.id;
                self.hear_probe(id, length);
                return read;
            }
            Read::Nothing => {}
            Read::End => visit.outputs.retain(|output| output.stream != stream),
        }
        read
    }

    /// Writes what a visitor takes of its input; it may have left in this very turn.
    pub(super) fn flush_visit(&mut self, visit: usize) {
        self.visits.get_mut(visit).into_iter().for_each(|visit| visit.input.flush());
    }

    /// Something from the client of a visitor.
    pub(super) fn hear_visitor(&mut self, id: VisitId, frame: Frame) {
        let Some(visit) = self.visits.iter_mut().find(|visit| visit.id == id) else { return };
        match frame {
            Frame::Stdin(bytes) => visit.input.push(&bytes),
            Frame::StdinEnd if !visit.terminal => visit.input.end(),
            Frame::Resize(size) => visit.input.resize(size),
            _ => {}
        }
    }

    pub(super) fn signal_visitor(&self, id: VisitId, signal: Signal) -> Report {
        let visit = self.visits.iter().find(|visit| visit.id == id);
        let Some(pidfd) = visit.and_then(|visit| visit.pidfd.as_ref()) else { return Report::Done };
        match crate::sys::pidfd_send_signal(pidfd.as_fd(), signal.number()) {
            Ok(()) => Report::Done,
            Err(error) => Report::Refused(format!("cannot send {signal}: {error}")),
        }
    }

    /// What to poll of visitors: input that waits, and output unless its client is behind.
    pub(super) fn visit_descriptors(&self) -> Vec<(super::serve::Source, rustix::event::PollFd<'_>)> {
        use super::serve::Source;
        let mut descriptors = Vec::new();
        for (index, visit) in self.visits.iter().enumerate() {
            if let Some(input) = visit.input.waiting() {
                let fd = rustix::event::PollFd::from_borrowed_fd(input, PollFlags::OUT);
                descriptors.push((Source::VisitInput(index), fd));
            }
            let is_behind =
                self.clients.iter().any(|client| client.role == Role::Visiting(visit.id) && client.is_behind());
            // Its client hears first that it is executing: what it says before that waits in the pipe.
            let is_heard = visit.pidfd.is_some() && !is_behind;
            for (output, fd) in visit.outputs.iter().enumerate().filter(|_| is_heard) {
                let fd = rustix::event::PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN);
                descriptors.push((Source::VisitOutput(index, output), fd));
            }
        }
        descriptors
    }

    /// Whether a client's input has to wait for the container.
    pub(super) fn is_full(&self, role: Role) -> bool {
        match role {
            Role::Visiting(id) => self.visits.iter().any(|visit| visit.id == id && visit.input.is_full()),
            Role::Attached(_) => self.started.life.input.is_full(),
            Role::Visitor | Role::Waiting => false,
        }
    }
}

/// Docker's exit codes of `exec`: what is not found is 127, whatever else cannot be executed 126.
fn exit_code(error: &SandboxError) -> u8 {
    let is_missing = |source: &crate::sandbox::Errno| source.0 == rustix::io::Errno::NOENT.raw_os_error();
    match error {
        SandboxError::CommandNotFound { .. } => 127,
        SandboxError::WorkingDirectory { source, .. } if is_missing(source) => 127,
        _ => 126,
    }
}
