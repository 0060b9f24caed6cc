//! A client of the monitor: somebody on the other end of a connection.

use std::os::unix::net::UnixStream;

use crate::container::attach::connection::{Connection, UNSENT_LIMIT};
use crate::container::attach::frame::Input;
use crate::sandbox::VisitId;

/// What a client came for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has not said yet, or it is served.
    Visitor,
    /// It gets output from now on, and may give input.
    Attached(Input),
    /// It gets the exit.
    Waiting,
    /// It has a further command in the container.
    Visiting(VisitId),
}

/// One client.
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) role: Role,
    pub(super) gone: bool,
}

impl Client {
    /// Somebody who has just connected.
    pub(super) fn accept(stream: UnixStream) -> Option<Self> {
        Some(Self { connection: Connection::new(stream).ok()?, role: Role::Visitor, gone: false })
    }

    /// Whether it gets output.
    pub(super) fn is_attached(&self) -> bool {
        matches!(self.role, Role::Attached(_)) && !self.gone
    }

    /// Whether it is so far behind that the container has to wait.
    pub(super) fn is_behind(&self) -> bool {
        (self.is_attached() || matches!(self.role, Role::Visiting(_))) && self.connection.unsent() >= UNSENT_LIMIT
    }

    /// Whether its input is the container's.
    pub(super) fn gives_input(&self) -> bool {
        matches!(self.role, Role::Attached(Input::Own | Input::Shared) | Role::Visiting(_))
    }
}
