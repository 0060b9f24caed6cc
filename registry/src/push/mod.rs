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
pub use store::oci::Family;
use store::oci::{Annotations, Descriptor, DocumentError, Index, MANIFEST_LIMIT_BYTES, MediaType};
use store::refs::RefError;
use store::{
    Bundle, DiffId, Digest, Image, ImageId, Member, PinnedReference, Reference, Store, StoreError, TaggedImage,
};

use self::blobs::{Push, known_blobs, mount_sources};
use self::manifest::Written;
use crate::Host;
use crate::bring::BringError;
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
    /// A layer that nobody has unpacked here is not to be had.
    #[error(transparent)]
    Bring(#[from] BringError),
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
    /// The index has no name in the family.
    #[error(transparent)]
    Document(#[from] DocumentError),
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
            Self::Bring(error) => error.request(),
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
    /// Which forms count as one.
    pub reuse: Reuse,
}

/// Which compressed forms of a layer are taken as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Those that came with a base image, too.
    #[default]
    Received,
    /// Only what this encoder made: layers of a base image are compressed anew.
    OwnOnly,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Under which name, as a digest, the registry has the image.
    pub pinned: PinnedReference,
    /// What it is: a manifest or an index.
    pub media_type: MediaType,
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
        self.push_bundle(store, &Bundle::of_image(image), reference, options, progress)
    }

    /// Sends all images of a name to where a reference says: each manifest under its digest, and the
    /// index last, under the tag. A single image has no index.
    pub fn push_bundle(
        &self,
        store: &Store,
        bundle: &Bundle,
        reference: &Reference,
        options: &PushOptions,
        progress: Progress<'_>,
    ) -> Result<Pushed, PushError> {
        if reference.digest().is_some() {
            return Err(PushError::ToDigest(reference.clone()));
        }
        let family = if options.family == Family::AsItCame { bundle.family } else { options.family };
        let options = &PushOptions { family, ..options.clone() };
        let registry = &self.ending_with(store.cancel());
        let sender = Sender { registry, store, reference, options, progress };
        match &bundle.index {
            None => {
                let Member { image, annotations, .. } = &bundle.members[0];
                let (pushed, image) = sender.image(*image, annotations.as_ref(), Name::Tag)?;
                remember(store, image, reference, &pushed.pinned)?;
                Ok(pushed)
            }
            Some(index) => sender.index(bundle, index),
        }
    }
}

/// Under what a manifest is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Tag,
    Digest,
}

/// Everything that is the same for all images of a push.
struct Sender<'a> {
    registry: &'a Registry,
    store: &'a Store,
    reference: &'a Reference,
    options: &'a PushOptions,
    progress: Progress<'a>,
}

impl Sender<'_> {
    fn image(&self, image: ImageId, said: Option<&Annotations>, name: Name) -> Result<(Pushed, ImageId), PushError> {
        let Self { registry, store, reference, options, progress } = *self;
        let image = store.image(image)?.ok_or(PushError::NoImage(image))?;
        let original = manifest::original(store, &image, options.family)?;
        let known = known_blobs(store, &image, original.as_ref(), options)?;
        let repository = reference.repository();
        let sources = mount_sources(&known, repository);
        let host = Host::new(repository.host())?;
        let session = &registry.session(&host, repository.path(), Access::PullAndPush, &sources, progress)?;
        let push = Push { registry, session, store, repository, options, sent: AtomicU64::new(0) };
        let layers = push.blobs(&image, &known)?;
        let written = manifest::compose(store, &image, original, options.family, said, &layers)?;
        let name = match name {
            Name::Tag => reference.manifest_name(),
            Name::Digest => Digest::of(&written.bytes).to_string(),
        };
        let pinned = manifest::put(session, reference, &name, &written.manifest.media_type, &written.bytes)?;
        keep(store, &image, &pinned, &written)?;
        let (manifest_bytes, sent_bytes) = (written.bytes.len() as u64, push.sent.into_inner());
        Ok((Pushed { pinned, media_type: written.manifest.media_type, manifest_bytes, sent_bytes }, image.id))
    }

    fn index(&self, bundle: &Bundle, index: &Index) -> Result<Pushed, PushError> {
        let Self { registry, store, reference, options, progress } = *self;
        let mut manifests = Vec::new();
        let mut sent_bytes = 0;
        for Member { image, descriptor, annotations } in &bundle.members {
            let (pushed, _) = self.image(*image, annotations.as_ref(), Name::Digest)?;
            let before = descriptor.as_ref().map(|before| (before.platform.clone(), before.annotations.clone()));
            let (platform, annotations) = before.unwrap_or_default();
            let now = Descriptor::new(pushed.media_type, pushed.pinned.digest, pushed.manifest_bytes);
            manifests.push(Descriptor { platform, annotations, ..now });
            sent_bytes += pushed.sent_bytes;
        }
        let media_type = options.family.of_type(&MediaType::OciIndex)?;
        let now = Index { media_type: media_type.clone(), manifests, ..index.clone() };
        // What came from elsewhere and is still true keeps its bytes, which are its name.
        let before = bundle.document.filter(|_| now == *index);
        let before = before.map(|digest| store.read_blob(digest, MANIFEST_LIMIT_BYTES)).transpose()?.flatten();
        let bytes = before.unwrap_or_else(|| now.to_bytes());
        let repository = reference.repository();
        let host = Host::new(repository.host())?;
        let session = &registry.session(&host, repository.path(), Access::PullAndPush, &[], progress)?;
        let pinned = manifest::put(session, reference, &reference.manifest_name(), &media_type, &bytes)?;
        store.put_blob(&bytes)?;
        remember(store, bundle.members[0].image, reference, &pinned)?;
        Ok(Pushed { pinned, media_type, manifest_bytes: bytes.len() as u64, sent_bytes })
    }
}

/// Keeps what the push has made: the manifest, and the name that the registry has for the image.
fn keep(store: &Store, image: &Image, pinned: &PinnedReference, written: &Written) -> Result<(), PushError> {
    store.put_blob(&written.bytes)?;
    store.note_manifest(image.id, pinned.digest)?;
    Ok(store.note_repo_digest(image.id, pinned)?)
}

/// Notes at the tag what the registry has under it now.
fn remember(store: &Store, image: ImageId, reference: &Reference, pinned: &PinnedReference) -> Result<(), PushError> {
    match store.tagged(reference)? {
        Some(tagged) if store.images_of(&tagged)?.contains(&image) => {
            let now = TaggedImage::now(tagged.image);
            let document = tagged.document;
            store.tag(reference, &TaggedImage { manifest: Some(pinned.digest), document, ..now })?;
        }
        _ => store.sync()?,
    }
    Ok(())
}
