//! Commands in kiln's own sandbox.
//!
//! The translation of an [`Execution`] into a [`Spec`] is a pure function. Running it is three
//! threads' work: two copy what the command writes as it comes, this one waits for its end and looks
//! whether the build was cancelled meanwhile.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use run::sandbox::{
    self, AbstractSockets, Durability, Etc, Lower, Notice, PidsLimit, Process, Rlimit, Rootfs, SandboxError, Source,
    Spec, Stacking, Stdio,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use store::{Platform, RelPath, SnapshotRoot};

use super::{Ended, ExecuteError, Execution, ExecutionMount, Executor, Exit, MountSource, Output};
use crate::graph::{Access, Network, Security};
use crate::progress::{Cancel, Stream};

/// How long a cancelled build waits at most before it kills a command.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How many boxes may be on their way out.
const MOST_DEPARTING: usize = 8;

/// How much of a command's output is handed on at once.
const CHUNK_BYTES: usize = 32 << 10;

/// The executor that every real build has.
#[derive(Debug, Default)]
pub struct SandboxExecutor {
    /// Why this machine gives commands no network of their own, once that is known: it is not tried again.
    no_network: OnceLock<String>,
    departing: Departing,
}

/// Boxes that have ended and whose networks the kernel is still removing, which takes as long as a short command and
/// which no other step has to wait for. Whoever drops this has waited for all of them.
#[derive(Debug, Default)]
struct Departing(Mutex<VecDeque<Process>>);

impl Departing {
    fn push(&self, process: Process) {
        let mut processes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        processes.push_back(process);
        let long_gone = if processes.len() > MOST_DEPARTING { processes.pop_front() } else { None };
        drop(processes);
        drop(long_gone);
    }
}

impl Executor for SandboxExecutor {
    fn execute(&self, execution: &Execution<'_>, output: &Output<'_>, cancel: &Cancel) -> Result<Ended, ExecuteError> {
        let mut spec = spec(execution);
        if spec.network == sandbox::Network::PrivateOrHost && self.no_network.get().is_some() {
            spec.network = sandbox::Network::Host { abstract_sockets: AbstractSockets::Shut };
        }
        let null = File::open("/dev/null").map_err(ExecuteError::Follow)?;
        let (stdout, stdout_writer) = io::pipe().map_err(ExecuteError::Follow)?;
        let (stderr, stderr_writer) = io::pipe().map_err(ExecuteError::Follow)?;
        for writer in [&stdout_writer, &stderr_writer] {
            // `/dev/stdout` is opened anew, by an id that is another one out here.
            rustix::fs::fchmod(writer, Mode::from_raw_mode(0o666))
                .map_err(|errno| ExecuteError::Follow(errno.into()))?;
        }
        let stdio = Stdio::new(null, stdout_writer, stderr_writer);
        let process = sandbox::start(&spec, stdio).map_err(|error| not_started(error, execution.platform))?;
        for notice in process.notices() {
            if let Notice::HostNetwork { why } = notice {
                self.no_network.get_or_init(|| why.clone());
            }
        }
        let shared_network = match execution.network {
            Network::Default => self.no_network.get().cloned(),
            Network::Host | Network::None => None,
        };
        let ended = std::thread::scope(|scope| {
            let copies = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)]
                .map(|(pipe, stream)| scope.spawn(move || copy(pipe, stream, output)));
            let ended = wait(&process, cancel).map(|ended| Ended { shared_network, ..ended });
            for copy in copies {
                copy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(ExecuteError::Follow)?;
            }
            ended
        });
        self.departing.push(process);
        ended
    }
}

