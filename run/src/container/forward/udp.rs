//! Datagrams: every peer address gets a socket of its own towards the container, for as long as
//! something is said.
//!
//! UDP has no end of a conversation, so a session ends [`IDLE`] after its last datagram, or earlier
//! when [`MAX_SESSIONS`] are exceeded and it is the one that was silent longest.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::SocketType;

use super::bind::new_socket;
use super::{Poll, Token};

/// The largest datagram there can be.
pub(super) const MAX_DATAGRAM: usize = 65_536;

const IDLE: Duration = Duration::from_secs(90);
const MAX_SESSIONS: usize = 1024;

/// All sockets for datagrams and the sessions on them.
#[derive(Default)]
pub(super) struct Datagrams {
    listeners: Vec<Listener>,
    sessions: Vec<Option<Session>>,
    by_peer: HashMap<(usize, SocketAddr), usize>,
}

struct Listener {
    socket: UdpSocket,
    target: SocketAddr,
}

struct Session {
    listener: usize,
    peer: SocketAddr,
    socket: UdpSocket,
    last_used: Instant,
}

impl Datagrams {
    pub(super) fn listen(&mut self, poll: &Poll, socket: UdpSocket, target: SocketAddr) -> io::Result<()> {
        poll.add(socket.as_fd(), Token::Datagrams(self.listeners.len()), EventFlags::IN)?;
        self.listeners.push(Listener { socket, target });
        Ok(())
    }

    /// Carries what peers sent to the container. A datagram that cannot be carried is lost, as
    /// datagrams may be.
    pub(super) fn outward(&mut self, poll: &Poll, listener: usize, scratch: &mut [u8]) {
        while let Ok((length, peer)) = self.listeners[listener].socket.recv_from(scratch) {
            let Ok(index) = self.session(poll, listener, peer) else { continue };
            if let Some(session) = &mut self.sessions[index] {
                session.last_used = Instant::now();
                let _ = session.socket.send(&scratch[..length]);
            }
        }
    }

    /// Carries what the container answered back to the peer.
    pub(super) fn inward(&mut self, index: usize, scratch: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else { return };
        loop {
            match session.socket.recv(scratch) {
                Ok(length) => {
                    session.last_used = Instant::now();
                    let _ = self.listeners[session.listener].socket.send_to(&scratch[..length], session.peer);
                }
                // The container's "port unreachable" arrives as an error of one call; the session goes on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }

    /// How long until the first session may end; `None` without sessions.
    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        let oldest = self.sessions.iter().flatten().map(|session| session.last_used).min()?;
        // A moment more, so that it is surely over when the timer fires.
        Some((oldest + IDLE).saturating_duration_since(now) + Duration::from_millis(10))
    }

    /// Ends the sessions that were silent too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for index in 0..self.sessions.len() {
            let silent = |session: &Session| now.saturating_duration_since(session.last_used) >= IDLE;
            if self.sessions[index].as_ref().is_some_and(silent) {
                self.end(index);
            }
        }
    }

    fn session(&mut self, poll: &Poll, listener: usize, peer: SocketAddr) -> io::Result<usize> {
        if let Some(index) = self.by_peer.get(&(listener, peer)) {
            return Ok(*index);
        }
        let index = self.place();
        let target = self.listeners[listener].target;
        let socket = new_socket(target, SocketType::DGRAM)?;
        rustix::net::connect(&socket, &target)?;
        poll.add(socket.as_fd(), Token::Session(index), EventFlags::IN)?;
        self.sessions[index] = Some(Session { listener, peer, socket: socket.into(), last_used: Instant::now() });
        self.by_peer.insert((listener, peer), index);
        Ok(index)
    }

    fn place(&mut self) -> usize {
        if self.by_peer.len() >= MAX_SESSIONS {
            let used = |index: &usize| self.sessions[*index].as_ref().map(|session| session.last_used);
            if let Some(oldest) = (0..self.sessions.len()).filter(|index| used(index).is_some()).min_by_key(used) {
                self.end(oldest);
            }
        }
        if let Some(index) = self.sessions.iter().position(Option::is_none) {
            return index;
        }
        self.sessions.push(None);
        self.sessions.len() - 1
    }

    fn end(&mut self, index: usize) {
        if let Some(session) = self.sessions[index].take() {
            self.by_peer.remove(&(session.listener, session.peer));
        }
    }
}
