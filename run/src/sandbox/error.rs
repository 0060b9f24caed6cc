//! Why a box could not be made, in a form that crosses from one part of kiln to another.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::text;

/// Why a box could not be made, or its command not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SandboxError {
    /// No command was given.
    #[error("there is no command to run")]
    NoCommand,
    /// The command does not exist inside. A shell's and Docker's exit code for it is 127.
    #[error("{command:?} was not found in the root filesystem")]
    CommandNotFound {
        /// As it was given.
        command: String,
    },
    /// The command cannot be executed. A shell's and Docker's exit code for it is 126.
    #[error("{command:?} cannot be executed")]
    CommandNotExecutable {
        /// As it was given.
        command: String,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// `USER` names nobody.
    #[error("user {user:?} is not in the image's /etc/passwd")]
    UnknownUser {
        /// As it was given.
        user: String,
    },
    /// A group that is not there.
    #[error("group {group:?} is not in the image's /etc/group")]
    UnknownGroup {
        /// As it was given.
        group: String,
    },
    /// A number that is no id.
    #[error("{id} is not a user or group id in this box: they end at {maximum}")]
    IdOutOfRange {
        /// As it was given.
        id: String,
        /// The greatest that this box has.
        maximum: u32,
    },
    /// A mount source is missing, or is of the wrong kind.
    #[error("cannot open mount source {}", path.display())]
    MountSource {
        /// The host's path.
        #[serde(with = "text")]
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// A mount target cannot be used.
    #[error("cannot mount at {}", target.display())]
    MountTarget {
        /// The path inside.
        #[serde(with = "text")]
        target: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// A mount target inside of `/proc` or `/sys`, where it could fake what programs trust.
    #[error("{} is inside of /proc or /sys, where nothing may be mounted", target.display())]
    MountTargetRefused {
        /// The path inside.
        #[serde(with = "text")]
        target: PathBuf,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory {}", path.display())]
    WorkingDirectory {
        /// The path inside.
        #[serde(with = "text")]
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// The root filesystem cannot be mounted.
    #[error("cannot mount the root filesystem")]
    RootFilesystem {
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// A limit that this machine, or this user, cannot set.
    #[error("cannot limit {what}: {why}")]
    Limit {
        /// What was to be limited.
        what: String,
        /// What is missing.
        why: String,
    },
    /// An unknown name of a resource limit.
    #[error("unknown resource limit {0:?}")]
    UnknownRlimit(String),
    /// A resource limit that a process starts beyond.
    #[error("the soft limit of {0} is above its hard limit")]
    SoftAboveHard(String),
    /// The file system of the root cannot show other ids; [`super::start`] then tries with less.
    #[error("cannot map the ids of {}", path.display())]
    IdmapUnsupported {
        /// The host's path.
        #[serde(with = "text")]
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// The box is to have a way out or the host's network; [`super::start`] then tries with that.
    #[error("the sandbox has no way out of its network: {why}")]
    NoEgress {
        /// What is missing.
        why: String,
    },
    /// Boxes whose namespaces cannot be shared by one that has only one user namespace.
    #[error("the containers whose namespaces are to be shared are in different user namespaces")]
    UnrelatedBoxes,
    /// A kernel parameter that cannot be set.
    #[error("cannot set the kernel parameter {name}")]
    Sysctl {
        /// With dots.
        name: String,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// Namespaces of kiln's own are not to be had.
    #[error("cannot make namespaces: {hint}")]
    Namespaces {
        /// What stands in the way, as far as kiln can tell.
        hint: String,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// Anything else that the kernel refused.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: String,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// A part of kiln ended before it had answered.
    #[error("kiln's {part} ended unexpectedly")]
    Lost {
        /// Which.
        part: String,
    },
}

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.0))
    }
}

impl std::error::Error for Errno {}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Self(error.raw_os_error())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(error: nix::errno::Errno) -> Self {
        Self(error as i32)
    }
}

/// Says what was being done when the kernel refused.
pub(crate) trait Doing<T> {
    /// `what` completes the sentence "cannot ...".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, SandboxError>;
}

impl<T, E: Into<Errno>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, SandboxError> {
        self.map_err(|error| SandboxError::System { doing: what(), source: error.into() })
    }
}
