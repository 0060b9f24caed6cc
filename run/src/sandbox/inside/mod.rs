//! The box's first process: does the plan's inner steps one after the other and becomes the command.
//!
//! It is a fork of the supervisor in new namespaces, as root of them, and loses that step by step.
//! What it needs of the host comes over its socket as detached mount trees.

mod confinement;
mod join;
mod mounts;
pub(super) mod visit;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::command::Executable;
use super::confine;
use super::error::Doing;
use super::paths::Root;
use super::plan::{Step, Tree};
use super::root::Scratch;
use super::spec::{Init, Spec};
use super::stubs::Made;
use super::{Notice, SandboxError, reaper};
use crate::identity::IdMap;
use crate::network::{self, Interface};
use crate::probe::Tier;
use crate::sys::{self, Reach};
use crate::wire;

pub(super) use join::join_and_fork;
pub(super) use visit::Room;

/// What the supervisor says when everything outside is ready; the trees follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {
    /// How many trees follow.
    pub(super) trees: usize,
    /// Files to mount, and what they say.
    pub(super) etc: Vec<(PathBuf, Vec<u8>)>,
    /// The interface to configure.
    pub(super) interface: Option<Interface>,
    /// Whether processes are to be limited from inside, for want of a cgroup.
    pub(super) pids_limit: bool,
}

/// What the supervisor hears.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Mount points were made.
    Made(Vec<Made>),
    /// The master of a terminal comes along.
    Console,
    /// Something is less than was asked for.
    Notice(Notice),
    /// The next thing is the command, unless a failure follows.
    Executing,
    /// It is over.
    Failed(SandboxError),
}

/// Runs in the child and never returns.
pub(super) fn main(spec: &Spec, tier: &Tier, steps: &[Step], control: UnixStream, stdio: &[OwnedFd; 3]) -> ! {
    let Ok(mut inside) = Inside::new(spec, tier, control) else { sys::exit(125) };
    let prepared = inside.run(steps, stdio);
    let control = inside.control;
    let (error, control) = match prepared {
        Err(error) => (error, control),
        Ok(executable) => match spec.init {
            Init::Command | Init::Still => {
                let Err(error) = executable.become_it();
                (error, control)
            }
            Init::Reaper => reaper::run(&executable, control),
        },
    };
    let _supervisor_gone = wire::send(&control, &Report::Failed(error), &[]);
    sys::exit(127)
}

struct Inside<'a> {
    spec: &'a Spec,
    tier: &'a Tier,
    control: UnixStream,
    go: Go,
    trees: Vec<Option<OwnedFd>>,
    uids: IdMap,
    gids: IdMap,
    scratch: Option<Scratch>,
    root: Option<Root>,
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    dev: Option<OwnedFd>,
    files: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    account: Option<Account>,
}

impl<'a> Inside<'a> {
    fn new(spec: &'a Spec, tier: &'a Tier, control: UnixStream) -> std::io::Result<Self> {
        let lost = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (go, _) = wire::receive::<Go>(&control)?.ok_or_else(lost)?;
        let mut trees = Vec::with_capacity(go.trees);
        while trees.len() < go.trees {
            let ((), descriptors) = wire::receive(&control)?.ok_or_else(lost)?;
            trees.extend(descriptors.into_iter().map(Some));
        }
        let map = |file| IdMap::read(&Path::new("/proc/self").join(file));
        let (uids, gids) = (map("uid_map"), map("gid_map"));
        Ok(Self {
            spec,
            tier,
            control,
            go,
            trees,
            uids,
            gids,
            scratch: None,
            root: None,
            proc: None,
            sys: None,
            dev: None,
            files: None,
            terminal: None,
            account: None,
        })
    }

    fn run(&mut self, steps: &[Step], stdio: &[OwnedFd; 3]) -> Result<Executable, SandboxError> {
        for step in steps {
            if *step == Step::Identity {
                let account = self.account()?;
                confine::give_pipes(stdio, account.uid, account.gid);
            }
            self.step(step)?;
        }
        if self.spec.init == Init::Still {
            self.hold_still()?;
        }
        self.ready(stdio)
    }

