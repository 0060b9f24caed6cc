//! The monitor's loop: one thread, one `poll`, nothing that blocks.
//!
//! A client that does not read its output makes the container wait, as a full pipe would; a container
//! that does not read its input makes the clients wait. Neither makes the monitor wait.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::client::{Client, Role};
use super::output::Read;
use super::start::Started;
use crate::container::attach::connection::{Connection, Peer};
use crate::container::attach::frame::{Frame, Input, Report, Request};
use crate::container::options::After;
use crate::container::record::{Exited, Phase, Seen, State, VERSION};
use crate::container::remove;
use crate::container::signal::Signal;

/// Serves a running container until it ends, and then until its clients know.
pub(super) fn serve(started: Started, mut starter: Connection, attached: Option<Input>) -> ExitCode {
    starter.queue(&Frame::Report(Report::Started { notices: started.running.notices.clone() }));
    let role = attached.map_or(Role::Visitor, Role::Attached);
    let starter = Client { connection: starter, role, gone: false };
    let mut server =
        Server { started, clients: vec![starter], kill_at: None, log_error: None, buffer: vec![0; 64 * 1024] };
    while let Ok(Turn::GoOn) = server.turn() {}
    server.finish()
}

enum Turn {
    GoOn,
    Ended,
}

/// What a polled descriptor is.
#[derive(Debug, Clone, Copy)]
enum Source {
    Exit,
    Listener,
    Input,
    Output(usize),
    Client(usize),
}

struct Server {
    started: Started,
    clients: Vec<Client>,
    /// When the time that `stop` gave is over.
    kill_at: Option<Instant>,
    /// Why the log is not whole.
    log_error: Option<String>,
    buffer: Vec<u8>,
}

impl Server {
    fn turn(&mut self) -> io::Result<Turn> {
        let mut ended = Turn::GoOn;
        for (source, events) in self.poll()? {
            match source {
                Source::Exit => ended = Turn::Ended,
                Source::Listener => self.accept(),
                Source::Input => self.started.input.flush(),
                Source::Output(index) => drop(self.read_output(index)),
                Source::Client(index) => self.serve_client(index, events),
            }
        }
        self.kill_if_due();
        self.say_goodbye();
        Ok(ended)
    }

