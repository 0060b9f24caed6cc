//! A further command in a running container, as it is asked for (`exec`).

use serde::{Deserialize, Serialize};

/// A wish for a further command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOptions {
    /// The command line.
    pub argv: Vec<String>,
    /// `NAME=value` sets a variable, over the container's.
    pub environment: Vec<String>,
    /// `user[:group]`; the container's if `None`.
    pub user: Option<String>,
    /// The working directory; the container's if `None`.
    pub working_directory: Option<String>,
    /// Whether it gets a terminal of its own (`-t`).
    pub terminal: bool,
    /// Whether it may do what the container may not (`--privileged`).
    pub privileged: bool,
}
