//! Files into and out of containers: `cp`.
//!
//! ```text
//!   host ──Tree──> pack ──tar──> unpack <──Tree── inside the container's mounts
//! ```
//!
//! The same two operations run on either side. A container's side runs in a process of its own, which
//! has entered the container's mounts (`visitor.rs`): there `/` is the container's, volumes and all, and
//! no symlink, however it is swapped meanwhile, leads to the host (CVE-2018-15664). It executes nothing
//! and loads nothing from there (CVE-2019-14271). The host's side believes no name of the archive:
//! below the destination it follows no symlink at all.

mod pack;
mod place;
mod unpack;
mod visitor;

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::sandbox::Errno;

pub use place::{Found, Kind, Tree};
pub use visitor::{Door, Inside};

pub(crate) use visitor::FILES;

/// Why files cannot be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FilesError {
    /// The kernel refused.
    #[error("cannot {doing} {path}")]
    System {
        /// What was being done.
        doing: String,
        /// To what.
        path: String,
        /// The kernel's reason.
        #[source]
        source: Errno,
    },
    /// The archive cannot be read.
    #[error("cannot read the archive: {0}")]
    Archive(String),
    /// A directory is where a file would come to be.
    #[error("cannot overwrite directory {0} with a file")]
    DirectoryInTheWay(String),
    /// A file is where a directory would come to be.
    #[error("cannot overwrite {0}, which is no directory, with a directory")]
    FileInTheWay(String),
    /// Directories are nested too deep.
    #[error("the directories below {0} are nested too deep")]
    TooDeep(String),
    /// The process in the container's mounts is gone.
    #[error("lost the process that reaches the container's files")]
    Lost,
}

/// Whether a last symlink is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Links {
    /// It is itself what is meant.
    Kept,
    /// What it leads to is.
    Followed,
}

/// Whom copied files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// Whoever writes them; nothing then runs as its owner when somebody else starts it.
    Writer,
    /// Whom the archive says.
    Archive,
}

/// One side of a copy.
#[derive(Debug)]
pub enum Side {
    /// This machine.
    Host(Tree),
    /// A container.
    Container(Box<Inside>),
}

impl Side {
    /// This machine.
    ///
    /// # Errors
    /// If its root cannot be opened.
    pub fn host() -> Result<Self, FilesError> {
        Tree::host().map(Self::Host)
    }

    /// Looks what is at a path.
    ///
    /// # Errors
    /// If the way there cannot be walked. That nothing is there is no error.
    pub fn examine(&self, path: &std::path::Path, links: Links) -> Result<Found, FilesError> {
        match self {
            Self::Host(tree) => tree.examine(path, links),
            Self::Container(inside) => inside.examine(path, links),
        }
    }

    /// Writes what is at a path as a tar, under a name of its own: an empty one stands for its contents.
    ///
    /// # Errors
    /// If it cannot be read, or the tar not be written.
    pub fn pack(&self, path: &std::path::Path, name: &store::RelPath, output: OwnedFd) -> Result<(), FilesError> {
        match self {
            Self::Host(tree) => pack::pack(tree, path, name, output),
            Self::Container(inside) => inside.pack(path, name, output),
        }
    }

    /// Unpacks a tar into a directory.
    ///
    /// # Errors
    /// If it cannot be read, or the files not be written.
    pub fn unpack(&self, directory: &std::path::Path, input: OwnedFd, owner: Owner) -> Result<(), FilesError> {
        match self {
            Self::Host(tree) => unpack::unpack(tree, directory, input, owner),
            Self::Container(inside) => inside.unpack(directory, input, owner),
        }
    }
}

/// For `map_err`: what was being done to which path.
fn failed<E: Into<Errno>>(doing: &str, path: impl std::fmt::Display) -> impl FnOnce(E) -> FilesError {
    move |source| FilesError::System { doing: doing.to_owned(), path: path.to_string(), source: source.into() }
}
