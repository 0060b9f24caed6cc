//! What a process left behind, as a [`Change`].
//!
//! Both kinds of snapshot are read by one walk. In an upper directory a name that is not there is as
//! it was, a whiteout is a removal, and an opaque directory hides what it was; a copy is such an
//! opaque directory from its root on. Removals below hidden directories are written out one by one,
//! as the specification wants them (image-spec, layer.md, "Opaque Whiteout").
//!
//! What is no change is left out: a file with the content and metadata that it had, a directory of
//! which only the time changed. Sockets and what stands for a mount are in no layer. New times are
//! cut to whole seconds and clamped; a time that was there already stays what it was.
//!
//! Where this process has a single id (an ordinary user without subordinate ones), all files on disk
//! are its own. Then a file keeps the owner that it had in the tree below, as long as it stays of the
//! same kind, and a new one is root's; a `chown` to anybody else cannot be seen.

mod adopt;
mod intake;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use adopt::Adopted;
pub use intake::Source;

use crate::content::Contents;
use crate::fs::{Dir, FsError};
use crate::scan::Times;
use crate::snapshot::{Snapshot, SnapshotRoot};
use crate::tree::{Change, MOST_COMPONENTS, Tree};
use crate::{RelPath, Store, StoreError};

/// What to take from a snapshot, and how.
#[derive(Debug)]
pub struct CaptureOptions<'a> {
    /// What becomes of new modification times.
    pub times: Times,
    /// Places that were made for mounts: they are not content, and neither are directories on the way
    /// in which nothing else is new, if they are listed too.
    pub exclude: &'a [RelPath],
    /// What becomes of the large files.
    pub source: Source,
}

/// What was changed in a snapshot.
#[derive(Debug)]
pub struct Captured {
    /// The change.
    pub change: Change,
    /// Where the contents that it puts can be read: objects, and files in the snapshot, as long as
    /// that is there.
    pub contents: Contents,
    /// Whether the upper directory holds nothing that the change does not say, so that it can become
    /// the layer's checkout.
    pub(crate) adoptable: bool,
}

/// Why a change cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// No layer can say that such a file exists (image-spec, layer.md, "Whiteouts").
    #[error("{path} cannot be in a layer: names that start with `.wh.` mean removals")]
    WhiteoutName {
        /// The file.
        path: RelPath,
    },
    /// Something still writes to the snapshot.
    #[error("{path} changes while it is read")]
    Changing {
        /// The file.
        path: RelPath,
    },
    /// Directories are nested more than [`MOST_COMPONENTS`] deep.
    #[error("the directories above {path} are nested more than {MOST_COMPONENTS} deep")]
    TooDeep {
        /// The first directory too many.
        path: RelPath,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Finds out what was changed in a snapshot of `lower`. Nothing may run in it any more, if its
    /// large files are to be moved.
    pub fn capture(
        &self,
        snapshot: &Snapshot,
        lower: &Tree,
        options: &CaptureOptions<'_>,
    ) -> Result<Captured, CaptureError> {
        let path = snapshot.changes();
        let root = Dir::open(path).map_err(|errno| StoreError::io("open", path)(errno.into()))?;
        let layout = match snapshot.root() {
            SnapshotRoot::Overlay { .. } => walk::Layout::Upper,
            SnapshotRoot::Copy { .. } => walk::Layout::Whole,
        };
        let exclude: BTreeSet<&RelPath> = options.exclude.iter().collect();
        let found = walk::walk(self, &root, lower, layout, options, &exclude)?;
        let files = Contents::of_files(Arc::new(root.into()), found.places);
        Ok(Captured {
            change: found.change,
            contents: Contents::of_objects(self).merge(files),
            adoptable: found.adoptable && layout == walk::Layout::Upper,
        })
    }
}
