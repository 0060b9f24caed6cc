//! The box's first process: does the plan's inner steps one after the other and becomes the command.
//!
//! It is a fork of the supervisor in new namespaces, as root of them, and loses that step by step.
//! What it needs of the host comes over its socket as detached mount trees.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::account::{Account, Existing};
use super::capabilities::CapabilitySet;
use super::command::Executable;
use super::confine;
use super::error::{Doing, Errno};
use super::paths::{self, Root, Want};
use super::plan::{Devices, Filesystem, Step, Tree};
use super::root::{Overlay, Scratch};
use super::spec::{Access, DEFAULT_PIDS, Init, PidsLimit, Source, Spec};
use super::stubs::Made;
use super::{Notice, SandboxError, devices, masks, mount, reaper, seccomp};
use crate::identity::IdMap;
use crate::network::{self, Interface};
use crate::probe::Tier;
use crate::sys::{self, Forked, Parent, Reach};
use crate::wire;

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
            Init::Command => {
                let Err(error) = executable.become_it();
                (error, control)
            }
            Init::Reaper => reaper::run(&executable, control),
        },
    };
    let _supervisor_gone = wire::send(&control, &Report::Failed(error), &[]);
    sys::exit(127)
}

/// Forks a sibling of the caller's future children in the user and network namespace of `pid`.
pub(super) fn join_and_fork(pid: i32, namespaces: UnshareFlags) -> Result<Forked, SandboxError> {
    let missing = |what: &str| format!("enter the {what} namespace of process {pid}");
    let (ours, theirs) = UnixStream::pair().doing(|| "make a socket".to_owned())?;
    let open = |name: &str| {
        rustix::fs::open(format!("/proc/{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let user = open("user").doing(|| missing("user"))?;
    let network = open("net").doing(|| missing("network"))?;
    let forked = sys::fork(UnshareFlags::empty(), Parent::Caller).doing(|| "fork".to_owned())?;
    if let Forked::Parent(_, between) = forked {
        drop(theirs);
        let answer = wire::receive::<Result<i32, Errno>>(&ours).doing(|| "hear from the sandbox".to_owned());
        let _ended = rustix::process::waitid(
            rustix::process::WaitId::PidFd(between.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
        let (pid, mut descriptors) = answer?.ok_or_else(|| SandboxError::Lost { part: "sandbox".to_owned() })?;
        let pid = pid.doing(|| missing("network"))?;
        let lost = || SandboxError::Lost { part: "sandbox".to_owned() };
        let pidfd = descriptors.pop().ok_or_else(lost)?;
        return Ok(Forked::Parent(rustix::process::Pid::from_raw(pid).ok_or_else(lost)?, pidfd));
    }
    match enter(&user, &network).and_then(|()| sys::fork(namespaces, Parent::Parent)) {
        Ok(Forked::Child) => Ok(Forked::Child),
        Ok(Forked::Parent(pid, pidfd)) => {
            let sent = wire::send(&theirs, &Ok::<_, Errno>(pid.as_raw_nonzero().get()), &[pidfd.as_fd()]);
            sys::exit(i32::from(sent.is_err()))
        }
        Err(error) => {
            let _supervisor_gone = wire::send(&theirs, &Err::<i32, _>(Errno::from(error)), &[]);
            sys::exit(1)
        }
    }
}

fn enter(user: &OwnedFd, network: &OwnedFd) -> std::io::Result<()> {
    let own = rustix::fs::stat("/proc/self/ns/user")?;
    if rustix::fs::fstat(user)?.st_ino != own.st_ino {
        rustix::thread::move_into_link_name_space(user.as_fd(), None)?;
    }
    Ok(rustix::thread::move_into_link_name_space(network.as_fd(), None)?)
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
        steps.iter().try_for_each(|step| self.step(step))?;
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
            Step::Pivot => self.pivot(),
            Step::Hostname(name) => {
                rustix::system::sethostname(name.as_bytes()).doing(|| format!("set the host name {name:?}"))
            }
            Step::Rlimits(limits) => self.rlimits(limits),
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
            // Done last, by `execute`; the others are the supervisor's.
            _ => Ok(()),
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

    fn root_overlay(&mut self, step: &Step) -> Result<(), SandboxError> {
        let Step::RootOverlay { lowers, data, state, upper, work, durability, attributes } = step else {
            return Ok(());
        };
        let overlay = Overlay {
            lowers: lowers.iter().map(|tree| self.take(*tree)).collect::<Result<_, _>>()?,
            data: data.map(|tree| self.take(tree)).transpose()?,
            state: self.take(*state)?,
            upper,
            work,
            durability: *durability,
            attributes: *attributes,
        };
        let mounted = overlay.mount(self.scratch()?);
        let tree = mounted.map_err(|error| SandboxError::RootFilesystem { source: error.into() })?;
        self.set_root(tree)
    }

    fn set_root(&mut self, tree: OwnedFd) -> Result<(), SandboxError> {
        // Only what is in place can be mounted on (before Linux 6.15).
        self.scratch()?.hold(&tree, "rootfs").map_err(|error| SandboxError::RootFilesystem { source: error.into() })?;
        self.root = Some(Root::new(tree));
        Ok(())
    }

    fn mount(
        &mut self,
        filesystem: &Filesystem,
        target: &Path,
        attributes: MountAttrFlags,
    ) -> Result<(), SandboxError> {
        let failed = |source: Errno| SandboxError::MountTarget { target: target.to_owned(), source };
        if *filesystem == Filesystem::Cgroups {
            let Some(sys) = self.sys.as_ref() else { return Ok(()) };
            // A kernel without cgroups has no such directory.
            let Ok(place) = Root::new(sys.try_clone().map_err(|e| failed(e.into()))?).open("fs/cgroup", OFlags::PATH)
            else {
                return Ok(());
            };
            return mount::cgroups(&self.tier.cgroups, place.as_fd(), attributes).map_err(|error| failed(error.into()));
        }
        let tree = mount::new(filesystem, attributes, self.gids.contains(5)).map_err(|error| failed(error.into()))?;
        self.put(&tree, target)?;
        match target.to_str() {
            Some("/proc") => self.proc = Some(tree),
            Some("/sys") => self.sys = Some(tree),
            Some("/dev") => self.dev = Some(tree),
            _ => {}
        }
        Ok(())
    }

    fn bind(&mut self, tree: Tree, target: &Path) -> Result<(), SandboxError> {
        let tree = self.take(tree)?;
        self.put(&tree, target)?;
        if target == Path::new("/sys") {
            self.sys = Some(tree);
        }
        Ok(())
    }

    /// Puts a tree where `target` leads in the root filesystem, which nothing of the image can bend.
    fn put(&mut self, tree: &OwnedFd, target: &Path) -> Result<(), SandboxError> {
        let failed =
            |source: rustix::io::Errno| SandboxError::MountTarget { target: target.to_owned(), source: source.into() };
        let want = match paths::kind(tree.as_fd()).map_err(failed)? {
            rustix::fs::FileType::Directory => Want::Directory,
            _ => Want::File,
        };
        let place = self.root()?.find_or_make(target, want).map_err(failed)?;
        if paths::is_kernel_filesystem(place.file.as_fd()).map_err(failed)? {
            return Err(SandboxError::MountTargetRefused { target: target.to_owned() });
        }
        if !place.made.is_empty() {
            self.report(&Report::Made(place.made), &[])?;
        }
        mount::attach(tree, place.file).map_err(failed)
    }

    fn devices(&mut self, devices: &Devices) -> Result<(), SandboxError> {
        let doing = || "make /dev".to_owned();
        let dev = self.dev()?.try_clone_to_owned().doing(doing)?;
        devices::make_links(dev.as_fd()).doing(doing)?;
        match devices {
            Devices::Made => devices::make(dev.as_fd()).doing(doing),
            Devices::AllOfHost => devices::make_all_of(Path::new("/dev"), dev.as_fd()).doing(doing),
            Devices::Bound(nodes) => nodes.iter().try_for_each(|(name, tree)| {
                let tree = self.take(*tree)?;
                devices::bind(dev.as_fd(), name, &tree).doing(doing)
            }),
        }
    }

    fn file(&mut self, index: usize, target: &Path, access: Access) -> Result<(), SandboxError> {
        let Source::File { bytes, mode, uid, gid } = &self.spec.mounts[index].source else { return Ok(()) };
        let failed =
            |source: std::io::Error| SandboxError::MountTarget { target: target.to_owned(), source: source.into() };
        let file = self.new_file(&format!("mount-{index}"), bytes).map_err(failed)?;
        for (id, existing) in [(*uid, &self.uids), (*gid, &self.gids)] {
            if !existing.contains(id) {
                return Err(SandboxError::IdOutOfRange { id: id.to_string(), maximum: existing.greatest() });
            }
        }
        let (user, group) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        rustix::fs::fchown(&file, Some(user), Some(group)).map_err(|error| failed(error.into()))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode)).map_err(|error| failed(error.into()))?;
        self.put_file(&file, target, access)
    }

    fn etc(&mut self, access: Access) -> Result<(), SandboxError> {
        for (target, bytes) in std::mem::take(&mut self.go.etc) {
            let name = format!("etc-{}", target.file_name().unwrap_or_default().display());
            let file = self.new_file(&name, &bytes).doing(|| format!("write {}", target.display()))?;
            self.put_file(&file, &target, access)?;
        }
        Ok(())
    }

    /// A file on a tmpfs that can be reached only where the file is mounted.
    fn new_file(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
        if self.files.is_none() {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let files = mount::tmpfs(0o700, None, attributes)?;
            let scratch = self.scratch.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
            scratch.hold(&files, "files")?;
            self.files = Some(files);
        }
        let directory = self.files.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = &rest[written..];
        }
        Ok(file)
    }

    fn put_file(&mut self, file: &OwnedFd, target: &Path, access: Access) -> Result<(), SandboxError> {
        let attributes = match access {
            Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
            Access::ReadWrite => MountAttrFlags::empty(),
        };
        let tree = mount::copy_of(file.as_fd(), Reach::Single, attributes);
        let tree =
            tree.map_err(|error| SandboxError::MountTarget { target: target.to_owned(), source: error.into() })?;
        self.put(&tree, target)
    }

    fn console(&mut self, rows: u16, columns: u16) -> Result<(), SandboxError> {
        let console = devices::console(self.dev()?, rows, columns).doing(|| "make a terminal".to_owned())?;
        self.report(&Report::Console, &[console.master.as_fd()])?;
        self.terminal = Some(console.terminal);
        Ok(())
    }

    fn mask(&mut self) -> Result<(), SandboxError> {
        let doing = || "mask paths in /proc and /sys".to_owned();
        let missing = || SandboxError::Lost { part: "sandbox".to_owned() };
        let null =
            rustix::fs::openat(self.dev()?, "null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let (proc, sys) = (self.proc.as_ref().ok_or_else(missing)?, self.sys.as_ref().ok_or_else(missing)?);
        masks::apply(proc.as_fd(), sys.as_fd(), null.as_fd()).doing(doing)
    }

    fn pivot(&mut self) -> Result<(), SandboxError> {
        let doing = || "make the root filesystem the root".to_owned();
        rustix::process::fchdir(self.root()?.directory()).doing(doing)?;
        // The old root comes to lie on top of the new one, and is taken away there.
        rustix::process::pivot_root(".", ".").doing(doing)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).doing(doing)?;
        rustix::process::chdir("/").doing(doing)?;
        let root =
            rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
        let root = self.root.insert(Root::new(root));
        let existing = Existing { uids: &self.uids, gids: &self.gids };
        self.account = Some(Account::find(root, &self.spec.command, existing)?);
        for held in [&mut self.proc, &mut self.sys, &mut self.dev, &mut self.files] {
            *held = None;
        }
        self.scratch = None;
        Ok(())
    }

    fn rlimits(&self, limits: &[super::spec::Rlimit]) -> Result<(), SandboxError> {
        let from_inside = self.go.pids_limit && self.spec.limits.pids == PidsLimit::Default;
        if from_inside && self.uids.count() < u64::from(u32::MAX) {
            confine::limit_processes(DEFAULT_PIDS).doing(|| "limit the number of processes".to_owned())?;
        }
        limits.iter().try_for_each(confine::rlimit)
    }

    fn working_directory(&mut self, path: &Path) -> Result<(), SandboxError> {
        let failed =
            |source: rustix::io::Errno| SandboxError::WorkingDirectory { path: path.to_owned(), source: source.into() };
        let place = self.root()?.find_or_make(path, Want::Directory).map_err(failed)?;
        let account = self.account()?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(account.uid), rustix::fs::Gid::from_raw(account.gid));
        let root = self.root()?;
        for made in &place.made {
            let directory =
                root.open(&made.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW).map_err(failed)?;
            rustix::fs::fchown(directory, Some(uid), Some(gid)).map_err(failed)?;
        }
        rustix::process::fchdir(&place.file).map_err(failed)?;
        // A directory outside of the root has no path here (CVE-2024-21626).
        let current = rustix::process::getcwd(Vec::new()).map_err(failed)?;
        if current.to_bytes().first() == Some(&b'/') { Ok(()) } else { Err(failed(rustix::io::Errno::NOENT)) }
    }

    fn shut_abstract_sockets(&self) -> Result<(), SandboxError> {
        const WITH_SCOPES: u32 = 6;
        if self.tier.landlock_abi < WITH_SCOPES {
            return self.report(&Report::Notice(Notice::AbstractSocketsReachable), &[]);
        }
        sys::landlock_scope_abstract_sockets().doing(|| "shut abstract sockets".to_owned())
    }

    fn seccomp(&self, capabilities: CapabilitySet) -> Result<(), SandboxError> {
        match seccomp::filter(capabilities) {
            Some(filter) => sys::seccomp(&filter).doing(|| "install the system call filter".to_owned()),
            None => {
                let why = format!("kiln has no table of them for {}", std::env::consts::ARCH);
                self.report(&Report::Notice(Notice::NoSeccomp { why }), &[])
            }
        }
    }

    /// Everything but the execve itself.
    fn ready(&self, stdio: &[OwnedFd; 3]) -> Result<Executable, SandboxError> {
        let doing = || "connect standard input and output".to_owned();
        let executable = Executable::find(self.root()?, &self.spec.command, self.account()?)?;
        // After the change of user, which resets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the sandbox to kiln".to_owned())?;
        let [stdin, stdout, stderr] = match &self.terminal {
            Some(terminal) => {
                rustix::process::ioctl_tiocsctty(terminal).doing(|| "take the terminal".to_owned())?;
                [terminal; 3]
            }
            None => stdio.each_ref(),
        };
        nix::unistd::dup2_stdin(stdin).doing(doing)?;
        nix::unistd::dup2_stdout(stdout).doing(doing)?;
        nix::unistd::dup2_stderr(stderr).doing(doing)?;
        sys::close_on_exec_from(3).doing(|| "close what is kiln's".to_owned())?;
        self.report(&Report::Executing, &[])?;
        Ok(executable)
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
