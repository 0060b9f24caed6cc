//! The monitor: the process that a container lives under.
//!
//! Every running container has one, which is kiln executed again in a session of its own. It starts
//! the sandbox, writes the log, forwards ports, serves clients, records the exit, cleans up, and
//! ends. It mounts nothing. When it dies, however it dies, the sandbox dies with it, and whoever looks
//! next sees that its lock is free.
//!
//! It is born with one socket, over which its starter says which container it is for, and over which
//! it answers; for `kiln run` the starter stays on as the first client, so that no output is missed.

mod client;
mod output;
mod probes;
mod rest;
mod serve;
mod start;
mod visits;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::attach::connection::Connection;
use super::attach::frame::{Failure, Frame, Report, Request};
use super::error::ContainerError;
use crate::part::Part;

/// The monitor as a part of kiln.
pub(crate) const MONITOR: Part = Part { name: "kiln-monitor", run: main };

fn main() -> ExitCode {
    let Ok(control) = crate::sys::inherited(0) else { return ExitCode::FAILURE };
    let Ok(mut starter) = Connection::new(UnixStream::from(control)) else { return ExitCode::FAILURE };
    crate::sys::ignore_broken_pipes();
    leave_the_starter();
    let Ok(Some(Frame::Request(Request::Start(request)))) = starter.wait() else { return ExitCode::FAILURE };
    match start::start(&request) {
        Ok(started) => serve::serve(&request, started, starter),
        Err(error) => {
            let failure = Failure { code: error.exit_code(), message: with_causes(&error) };
            starter.queue(&Frame::Report(Report::Failed(failure)));
            starter.drain();
            ExitCode::FAILURE
        }
    }
}

/// A session without a terminal, a directory that nobody unmounts, and nothing of the starter's open.
fn leave_the_starter() {
    // A process that leads its group already cannot, and has no need to.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let null = OwnedFd::from(null);
        let _ = rustix::stdio::dup2_stdin(&null);
    }
}

/// An error and everything that caused it, as one line.
fn with_causes(error: &ContainerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
