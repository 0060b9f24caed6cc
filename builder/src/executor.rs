//! What executes a RUN, as the solver sees it.
//!
//! An [`Executor`] gets a root filesystem as data, a command and its surroundings, and comes back
//! with how it ended. It knows no key and no layer; it leaves what the command wrote where the
//! root filesystem keeps its changes. The real one is [`sandbox`].

pub mod sandbox;

use std::path::PathBuf;

use run::sandbox::{Dns, EtcFile, HostAddress};
use store::{Platform, RelPath, SnapshotRoot};

use crate::graph::{Access, Limits, Network, Privileges, Security};
use crate::progress::{Cancel, Stream};

/// Executes commands.
pub trait Executor: Sync {
    /// Executes a command to its end, or kills it when it is cancelled.
    fn execute(&self, execution: &Execution<'_>, output: &Output<'_>, cancel: &Cancel) -> Result<Ended, ExecuteError>;
}

/// Takes what a command writes, as it comes, from several threads.
pub type Output<'a> = dyn Fn(Stream, &[u8]) + Sync + 'a;

/// A command and all that surrounds it.
#[derive(Debug)]
pub struct Execution<'a> {
    /// What it sees as `/`.
    pub root: &'a SnapshotRoot,
    /// The program and its arguments.
    pub argv: &'a [String],
    /// The whole environment. `HOME` comes from the image's passwd, if it is missing.
    pub env: Vec<(String, String)>,
    /// `USER`; empty is root.
    pub user: &'a str,
    /// The working directory; what is missing of it is made, owned by the user.
    pub cwd: &'a RelPath,
    /// What is mounted, in order.
    pub mounts: Vec<ExecutionMount>,
    /// What network it sees.
    pub network: Network,
    /// How much it may do.
    pub security: Security,
    /// Lines added to `/etc/hosts`.
    pub hosts: &'a [(String, HostAddress)],
    /// What `resolv.conf` says instead of what the machine's does.
    pub dns: &'a Dns,
    /// Files of `/etc` that stay the image's.
    pub kept_files: &'a [EtcFile],
    /// What it may do beyond `security`.
    pub privileges: &'a Privileges,
    /// Its host name.
    pub hostname: &'a str,
    /// Its limits.
    pub limits: &'a Limits,
    /// What it is built for; an executor refuses what it cannot run.
    pub platform: &'a Platform,
}

/// Something mounted for a command.
#[derive(Debug)]
pub struct ExecutionMount {
    /// Where.
    pub target: RelPath,
    /// What.
    pub source: MountSource,
    /// Whether it may be written to.
    pub access: Access,
}

/// What a mount shows.
#[derive(Debug)]
pub enum MountSource {
    /// A file or directory of the store.
    Path(PathBuf),
    /// A device node of the machine.
    Device(PathBuf),
    /// An empty file system in memory.
    Tmpfs {
        /// Its size.
        size_bytes: Option<u64>,
    },
    /// A file in memory.
    Bytes {
        /// What it holds.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u16,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// How an execution ended, and what it left that is not the command's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How the command ended.
    pub exit: Exit,
    /// Mount points that were made in the root filesystem and are still there.
    pub stubs: Vec<RelPath>,
    /// Why the command had the machine's network and none of its own, if it was to have the latter.
    pub shared_network: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status; 0 is success.
    Code(u8),
    /// By a signal.
    Signal(i32),
    /// Killed because the memory allowed was not enough.
    OutOfMemory,
    /// Killed because somebody asked for it.
    Cancelled,
}

impl Exit {
    /// As a shell would say it: a signal is 128 and its number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + signal,
            Self::OutOfMemory => 137,
            Self::Cancelled => 130,
        }
    }
}

/// Why a command could not be executed at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// This machine does not seem to run programs of that platform.
    #[error("cannot run a command for {platform} on this machine, which is {host}")]
    Platform {
        /// What the step is built for.
        platform: String,
        /// What the machine is.
        host: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The box could not be set up, or the program could not be started.
    #[error("cannot start the command")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The command's output or end could not be followed.
    #[error("cannot follow the command")]
    Follow(#[source] std::io::Error),
}
