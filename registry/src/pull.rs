//! Pulling: an image from a registry into the store.
//!
//! Layers come in parallel, each decompressed and unpacked into the store while it streams, so no
//! compressed blob touches the disk. A layer is visible only once its compressed digest, its size
//! and its `DiffId` are all verified; the image after its last layer; the tag last of all, after a
//! sync. A layer that the store has is not downloaded; an image can be [noted](note) without its layers, too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use store::image::ImageError;
use store::layer::{ImportError, LayerBlob};
use store::oci::Descriptor;
use store::refs::RefError;
use store::{DiffId, Digest, ImageId, PinnedReference, Platform, Reference, Store, StoreError, TaggedImage, Thing};

use crate::arrival::{Arrival, LayerError};
use crate::blob::BlobError;
use crate::event::{BlobState, Event, Progress};
use crate::parallel::Crew;
use crate::registry::Registry;
use crate::request::RequestError;
use crate::resolve::{RemoteImage, ResolveError, resolve};
use crate::session::Session;

/// Why an image was not pulled. Nothing of it is visible under a tag then.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The reference leads to no image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A layer could not be fetched.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer came as announced but is not what the config says, or no layer at all.
    #[error("layer {digest} of {reference} cannot be unpacked")]
    Layer {
        /// Of which image.
        reference: Box<Reference>,
        /// The layer's blob.
        digest: Digest,
        /// What is wrong with it.
        source: Box<ImportError>,
    },
    /// A layer that may not be redistributed, which its registry does not have.
    #[error("layer {digest} of {reference} is kept outside of the registry ({media_type}), which is not supported")]
    ForeignLayer {
        /// Of which image.
        reference: Box<Reference>,
        /// The layer's blob.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// The image could not be put together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tag could not be set.
    #[error(transparent)]
    Tag(#[from] RefError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PullError {
    /// What went wrong with a request, if that was it.
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Resolve(error) => error.request(),
            Self::Blob(BlobError::Request(error)) => Some(error),
            _ => None,
        }
    }
}

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image, which the store now has.
    pub image: ImageId,
    /// What the reference named: `repository@digest`.
    pub pinned: PinnedReference,
    /// The image's own manifest; differs from the pinned digest where that is an index.
    pub manifest: Digest,
    /// Compressed bytes that had to be fetched for layers.
    pub downloaded_bytes: u64,
    /// Whether anything changed.
    pub news: News,
}

/// Whether a pull changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The store had the image, under that name.
    UpToDate,
    /// The image is new, or the name is.
    Newer,
}

impl Registry {
    /// Fetches the image that a reference names for a platform, and tags it with the reference
    /// unless that has a digest.
    pub fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        progress: Progress<'_>,
    ) -> Result<Pulled, PullError> {
        let registry = &self.ending_with(store.cancel());
        let session = registry.pull_session(reference, progress)?;
        let remote = resolve(&session, store, reference, platform)?;
        let fetched = fetch(&session, store, &remote)?;
        if reference.digest().is_some() {
            store.sync()?;
            return Ok(fetched);
        }
        let target = TaggedImage { manifest: Some(remote.pinned.digest), ..TaggedImage::now(fetched.image) };
        let before = store.tagged(reference)?;
        store.tag(reference, &target)?;
        let is_same = before.is_some_and(|before| (before.image, before.manifest) == (target.image, target.manifest));
        Ok(Pulled { news: if is_same { News::UpToDate } else { News::Newer }, ..fetched })
    }

    /// Fetches what the store lacks of an image that was resolved before, and tags nothing: the base
    /// of a build. The image is durable when this returns.
    pub fn fetch(&self, store: &Store, remote: &RemoteImage, progress: Progress<'_>) -> Result<Pulled, PullError> {
        let registry = &self.ending_with(store.cancel());
        let fetched = fetch(&registry.pull_session(&remote.reference, progress)?, store, remote)?;
        store.sync()?;
        Ok(fetched)
    }
}

/// Has the store know an image that was resolved before, and where its layers are, without bringing any: the
/// base of a build that reads nothing of it. [`Registry::bring`] brings them later.
pub fn note(store: &Store, remote: &RemoteImage) -> Result<ImageId, PullError> {
    let layers = layers(remote)?;
    // Held before they are known, so that no collector takes for litter what the image is about to name.
    store.hold_things(&layers.iter().map(|(diff_id, _)| Thing::Layer(*diff_id)).collect::<Vec<_>>())?;
    for (diff_id, descriptor) in layers {
        remember(store, &remote.reference, diff_id, descriptor)?;
    }
    keep(store, remote)
}

