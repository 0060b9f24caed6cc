//! Layers: somebody's tar taken in, or a change written as one; kept, read back, applied.
//!
//! ```text
//!   layers/ab/cdef..             the layer file (see `file`): reads back as exactly the tar
//!   layers/ab/cdef...change      what it does, as data (see `tree::encoding`)
//!   layers/ab/cdef...contents    where its small contents lie in the layer file (see `inline`)
//!   layers/ab/cdef...blobs       the compressed forms it was seen in (see `blobs`)
//!   layers/ab/cdef...roots       ids of the trees it tops (see `roots`); derived
//! ```
//!
//! The layer file is written last: a layer that is there is there with all that belongs to it. One of which only
//! `.blobs` is there is absent (see `absent`): known, and to be had from where it was seen.

mod absent;
mod blobs;
mod file;
mod import;
mod inline;
mod names;
mod roots;
#[cfg(test)]
mod tests;
pub(crate) mod walk;
mod write;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use blobs::{Compressed, LayerBlob};
pub use file::TarReader;
pub use import::ImportLimits;
pub use inline::InlineContents;
pub use roots::RootTreeError;
pub use write::{WriteLayerError, write_tar};

use self::file::Finished;
use self::inline::InlineRows;
use crate::content::Contents;
use crate::path::display;
use crate::tar::ReadTarError;
use crate::tar::clipped;
use crate::tree::DecodeChangeError;
use crate::{Change, DiffId, ObjectId, Presence, Store, StoreError};