/// What the sandbox is told.
fn spec(execution: &Execution<'_>) -> Spec {
    let argv = execution.argv.iter().map(OsString::from).collect();
    let mut spec = Spec::new(rootfs(execution.root), argv);
    spec.command.env = execution.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    spec.command.user = execution.user.to_owned();
    spec.command.cwd = absolute(execution.cwd);
    spec.hostname = execution.hostname.to_owned();
    if let Etc::Generated { hosts, dns, kept, .. } = &mut spec.etc {
        *hosts = execution.hosts.to_vec();
        *dns = execution.dns.clone();
        *kept = execution.kept_files.to_vec();
    }
    let privileges = execution.privileges;
    spec.command.additional_groups = privileges.groups.clone();
    spec.capabilities = privileges.capabilities;
    spec.seccomp = privileges.seccomp;
    spec.no_new_privileges = privileges.no_new_privileges;
    spec.user_namespace = privileges.users;
    spec.sharing = privileges.namespaces;
    spec.mounts = execution.mounts.iter().map(mount).collect();
    spec.network = match execution.network {
        Network::Default => sandbox::Network::PrivateOrHost,
        Network::Host => sandbox::Network::Host { abstract_sockets: AbstractSockets::Reachable },
        Network::None => sandbox::Network::None,
    };
    let limits = execution.limits;
    spec.shm_bytes = limits.shm_bytes.unwrap_or(spec.shm_bytes);
    spec.limits = sandbox::Limits {
        memory_bytes: limits.memory_bytes,
        swap: limits.swap,
        milli_cpus: limits.milli_cpus,
        cpu_quota_us: limits.cpu_quota_us,
        cpu_period_us: limits.cpu_period_us,
        cpu_shares: limits.cpu_shares,
        cpuset: limits.cpuset.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        pids: PidsLimit::Default,
        parent: limits.cgroup_parent.clone(),
        ..sandbox::Limits::default()
    };
    let rlimit = |(name, soft, hard): &(String, Option<u64>, Option<u64>)| Rlimit {
        name: name.clone(),
        soft: *soft,
        hard: *hard,
    };
    spec.rlimits = limits.ulimits.iter().map(rlimit).collect();
    match execution.security {
        Security::Sandbox => spec,
        Security::Insecure => spec.privileged(),
    }
}

fn rootfs(root: &SnapshotRoot) -> Rootfs {
    match root {
        SnapshotRoot::Overlay { lowers, data, upper, work } => Rootfs::Overlay {
            lowers: lowers.iter().map(lower).collect(),
            data: data.clone(),
            upper: upper.clone(),
            work: work.clone(),
            durability: Durability::Volatile,
        },
        SnapshotRoot::Copy { path } => Rootfs::Directory { path: path.clone() },
    }
}

fn lower(layer: &store::Lower) -> Lower {
    let stacking = match layer.stacking {
        store::Stacking::Direct => Stacking::Direct,
        store::Stacking::Nested => Stacking::Nested,
    };
    Lower { path: layer.path.clone(), stacking }
}

fn mount(mount: &ExecutionMount) -> sandbox::Mount {
    let source = match &mount.source {
        MountSource::Path(path) => Source::Path { path: path.clone() },
        MountSource::Device(path) => Source::Device { path: path.clone() },
        MountSource::Tmpfs { size_bytes } => Source::Tmpfs { size_bytes: *size_bytes, mode: 0o1777, executables: true },
        MountSource::Bytes { bytes, mode, uid, gid } => {
            Source::File { bytes: bytes.clone(), mode: (*mode).into(), uid: *uid, gid: *gid }
        }
    };
    let access = match mount.access {
        Access::ReadOnly => sandbox::Access::ReadOnly,
        Access::ReadWrite => sandbox::Access::ReadWrite,
    };
    sandbox::Mount { target: absolute(&mount.target), source, access }
}

fn absolute(path: &RelPath) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    absolute.push(path.as_os_str());
    absolute
}

/// Whatever the platform is called, what can be executed is; if it cannot, the platform may say why.
fn not_started(error: SandboxError, platform: &Platform) -> ExecuteError {
    let host = Platform::host();
    if platform.os == host.os && platform.architecture == host.architecture {
        return ExecuteError::Start(Box::new(error));
    }
    ExecuteError::Platform { platform: platform.to_string(), host: host.to_string(), source: Box::new(error) }
}

fn copy(mut pipe: PipeReader, stream: Stream, output: &Output<'_>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => output(stream, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the end; a cancelled build does not wait for the command's consent (docs/dockerfile.md, F023).
fn wait(process: &Process, cancel: &Cancel) -> Result<Ended, ExecuteError> {
    let follow = |errno: rustix::io::Errno| ExecuteError::Follow(errno.into());
    let start = |error| ExecuteError::Start(Box::new(error));
    let mut cancelled = false;
    loop {
        let pidfd = process.pidfd();
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut watched, Some(&LOOK_AGAIN)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(follow(errno)),
        }
        if cancel.is_cancelled() && !cancelled {
            process.kill().map_err(start)?;
            cancelled = true;
        }
    }
    let outcome = process.wait().map_err(start)?;
    let exit = match outcome.exit {
        _ if cancelled => Exit::Cancelled,
        sandbox::Exit::Code(0) => Exit::Code(0),
        _ if outcome.oom_killed => Exit::OutOfMemory,
        sandbox::Exit::Code(code) => Exit::Code(code),
        sandbox::Exit::Signal(signal) => Exit::Signal(signal),
    };
    Ok(Ended {
        exit,
        stubs: outcome.stubs.iter().filter_map(|stub| relative(&stub.path)).collect(),
        shared_network: None,
    })
}

fn relative(path: &std::path::Path) -> Option<RelPath> {
    RelPath::clean(path.as_os_str().as_encoded_bytes()).ok()
}
