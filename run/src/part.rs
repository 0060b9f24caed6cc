//! The parts of kiln that run as processes of their own: the same program, executed again.
//!
//! A part is chosen by `argv[0]` alone and is told everything else over a socket that is its
//! standard input. It starts with one thread and no descriptors but 0, 1 and 2, which is what a
//! process needs that is going to enter namespaces.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::{container, sandbox};

/// A process that kiln starts from its own program.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// What the process is called in `argv[0]`.
    pub name: &'static str,
    /// Its `main`.
    pub run: fn() -> std::process::ExitCode,
}

/// Every part there is; [`intercept`] looks here.
const PARTS: &[Part] = &[sandbox::SUPERVISOR, container::MONITOR, container::FILES];

/// Becomes the part that this process was started as, if it was, and never returns then.
///
/// It is the first line of `main`: before arguments are read and before any thread exists.
pub fn intercept() {
    let Some(name) = std::env::args_os().next() else { return };
    if let Some(part) = PARTS.iter().find(|part| name == *part.name) {
        let code = (part.run)();
        sandbox::leave(code);
    }
}

impl Part {
    /// The command that starts this part, with `control` as its standard input.
    pub(crate) fn command(self, control: OwnedFd) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(self.name).env_clear().stdin(control).stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    }
}