fn fetch(session: &Session<'_>, store: &Store, remote: &RemoteImage) -> Result<Pulled, PullError> {
    let layers = layers(remote)?;
    let announced = remote.manifest.layers.iter().map(|layer| (layer.digest, layer.size_bytes)).collect();
    (session.progress)(Event::Resolved { manifest: remote.manifest_digest, layers: announced });
    let reference = &remote.reference;
    let fetch = Fetch { session, store, reference, crew: Crew::default(), bytes: AtomicU64::new(0) };
    let parallel = session.registry.options().parallel;
    fetch.crew.each(layers, parallel, |(diff_id, descriptor)| fetch.one(diff_id, descriptor))?;
    let was_known = store.image_record(ImageId(remote.manifest.config.digest))?.is_some();
    let image = keep(store, remote)?;
    let news = if was_known && fetch.bytes.load(Ordering::Relaxed) == 0 { News::UpToDate } else { News::Newer };
    let downloaded_bytes = fetch.bytes.into_inner();
    Ok(Pulled { image, pinned: remote.pinned.clone(), manifest: remote.manifest_digest, downloaded_bytes, news })
}

/// The distinct layers, the largest first, so that none is left alone at the end.
fn layers(remote: &RemoteImage) -> Result<Vec<(DiffId, &Descriptor)>, PullError> {
    if let Some(foreign) = remote.manifest.layers.iter().find(|layer| layer.media_type.is_foreign()) {
        let (digest, media_type) = (foreign.digest, foreign.media_type.to_string());
        return Err(PullError::ForeignLayer { reference: Box::new(remote.reference.clone()), digest, media_type });
    }
    let pairs = remote.config.rootfs.diff_ids.iter().copied().zip(&remote.manifest.layers);
    let mut distinct: Vec<_> = pairs.collect::<BTreeMap<_, _>>().into_iter().collect();
    distinct.sort_by_key(|(_, layer)| std::cmp::Reverse(layer.size_bytes));
    Ok(distinct)
}

/// Writes what ties the layers together.
fn keep(store: &Store, remote: &RemoteImage) -> Result<ImageId, PullError> {
    store.put_blob(&remote.manifest_bytes)?;
    if let Some(index) = &remote.index {
        store.put_blob(index)?;
    }
    let image = store.put_image(&remote.config_bytes)?;
    store.note_manifest(image, remote.manifest_digest)?;
    store.note_repo_digest(image, &remote.pinned)?;
    Ok(image)
}

/// Keeps a layer's compressed form, for pushes, and for whoever needs the layer later.
fn remember(store: &Store, from: &Reference, diff_id: DiffId, descriptor: &Descriptor) -> Result<(), PullError> {
    let here = from.repository().to_string();
    let is_known = |blob: &LayerBlob| blob.digest == descriptor.digest && blob.seen_in.contains(&here);
    if store.blobs_of(diff_id)?.iter().any(is_known) {
        return Ok(());
    }
    let blob = LayerBlob {
        digest: descriptor.digest,
        size_bytes: descriptor.size_bytes,
        media_type: descriptor.media_type.to_string(),
        encoder: None,
        seen_in: [here].into(),
    };
    Ok(store.record_blob(diff_id, blob)?)
}

/// The layers of one image on their way.
struct Fetch<'a> {
    session: &'a Session<'a>,
    store: &'a Store,
    reference: &'a Reference,
    crew: Crew,
    bytes: AtomicU64,
}

impl Fetch<'_> {
    fn one(&self, diff_id: DiffId, descriptor: &Descriptor) -> Result<(), PullError> {
        let tell = |state| {
            let (digest, size_bytes) = (descriptor.digest, descriptor.size_bytes);
            (self.session.progress)(Event::Blob { digest, size_bytes, state });
        };
        if self.store.layer(diff_id)?.is_some() {
            tell(BlobState::Present);
        } else {
            let Self { session, store, ref crew, .. } = *self;
            let arrival = Arrival { session, store, crew, diff_id, descriptor };
            arrival.download().map_err(|error| self.bad(descriptor, error))?;
            self.bytes.fetch_add(descriptor.size_bytes, Ordering::Relaxed);
        }
        remember(self.store, self.reference, diff_id, descriptor)
    }

    fn bad(&self, descriptor: &Descriptor, error: LayerError) -> PullError {
        match error {
            LayerError::Blob(error) => error.into(),
            LayerError::Unpack(source) => PullError::Layer {
                reference: Box::new(self.reference.clone()),
                digest: descriptor.digest,
                source: Box::new(source),
            },
        }
    }
}
