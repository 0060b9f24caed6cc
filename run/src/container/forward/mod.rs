//! Published ports without iptables: one thread that stands in two network namespaces.
//!
//! The listening sockets are made on the host's side ([`bind`]) before the container runs, so that a
//! taken port fails the start. Then a thread enters the container's network namespace ([`start`]);
//! sockets keep the namespace they were made in, so what it accepts comes from the host and what it
//! connects goes to the container. No other process, no rule in the host's firewall.
//!
//! ```text
//!   peer --- accepted socket | buffer <= 64 KiB each way | connected socket --- container
//!            (host namespace)                              (container's namespace)
//! ```
//!
//! Everything is non-blocking under one epoll; a side that does not read stops the other by TCP's own
//! flow control, and an end of stream is passed on as such (half-close).

mod bind;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use bind::{BindError, Bound, bind};

/// Forwards until it is dropped.
#[derive(Debug)]
pub struct Forwarder {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// Starts to forward what arrives at `ports` to `target` as seen from inside `namespace`.
///
/// # Errors
/// If the namespace cannot be entered or the kernel gives no descriptors.
pub fn start(ports: Vec<Bound>, namespace: OwnedFd, target: IpAddr) -> io::Result<Forwarder> {
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let mut reactor = Reactor::new(ports, target, stop.try_clone()?)?;
    let (entered, outcome) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        let entering = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
        drop(namespace);
        let go_on = entering.is_ok();
        let told = entered.send(entering).is_ok();
        if go_on && told {
            reactor.run();
        }
    };
    let thread = std::thread::Builder::new().name("forward".to_owned()).stack_size(256 * 1024).spawn(work)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(Forwarder { stop, thread: Some(thread) }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let asked = rustix::io::write(&self.stop, &1u64.to_ne_bytes()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| asked) {
            // A panic there has been printed; there is nothing more to do about it here.
            let _ = thread.join();
        }
    }
}

/// Where an event of the epoll belongs to, packed into its 64 bits of user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Stop,
    Listener(usize),
    Stream(usize, tcp::Side),
    Datagrams(usize),
    Session(usize),
}

impl Token {
    fn pack(self) -> EventData {
        let (kind, index) = match self {
            Self::Stop => (0, 0),
            Self::Listener(index) => (1, index),
            Self::Stream(index, tcp::Side::Peer) => (2, index),
            Self::Stream(index, tcp::Side::Container) => (3, index),
            Self::Datagrams(index) => (4, index),
            Self::Session(index) => (5, index),
        };
        EventData::new_u64(kind | (index as u64) << 3)
    }

    fn unpack(data: EventData) -> Self {
        let index = (data.u64() >> 3) as usize;
        match data.u64() & 7 {
            1 => Self::Listener(index),
            2 => Self::Stream(index, tcp::Side::Peer),
            3 => Self::Stream(index, tcp::Side::Container),
            4 => Self::Datagrams(index),
            5 => Self::Session(index),
            _ => Self::Stop,
        }
    }
}

/// The epoll, and which descriptors wait for what.
#[derive(Debug)]
struct Poll(OwnedFd);

impl Poll {
    fn add(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, token.pack(), flags)?)
    }

    /// Changes what `fd` waits for. A descriptor that waits for nothing is taken out, because an
    /// epoll reports hang-ups of whatever it holds, again and again.
    fn change(&self, fd: BorrowedFd<'_>, token: Token, old: EventFlags, new: EventFlags) -> io::Result<()> {
        match (old.is_empty(), new.is_empty()) {
            _ if old == new => Ok(()),
            (true, _) => self.add(fd, token, new),
            (_, true) => Ok(epoll::delete(&self.0, fd)?),
            _ => Ok(epoll::modify(&self.0, fd, token.pack(), new)?),
        }
    }
}

struct Reactor {
    poll: Poll,
    _stop: OwnedFd,
    streams: tcp::Streams,
    datagrams: udp::Datagrams,
}

impl Reactor {
    fn new(ports: Vec<Bound>, target: IpAddr, stop: OwnedFd) -> io::Result<Self> {
        let poll = Poll(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        poll.add(stop.as_fd(), Token::Stop, EventFlags::IN)?;
        let mut streams = tcp::Streams::default();
        let mut datagrams = udp::Datagrams::default();
        for port in ports {
            let to = SocketAddr::new(target, port.published.container.number);
            match port.socket {
                bind::Socket::Tcp(listener) => streams.listen(&poll, listener, to)?,
                bind::Socket::Udp(socket) => datagrams.listen(&poll, socket, to)?,
            }
        }
        Ok(Self { poll, _stop: stop, streams, datagrams })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        let mut buffer = vec![0; udp::MAX_DATAGRAM];
        loop {
            events.clear();
            let timeout = self.datagrams.timeout(Instant::now()).map(timespec);
            match epoll::wait(&self.poll.0, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                match Token::unpack(event.data) {
                    Token::Stop => return,
                    Token::Listener(index) => self.streams.accept(&self.poll, index),
                    Token::Stream(index, side) => self.streams.ready(&self.poll, index, side, &mut buffer),
                    Token::Datagrams(index) => self.datagrams.outward(&self.poll, index, &mut buffer),
                    Token::Session(index) => self.datagrams.inward(index, &mut buffer),
                }
            }
            // Only now, so that no event of this round meets a newcomer in a dead one's place.
            self.streams.bury();
            self.datagrams.expire(Instant::now());
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests;
