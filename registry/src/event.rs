//! What a pull or push tells while it works.
//!
//! The library never prints: whoever calls it hands over a [`Progress`], which is called from
//! several threads, and renders the [`Event`]s as it likes. Every text in an event that came from
//! a server has been made printable.

use std::time::Duration;

use store::{DiffId, Digest};

/// Receives events; called from the threads that move blobs, so it must be quick.
pub type Progress<'a> = &'a (dyn Fn(Event) + Sync);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The reference was looked up; these are the layers of the image, lowest first.
    Resolved {
        /// Digest of the image's manifest.
        manifest: Digest,
        /// The layers' blobs and their sizes in bytes.
        layers: Vec<(Digest, u64)>,
    },
    /// A blob came into another state.
    Blob {
        /// Which blob.
        digest: Digest,
        /// Its size as it is transferred.
        size_bytes: u64,
        /// What happens to it from now on, or happened.
        state: BlobState,
    },
    /// Bytes of a blob were moved. After a restart the count is lower than before.
    Moved {
        /// Which blob.
        digest: Digest,
        /// How much of it has been moved by now.
        moved_bytes: u64,
    },
    /// A layer is compressed for the first time.
    Compressing {
        /// Which layer.
        layer: DiffId,
        /// The size of its tar.
        size_bytes: u64,
    },
    /// A request failed in a way that may pass; it is repeated after a pause.
    Retrying {
        /// What was being done.
        doing: String,
        /// What went wrong.
        because: String,
        /// How long the pause is.
        wait: Duration,
    },
    /// The registry told how many pulls are left (Docker Hub's `ratelimit-remaining`).
    RateLimit {
        /// Pulls that are left in the window.
        remaining: u64,
    },
    /// A pulled layer's original blob is to be had nowhere any more: it is compressed again, and
    /// the image's manifest will have another digest than the one it was pulled by.
    Recompressing {
        /// Which layer.
        layer: DiffId,
        /// The blob that no place has.
        original: Digest,
    },
}

/// What happens to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobState {
    /// The receiving side has it already.
    Present,
    /// It is being fetched, and unpacked as it comes.
    Downloading,
    /// It is in the store, verified.
    Unpacked,
    /// It is being sent.
    Uploading,
    /// The registry took it over from another of its repositories.
    Mounted {
        /// That repository.
        from: String,
    },
    /// The registry has it now.
    Uploaded,
}
