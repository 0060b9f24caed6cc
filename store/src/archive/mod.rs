//! Images as files: what `load` reads and `save` writes.
//!
//! Two forms are read, from a tar (compressed or not) or a directory: the OCI image layout
//! (image-spec, image-layout.md) and Docker's archive (`manifest.json`). Newer Dockers write both
//! into one file; the layout then counts, and the names of both.
//!
//! Nothing of an archive is believed: every blob must have the digest by which it is named, every
//! layer its DiffId. Names of members are looked up in the archive's own index and never on disk.

mod directory;
mod import;
mod load;
mod save;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use import::Import;
pub use load::{LayoutImage, LoadOptions, Loaded};
pub use save::{ArchiveFormat, LayerForm, ReceivedLayers, Save, SavedImage};
pub use source::Source;

use crate::bundle::BundleError;
use crate::image::ImageError;
use crate::layer::ImportError;
use crate::oci::DocumentError;
use crate::refs::RefError;
use crate::store::StoreError;
use crate::{DiffId, Digest, ImageId};

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read from where it is.
    #[error("cannot read {what}")]
    Read {
        /// The archive or a part of it.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It cannot be written to where it should be.
    #[error("cannot write {what}")]
    Write {
        /// The archive or a part of it.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is no tar.
    #[error("{} is no archive, or only a part of one", path.display())]
    NoTar {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: io::Error,
    },
    /// It is neither of the two forms.
    #[error("{} is neither a Docker archive nor an OCI image layout: it has no manifest.json and no index.json", path.display())]
    Unknown {
        /// The archive.
        path: PathBuf,
    },
    /// It is in the form that Docker wrote before 1.10.
    #[error("{} is in the format of Docker before 1.10, which is not supported; load and save it with a current Docker first", path.display())]
    Ancient {
        /// The archive.
        path: PathBuf,
    },
    /// A part that is named is not there.
    #[error("archive has no {0}")]
    Missing(String),
    /// A part is larger than it may be.
    #[error("{name} in the archive has {size_bytes} bytes, more than the {limit_bytes} that it may have")]
    TooLarge {
        /// The part.
        name: String,
        /// Its size.
        size_bytes: u64,
        /// How large it may be.
        limit_bytes: u64,
    },
    /// The bytes under a digest are others.
    #[error("blob {expected} in the archive is damaged: its bytes are {actual}")]
    WrongBlob {
        /// Its name.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A blob has another size than its descriptor says.
    #[error("blob {digest} in the archive should have {expected_bytes} bytes and has {actual_bytes}")]
    WrongSize {
        /// Its name.
        digest: Digest,
        /// The descriptor's size.
        expected_bytes: u64,
        /// Its size.
        actual_bytes: u64,
    },
    /// A layer is not what the config says.
    #[error("layer {layer} of image {image} cannot be imported")]
    Layer {
        /// The image.
        image: ImageId,
        /// The layer that the config names.
        layer: DiffId,
        /// What is wrong.
        source: Box<ImportError>,
    },
    /// The config names more or fewer layers than the manifest.
    #[error("image {image} has {config} layers by its config and {manifest} by its manifest")]
    LayerCount {
        /// The image.
        image: ImageId,
        /// By the config.
        config: usize,
        /// By the manifest.
        manifest: usize,
    },
    /// No image in it runs on the platform that was asked for.
    #[error("archive has no image for {platform}, only for {offered}")]
    NoPlatform {
        /// What was asked for.
        platform: String,
        /// What there is.
        offered: String,
    },
    /// A manifest is that of something else than an image.
    #[error("manifest {digest} is not of an image but of {kind}")]
    Artifact {
        /// The manifest.
        digest: Digest,
        /// What its config says it is.
        kind: String,
    },
    /// Indexes are nested too deep.
    #[error("indexes in the archive are nested deeper than {0}")]
    TooDeep(usize),
    /// A document cannot be understood.
    #[error("cannot understand {name} in the archive")]
    Document {
        /// Which part of the archive.
        name: String,
        /// Why.
        source: DocumentError,
    },
    /// The store does not have what should be saved.
    #[error("image {0} is not in the store")]
    NoImage(ImageId),
    /// A manifest cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A layer has no name in the family of the manifest.
    #[error(transparent)]
    Family(DocumentError),
    /// A root file system cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// An image cannot be kept or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name cannot be given.
    #[error(transparent)]
    Ref(#[from] RefError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The file that says that a directory is an OCI image layout.
const LAYOUT_FILE: &str = "oci-layout";
/// The list of what is in an OCI image layout.
const INDEX_FILE: &str = "index.json";
/// The list of what is in a Docker archive.
const DOCKER_FILE: &str = "manifest.json";
/// A whole reference.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// A whole reference by some tools, a mere tag by others.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Where a blob lies in a layout.
fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
