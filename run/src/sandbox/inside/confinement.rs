//! The steps from the pivot to the execve: after each the process can do less.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;

use super::super::account::{Account, Existing};
use super::super::capabilities::CapabilitySet;
use super::super::command::Executable;
use super::super::error::Doing;
use super::super::paths::{Root, Want};
use super::super::spec::{DEFAULT_PIDS, PidsLimit, Rlimit};
use super::super::{Notice, SandboxError, confine, seccomp};
use super::{Inside, Report};
use crate::sys;

impl Inside<'_> {
    pub(super) fn pivot(&mut self) -> Result<(), SandboxError> {
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

    fn rlimits(&self, limits: &[Rlimit]) -> Result<(), SandboxError> {
        let from_inside = self.go.pids_limit && self.spec.limits.pids == PidsLimit::Default;
        if from_inside && self.uids.count() < u64::from(u32::MAX) {
            confine::limit_processes(DEFAULT_PIDS).doing(|| "limit the number of processes".to_owned())?;
        }
        limits.iter().try_for_each(confine::rlimit)
    }

    pub(super) fn working_directory(&mut self, path: &Path) -> Result<(), SandboxError> {
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
        is_inside(path)
    }

    pub(super) fn shut_abstract_sockets(&self) -> Result<(), SandboxError> {
        const WITH_SCOPES: u32 = 6;
        if self.tier.landlock_abi < WITH_SCOPES {
            return self.report(&Report::Notice(Notice::AbstractSocketsReachable), &[]);
        }
        sys::landlock_scope_abstract_sockets().doing(|| "shut abstract sockets".to_owned())
    }

    pub(super) fn seccomp(&self, capabilities: CapabilitySet) -> Result<(), SandboxError> {
        match seccomp::filter(capabilities) {
            Some(filter) => sys::seccomp(&filter).doing(|| "install the system call filter".to_owned()),
            None => {
                let why = format!("kiln has no table of them for {}", std::env::consts::ARCH);
                self.report(&Report::Notice(Notice::NoSeccomp { why }), &[])
            }
        }
    }

    /// Tells the supervisor that the box is there, and waits to be killed.
    pub(super) fn hold_still(&self) -> Result<(), SandboxError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the sandbox to kiln".to_owned())?;
        self.report(&Report::Executing, &[])?;
        let _supervisor_gone = self.control.shutdown(std::net::Shutdown::Both);
        loop {
            nix::unistd::pause();
        }
    }

    /// Everything but the execve itself.
    pub(super) fn ready(&self, stdio: &[OwnedFd; 3]) -> Result<Executable, SandboxError> {
        let executable = Executable::find(self.root()?, &self.spec.command, self.account()?)?;
        // After the change of user, which resets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "tie the sandbox to kiln".to_owned())?;
        connect(self.terminal.as_ref(), stdio)?;
        self.rlimits(&self.spec.rlimits)?;
        self.report(&Report::Executing, &[])?;
        Ok(executable)
    }
}

/// Whether the working directory is below the root: one outside of it has no path here (CVE-2024-21626).
pub(super) fn is_inside(path: &Path) -> Result<(), SandboxError> {
    let failed =
        |source: rustix::io::Errno| SandboxError::WorkingDirectory { path: path.to_owned(), source: source.into() };
    let current = rustix::process::getcwd(Vec::new()).map_err(failed)?;
    if current.to_bytes().first() == Some(&b'/') { Ok(()) } else { Err(failed(rustix::io::Errno::NOENT)) }
}

/// Makes a terminal, or three descriptors, standard input, output and error, and the end of all others.
pub(super) fn connect(terminal: Option<&OwnedFd>, stdio: &[OwnedFd; 3]) -> Result<(), SandboxError> {
    let doing = || "connect standard input and output".to_owned();
    let [stdin, stdout, stderr] = match terminal {
        Some(terminal) => {
            rustix::process::ioctl_tiocsctty(terminal).doing(|| "take the terminal".to_owned())?;
            [terminal; 3]
        }
        None => stdio.each_ref(),
    };
    nix::unistd::dup2_stdin(stdin).doing(doing)?;
    nix::unistd::dup2_stdout(stdout).doing(doing)?;
    nix::unistd::dup2_stderr(stderr).doing(doing)?;
    sys::close_on_exec_from(3).doing(|| "close what is kiln's".to_owned())
}
