//! The monitor's loop: one thread, one `poll`, nothing that blocks.
//!
//! A client that does not read its output makes the container wait, as a full pipe would; a container
//! that does not read its input makes the clients wait. Neither makes the monitor wait.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::client::{Client, Role};
use super::output::Read;
use super::probes::Probes;
use super::rest::Rest;
use super::start::{Started, live};
use super::visits::Visit;
use crate::container::attach::connection::{Connection, Peer};
use crate::container::attach::frame::{Failure, Frame, Input, Patience, Report, Request, Start};
use crate::container::options::After;
use crate::container::record::{Exited, Phase, Seen, State, VERSION};
use crate::container::remove::{self, AnonymousVolumes};
use crate::container::restart::Restarts;
use crate::container::signal::Signal;
use crate::sandbox::{self, Motion};

/// Serves a running container until it ends, and then until its clients know.
pub(super) fn serve(request: &Start, started: Started, mut starter: Connection) -> ExitCode {
    starter.queue(&Frame::Report(Report::Started { notices: started.life.running.notices.clone() }));
    let role = request.attached.map_or(Role::Visitor, Role::Attached);
    let starter = Client { connection: starter, role, gone: false };
    let mut server = Server {
        started,
        clients: vec![starter],
        visits: Vec::new(),
        last_visit: 0,
        kill_at: None,
        stopped: Stopped::No,
        log_error: None,
        buffer: vec![0; 64 * 1024],
    };
    let mut restarts = Restarts::default();
    loop {
        while let Ok(Turn::GoOn) = server.turn() {}
        let (exited, error) = server.end();
        let again = server.wait_for_restart(&mut restarts, &exited, error.as_deref());
        let started_again = again.then(|| server.start_again(request, restarts.count));
        match started_again {
            Some(Ok(())) => {}
            Some(Err(failed)) => return server.finish(&exited, Some(failed), restarts.count),
            None => return server.finish(&exited, error, restarts.count),
        }
    }
}

enum Turn {
    GoOn,
    Ended,
}

/// What a polled descriptor is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Exit,
    Events,
    VisitInput(usize),
    VisitOutput(usize, usize),
    Listener,
    Input,
    Output(usize),
    Client(usize),
}

/// Whether somebody wants the container not to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    No,
    ByUser,
}

pub(super) struct Server {
    pub(super) started: Started,
    pub(super) clients: Vec<Client>,
    pub(super) visits: Vec<Visit>,
    /// The number of the latest visit.
    pub(super) last_visit: u64,
    /// When the time that `stop` gave is over.
    kill_at: Option<Instant>,
    stopped: Stopped,
    /// Why the log is not whole.
    log_error: Option<String>,
    pub(super) buffer: Vec<u8>,
}

impl Server {
    fn turn(&mut self) -> io::Result<Turn> {
        let mut ended = Turn::GoOn;
        for (source, events) in self.poll()? {
            match source {
                Source::Exit => ended = Turn::Ended,
                Source::Events if !self.take_event() => ended = Turn::Ended,
                Source::Events => {}
                Source::VisitInput(index) => self.flush_visit(index),
                // An output that ends takes its place in the list with it: the next turn reads the others.
                Source::VisitOutput(visit, output) => {
                    if let Read::End = self.read_visit(visit, output) {
                        break;
                    }
                }
                Source::Listener => self.accept(),
                Source::Input => self.started.life.input.flush(),
                Source::Output(index) => drop(self.read_output(index)),
                Source::Client(index) => self.serve_client(index, events),
            }
        }
        self.kill_if_due();
        self.look_if_due();
        self.say_goodbye();
        Ok(ended)
    }

