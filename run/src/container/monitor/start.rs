//! From a request to a running container.
//!
//! In this order: the lock, without which nothing may be done; the ports, which others may have; the
//! sandbox; the record, which says that it runs; the socket, on which it can be asked. What fails takes
//! back what was done before it, by dropping it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};
use store::{Area, Store};

use super::output::{Input, Output};
use super::probes::Probes;
use crate::container::attach::frame::Start;
use crate::container::directory::{Directory, Lock, Locked};
use crate::container::error::ContainerError;
use crate::container::forward::{self, Bound, Forwarder};
use crate::container::joined::Joined;
use crate::container::log::{Stream, Writer};
use crate::container::record::{Config, Phase, Running, State, VERSION};
use crate::container::spec::{Facts, spec};
use crate::container::terminal::Size;
use crate::sandbox::{self, Process, Rootfs, Stdio};

/// A container that runs, and everything its monitor holds for it.
pub(super) struct Started {
    pub(super) store: Store,
    pub(super) directory: Directory,
    pub(super) config: Config,
    pub(super) log: Writer,
    pub(super) listener: UnixListener,
    pub(super) life: Life,
    pub(super) lock: Lock,
    /// What looks at its health, if anything does.
    pub(super) probes: Option<Probes>,
}

/// What is new each time that the container is started.
pub(super) struct Life {
    pub(super) running: Running,
    pub(super) process: Process,
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
    pub(super) forwarder: Option<Forwarder>,
    /// How often its monitor has started it before.
    pub(super) restarts: u32,
}

/// Starts the container of a request.
pub(super) fn start(request: &Start) -> Result<Started, ContainerError> {
    let path = PathBuf::from(OsString::from_vec(request.store.clone()));
    let store = Store::open_in_boot(&path, request.boot)?;
    let directory = Directory::of(&store, request.id);
    let gone = || ContainerError::NoSuchContainer(request.id.short());
    let Locked::Held(lock) = directory.lock_monitor()? else { return Err(gone()) };
    let config = directory.config()?.ok_or_else(gone)?;
    match start_locked(request, store, directory.clone(), config, lock) {
        Ok(started) => Ok(started),
        Err(error) => {
            note_failure(&directory, request, &error)?;
            Err(error)
        }
    }
}

fn start_locked(
    request: &Start,
    store: Store,
    directory: Directory,
    config: Config,
    lock: Lock,
) -> Result<Started, ContainerError> {
    hold_root(&store, &request.rootfs)?;
    let life = live(request, &store, &directory, &config)?;
    let log = Writer::open(&directory.log())?;
    let listener = directory.listen()?;
    listener.set_nonblocking(true).map_err(ContainerError::io("listen on", directory.path()))?;
    let phase = Phase::Running(life.running.clone());
    let before = if config.healthcheck.is_some() { directory.state()? } else { None };
    let probes = Probes::of(&config, before.and_then(|before| before.health));
    let health = probes.as_ref().map(|probes| probes.health.clone());
    let state = State { version: VERSION, boot: store.boot(), phase, error: None, restarts: 0, health };
    directory.write_state(&state)?;
    raise_descriptor_limit();
    Ok(Started { store, directory, config, log, listener, life, lock, probes })
}

/// Starts the container's process, and what brings it input, output and connections.
pub(super) fn live(
    request: &Start,
    store: &Store,
    directory: &Directory,
    config: &Config,
) -> Result<Life, ContainerError> {
    let bound = forward::bind(&config.network.ports)?;
    let joined = Joined::find(store, config)?;
    let facts = Facts {
        rootfs: request.rootfs.clone(),
        volumes: store.dir(Area::Volumes),
        joined,
        size: request.size.unwrap_or(Size { rows: 24, columns: 80 }),
    };
    let spec = spec(config, facts)?;
    let (stdio, mut input, mut outputs) =
        stdio(config).map_err(ContainerError::io("make pipes for", directory.path()))?;
    let started = Timestamp::now();
    let mut process = sandbox::start(&spec, stdio)?;
    // One that ended in this moment may have left its number to another process.
    if Joined::find(store, config)? != joined {
        return Err(ContainerError::MonitorLost(config.name.clone()));
    }
    if let Some(console) = process.take_console() {
        let copy = console.try_clone().map_err(ContainerError::io("make pipes for", directory.path()))?;
        input = Input::new(copy);
        outputs = vec![Output::new(console, Stream::Stdout)];
    }
    let ports = bound.iter().map(|bound| bound.published).collect();
    let forwarder = forward_ports(bound, &process).map_err(ContainerError::io("forward ports to", directory.path()))?;
    let running = Running {
        started,
        pid: process.pid(),
        monitor_pid: std::process::id(),
        ports,
        addresses: process.addresses().clone(),
        notices: process.notices().iter().map(ToString::to_string).collect(),
        stubs: process.stubs().iter().map(|stub| stub.path.clone()).collect(),
        paused: false,
        cgroups: process.cgroups().to_vec(),
    };
    Ok(Life { running, process, input, outputs, forwarder, restarts: 0 })
}

/// Keeps the unpacked layers from the collector for as long as this process lives. The starter, which has
/// looked at them, holds them until it hears that the container runs.
fn hold_root(store: &Store, rootfs: &Rootfs) -> Result<(), ContainerError> {
    match rootfs {
        Rootfs::Overlay { lowers, .. } => Ok(store.hold(lowers.iter().filter_map(|lower| lower.path.parent()))?),
        Rootfs::Directory { .. } => Ok(()),
    }
}

/// Says in the record why it did not start; it is as it was otherwise.
fn note_failure(directory: &Directory, request: &Start, error: &ContainerError) -> Result<(), ContainerError> {
    let before = directory.state()?.unwrap_or_else(|| State::created(request.boot));
    directory.write_state(&State { boot: request.boot, error: Some(super::with_causes(error)), ..before })
}

fn stdio(config: &Config) -> std::io::Result<(Stdio, Input, Vec<Output>)> {
    if config.process.terminal {
        return Ok((Stdio::null()?, Input::closed(), Vec::new()));
    }
    let (stdin, input) = if config.process.stdin_open {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (read, Input::new(write))
    } else {
        (OwnedFd::from(File::open("/dev/null")?), Input::closed())
    };
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
    let outputs = vec![Output::new(stdout, Stream::Stdout), Output::new(stderr, Stream::Stderr)];
    Ok((Stdio::new(stdin, out, err), input, outputs))
}

/// What is published goes to the container's address, as if the peer stood in its network; a container
/// with nothing but a loopback interface is reached there.
fn forward_ports(bound: Vec<Bound>, process: &Process) -> std::io::Result<Option<Forwarder>> {
    if bound.is_empty() {
        return Ok(None);
    }
    let namespace = File::open(format!("/proc/{}/ns/net", process.pid()))?;
    forward::start(bound, namespace.into(), address(process.addresses())).map(Some)
}

fn address(addresses: &BTreeMap<String, IpAddr>) -> IpAddr {
    let mut usable = addresses.values().filter(|ip| !ip.is_loopback());
    usable.find(|ip| ip.is_ipv4()).copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// Every forwarded connection takes two descriptors. The sandbox has been started: it keeps the old limit.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
