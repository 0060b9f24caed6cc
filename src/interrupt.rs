//! Ctrl-C: the first asks for an orderly end, the second ends at once.
//!
//! Most of a build looks whether it was cancelled; what does not (a registry that is silent, a large
//! directory that is read) is not waited for. The store is made for being left at any instant, and a
//! sandbox does not outlive kiln.

use std::thread;
use std::time::Duration;

use builder::progress::Cancel;
use nix::sys::signal::{SigSet, Signal};

use crate::report::Failure;

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_millis(1500);

/// What a shell says of a command that SIGINT ended.
const INTERRUPTED: i32 = 130;

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
                std::process::exit(INTERRUPTED);
            }
            cancel.cancel();
            thread::spawn(|| {
                thread::sleep(GRACE);
                std::process::exit(INTERRUPTED);
            });
        }
    })?;
    Ok(())
}
