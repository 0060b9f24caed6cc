//! A way out by a network stack in user space: slirp4netns or pasta, for whoever may not make interfaces.
//!
//! Both are told to keep the host's loopback out of reach, and end with the box.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::{EgressError, program};

/// How long either may take to be ready; they need some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the device that both need can be opened: they would take long to find out.
pub(super) fn tunnel() -> Result<(), EgressError> {
    let opened = fs::File::options().read(true).write(true).open("/dev/net/tun");
    opened.map(drop).map_err(EgressError::Tunnel)
}

/// A helper process, ended when dropped.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    /// slirp4netns ends when the other end of this closes, also if kiln is killed.
    _alive: Option<OwnedFd>,
    pub(super) name_servers: Vec<IpAddr>,
    pub(super) address: Option<IpAddr>,
}

impl Helper {
    /// Connects the network namespace of `pid` by slirp4netns.
    pub(super) fn slirp4netns(pid: Pid) -> Result<Self, EgressError> {
        let path = program::find("slirp4netns").ok_or(EgressError::Missing("slirp4netns"))?;
        tunnel()?;
        let failed = |error: rustix::io::Errno| EgressError::Program { program: path.clone(), why: error.to_string() };
        let (ready, ready_theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (alive_theirs, alive) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        for inherited in [&ready_theirs, &alive_theirs] {
            rustix::io::fcntl_setfd(inherited, FdFlags::empty()).map_err(failed)?;
        }
        let mut command = quiet(&path);
        command.args(["--configure", "--mtu=65520", "--disable-host-loopback"]);
        command.arg(format!("--ready-fd={}", ready_theirs.as_raw_fd()));
        command.arg(format!("--exit-fd={}", alive_theirs.as_raw_fd()));
        if let Some(namespace) = own_user_namespace(pid) {
            command.arg(format!("--userns-path={}", namespace.display()));
        }
        command.args(["--netns-type=path", &network_namespace(pid), "tap0"]);
        let child = command.spawn().map_err(|error| program_failed(&path, &error.to_string()))?;
        drop((ready_theirs, alive_theirs));
        let address = Some(Ipv4Addr::new(10, 0, 2, 100).into());
        let name_servers = vec![Ipv4Addr::new(10, 0, 2, 3).into()];
        let mut helper = Self { child, _alive: Some(alive), name_servers, address };
        let mut byte = [0];
        match fs::File::from(ready).read(&mut byte) {
            Ok(1) => Ok(helper),
            _ => Err(helper.complaint(&path)),
        }
    }

    /// Connects the network namespace of `pid` by pasta.
    pub(super) fn pasta(pid: Pid) -> Result<Self, EgressError> {
        let path = program::find("pasta").ok_or(EgressError::Missing("pasta"))?;
        tunnel()?;
        let mut command = quiet(&path);
        command.args(["--config-net", "--foreground", "--quiet", "--no-map-gw", "--ipv4-only"]);
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        if let Some(namespace) = own_user_namespace(pid) {
            command.arg("--userns").arg(namespace);
        }
        command.args(["--netns", &network_namespace(pid)]);
        let child = command.spawn().map_err(|error| program_failed(&path, &error.to_string()))?;
        let mut helper = Self { child, _alive: None, name_servers: Vec::new(), address: None };
        let routes = PathBuf::from(format!("/proc/{}/net/route", pid.as_raw_nonzero()));
        let start = Instant::now();
        while start.elapsed() < PATIENCE && matches!(helper.child.try_wait(), Ok(None)) {
            // It has configured the namespace when that has a route.
            if fs::read_to_string(&routes).is_ok_and(|routes| routes.lines().count() > 1) {
                return Ok(helper);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(helper.complaint(&path))
    }

    fn complaint(&mut self, path: &Path) -> EgressError {
        let _ended_already = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _partial = stderr.read_to_string(&mut text);
        }
        program_failed(path, text.lines().last().unwrap_or("it ended at once"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn quiet(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn program_failed(path: &Path, why: &str) -> EgressError {
    EgressError::Program { program: path.to_owned(), why: why.to_owned() }
}

fn network_namespace(pid: Pid) -> String {
    format!("/proc/{}/ns/net", pid.as_raw_nonzero())
}

/// The box's user namespace, if it is another than kiln's.
fn own_user_namespace(pid: Pid) -> Option<PathBuf> {
    let theirs = PathBuf::from(format!("/proc/{}/ns/user", pid.as_raw_nonzero()));
    (fs::read_link(&theirs).ok()? != fs::read_link("/proc/self/ns/user").ok()?).then_some(theirs)
}
