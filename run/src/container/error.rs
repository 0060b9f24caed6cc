//! What can go wrong with a container.

use std::io;
use std::path::PathBuf;

use store::store::StoreError;

use super::forward::BindError;
use super::log::LogError;
use super::mount::MountError;
use super::name::ContainerName;

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container has that name or id.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// Several ids begin so.
    #[error("{text} is ambiguous: it could be {first} or {second}")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// The name is another container's.
    #[error("the container name \"{name}\" is already in use by container {by}")]
    NameTaken {
        /// The name.
        name: ContainerName,
        /// The short id of who has it.
        by: String,
    },
    /// It has to run for that.
    #[error("container {0} is not running")]
    NotRunning(ContainerName),
    /// It must not run for that.
    #[error("container {0} is running: stop it first, or use force")]
    Running(ContainerName),
    /// Neither the image nor the user says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The image is not in the store, or not whole.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// The working directory is relative.
    #[error("the working directory {0:?} is invalid, it needs to be an absolute path")]
    WorkingDirectory(String),
    /// Two flags cannot go together.
    #[error("conflicting options: {0} and {1}")]
    Conflict(&'static str, &'static str),
    /// A value that cannot be, or cannot be had.
    #[error("invalid {what}: {value:?}")]
    Value {
        /// Of which option.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// A source of a bind mount is missing.
    #[error("bind source path does not exist: {}", .0.display())]
    BindSource(PathBuf),
    /// No volume has that name.
    #[error("no such volume: {0}")]
    NoSuchVolume(String),
    /// The volume is a container's.
    #[error("volume {volume} is in use by container {container}")]
    VolumeInUse {
        /// The volume.
        volume: String,
        /// The short id of who uses it.
        container: String,
    },
    /// The monitor could not start the container.
    #[error("{message}")]
    Start {
        /// The exit code for `run`: 125, 126 or 127.
        code: u8,
        /// The error with its causes.
        message: String,
    },
    /// The monitor did not do what it was asked for.
    #[error("container {name}: {message}")]
    Refused {
        /// The container.
        name: ContainerName,
        /// What it said.
        message: String,
    },
    /// The monitor went away in the middle of a conversation.
    #[error("the monitor of container {0} was lost")]
    MonitorLost(ContainerName),
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A record is not what this kiln writes.
    #[error("{} is damaged, or written by another version of kiln", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A port cannot be published.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A mount cannot be made.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The box cannot be made.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// Another container's memory is not for sharing.
    #[error("container {0} does not share its IPC namespace: it was made without --ipc shareable")]
    NotShareable(ContainerName),
    /// A kernel parameter that is not the container's.
    #[error(transparent)]
    Sysctl(#[from] super::namespaces::SysctlError),
    /// A limit that cannot be.
    #[error(transparent)]
    Limit(#[from] super::limits::LimitError),
    /// A device that there is not, or that is none.
    #[error(transparent)]
    Device(#[from] super::device::DeviceError),
    /// A capability that there is not.
    #[error(transparent)]
    Capability(#[from] crate::sandbox::UnknownCapability),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] store::image::ImageError),
    /// The root file system, or a volume, cannot be made.
    #[error(transparent)]
    Snapshot(#[from] store::snapshot::SnapshotError),
    /// What it has changed cannot be had.
    #[error(transparent)]
    Changes(#[from] super::changes::ChangesError),
    /// Its files cannot be reached.
    #[error(transparent)]
    Files(#[from] super::files::FilesError),
    /// The store cannot be opened.
    #[error(transparent)]
    OpenStore(#[from] store::store::OpenError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ContainerError {
    /// Turns an IO error into one that says what was being done to which path; for `map_err`.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// The exit code of `run` for it: 127 if the command was not found, 126 if it cannot be executed,
    /// else 125 (Docker reference, "Exit status").
    pub fn exit_code(&self) -> u8 {
        use crate::sandbox::SandboxError;
        match self {
            Self::Start { code, .. } => *code,
            Self::Sandbox(SandboxError::CommandNotFound { .. }) => 127,
            Self::Sandbox(SandboxError::CommandNotExecutable { .. }) => 126,
            _ => 125,
        }
    }
}
