//! Ctrl-C: the first asks for an orderly end, the second ends at once.
//!
//! All long work looks whether its end was asked for, many times a second. What cannot look (a file system that
//! does not answer, an output that nobody reads) is not waited for. The store is made for being left at any instant,
//! and a sandbox does not outlive kiln.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use store::Cancel;

use crate::context::note;
use crate::report::Failure;

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_millis(1500);

/// What a shell says of a command that SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Blocks SIGINT, SIGTERM and SIGHUP in this process and sets the flag when one comes.
///
/// Must be called before other threads start, so that they inherit the blocked signals.
pub(crate) fn cancel_on_signals(cancel: &Cancel) -> Result<(), Failure> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let cancel = cancel.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            if cancel.is_cancelled() {
                end();
            }
            cancel.cancel();
            thread::spawn(|| {
                thread::sleep(GRACE);
                end();
            });
        }
    })?;
    Ok(())
}

fn end() -> ! {
    note("cancelled");
    std::process::exit(INTERRUPTED.into());
}

/// Standard input that whoever asks for an end does not have to close. Nothing is read ahead.
pub(crate) fn stdin(cancel: &Cancel) -> impl Read + Send + use<> {
    Stdin { cancel: cancel.clone() }
}

struct Stdin {
    cancel: Cancel,
}

impl Read for Stdin {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let stdin = rustix::stdio::stdin();
        loop {
            self.cancel.check()?;
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK_AGAIN)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(stdin, out)?),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
