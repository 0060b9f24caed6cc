//! A container as its users hold it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use store::Store;

use super::attach::connection::Connection;
use super::attach::frame::{Exec, Frame, Input, Report, Request, Start};
use super::attach::{self, Attachment, Console, Ended, Patience, Role};
use super::directory::{Directory, Locked, Names, owner_of};
use super::error::ContainerError;
use super::exec::ExecOptions;
use super::health::Health;
use super::id::ContainerId;
use super::joined::Joined;
use super::log::{Line, Options as LogOptions, Reader};
use super::monitor::MONITOR;
use super::name::ContainerName;
use super::options::{After, Limits};
use super::record::{Config, Exited, Phase, Seen, State, VERSION};
use super::remove::{self, AnonymousVolumes};
use super::restart::RestartPolicy;
use super::root;
use super::signal::Signal;
use super::signals::SignalPipe;
use super::spec;
use super::terminal::Size;
use crate::sandbox;

/// A container of a store.
#[derive(Debug, Clone)]
pub struct Container {
    store: Store,
    directory: Directory,
    config: Config,
}

/// Whether a running container may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It may not.
    No,
    /// It is killed first.
    Kill,
}

/// Whether reading a log goes on as long as the container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It ends with what is there.
    No,
    /// It waits for more, until the container ends.
    UntilExit,
}

