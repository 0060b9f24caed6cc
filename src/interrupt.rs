//! Ctrl-C: the first asks for an orderly end, the second ends at once.

use std::thread;

use builder::progress::Cancel;
use nix::sys::signal::{SigSet, Signal};

use crate::report::Failure;

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
                std::process::exit(130);
            }
            cancel.cancel();
        }
    })?;
    Ok(())
}
