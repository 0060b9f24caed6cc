//! Process 1 for commands that are no init: forwards signals, collects orphans, ends with the command.

use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::DumpableBehavior;

use super::SandboxError;
use super::command::Executable;
use super::error::Doing;
use crate::sys;

/// Runs `executable` as a child of this process. Returns in the child, and only if it cannot.
pub(super) fn run(executable: &Executable, control: UnixStream) -> (SandboxError, UnixStream) {
    let result = spawn(executable);
    match result {
        Ok(Role::Init(command)) => {
            drop(control);
            sys::exit(serve(command))
        }
        Ok(Role::Command(error)) | Err(error) => (error, control),
    }
}

enum Role {
    Init(Pid),
    Command(SandboxError),
}

fn spawn(executable: &Executable) -> Result<Role, SandboxError> {
    // This process is kiln: what runs beside it must not be able to look at it, or at its file.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide the init".to_owned())?;
    SigSet::all().thread_set_mask().doing(|| "block signals".to_owned())?;
    match sys::fork_simply().doing(|| "fork".to_owned())? {
        Some(pid) => Ok(Role::Init(Pid::from_raw(pid.as_raw_nonzero().get()))),
        None => {
            // A group of its own, in the foreground of its terminal: ^C reaches the command once.
            let _leader_already = rustix::process::setpgid(None, None);
            let _no_terminal = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
            SigSet::empty().thread_set_mask().doing(|| "unblock signals".to_owned())?;
            let Err(error) = executable.become_it();
            Ok(Role::Command(error))
        }
    }
}

fn serve(command: Pid) -> i32 {
    loop {
        match SigSet::all().wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = collect(command) {
                    return code;
                }
            }
            Ok(signal) => {
                let _ended = kill(command, signal);
            }
            Err(_interrupted) => {}
        }
    }
}

/// Waits for whoever has ended; gives the code to end with if the command has.
fn collect(command: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
