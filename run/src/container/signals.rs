//! Signals to this process, as bytes in a pipe that can be polled.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::signal::Signal;

/// What a foreground container gets in the caller's place: whatever can be caught, but for what tells
/// of children and pipes of the caller's own, of its windows, and of its own faults.
pub(super) const FORWARDED: &[Signal] = &[
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALRM,
    Signal::TERM,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
];

/// The terminal has another size.
pub(super) const WINDOW: Signal = Signal::WINCH;

/// Catches signals for as long as it exists.
pub(super) struct SignalPipe {
    read: OwnedFd,
    _caught: crate::sys::Caught,
}

impl SignalPipe {
    /// Catches these signals.
    pub(super) fn catch(signals: &[Signal]) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let numbers: Vec<i32> = signals.iter().map(|signal| signal.number()).collect();
        Ok(Self { read, _caught: crate::sys::catch_signals(&numbers, write)? })
    }

    /// The signals that came since the last time.
    pub(super) fn taken(&self) -> Vec<Signal> {
        let mut buffer = [0u8; 64];
        let length = rustix::io::read(&self.read, &mut buffer).unwrap_or(0);
        buffer[..length].iter().filter_map(|number| Signal::from_number((*number).into())).collect()
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
