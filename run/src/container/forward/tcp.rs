//! Streams: every accepted connection is joined to one made to the container.
//!
//! Each direction has a buffer that is empty most of the time: what is read is written at once, and
//! only what the other side does not take yet is kept, up to [`BUFFER_BYTES`]. If the container refuses,
//! the peer sees a reset, as if it had asked the container itself.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::bind::new_socket;
use super::{Poll, Token};

/// The most that is kept of a direction whose receiver is slow.
const BUFFER_BYTES: usize = 64 * 1024;

/// Which of the two sockets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Peer,
    Container,
}

/// All listeners and connections.
#[derive(Default)]
pub(super) struct Streams {
    listeners: Vec<Listener>,
    connections: Vec<Option<Connection>>,
    dead: Vec<usize>,
    free: Vec<usize>,
    /// Given up for a moment when descriptors run out, so that a waiting peer can be refused.
    spare: Option<OwnedFd>,
}

struct Listener {
    socket: TcpListener,
    target: SocketAddr,
}

struct Connection {
    peer: End,
    container: End,
    connecting: bool,
}

/// One socket, with what waits to be written to it.
struct End {
    socket: OwnedFd,
    waiting: Vec<u8>,
    interest: EventFlags,
    /// The socket said that no more comes from it.
    ended: bool,
    /// The socket was told that no more goes to it.
    shut: bool,
}

impl Streams {
    pub(super) fn listen(&mut self, poll: &Poll, socket: TcpListener, target: SocketAddr) -> io::Result<()> {
        poll.add(socket.as_fd(), Token::Listener(self.listeners.len()), EventFlags::IN)?;
        self.spare = Some(socket.as_fd().try_clone_to_owned()?);
        self.listeners.push(Listener { socket, target });
        Ok(())
    }

    /// Takes all connections that wait at a listener.
    pub(super) fn accept(&mut self, poll: &Poll, index: usize) {
        loop {
            let listener = &self.listeners[index];
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&listener.socket, flags) {
                Ok(peer) => {
                    let target = listener.target;
                    self.open(poll, peer, target);
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.spare.is_some() => self.refuse(index),
                Err(_) => return,
            }
        }
    }

    /// Moves what can be moved after an event on one side of a connection.
    pub(super) fn ready(&mut self, poll: &Poll, index: usize, side: Side, scratch: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let alive = connection.advance(side, scratch).and_then(|()| connection.rearm(poll, index));
        match alive {
            Ok(()) if !connection.finished() => {}
            Ok(()) => self.dead.push(index),
            Err(_) => {
                reset(&connection.peer.socket);
                reset(&connection.container.socket);
                self.dead.push(index);
            }
        }
    }

    /// Frees what ended in this round.
    pub(super) fn bury(&mut self) {
        self.dead.sort_unstable();
        self.dead.dedup();
        for index in self.dead.drain(..) {
            self.connections[index] = None;
            self.free.push(index);
        }
    }

    fn open(&mut self, poll: &Poll, peer: OwnedFd, target: SocketAddr) {
        let Ok(container) = connect(target) else { return reset(&peer) };
        // Small messages shall not wait for the acknowledgement of earlier ones.
        let _ = sockopt::set_tcp_nodelay(&peer, true);
        let _ = sockopt::set_tcp_nodelay(&container, true);
        let mut connection = Connection { peer: End::new(peer), container: End::new(container), connecting: true };
        let index = self.free.pop().unwrap_or(self.connections.len());
        if connection.rearm(poll, index).is_err() {
            reset(&connection.peer.socket);
            return self.free.push(index);
        }
        match self.connections.get_mut(index) {
            Some(place) => *place = Some(connection),
            None => self.connections.push(Some(connection)),
        }
    }

    /// Resets the next connection that waits: without a descriptor to accept it, it would wait, and
    /// wake the thread, for ever.
    fn refuse(&mut self, index: usize) {
        self.spare = None;
        if let Ok(peer) = rustix::net::accept(&self.listeners[index].socket) {
            reset(&peer);
        }
        self.spare = self.listeners[index].socket.as_fd().try_clone_to_owned().ok();
    }
}

impl Connection {
    fn advance(&mut self, side: Side, scratch: &mut [u8]) -> io::Result<()> {
        if self.connecting {
            if side == Side::Container {
                sockopt::socket_error(&self.container.socket)?.map_err(io::Error::from)?;
                self.connecting = false;
            }
            return Ok(());
        }
        let (from, to) = match side {
            Side::Peer => (&mut self.peer, &mut self.container),
            Side::Container => (&mut self.container, &mut self.peer),
        };
        from.flush(to.ended)?;
        from.pump(to, scratch)
    }

    fn rearm(&mut self, poll: &Poll, index: usize) -> io::Result<()> {
        let (peer, container) = match self.connecting {
            true => (EventFlags::empty(), EventFlags::OUT),
            false => (self.peer.wishes(&self.container), self.container.wishes(&self.peer)),
        };
        self.peer.arm(poll, Token::Stream(index, Side::Peer), peer)?;
        self.container.arm(poll, Token::Stream(index, Side::Container), container)
    }

    fn finished(&self) -> bool {
        self.peer.shut && self.container.shut
    }
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: Vec::new(), interest: EventFlags::empty(), ended: false, shut: false }
    }

    /// Reads once and writes it to the other side; level-triggered polling brings the rest.
    fn pump(&mut self, to: &mut Self, scratch: &mut [u8]) -> io::Result<()> {
        let room = BUFFER_BYTES - to.waiting.len();
        if self.ended || room == 0 {
            return Ok(());
        }
        let room = room.min(scratch.len());
        match rustix::net::recv(&self.socket, &mut scratch[..room], RecvFlags::empty()) {
            Ok((0, _)) => self.ended = true,
            Ok((length, _)) => to.write(&scratch[..length])?,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        to.flush(self.ended)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.waiting.is_empty() { send(self.socket.as_fd(), bytes)? } else { 0 };
        self.waiting.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Writes what waits, and after the last of it passes the end of the stream on.
    fn flush(&mut self, other_ended: bool) -> io::Result<()> {
        if !self.waiting.is_empty() {
            let sent = send(self.socket.as_fd(), &self.waiting)?;
            self.waiting.drain(..sent);
            if self.waiting.is_empty() {
                self.waiting = Vec::new();
            }
        }
        if other_ended && self.waiting.is_empty() && !self.shut {
            self.shut = true;
            match rustix::net::shutdown(&self.socket, Shutdown::Write) {
                Ok(()) | Err(Errno::NOTCONN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wishes(&self, other: &Self) -> EventFlags {
        let mut wishes = EventFlags::empty();
        wishes.set(EventFlags::IN, !self.ended && other.waiting.len() < BUFFER_BYTES);
        wishes.set(EventFlags::OUT, !self.waiting.is_empty());
        wishes
    }

    fn arm(&mut self, poll: &Poll, token: Token, wishes: EventFlags) -> io::Result<()> {
        poll.change(self.socket.as_fd(), token, self.interest, wishes)?;
        self.interest = wishes;
        Ok(())
    }
}

fn connect(target: SocketAddr) -> io::Result<OwnedFd> {
    let socket = new_socket(target, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Makes the close that follows a reset instead of an orderly end.
fn reset(socket: &OwnedFd) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
