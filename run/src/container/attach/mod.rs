//! Standing in a container's input and output: the protocol, and the client's side of it.

mod client;
pub(crate) mod connection;
pub(crate) mod frame;

pub use client::{Attachment, Ended, SignalProxy};
pub(super) use client::{Console, Role, catch, follow};
pub use frame::Patience;
