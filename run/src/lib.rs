//! A command in a box: the sandbox, and containers on top of it.
//!
//! ```text
//!   kiln ── start(&Spec) ──> supervisor ──clone3──> inside ──execve──> the command
//!           a Process        host's side:           in its namespaces:
//!                            cgroup, id maps,       mounts, /dev, limits,
//!                            trees, network         identity, seccomp
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`container`] | a box with a name, a state, a log and a monitor |
//! | [`sandbox`] | `Spec` (what a box is, as data), `plan` (the steps, as data), `start` |
//! | [`identity`] | who kiln is: root, or root of a user namespace of its own |
//! | [`probe`] | what this kernel and this user allow |
//! | [`network`] | a private network's way out, `resolv.conf` and `hosts` |
//!
//! The supervisor and the inside part are this very program, executed again: [`intercept`] in the
//! first line of `main` is where they branch off. Nothing here knows Dockerfiles or caches.

pub mod container;
pub mod identity;
pub mod network;
pub mod probe;
pub mod sandbox;

mod part;
mod sys;
mod wire;

pub use part::{Part, intercept};
