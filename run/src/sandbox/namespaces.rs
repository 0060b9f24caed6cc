//! Which namespaces a box has to itself and which it shares, as data.
//!
//! The user and the network namespace have types of their own in [`super::spec`]. Whoever shares a namespace
//! of another box is in the user namespace of that box, too: nobody else has power over it.

use serde::{Deserialize, Serialize};

/// Whose a namespace is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Belonging {
    /// The box's own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// Another box's.
    Of {
        /// Any process of that box, as kiln sees it.
        pid: i32,
    },
}

/// The namespaces that a box can share without much ado.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// System V and POSIX queues and memory, and with them `/dev/shm`.
    pub ipc: Belonging,
    /// Processes, and with them `/proc`.
    pub processes: Belonging,
    /// Host and domain name.
    pub names: Belonging,
    /// What the paths of cgroups begin at.
    pub cgroups: Belonging,
}

impl Sharing {
    /// The boxes whose namespaces are shared.
    pub(super) fn boxes(&self) -> impl Iterator<Item = i32> {
        [self.ipc, self.processes, self.names, self.cgroups].into_iter().filter_map(Belonging::of)
    }
}

impl Belonging {
    /// A process of the box that it belongs to, if that is another.
    pub(super) fn of(self) -> Option<i32> {
        if let Self::Of { pid } = self { Some(pid) } else { None }
    }
}
