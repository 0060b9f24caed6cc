//! Containers: a sandbox with a name, state, a log and a monitor.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`mount`], [`port`], [`signal`] | what can be asked for, as data |
//! | [`id`], [`name`] | what containers are called |
//! | [`log`] | what a container said |
//! | [`terminal`] | the user's terminal while a container has it |
//! | [`forward`] | published ports |

pub mod forward;
pub mod id;
pub mod log;
pub mod mount;
pub mod name;
pub mod options;
pub mod port;
pub mod signal;
pub mod terminal;
