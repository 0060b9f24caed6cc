//! Pushing: an image of the store to a registry.
//!
//! For each layer, cheapest first: the repository has it; the registry takes it over from another of
//! its repositories; the store has its compressed bytes, or streams them from the registry where
//! the layer was last seen; and only if all of that fails it is compressed (once, ever: the store
//! remembers). Layers and config in parallel, the manifest last, so a tag never names half an image.
//! A pulled image whose blobs are all to be had keeps its manifest, byte for byte.

mod blobs;
mod manifest;

use std::sync::atomic::AtomicU64;

use store::compress::Encoding;
use store::image::ImageError;
use store::oci::MediaType;
use store::refs::RefError;
use store::{DiffId, Digest, Image, ImageId, PinnedReference, Reference, Store, StoreError, TaggedImage};

use self::blobs::{Push, known_blobs, mount_sources};
use crate::Host;
use crate::event::Progress;
use crate::host::HostError;
use crate::registry::Registry;
use crate::request::RequestError;
use crate::token::Access;
use crate::upload::UploadError;

/// Why an image was not pushed. The tag at the registry is then where it was.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The reference's host cannot be one.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The registry could not be asked, or refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A blob could not be sent.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A digest cannot be pushed to: it follows from the bytes.
    #[error("cannot push to {0}: give a tag instead of a digest")]
    ToDigest(Reference),
    /// The store does not have the image.
    #[error("the store has no image {0}")]
    NoImage(ImageId),
    /// The store does not have a layer of the image.
    #[error("the store has no layer {0}")]
    NoLayer(DiffId),
    /// Docker's manifests know no zstd.
    #[error("Docker's manifest format has no name for layers of type {0}; use OCI media types")]
    NoDockerName(MediaType),
    /// The registry stored something else than was sent.
    #[error("{host} says that the manifest it took has digest {actual}, but it is {expected}")]
    OtherDigest {
        /// The registry.
        host: String,
        /// What was sent.
        expected: Digest,
        /// What the registry says.
        actual: String,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tag could not be updated.
    #[error(transparent)]
    Tag(#[from] RefError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushError {
    /// What went wrong with a request, if that was it.
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Request(error) | Self::Upload(UploadError::Request(error)) => Some(error),
            _ => None,
        }
    }
}

/// How an image is pushed.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// In whose media types.
    pub family: Family,
    /// How layers are compressed that have no compressed form yet.
    pub encoding: Encoding,
}

/// Whose media types a manifest has; they are not mixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// Those that the image was pulled with, OCI's for what was built here.
    #[default]
    AsItCame,
    /// OCI's.
    Oci,
    /// Docker's.
    Docker,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Under which name, as a digest, the registry has the image.
    pub pinned: PinnedReference,
    /// The size of the manifest, which `docker push` prints beside the digest.
    pub manifest_bytes: u64,
    /// Bytes of blobs that had to be sent.
    pub sent_bytes: u64,
}

impl Registry {
    /// Sends an image to where a reference says, under its tag.
    pub fn push(
        &self,
        store: &Store,
        image: ImageId,
        reference: &Reference,
        options: &PushOptions,
        progress: Progress<'_>,
    ) -> Result<Pushed, PushError> {
        if reference.digest().is_some() {
            return Err(PushError::ToDigest(reference.clone()));
        }
        let image = store.image(image)?.ok_or(PushError::NoImage(image))?;
        let original = manifest::original(store, &image, options.family)?;
        let known = known_blobs(store, &image, original.as_ref(), options.encoding)?;
        let repository = reference.repository();
        let sources = mount_sources(&known, repository);
        let host = Host::new(repository.host())?;
        let session = &self.session(&host, repository.path(), Access::PullAndPush, &sources, progress)?;
        let push = Push { registry: self, session, store, repository, options, sent: AtomicU64::new(0) };
        let layers = push.blobs(&image, &known)?;
        let written = manifest::compose(store, &image, original, options.family, &layers)?;
        let pinned = manifest::put(session, reference, &written)?;
        remember(store, &image, reference, &pinned, &written.bytes)?;
        let (manifest_bytes, sent_bytes) = (written.bytes.len() as u64, push.sent.into_inner());
        Ok(Pushed { pinned, manifest_bytes, sent_bytes })
    }
}

/// Keeps what the push has made: the manifest, and the name that the registry has for the image.
fn remember(
    store: &Store,
    image: &Image,
    reference: &Reference,
    pinned: &PinnedReference,
    manifest: &[u8],
) -> Result<(), PushError> {
    store.put_blob(manifest)?;
    store.note_manifest(image.id, pinned.digest)?;
    store.note_repo_digest(image.id, pinned)?;
    match store.tagged(reference)? {
        Some(tagged) if tagged.image == image.id => {
            store.tag(reference, &TaggedImage { manifest: Some(pinned.digest), ..TaggedImage::now(image.id) })?;
        }
        _ => store.sync()?,
    }
    Ok(())
}
