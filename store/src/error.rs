//! What can go wrong with the store as such: with its files, with what they hold, with opening it.

use std::io;
use std::path::PathBuf;

use crate::cancel::Cancelled;
use crate::store::FORMAT_VERSION;

/// Something went wrong with a file of the store, or with what it holds.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb: `read`, `rename`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of the store does not hold what its name promises.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that came from elsewhere are not those that were announced.
    #[error("expected {expected}, but the bytes are {actual}")]
    Mismatch {
        /// The digest that was announced.
        expected: crate::Digest,
        /// The digest of what came.
        actual: crate::Digest,
    },
    /// A blob that came from elsewhere has another size than announced.
    #[error("expected {expected_bytes} bytes, but {actual_bytes} came")]
    WrongSize {
        /// The size that was announced.
        expected_bytes: u64,
        /// The size of what came.
        actual_bytes: u64,
    },
    /// A blob is larger than whoever reads it into memory allows.
    #[error("blob {digest} has {size_bytes} bytes, more than the {limit_bytes} allowed here")]
    TooLarge {
        /// Which blob.
        digest: crate::Digest,
        /// How large it is.
        size_bytes: u64,
        /// How large it may be.
        limit_bytes: u64,
    },
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

impl StoreError {
    /// Turns an IO error into one that says what was being done to which path; for `map_err`.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Whether the disk is full or a quota is used up.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Why a directory cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer kiln wrote it.
    #[error("the store {} has format {found}, this kiln reads up to {FORMAT_VERSION}", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// The directory holds something else.
    #[error("{} is neither a kiln store nor empty", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else made it: what this process would write there, its owner could not read.
    #[error("the store {} belongs to another user: --root names another one", path.display())]
    Foreign {
        /// The store.
        path: PathBuf,
    },
    /// It cannot be read or made.
    #[error(transparent)]
    Store(#[from] StoreError),
}