    fn poll(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let started = &self.started;
        let mut sources = vec![Source::Exit, Source::Listener];
        let pidfd = started.process.pidfd();
        let mut fds =
            vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(&started.listener, PollFlags::IN)];
        if let Some(input) = started.input.waiting() {
            sources.push(Source::Input);
            fds.push(PollFd::from_borrowed_fd(input, PollFlags::OUT));
        }
        if !self.clients.iter().any(Client::is_behind) {
            sources.extend((0..started.outputs.len()).map(Source::Output));
            fds.extend(started.outputs.iter().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut interest = client.connection.interest();
            interest.set(PollFlags::IN, !(client.gives_input() && started.input.is_full()));
            // What waits for nothing must not be polled at all: a hang-up would be told again and again.
            if !interest.is_empty() {
                sources.push(Source::Client(index));
                fds.push(PollFd::from_borrowed_fd(client.connection.as_fd(), interest));
            }
        }
        match poll(&mut fds, self.timeout().as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let events = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(events.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn timeout(&self) -> Option<Timespec> {
        let left = self.kill_at?.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.started.listener.accept() {
            self.clients.extend(Client::accept(stream));
        }
    }

    /// Reads once, writes it down, and hands it on.
    fn read_output(&mut self, index: usize) -> Read {
        let Some(output) = self.started.outputs.get(index) else { return Read::Nothing };
        let stream = output.stream;
        let read = output.read(&mut self.buffer);
        match read {
            Read::Bytes(length) => {
                let bytes = &self.buffer[..length];
                if let Err(error) = self.started.log.write(stream, bytes) {
                    self.log_error.get_or_insert_with(|| error.to_string());
                }
                for client in self.clients.iter_mut().filter(|client| client.is_attached()) {
                    client.connection.queue_output(stream, bytes);
                    client.gone |= client.connection.flush() == Peer::Gone;
                }
            }
            Read::Nothing => {}
            Read::End => self.started.outputs.retain(|output| output.stream != stream),
        }
        read
    }

    fn serve_client(&mut self, index: usize, events: PollFlags) {
        let client = &mut self.clients[index];
        client.gone |= client.connection.flush() == Peer::Gone;
        if events.intersects(!PollFlags::OUT) {
            client.gone |= client.connection.fill() == Peer::Gone;
        }
        loop {
            match self.clients[index].connection.next() {
                Ok(Some(frame)) => self.hear(index, frame),
                Ok(None) => return,
                Err(_) => {
                    self.clients[index].gone = true;
                    return;
                }
            }
        }
    }

    fn hear(&mut self, index: usize, frame: Frame) {
        let gives_input = self.clients[index].gives_input();
        match frame {
            Frame::Request(request) => self.answer(index, request),
            Frame::Stdin(bytes) if gives_input => self.started.input.push(&bytes),
            Frame::StdinEnd if gives_input && !self.started.config.process.terminal => self.started.input.end(),
            Frame::Resize(size) => self.started.input.resize(size),
            _ => {}
        }
    }

    fn answer(&mut self, index: usize, request: Request) {
        let report = match request {
            Request::Attach(input) => {
                self.clients[index].role = Role::Attached(input);
                Report::Done
            }
            Request::Signal(signal) => self.signal(signal),
            Request::Wait => return self.clients[index].role = Role::Waiting,
            Request::Stop(timeout) => {
                self.clients[index].role = Role::Waiting;
                let process = &self.started.config.process;
                let (signal, timeout) = (process.stop_signal, timeout.unwrap_or(process.stop_timeout));
                let due = Instant::now().checked_add(timeout);
                self.kill_at = self.kill_at.into_iter().chain(due).min();
                match self.signal(signal) {
                    Report::Done => return,
                    refused => refused,
                }
            }
            Request::Start(_) => Report::Refused("it runs already".to_owned()),
        };
        self.clients[index].connection.queue(&Frame::Report(report));
    }

    fn signal(&self, signal: Signal) -> Report {
        match crate::sys::pidfd_send_signal(self.started.process.pidfd(), signal.number()) {
            Ok(()) => Report::Done,
            Err(error) => Report::Refused(format!("cannot send {signal}: {error}")),
        }
    }

    fn kill_if_due(&mut self) {
        if self.kill_at.is_some_and(|due| due <= Instant::now()) {
            self.kill_at = None;
            // It has ended if this fails.
            let _ = self.started.process.kill();
        }
    }

    /// Forgets clients that are gone; input that was theirs alone ends with them.
    fn say_goodbye(&mut self) {
        let own = |client: &Client| client.gone && client.role == Role::Attached(Input::Own);
        if self.clients.iter().any(own) && !self.started.config.process.terminal {
            self.started.input.end();
        }
        self.clients.retain(|client| !client.gone);
    }

    /// The container has ended: nothing of it is left but what is in the pipes.
    fn finish(mut self) -> ExitCode {
        while !self.started.outputs.is_empty() {
            if let Read::Nothing = self.read_output(0) {
                self.started.outputs.remove(0);
            }
        }
        if let Err(error) = self.started.log.finish() {
            self.log_error.get_or_insert_with(|| error.to_string());
        }
        let (exited, error) = self.outcome();
        let Self { started, mut clients, .. } = self;
        let Started { store, directory, config, forwarder, listener, lock, .. } = started;
        drop(forwarder);
        let state = State { version: VERSION, boot: store.boot(), phase: Phase::Exited(exited.clone()), error };
        // A full disk: whoever looks next finds a lost monitor, and the clients hear the truth now.
        let _ = directory.write_state(&state);
        drop(listener);
        directory.unlisten();
        drop(lock);
        // If that fails it stays in the list, and can be removed by hand.
        let remove = || remove::remove_ended(&store, &directory, &config).ok();
        let grave = if config.after == After::Remove { remove() } else { None };
        for client in &mut clients {
            client.connection.queue(&Frame::Report(Report::Exited(exited.clone())));
            client.connection.flush();
        }
        // It is gone for everybody; nobody has to wait for the deleting.
        drop(grave);
        clients.iter_mut().for_each(|client| client.connection.drain());
        ExitCode::SUCCESS
    }

    fn outcome(&mut self) -> (Exited, Option<String>) {
        let (code, oom_killed, error, stubs) = match self.started.process.wait() {
            Ok(outcome) => {
                let stubs = outcome.stubs.into_iter().map(|stub| stub.path).collect();
                (outcome.exit.code(), outcome.oom_killed, self.log_error.take(), stubs)
            }
            Err(error) => (u8::MAX, false, Some(error.to_string()), self.started.running.stubs.clone()),
        };
        let started = Some(self.started.running.started);
        (Exited { started, finished: Timestamp::now(), code, oom_killed, seen: Seen::ByMonitor, stubs }, error)
    }
}