impl Container {
    /// The container of an id.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(store: &Store, id: ContainerId) -> Result<Self, ContainerError> {
        let directory = Directory::of(store, id);
        let config = directory.config()?.ok_or_else(|| ContainerError::NoSuchContainer(id.short()))?;
        Ok(Self { store: store.clone(), directory, config })
    }

    /// Finds a container by its name, its id, or the beginning of its id.
    ///
    /// # Errors
    /// If there is none, or several ids begin so.
    pub fn find(store: &Store, text: &str) -> Result<Self, ContainerError> {
        let missing = || ContainerError::NoSuchContainer(text.to_owned());
        if let Ok(id) = text.parse() {
            return Self::open(store, id);
        }
        if let Some(id) = text.parse::<ContainerName>().ok().and_then(|name| owner_of(store, &name)) {
            return Self::open(store, id).map_err(|_| missing());
        }
        let is_prefix = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let ids = if is_prefix { super::directory::ids(store)? } else { Vec::new() };
        let mut fitting = ids.into_iter().filter(|id| id.to_string().starts_with(text));
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(missing()),
            (Some(id), None) => Self::open(store, id),
            (Some(first), Some(second)) => {
                Err(ContainerError::Ambiguous { text: text.to_owned(), first: first.short(), second: second.short() })
            }
        }
    }

    pub(super) fn new(store: Store, directory: Directory, config: Config) -> Self {
        Self { store, directory, config }
    }

    /// Its id.
    pub fn id(&self) -> ContainerId {
        self.config.id
    }

    /// Its name.
    pub fn name(&self) -> &ContainerName {
        &self.config.name
    }

    /// What it is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The file of its log.
    pub fn log_path(&self) -> std::path::PathBuf {
        self.directory.log()
    }

    /// How it is now. That its monitor or the machine was lost since it was written down is found out,
    /// and written down, here.
    ///
    /// # Errors
    /// If it was removed, or its record cannot be read.
    pub fn state(&self) -> Result<State, ContainerError> {
        let state = self.directory.state()?.ok_or_else(|| self.missing())?;
        match &state.phase {
            Phase::Running(_) | Phase::Restarting(_) => self.check_running(state),
            Phase::Created | Phase::Exited(_) => Ok(state),
        }
    }

    /// Starts it in the background; it is no error if it runs already. Says what it does not have
    /// although it was asked for.
    ///
    /// # Errors
    /// If it cannot be started; [`ContainerError::exit_code`] is what `run` then exits with.
    pub fn start(&self) -> Result<Vec<String>, ContainerError> {
        let Some((_, notices)) = self.launch(None, None)? else { return Ok(Vec::new()) };
        Ok(notices)
    }

    /// Starts it and stays attached from its first byte of output on, until it ends or the user leaves.
    ///
    /// # Errors
    /// If it cannot be started, or runs already.
    pub fn run(&self, attachment: &Attachment<'_>) -> Result<Ended, ContainerError> {
        self.run_noting(attachment, |_| {})
    }

    /// The same, and tells what it does not have although it was asked for, before its first output.
    ///
    /// # Errors
    /// If it cannot be started, or runs already.
    pub fn run_noting(
        &self,
        attachment: &Attachment<'_>,
        note: impl FnOnce(&[String]),
    ) -> Result<Ended, ContainerError> {
        let input = if attachment.stdin.is_some() { Input::Own } else { Input::None };
        let size = [attachment.stdin, attachment.stdout].into_iter().flatten().find_map(Size::of);
        let signals = self.catch(attachment, Console::of(self.config.process.terminal))?;
        let (connection, notices) =
            self.launch(Some(input), size)?.ok_or_else(|| ContainerError::Running(self.config.name.clone()))?;
        note(&notices);
        attach::follow(connection, attachment, signals, (&self.directory, &self.config), Role::Owner)
    }

    /// Attaches to it while it runs.
    ///
    /// # Errors
    /// If it does not run.
    pub fn attach(&self, attachment: &Attachment<'_>) -> Result<Ended, ContainerError> {
        let input = if attachment.stdin.is_some() { Input::Shared } else { Input::None };
        let signals = self.catch(attachment, Console::of(self.config.process.terminal))?;
        let connection = self.ask(Request::Attach(input))?.ok_or_else(|| self.not_running())?;
        attach::follow(connection, attachment, signals, (&self.directory, &self.config), Role::Visitor)
    }

    /// Executes a further command in it, and stays with that until it ends or the user leaves; without an
    /// attachment only until it is executing.
    ///
    /// # Errors
    /// If it does not run, or the command cannot be executed; [`ContainerError::exit_code`] is what `exec`
    /// then exits with.
    pub fn exec(&self, options: &ExecOptions, attachment: Option<&Attachment<'_>>) -> Result<Ended, ContainerError> {
        let console = Console::of(options.terminal);
        let ends = attachment.map(|attachment| [attachment.stdin, attachment.stdout]);
        let exec = Exec {
            options: options.clone(),
            stdin: attachment.is_some_and(|attachment| attachment.stdin.is_some()),
            detached: attachment.is_none(),
            size: ends.into_iter().flatten().flatten().find_map(Size::of),
        };
        let signals = attachment.map(|attachment| self.catch(attachment, console)).transpose()?;
        let mut connection = self.ask(Request::Exec(exec))?.ok_or_else(|| self.not_running())?;
        let visit = match self.hear(&mut connection)? {
            Some(Report::Entered { visit }) => visit,
            Some(Report::NotEntered(failure)) => {
                return Err(ContainerError::Start { code: failure.code, message: failure.message });
            }
            // It ended in this moment.
            _ => return Err(self.not_running()),
        };
        match attachment.zip(signals) {
            Some((attachment, signals)) => {
                let role = Role::Exec(visit, console);
                attach::follow(connection, attachment, signals, (&self.directory, &self.config), role)
            }
            None => Ok(Ended::Detached),
        }
    }

    /// Asks it to stop, and kills it when the time is over; its own time if none is given. Stopping
    /// what does not run is no error.
    ///
    /// # Errors
    /// If its monitor cannot be reached.
    pub fn stop(&self, timeout: Option<Duration>) -> Result<(), ContainerError> {
        self.stop_with(None, timeout.map(Patience::Limited))
    }

    /// The same with another signal than its own, and perhaps without killing it ever.
    ///
    /// # Errors
    /// If its monitor cannot be reached.
    pub fn stop_with(&self, signal: Option<Signal>, patience: Option<Patience>) -> Result<(), ContainerError> {
        match self.ask(Request::StopWith { signal, timeout: patience })? {
            Some(connection) => self.await_exit(connection).map(drop),
            None => self.state().map(drop),
        }
    }

    /// Makes every process of it stand still.
    ///
    /// # Errors
    /// If it does not run, stands still already, or there is no cgroup to do it with.
    pub fn pause(&self) -> Result<(), ContainerError> {
        self.demand(Request::Pause)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// If it is not paused.
    pub fn unpause(&self) -> Result<(), ContainerError> {
        self.demand(Request::Unpause)
    }

    /// Changes when it is started again by itself, from its next end on.
    ///
    /// # Errors
    /// If it was removed.
    pub fn set_restart_policy(&mut self, policy: RestartPolicy) -> Result<(), ContainerError> {
        let _lock = self.directory.lock()?.ok_or_else(|| self.missing())?;
        self.config.restart = policy;
        self.directory.write_config(&self.config)
    }

    /// Changes what it may use up: at once if it runs, and for its next starts.
    ///
    /// # Errors
    /// If it was removed, or runs and the kernel refuses; it is as it was then.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), ContainerError> {
        let _lock = self.directory.lock()?.ok_or_else(|| self.missing())?;
        let (before, after) = (spec::limits(&self.config.limits)?, spec::limits(&limits)?);
        if let Some(running) = self.state()?.running() {
            sandbox::change_limits(&running.cgroups, &before, &after)?;
        }
        self.config.limits = limits;
        self.directory.write_config(&self.config)
    }

    /// Sends a signal to its first process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self, signal: Signal) -> Result<(), ContainerError> {
        self.demand(Request::Signal(signal))
    }

    /// Has the monitor do something that it answers at once.
    fn demand(&self, request: Request) -> Result<(), ContainerError> {
        let mut connection = self.ask(request)?.ok_or_else(|| self.not_running())?;
        match self.hear(&mut connection)? {
            Some(Report::Refused(message)) => Err(ContainerError::Refused { name: self.config.name.clone(), message }),
            Some(Report::Exited(_)) => Err(self.not_running()),
            Some(_) => Ok(()),
            // It has ended before it could be said.
            None => Err(self.not_running()),
        }
    }

    /// Waits until it does not run, and says its exit code: 0 if it never ran.
    ///
    /// # Errors
    /// If it was removed before this looked.
    pub fn wait(&self) -> Result<u8, ContainerError> {
        match self.ask(Request::Wait)? {
            Some(connection) => self.await_exit(connection),
            None => self.recorded_exit(),
        }
    }

    /// Removes it with everything that is its own: its log, its changes, and its anonymous volumes if they are to go.
    ///
    /// # Errors
    /// If it runs and may not be killed.
    pub fn remove(&self, force: Force, volumes: AnonymousVolumes) -> Result<(), ContainerError> {
        let running = self.state()?.is_live();
        match (running, force) {
            (true, Force::No) => return Err(ContainerError::Running(self.config.name.clone())),
            (true, Force::Kill) => self.stop(Some(Duration::ZERO))?,
            (false, _) => {}
        }
        remove::remove_ended(&self.store, &self.directory, &self.config, volumes).map(drop)
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// If another container has it.
    pub fn rename(&mut self, name: ContainerName) -> Result<(), ContainerError> {
        let _lock = self.directory.lock()?.ok_or_else(|| self.missing())?;
        let names = Names::lock(&self.store)?;
        names.claim(&name, self.config.id)?;
        let old = std::mem::replace(&mut self.config.name, name);
        self.directory.write_config(&self.config)?;
        names.release(&old, self.config.id);
        Ok(())
    }

    /// Reads its log.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn logs(
        &self,
        options: LogOptions,
        follow: Follow,
        sink: impl FnMut(Line) -> std::ops::ControlFlow<()>,
    ) -> Result<(), ContainerError> {
        // Connected first: what is written between the two is then read, and nothing is missed.
        let writer = if follow == Follow::UntilExit { self.ask(Request::Wait)? } else { None };
        let mut reader = Reader::open(&self.directory.log(), options)?;
        match writer {
            Some(writer) => reader.follow(std::os::fd::AsFd::as_fd(&writer), sink)?,
            None => drop(reader.read(sink)?),
        }
        Ok(())
    }

    fn launch(
        &self,
        attached: Option<Input>,
        size: Option<Size>,
    ) -> Result<Option<(Connection, Vec<String>)>, ContainerError> {
        let lock = self.directory.lock()?.ok_or_else(|| self.missing())?;
        if self.state()?.is_live() {
            return Ok(None);
        }
        let started = self.start_monitor(attached, size);
        drop(lock);
        if started.is_err() && self.config.after == After::Remove {
            // The first error is the one to tell.
            let _ = remove::remove_ended(&self.store, &self.directory, &self.config, AnonymousVolumes::Remove);
        }
        started.map(Some)
    }

    fn start_monitor(
        &self,
        attached: Option<Input>,
        size: Option<Size>,
    ) -> Result<(Connection, Vec<String>), ContainerError> {
        // Said at once, and not by the monitor, which looks for them again each time.
        Joined::find(&self.store, &self.config)?;
        let start = Start {
            store: self.store.path().as_os_str().as_bytes().to_owned(),
            boot: self.store.boot(),
            id: self.config.id,
            rootfs: root::prepare(&self.store, &self.directory, &self.config)?,
            attached,
            size,
        };
        let spawn = || -> io::Result<Connection> {
            let (ours, theirs) = UnixStream::pair()?;
            // A descriptor that the caller's caller left open must not stay open as long as the container runs.
            crate::sys::close_on_exec_from(3)?;
            MONITOR.command(theirs.into()).stderr(Stdio::null()).spawn()?;
            Connection::new(ours)
        };
        let mut connection = spawn().map_err(ContainerError::io("start the monitor of", self.directory.path()))?;
        connection.queue(&Frame::Request(Request::Start(start)));
        match self.hear(&mut connection)? {
            Some(Report::Started { notices }) => Ok((connection, notices)),
            Some(Report::Failed(failure)) => {
                Err(ContainerError::Start { code: failure.code, message: failure.message })
            }
            _ => Err(ContainerError::MonitorLost(self.config.name.clone())),
        }
    }

    fn catch(&self, attachment: &Attachment<'_>, console: Console) -> Result<SignalPipe, ContainerError> {
        let caught = attach::catch(attachment, console);
        caught.map_err(ContainerError::io("catch signals for", self.directory.path()))
    }

    /// Its first process, as it runs now.
    pub(super) fn pid(&self) -> Result<i32, ContainerError> {
        self.state()?.running().map(|running| running.pid).ok_or_else(|| self.not_running())
    }

    /// Connects to the monitor and says what for; `None` if there is none.
    fn ask(&self, request: Request) -> Result<Option<Connection>, ContainerError> {
        let Some(stream) = self.directory.connect()? else { return Ok(None) };
        let mut connection =
            Connection::new(stream).map_err(ContainerError::io("connect to", self.directory.path()))?;
        connection.queue(&Frame::Request(request));
        connection.flush();
        Ok(Some(connection))
    }

    /// The next report; `None` if the monitor hung up.
    fn hear(&self, connection: &mut Connection) -> Result<Option<Report>, ContainerError> {
        loop {
            match connection.wait().map_err(ContainerError::io("hear from", self.directory.path()))? {
                Some(Frame::Report(report)) => return Ok(Some(report)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn await_exit(&self, mut connection: Connection) -> Result<u8, ContainerError> {
        loop {
            match self.hear(&mut connection)? {
                Some(Report::Exited(exited)) => return Ok(exited.code),
                Some(Report::Refused(message)) => {
                    return Err(ContainerError::Refused { name: self.config.name.clone(), message });
                }
                Some(_) => {}
                // It ended as we came, or its monitor was lost.
                None => return self.recorded_exit(),
            }
        }
    }

    /// The exit code as it is written down, once no monitor is there that could still write.
    fn recorded_exit(&self) -> Result<u8, ContainerError> {
        drop(self.directory.lock_monitor()?);
        Ok(self.state()?.exited().map_or(0, |exited| exited.code))
    }

    /// Whether a container that is written down as running does run.
    fn check_running(&self, state: State) -> Result<State, ContainerError> {
        let _lock = match self.directory.try_lock_monitor()? {
            Locked::Busy => return Ok(state),
            Locked::Gone => return Err(self.missing()),
            Locked::Held(lock) => lock,
        };
        // It may have ended in an orderly way between the record and the lock.
        let state = self.directory.state()?.ok_or_else(|| self.missing())?;
        let (started, stubs) = match &state.phase {
            Phase::Running(running) => (Some(running.started), running.stubs.clone()),
            Phase::Restarting(exited) => (exited.started, exited.stubs.clone()),
            Phase::Created | Phase::Exited(_) => return Ok(state),
        };
        let phase = Phase::Exited(lost(started, stubs, state.boot == self.store.boot()));
        let (restarts, health) = (state.restarts, state.health.map(Health::unwatched));
        let state = State { version: VERSION, boot: self.store.boot(), phase, error: None, restarts, health };
        self.directory.write_state(&state)?;
        self.directory.unlisten();
        Ok(state)
    }

    fn not_running(&self) -> ContainerError {
        ContainerError::NotRunning(self.config.name.clone())
    }

    fn missing(&self) -> ContainerError {
        ContainerError::NoSuchContainer(self.config.name.to_string())
    }
}

/// How a container ended whose end nobody saw: with its monitor, by SIGKILL, or with the machine.
fn lost(started: Option<Timestamp>, stubs: Vec<PathBuf>, same_boot: bool) -> Exited {
    let (code, seen) =
        if same_boot { (Signal::KILL.exit_code(), Seen::MonitorLost) } else { (u8::MAX, Seen::LostAtReboot) };
    Exited { started, finished: Timestamp::now(), code, oom_killed: false, seen, stubs }
}
