//! A visitor: a fork of the supervisor that enters a box that runs, and becomes a command there.
//!
//! Until it is its command it is kiln, in sight of processes that nobody trusts. It is not dumpable from
//! before it enters: they can neither trace it nor open its program, descriptors or directories
//! (CVE-2019-5736, CVE-2024-21626).

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, Signal};
use rustix::thread::{ThreadNameSpaceType as Namespaces, UnshareFlags};

use super::super::account::{Account, Existing};
use super::super::capabilities::CapabilitySet;
use super::super::cgroup::Doors;
use super::super::command::Executable;
use super::super::error::Doing;
use super::super::paths::Root;
use super::super::spec::{AbstractSockets, DEFAULT_PIDS, Network, PidsLimit, Seccomp, Spec, Terminal};
use super::super::visit::{Privileges, Visit};
use super::super::{SandboxError, confine, devices, seccomp};
use super::Report;
use super::confinement::{connect, is_inside};
use super::join::fork_elsewhere;
use crate::identity::IdMap;
use crate::probe::Tier;
use crate::sys::{self, Forked};
use crate::wire;

/// The box that a visitor enters, and what it does there.
pub(in super::super) struct Room<'a> {
    pub(in super::super) spec: &'a Spec,
    pub(in super::super) tier: &'a Tier,
    pub(in super::super) visit: &'a Visit,
    pub(in super::super) uids: IdMap,
    pub(in super::super) gids: IdMap,
    /// Whether the box's cgroup limits the number of processes.
    pub(in super::super) limits_pids: bool,
}

/// Forks a child of the caller's into all namespaces of a child of the caller's.
pub(in super::super) fn fork_into(pid: Pid, pidfd: BorrowedFd<'_>, doors: &Doors) -> Result<Forked, SandboxError> {
    let namespaces = namespaces_of(pid);
    let enter = || {
        doors.enter()?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        Ok(rustix::thread::move_into_thread_name_spaces(pidfd, namespaces)?)
    };
    fork_elsewhere(doors.birthplace(), enter, UnshareFlags::empty(), || "enter the sandbox's namespaces".to_owned())
}

/// Those of a process that are not this one's own: the host's can neither be entered by all, nor need be.
fn namespaces_of(pid: Pid) -> Namespaces {
    let known = [
        ("user", Namespaces::USER),
        ("mnt", Namespaces::MOUNT),
        ("pid", Namespaces::PROCESS_ID),
        ("ipc", Namespaces::INTER_PROCESS_COMMUNICATION),
        ("uts", Namespaces::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("net", Namespaces::NETWORK),
        ("cgroup", Namespaces::CONTROL_GROUP),
    ];
    let of = |process: &str, name: &str| std::fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
    let process = pid.as_raw_nonzero().to_string();
    let foreign =
        known.into_iter().filter(|(name, _)| of("self", name).is_none_or(|own| of(&process, name) != Some(own)));
    foreign.fold(Namespaces::empty(), |all, (_, namespace)| all | namespace)
}

/// Runs in the child and never returns.
pub(in super::super) fn main(room: &Room<'_>, control: UnixStream, stdio: &[OwnedFd; 3]) -> ! {
    let Err(error) = room.become_command(&control, stdio);
    let _supervisor_gone = wire::send(&control, &Report::Failed(error), &[]);
    sys::exit(127)
}

impl Room<'_> {
    fn become_command(&self, control: &UnixStream, stdio: &[OwnedFd; 3]) -> Result<Infallible, SandboxError> {
        confine::become_root(&self.uids).doing(|| "become root of the sandbox".to_owned())?;
        let _leader_already = rustix::process::setsid();
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // A kernel without keyrings has nothing to keep.
        let _no_keyrings = sys::new_session_keyring();
        let doing = || "open the sandbox's root".to_owned();
        let root =
            rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let root = Root::new(root);
        let account = Account::find(&root, &self.visit.command, Existing { uids: &self.uids, gids: &self.gids })?;
        let terminal = self.terminal(&root, control)?;
        change_directory(&root, &self.visit.command.cwd)?;
        confine::give_pipes(stdio, account.uid, account.gid);
        self.confine(&account)?;
        let executable = Executable::find(&root, &self.visit.command, &account)?;
        // After the change of user, which resets both.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the process to kiln".to_owned())?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .doing(|| "hide the process".to_owned())?;
        connect(terminal.as_ref(), stdio)?;
        self.limit()?;
        wire::send(control, &Report::Executing, &[]).doing(|| "talk to the supervisor".to_owned())?;
        executable.become_it()
    }

    fn limit(&self) -> Result<(), SandboxError> {
        let from_inside = !self.limits_pids && self.spec.limits.pids == PidsLimit::Default;
        if from_inside && self.uids.count() < u64::from(u32::MAX) {
            confine::limit_processes(DEFAULT_PIDS).doing(|| "limit the number of processes".to_owned())?;
        }
        self.spec.rlimits.iter().try_for_each(confine::rlimit)
    }

    fn terminal(&self, root: &Root, control: &UnixStream) -> Result<Option<OwnedFd>, SandboxError> {
        let Terminal::Console { rows, columns } = self.visit.terminal else { return Ok(None) };
        let doing = || "make a terminal".to_owned();
        // Not what the box may have put in its place: opening that could do anything.
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let place = root.open("/dev/pts/ptmx", OFlags::PATH).doing(doing)?;
        if !devices::is_ptmx(place.as_fd()).doing(doing)? {
            return Err(SandboxError::MountTargetRefused { target: "/dev/pts/ptmx".into() });
        }
        let master = root.open("/dev/pts/ptmx", flags).doing(doing)?;
        let terminal = devices::other_end(&master, rows, columns).doing(doing)?;
        wire::send(control, &Report::Console, &[master.as_fd()]).doing(doing)?;
        Ok(Some(terminal))
    }

    /// In the order in which a box is closed: after each step the process can do less.
    fn confine(&self, account: &Account) -> Result<(), SandboxError> {
        let spec = self.spec;
        confine::become_user(account).doing(|| "change to the user".to_owned())?;
        if spec.network == (Network::Host { abstract_sockets: AbstractSockets::Shut }) && self.tier.landlock_abi >= 6 {
            sys::landlock_scope_abstract_sockets().doing(|| "shut abstract sockets".to_owned())?;
        }
        if self.visit.privileges == Privileges::All {
            return confine::capabilities(CapabilitySet::all(), account.uid).doing(|| "set capabilities".to_owned());
        }
        if spec.no_new_privileges {
            rustix::thread::set_no_new_privs(true).doing(|| "give up gaining privileges".to_owned())?;
        }
        if spec.seccomp == Seccomp::Default
            && let Some(filter) = seccomp::filter(spec.capabilities)
        {
            sys::seccomp(&filter).doing(|| "install the system call filter".to_owned())?;
        }
        confine::capabilities(spec.capabilities, account.uid).doing(|| "give up capabilities".to_owned())
    }
}

fn change_directory(root: &Root, path: &Path) -> Result<(), SandboxError> {
    let failed =
        |source: rustix::io::Errno| SandboxError::WorkingDirectory { path: path.to_owned(), source: source.into() };
    let directory = root.open(path, OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
    rustix::process::fchdir(&directory).map_err(failed)?;
    is_inside(path)
}
