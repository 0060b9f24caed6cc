//! A further command in a box that runs already (`kiln exec`): what is asked for, as data.
//!
//! Everything else about it is the box's: namespaces, cgroup, filter, limits. The supervisor forks it,
//! because it alone is sure which process the box's first one is: it is its parent, and has not waited for it.

use serde::{Deserialize, Serialize};

use super::spec::{Command, Terminal};

/// A command that enters a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// What runs. Its working directory has to exist.
    pub command: Command,
    /// What stands at the other end of its standard input and output.
    pub terminal: Terminal,
    /// What it may do.
    pub privileges: Privileges,
}

/// What a visitor may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privileges {
    /// What the box's own command may.
    OfTheBox,
    /// Every capability that there is in the box, every system call (`exec --privileged`).
    All,
}

/// Which visit of a box: a number that its starter gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VisitId(pub u64);