/// A tar cannot be taken in as a layer.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no tar that all readers agree on.
    #[error(transparent)]
    Tar(#[from] ReadTarError),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not the layer that was asked for.
    #[error("expected a layer with the diff id {expected}, but the bytes are {actual}")]
    Mismatch {
        /// The layer that was asked for.
        expected: DiffId,
        /// The layer that came.
        actual: DiffId,
    },
    /// A name holds a NUL byte.
    #[error("layer entry {}: not a path", clipped(path))]
    Name {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// A name is longer or deeper than Linux can hold.
    #[error("layer entry {}: the name is too long or too deep", clipped(path))]
    LongName {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// A name starts with `.wh.` and says not what is to be removed, or something is below such a name.
    #[error("layer entry {}: invalid whiteout name", clipped(path))]
    Whiteout {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// The root can only be a directory.
    #[error("layer entry {}: puts something other than a directory at the root", clipped(path))]
    Root {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// Symbolic links of the layer lead in a circle.
    #[error("layer entry below {}: too many levels of symbolic links", clipped(path))]
    TooManyLinks {
        /// The directory.
        path: Box<[u8]>,
    },
    /// A symbolic link is empty, too long, or has a NUL byte in it.
    #[error("layer entry {}: invalid target of a symbolic link", clipped(path))]
    Target {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// A hard link names something that this layer has not, or a directory.
    #[error("layer entry {}: hard link to {}, which is no file of this layer", clipped(path), clipped(target))]
    HardLink {
        /// The name, verbatim.
        path: Box<[u8]>,
        /// What it names, verbatim.
        target: Box<[u8]>,
    },
    /// Overlayfs takes the device for a deletion.
    #[error("layer entry {}: the character device 0:0 means a deletion to overlayfs", clipped(path))]
    WhiteoutDevice {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// Linux has no such device.
    #[error("layer entry {}: device number out of range", clipped(path))]
    DeviceNumber {
        /// The name, verbatim.
        path: Box<[u8]>,
    },
    /// The layer has more entries than allowed.
    #[error("the layer has more than {limit} entries, at {}", clipped(path))]
    TooManyEntries {
        /// How many are allowed.
        limit: u64,
        /// The entry that is too many.
        path: Box<[u8]>,
    },
    /// Sparse files blow a few bytes up to many.
    #[error("layer entry {}: a sparse file of {size_bytes} bytes, out of proportion to the layer", clipped(path))]
    Holes {
        /// The name, verbatim.
        path: Box<[u8]>,
        /// How large the file would be.
        size_bytes: u64,
    },
}

/// A layer that the store has.
#[derive(Debug, Clone)]
pub struct Layer {
    store: Store,
    diff_id: DiffId,
    size_bytes: u64,
}

impl Store {
    /// Finds a layer; `None` if the store does not have it, or has files there that a power cut may
    /// have emptied and that turn out not to be it.
    pub fn layer(&self, id: DiffId) -> Result<Option<Layer>, StoreError> {
        let path = self.layer_path(id);
        self.hold([path.as_path()])?;
        let presence = self.presence(&path)?;
        let Some(file) = self.open_held(&path)? else { return Ok(None) };
        match file::tar_bytes(&file) {
            Ok(size_bytes) => {
                let layer = Layer { store: self.clone(), diff_id: id, size_bytes };
                Ok((presence != Presence::Unproven || layer.prove()?).then_some(layer))
            }
            Err(_) if presence == Presence::Unproven => Ok(None),
            Err(error) => Err(StoreError::Damaged { path, reason: error.to_string() }),
        }
    }

    fn beside_layer(&self, id: DiffId, what: &str) -> PathBuf {
        let mut path = self.layer_path(id).into_os_string();
        path.push(what);
        path.into()
    }
}

impl Layer {
    /// The digest of the layer's tar.
    pub fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    /// How long the layer's tar is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads the layer's tar: exactly the bytes that went in.
    pub fn read(&self) -> Result<TarReader, StoreError> {
        let path = self.store.layer_path(self.diff_id);
        let file = self.open(&path)?;
        TarReader::new(self.store.clone(), file).map_err(StoreError::io("read", path))
    }

    /// What the layer does.
    pub fn change(&self) -> Result<Change, StoreError> {
        let path = self.store.beside_layer(self.diff_id, CHANGE);
        let mut bytes = Vec::new();
        self.open(&path)?.read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
        Change::decode(&bytes)
            .map_err(|error: DecodeChangeError| StoreError::Damaged { path, reason: error.to_string() })
    }

    /// Where the contents of the layer's files can be read; see [`Contents::of_layers`] for many.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        let inline = self.inline()?;
        Ok(Contents::of_inline(Arc::new(inline)).merge(Contents::of_objects(&self.store)))
    }

    /// The objects that the layer needs: what a collector must keep for it.
    pub fn objects(&self) -> Result<Vec<(ObjectId, u64)>, StoreError> {
        let path = self.store.layer_path(self.diff_id);
        let file = self.open(&path)?;
        file::objects(file).map_err(StoreError::io("read", path))
    }

    /// Whether the layer reads back as what its name promises; reads all of it, objects included.
    pub fn verify(&self) -> Result<bool, StoreError> {
        use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match self.is_whole() {
            Err(StoreError::Damaged { .. }) => Ok(false),
            Err(StoreError::Io { source, .. }) if matches!(source.kind(), InvalidData | NotFound | UnexpectedEof) => {
                Ok(false)
            }
            result => result,
        }
    }

    fn is_whole(&self) -> Result<bool, StoreError> {
        self.change()?;
        let path = self.store.layer_path(self.diff_id);
        let digest = crate::blob::digest_of(self.read()?).map_err(StoreError::io("read", path))?;
        Ok(digest == self.diff_id.0 && self.inline()?.verify()?)
    }

    fn open(&self, path: &Path) -> Result<File, StoreError> {
        let missing = || StoreError::io("open", path)(std::io::ErrorKind::NotFound.into());
        self.store.open_held(path)?.ok_or_else(missing)
    }

    pub(crate) fn inline(&self) -> Result<InlineContents, StoreError> {
        let (layer, index) = (self.store.layer_path(self.diff_id), self.store.beside_layer(self.diff_id, CONTENTS));
        let reason = || format!("it has no {}", display(CONTENTS.as_bytes()));
        InlineContents::open(&self.store, &layer, &index)?
            .ok_or_else(|| StoreError::Damaged { path: layer.clone(), reason: reason() })
    }

    /// Looks at a layer that another process wrote and no sync has covered.
    fn prove(&self) -> Result<bool, StoreError> {
        let whole = self.verify()?;
        if whole {
            for what in ["", CHANGE, CONTENTS] {
                self.store.note_unsealed(&self.store.beside_layer(self.diff_id, what));
            }
        }
        Ok(whole)
    }

    /// Gives a finished layer its place, the layer file last.
    fn place(store: &Store, finished: Finished, rows: InlineRows, change: &Change) -> Result<Self, StoreError> {
        let Finished { diff_id, size_bytes, file } = finished;
        let mut encoded = store.temporary_file()?;
        let written = change.encode_into(&mut encoded);
        written.map_err(StoreError::io("write", encoded.path()))?;
        store.place(encoded, &store.beside_layer(diff_id, CHANGE))?;
        store.place(rows.write(store)?, &store.beside_layer(diff_id, CONTENTS))?;
        store.place(file, &store.layer_path(diff_id))?;
        Ok(Self { store: store.clone(), diff_id, size_bytes })
    }
}

const CHANGE: &str = ".change";
const CONTENTS: &str = ".contents";
const BLOBS: &str = ".blobs";
const ROOTS: &str = ".roots";

/// Whether an extended attribute of an image is kept. Not kept are those that steer the kernel's
/// overlayfs (`trusted.*`, `user.overlay.*`) and those of security modules, which belong to a machine
/// and not to an image; capabilities of files belong to the image.
pub fn keeps_attribute(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
