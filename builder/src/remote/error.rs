//! Why something remote is not here. No text holds a name, a password or a query.

use std::time::Duration;

use store::{Cancelled, StoreError};

use super::checksum::Checksum;
use crate::source::SourceError;

/// Why something remote cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
    /// The server does not give it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What came is not what was promised.
    #[error("the file at {url} has not the checksum that was expected: {expected} expected, {actual} found")]
    Digest {
        /// Where it lies.
        url: String,
        /// What was promised.
        expected: Checksum,
        /// What came.
        actual: Checksum,
    },
    /// git is needed and not there.
    #[error("{repository} needs the program `git`, which is not installed (or not in PATH)")]
    NoGit {
        /// What was to be fetched.
        repository: String,
    },
    /// git cannot be executed or listened to.
    #[error("cannot execute git")]
    Execute(#[source] std::io::Error),
    /// git failed.
    #[error("git cannot {doing} {repository}: {said}")]
    Git {
        /// What it was to do.
        doing: &'static str,
        /// With what.
        repository: String,
        /// The end of what it wrote.
        said: String,
    },
    /// git takes longer than anything honest.
    #[error("git did not {doing} {repository} within {} minutes", .limit.as_secs() / 60)]
    Slow {
        /// What it was to do.
        doing: &'static str,
        /// With what.
        repository: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The repository has no such branch, tag or commit.
    #[error("repository {repository} does not contain ref {reference}")]
    NoReference {
        /// The repository.
        repository: String,
        /// What was asked for.
        reference: String,
    },
    /// The reference leads to another commit than was promised.
    #[error("expected checksum to match {expected}, got {actual} (from {repository})")]
    Commit {
        /// The repository.
        repository: String,
        /// What was promised.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The repository has no such directory.
    #[error("{repository} has no directory {subdirectory:?}")]
    Subdirectory {
        /// The repository.
        repository: String,
        /// What was asked for.
        subdirectory: String,
    },
    /// A file of the user with a token cannot be read.
    #[error("cannot read secret {0:?}")]
    Secret(String, #[source] std::io::Error),
    /// What came cannot be read back.
    #[error("cannot read what was fetched")]
    Read(#[source] std::io::Error),
    /// What was checked out cannot be read.
    #[error("cannot read what was checked out")]
    Scan(#[from] store::scan::ScanError),
    /// It cannot be kept.
    #[error("cannot keep what was fetched")]
    WriteLayer(#[from] store::layer::WriteLayerError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
