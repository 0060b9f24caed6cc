//! One end of a conversation in frames that never blocks: what cannot be sent yet waits here.
//!
//! Whoever uses it looks at [`Connection::unsent`] before making more, which is what bounds it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::frame::{Frame, decode, encode, encode_output};
use crate::container::log::Stream;

/// How much may wait to be sent before its maker should pause.
pub(crate) const UNSENT_LIMIT: usize = 1 << 20;

/// A non-blocking stream of frames in both directions.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    received: Vec<u8>,
    taken: usize,
    unsent: Vec<u8>,
    sent: usize,
}

/// Whether the other end is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    There,
    Gone,
}

impl Connection {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, received: Vec::new(), taken: 0, unsent: Vec::new(), sent: 0 })
    }

    /// Queues a frame.
    pub(crate) fn queue(&mut self, frame: &Frame) {
        encode(frame, &mut self.unsent);
    }

    /// Queues output of a container.
    pub(crate) fn queue_output(&mut self, stream: Stream, bytes: &[u8]) {
        encode_output(stream, bytes, &mut self.unsent);
    }

    /// How many bytes wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// What to poll the descriptor for.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.unsent() == 0 { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> Peer {
        while self.unsent() > 0 {
            match self.socket.write(&self.unsent[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Peer::There,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Peer::Gone,
            }
        }
        self.forget_unsent();
        Peer::There
    }

    /// Reads what is there, once; [`Self::next`] then has the frames of it.
    pub(crate) fn fill(&mut self) -> Peer {
        let mut buffer = [0; 32 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => Peer::Gone,
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                Peer::There
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Peer::There,
            Err(_) => Peer::Gone,
        }
    }

    /// Takes the next frame of what was read.
    ///
    /// # Errors
    /// If the other end does not speak this language.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let frame = decode(&self.received[self.taken..])?;
        match frame {
            Some((frame, length)) => {
                self.taken += length;
                Ok(Some(frame))
            }
            None => {
                self.received.drain(..self.taken);
                self.taken = 0;
                Ok(None)
            }
        }
    }

    /// Waits for the next frame, sending what there is to send; `None` when the other end is gone.
    ///
    /// # Errors
    /// If the other end does not speak this language.
    pub(crate) fn wait(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(Some(frame));
            }
            if self.flush() == Peer::Gone {
                self.forget_unsent();
            }
            if self.poll()?.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && self.fill() == Peer::Gone {
                return self.next();
            }
        }
    }

    /// Waits until all is sent, or the other end is gone.
    pub(crate) fn drain(&mut self) {
        while self.flush() == Peer::There && self.unsent() > 0 {
            if self.poll().is_err() {
                return;
            }
            // Whatever else the other end says is of no interest any more, but must not pile up.
            if self.fill() == Peer::Gone {
                return;
            }
            self.received = Vec::new();
            self.taken = 0;
        }
    }

    fn poll(&self) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(&self.socket, self.interest())];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
            Err(error) => Err(error.into()),
        }
    }

    fn forget_unsent(&mut self) {
        self.unsent = Vec::new();
        self.sent = 0;
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
