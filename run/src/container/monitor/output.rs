//! The monitor's ends of a container's standard streams, non-blocking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::container::log::Stream;
use crate::container::terminal::Size;

/// How much input may wait for the container before its senders have to.
const PENDING_LIMIT: usize = 64 * 1024;

/// Standard output or standard error.
pub(super) struct Output {
    fd: OwnedFd,
    pub(super) stream: Stream,
}

/// What reading came to.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Output {
    pub(super) fn new(fd: OwnedFd, stream: Stream) -> Self {
        set_nonblocking(&fd);
        Self { fd, stream }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match rustix::io::read(&self.fd, buffer) {
            Ok(0) => Read::End,
            Ok(length) => Read::Bytes(length),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal without a process reads as EIO.
            Err(_) => Read::End,
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Standard input, and what waits for it.
pub(super) struct Input {
    fd: Option<OwnedFd>,
    pending: Vec<u8>,
    ending: bool,
}

impl Input {
    pub(super) fn new(fd: OwnedFd) -> Self {
        set_nonblocking(&fd);
        Self { fd: Some(fd), pending: Vec::new(), ending: false }
    }

    /// The input of a container that has none.
    pub(super) fn closed() -> Self {
        Self { fd: None, pending: Vec::new(), ending: true }
    }

    /// Takes what is typed; after the end it goes nowhere, as into a closed pipe.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ending {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Ends it after what is still pending.
    pub(super) fn end(&mut self) {
        self.ending = true;
        self.flush();
    }

    /// Writes what the container takes.
    pub(super) fn flush(&mut self) {
        let Some(fd) = &self.fd else { return };
        while !self.pending.is_empty() {
            match rustix::io::write(fd, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.pending = Vec::new();
                    self.ending = true;
                }
            }
        }
        if self.ending {
            self.fd = None;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= PENDING_LIMIT
    }

    /// The descriptor to wait for, while something is pending.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.pending.is_empty()).map(AsFd::as_fd)
    }

    /// Gives the terminal a size. What is no terminal has none.
    pub(super) fn resize(&self, size: Size) {
        if let Some(fd) = &self.fd {
            let _ = size.apply(fd);
        }
    }
}

fn set_nonblocking(fd: &OwnedFd) {
    // It cannot fail for a descriptor that is open.
    let _ = rustix::io::ioctl_fionbio(fd, true);
}