    fn step(&mut self, step: &Step) -> Result<(), SandboxError> {
        match step {
            Step::Detach => self.detach(),
            Step::CgroupNamespace => {
                sys::unshare(UnshareFlags::NEWCGROUP).doing(|| "make a cgroup namespace".to_owned())
            }
            Step::Loopback => network::up(self.go.interface.as_ref()).doing(|| "bring the network up".to_owned()),
            Step::RootOverlay { .. } => self.root_overlay(step),
            Step::RootDirectory(tree) => {
                let tree = self.take(*tree)?;
                self.set_root(tree)
            }
            Step::Mount { filesystem, target, attributes } => self.mount(filesystem, target, *attributes),
            Step::Bind { tree, target } => self.bind(*tree, target),
            Step::HostCgroups(tree) => self.host_cgroups(*tree),
            Step::Device { tree, target } => self.device(*tree, target),
            Step::Devices(devices) => self.devices(devices),
            Step::File { mount, target, access } => self.file(*mount, target, *access),
            Step::Etc { access } => self.etc(*access),
            Step::Console { rows, columns } => self.console(*rows, *columns),
            Step::Mask => self.mask(),
            Step::RootReadOnly => {
                let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
                sys::mount_setattr(self.root()?.directory(), Reach::Single, attributes, None)
                    .doing(|| "make the root filesystem read-only".to_owned())
            }
            Step::Sysctls(parameters) => self.sysctls(parameters),
            Step::Pivot => self.pivot(),
            Step::Hostname(name) => {
                rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name {name:?}"))
            }
            Step::Domain(name) => {
                rustix::system::setdomainname(name.as_bytes()).doing(|| format!("set the domain name {name:?}"))
            }
            Step::WorkingDirectory(path) => self.working_directory(path),
            Step::Identity => confine::become_user(self.account()?).doing(|| "change to the user".to_owned()),
            Step::ShutAbstractSockets => self.shut_abstract_sockets(),
            Step::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).doing(|| "give up gaining privileges".to_owned())
            }
            Step::Seccomp(capabilities) => self.seccomp(*capabilities),
            Step::Capabilities(capabilities) => {
                let uid = self.account()?.uid;
                confine::capabilities(*capabilities, uid).doing(|| "give up capabilities".to_owned())
            }
            // The supervisor's, and what `ready` does last. Written out: a step that is forgotten confines nobody.
            Step::Cgroup(_)
            | Step::Fork { .. }
            | Step::OomScore(_)
            | Step::MapIds { .. }
            | Step::OpenTree { .. }
            | Step::Egress
            | Step::Rlimits(_)
            | Step::Execute => Ok(()),
        }
    }

    fn detach(&mut self) -> Result<(), SandboxError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the sandbox to kiln".to_owned())?;
        confine::become_root(&self.uids).doing(|| "become root of the sandbox".to_owned())?;
        let _leader_already = rustix::process::setsid();
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // A kernel without keyrings has nothing to keep.
        let _no_keyrings = sys::new_session_keyring();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).doing(|| "make mounts private".to_owned())?;
        self.scratch = Some(Scratch::new().doing(|| "mount a scratch directory".to_owned())?);
        Ok(())
    }

    fn report(&self, report: &Report, descriptors: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        wire::send(&self.control, report, descriptors).doing(|| "talk to the supervisor".to_owned())
    }

    fn take(&mut self, tree: Tree) -> Result<OwnedFd, SandboxError> {
        self.trees
            .get_mut(tree.0)
            .and_then(Option::take)
            .ok_or_else(|| SandboxError::Lost { part: "supervisor".to_owned() })
    }

    fn root(&self) -> Result<&Root, SandboxError> {
        self.root.as_ref().ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })
    }

    fn scratch(&self) -> Result<&Scratch, SandboxError> {
        self.scratch.as_ref().ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })
    }

    fn dev(&self) -> Result<BorrowedFd<'_>, SandboxError> {
        self.dev.as_ref().map(AsFd::as_fd).ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })
    }

    fn account(&self) -> Result<&Account, SandboxError> {
        self.account.as_ref().ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })
    }
}
