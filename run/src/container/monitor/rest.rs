//! The monitor between two lives of its container: it waits, and can be told to let it be.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::client::Role;
use super::serve::Server;
use crate::container::attach::connection::Peer;
use crate::container::attach::frame::{Failure, Frame, Report, Request};
use crate::container::signal::Signal;

/// What came of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is time to start again.
    Over,
    /// Somebody wants it stopped.
    Stopped,
}

impl Server {
    /// Waits that long before the container is started again.
    pub(super) fn rest(&mut self, wait: Duration) -> Rest {
        let due = Instant::now() + wait;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Rest::Over;
            }
            if self.poll_resting(left).is_err() {
                return Rest::Stopped;
            }
            self.accept();
            for index in 0..self.clients.len() {
                if self.hear_resting(index) == Rest::Stopped {
                    return Rest::Stopped;
                }
            }
            self.clients.retain(|client| !client.gone);
        }
    }

    fn poll_resting(&self, left: Duration) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.started.listener, PollFlags::IN)];
        for client in &self.clients {
            fds.push(PollFd::from_borrowed_fd(client.connection.as_fd(), client.connection.interest()));
        }
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear_resting(&mut self, index: usize) -> Rest {
        let client = &mut self.clients[index];
        client.gone |= client.connection.flush() == Peer::Gone || client.connection.fill() == Peer::Gone;
        while let Ok(Some(frame)) = client.connection.next() {
            let Frame::Request(request) = frame else { continue };
            let refused = || Report::Refused("it waits to be restarted".to_owned());
            let report = match request {
                Request::Stop(_) | Request::StopWith { .. } => {
                    client.role = Role::Waiting;
                    return Rest::Stopped;
                }
                Request::Signal(Signal::KILL) => {
                    client.connection.queue(&Frame::Report(Report::Done));
                    return Rest::Stopped;
                }
                Request::Wait => {
                    client.role = Role::Waiting;
                    continue;
                }
                Request::Exec(_) => {
                    Report::NotEntered(Failure { code: 1, message: "the container waits to be restarted".to_owned() })
                }
                Request::Start(_)
                | Request::Attach(_)
                | Request::Signal(_)
                | Request::SignalVisitor(..)
                | Request::Pause
                | Request::Unpause => refused(),
            };
            client.connection.queue(&Frame::Report(report));
            client.gone |= client.connection.flush() == Peer::Gone;
        }
        Rest::Over
    }
}