    fn poll(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let started = &self.started;
        let mut sources = vec![Source::Exit, Source::Listener, Source::Events];
        let pidfd = started.life.process.pidfd();
        let mut fds =
            vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(&started.listener, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(started.life.process.events(), PollFlags::IN));
        for (source, fd) in self.visit_descriptors() {
            sources.push(source);
            fds.push(fd);
        }
        if let Some(input) = started.life.input.waiting() {
            sources.push(Source::Input);
            fds.push(PollFd::from_borrowed_fd(input, PollFlags::OUT));
        }
        if !self.clients.iter().any(Client::is_behind) {
            sources.extend((0..started.life.outputs.len()).map(Source::Output));
            fds.extend(
                started.life.outputs.iter().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)),
            );
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut interest = client.connection.interest();
            interest.set(PollFlags::IN, !(client.gives_input() && self.is_full(client.role)));
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
        let probe = self.started.probes.as_ref().and_then(Probes::due);
        let left = self.kill_at.into_iter().chain(probe).min()?.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.started.listener.accept() {
            self.clients.extend(Client::accept(stream));
        }
    }

    /// Reads once, writes it down, and hands it on.
    fn read_output(&mut self, index: usize) -> Read {
        let Some(output) = self.started.life.outputs.get(index) else { return Read::Nothing };
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
            Read::End => self.started.life.outputs.retain(|output| output.stream != stream),
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
        if let (Role::Visiting(id), false) = (self.clients[index].role, matches!(frame, Frame::Request(_))) {
            return self.hear_visitor(id, frame);
        }
        match frame {
            Frame::Request(request) => self.answer(index, request),
            Frame::Stdin(bytes) if gives_input => self.started.life.input.push(&bytes),
            Frame::StdinEnd if gives_input && !self.started.config.process.terminal => self.started.life.input.end(),
            Frame::Resize(size) => self.started.life.input.resize(size),
            _ => {}
        }
    }

    fn answer(&mut self, index: usize, request: Request) {
        let report = match request {
            Request::Attach(input) => {
                self.clients[index].role = Role::Attached(input);
                Report::Done
            }
            Request::Signal(signal) => self.kill(signal),
            Request::SignalVisitor(id, signal) => self.signal_visitor(id, signal),
            Request::Pause => self.set_motion(Motion::Frozen),
            Request::Unpause => self.set_motion(Motion::Thawed),
            Request::Exec(_) if self.started.life.running.paused => {
                let message = "the container is paused: unpause it first".to_owned();
                Report::NotEntered(Failure { code: 1, message })
            }
            Request::Exec(exec) => return self.exec(index, &exec),
            Request::Wait => return self.clients[index].role = Role::Waiting,
            Request::Stop(timeout) => match self.stop(index, None, timeout.map(Patience::Limited)) {
                Report::Done => return,
                refused => refused,
            },
            Request::StopWith { signal, timeout } => match self.stop(index, signal, timeout) {
                Report::Done => return,
                refused => refused,
            },
            Request::Start(_) => Report::Refused("it runs already".to_owned()),
        };
        self.clients[index].connection.queue(&Frame::Report(report));
    }

    /// Sends the stop signal; SIGKILL follows when the time is over, and the exit when there is one.
    fn stop(&mut self, client: usize, signal: Option<Signal>, timeout: Option<Patience>) -> Report {
        self.clients[client].role = Role::Waiting;
        let process = &self.started.config.process;
        let signal = signal.unwrap_or(process.stop_signal);
        let due = match timeout.unwrap_or(Patience::Limited(process.stop_timeout)) {
            Patience::Limited(timeout) => Instant::now().checked_add(timeout),
            Patience::Endless => None,
        };
        self.kill_at = self.kill_at.into_iter().chain(due).min();
        self.stopped = Stopped::ByUser;
        self.thaw();
        self.signal(signal)
    }

    /// A signal that ends the container ends it for good, whatever its restart policy.
    fn kill(&mut self, signal: Signal) -> Report {
        if signal == Signal::KILL || signal == self.started.config.process.stop_signal {
            self.stopped = Stopped::ByUser;
        }
        if signal == Signal::KILL {
            self.thaw();
        }
        self.signal(signal)
    }

    /// Lets processes that were paused go on: they could not end otherwise.
    fn thaw(&mut self) {
        if self.started.life.running.paused {
            let _still_paused = self.set_motion(Motion::Thawed);
        }
    }

    fn set_motion(&mut self, motion: Motion) -> Report {
        let running = &mut self.started.life.running;
        match (motion, running.paused) {
            (Motion::Frozen, true) => return Report::Refused("it is paused already".to_owned()),
            (Motion::Thawed, false) => return Report::Refused("it is not paused".to_owned()),
            _ => {}
        }
        match sandbox::freeze(self.started.life.process.cgroups(), motion) {
            Ok(()) => {
                running.paused = motion == Motion::Frozen;
                let phase = Phase::Running(running.clone());
                self.stop_or_plan_probes(motion);
                self.record(phase, None)
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                Report::Refused("its processes cannot be stopped: there is no cgroup for that here".to_owned())
            }
            Err(error) => Report::Refused(format!("cannot stop its processes: {error}")),
        }
    }

    pub(super) fn record(&self, phase: Phase, error: Option<String>) -> Report {
        let started = &self.started;
        let health = started.probes.as_ref().map(|probes| probes.health.clone());
        let (boot, restarts) = (started.store.boot(), started.life.restarts);
        let state = State { version: VERSION, boot, phase, error, restarts, health };
        match started.directory.write_state(&state) {
            Ok(()) => Report::Done,
            Err(error) => Report::Refused(super::with_causes(&error)),
        }
    }

    fn signal(&self, signal: Signal) -> Report {
        match crate::sys::pidfd_send_signal(self.started.life.process.pidfd(), signal.number()) {
            Ok(()) => Report::Done,
            Err(error) => Report::Refused(format!("cannot send {signal}: {error}")),
        }
    }

    fn kill_if_due(&mut self) {
        if self.kill_at.is_some_and(|due| due <= Instant::now()) {
            self.kill_at = None;
            self.thaw();
            // It has ended if this fails.
            let _ = self.started.life.process.kill();
        }
    }

    /// Forgets clients that are gone; input that was theirs alone ends with them.
    fn say_goodbye(&mut self) {
        let own = |client: &Client| client.gone && client.role == Role::Attached(Input::Own);
        if self.clients.iter().any(own) && !self.started.config.process.terminal {
            self.started.life.input.end();
        }
        self.clients.retain(|client| !client.gone);
    }

    /// The container has ended: nothing of it is left but what is in the pipes.
    fn end(&mut self) -> (Exited, Option<String>) {
        while !self.started.life.outputs.is_empty() {
            if let Read::Nothing = self.read_output(0) {
                self.started.life.outputs.remove(0);
            }
        }
        if let Err(error) = self.started.log.finish() {
            self.log_error.get_or_insert_with(|| error.to_string());
        }
        self.started.probes.iter_mut().for_each(Probes::rest);
        self.end_visits();
        self.kill_at = None;
        self.started.life.forwarder = None;
        self.outcome()
    }

    /// Whether the container is to be started again, after the wait that comes before that.
    fn wait_for_restart(&mut self, restarts: &mut Restarts, exited: &Exited, error: Option<&str>) -> bool {
        // The policy may have been changed while the container ran.
        let policy = self.started.directory.config().ok().flatten().map(|config| config.restart).unwrap_or_default();
        let started = exited.started.unwrap_or(exited.finished);
        let ran = Duration::try_from(exited.finished.duration_since(started)).unwrap_or_default();
        if self.stopped == Stopped::ByUser {
            return false;
        }
        let Some(wait) = restarts.next(policy, exited.code, ran) else { return false };
        self.started.life.restarts = restarts.count;
        let _told_anyway = self.record(Phase::Restarting(exited.clone()), error.map(str::to_owned));
        // Who waited for the end, or watched, has seen it. Who has not said yet what for may have come to stop it.
        let came_for_it = |client: &mut Client| client.role != Role::Visitor;
        for mut client in self.clients.extract_if(.., came_for_it) {
            client.connection.queue(&Frame::Report(Report::Exited(exited.clone())));
            client.connection.flush();
        }
        self.rest(wait) == Rest::Over
    }

    fn start_again(&mut self, request: &Start, restarts: u32) -> Result<(), String> {
        let started = &mut self.started;
        // What it may use up can have been changed since.
        if let Ok(Some(config)) = started.directory.config() {
            started.config.limits = config.limits;
        }
        let life = live(request, &started.store, &started.directory, &started.config);
        started.life = life.map_err(|error| super::with_causes(&error))?;
        started.life.restarts = restarts;
        started.probes.iter_mut().for_each(Probes::begin_again);
        match self.record(Phase::Running(self.started.life.running.clone()), None) {
            Report::Refused(message) => Err(message),
            _ => Ok(()),
        }
    }

    /// Writes down how it ended, tells everybody, and leaves nothing behind.
    fn finish(self, exited: &Exited, error: Option<String>, restarts: u32) -> ExitCode {
        let Self { started, mut clients, .. } = self;
        let Started { store, directory, config, listener, lock, probes, .. } = started;
        let phase = Phase::Exited(exited.clone());
        let health = probes.map(|probes| probes.health);
        let state = State { version: VERSION, boot: store.boot(), phase, error, restarts, health };
        // A full disk: whoever looks next finds a lost monitor, and the clients hear the truth now.
        let _ = directory.write_state(&state);
        drop(listener);
        directory.unlisten();
        drop(lock);
        // If that fails it stays in the list, and can be removed by hand.
        let remove = || remove::remove_ended(&store, &directory, &config, AnonymousVolumes::Remove).ok();
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
        let (code, oom_killed, error, stubs) = match self.started.life.process.wait() {
            Ok(outcome) => {
                let stubs = outcome.stubs.into_iter().map(|stub| stub.path).collect();
                (outcome.exit.code(), outcome.oom_killed, self.log_error.take(), stubs)
            }
            Err(error) => (u8::MAX, false, Some(error.to_string()), self.started.life.running.stubs.clone()),
        };
        let started = Some(self.started.life.running.started);
        (Exited { started, finished: Timestamp::now(), code, oom_killed, seen: Seen::ByMonitor, stubs }, error)
    }
}
