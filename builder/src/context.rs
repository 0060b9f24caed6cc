//! The user's directories: read once, without what an ignore file excludes.

use std::path::PathBuf;

use store::StoreError;

/// Why a directory of the user cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The directory is not there, or not readable.
    #[error("cannot read {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in it cannot be read.
    #[error("cannot read the build context {}", path.display())]
    Scan {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: store::scan::ScanError,
    },
    /// The ignore file is malformed.
    #[error("{file}: {message}")]
    IgnoreFile {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// What is remembered of earlier scans cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
