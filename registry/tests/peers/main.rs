//! The crate against real peers on this machine: Debian's `docker-registry` and `skopeo`, a token
//! server of our own that signs what the real registry checks, and a server that misbehaves.
//!
//! What is not installed is skipped with a printed reason.

mod ask;
mod faults;
mod harness;
mod login;
mod pull;
mod push;
mod token_server;
