//! Pulling: an image from a registry into the store.
//!
//! Layers come in parallel, each decompressed and unpacked into the store while it streams, so no
//! compressed blob touches the disk. A layer is visible only once its compressed digest, its size
//! and its `DiffId` are all verified; the image after its last layer; the tag last of all, after a
//! sync. A layer that the store has is not downloaded.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use store::image::ImageError;
use store::layer::{ImportError, LayerBlob};
use store::oci::Descriptor;
use store::refs::RefError;
use store::tar::ReadTarError;
use store::{DiffId, Digest, ImageId, PinnedReference, Platform, Reference, Store, StoreError, TaggedImage};

use crate::blob::{BlobError, BlobReader};
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
        let session = self.pull_session(reference, progress)?;
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
        let fetched = fetch(&self.pull_session(&remote.reference, progress)?, store, remote)?;
        store.sync()?;
        Ok(fetched)
    }
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
    let news = if was_known { News::UpToDate } else { News::Newer };
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
            tell(BlobState::Downloading);
            self.download(diff_id, descriptor)?;
            self.bytes.fetch_add(descriptor.size_bytes, Ordering::Relaxed);
            tell(BlobState::Unpacked);
        }
        self.remember(diff_id, descriptor)
    }

    /// Fetches a layer; one that came damaged once more, over another connection.
    fn download(&self, diff_id: DiffId, descriptor: &Descriptor) -> Result<(), PullError> {
        match self.attempt(diff_id, descriptor) {
            Err(PullError::Blob(error)) if error.is_damage() => {
                let doing = format!("pull blob {} from {}", descriptor.digest.short(), self.session.name());
                (self.session.progress)(Event::Retrying {
                    doing,
                    because: error.to_string(),
                    wait: std::time::Duration::ZERO,
                });
                self.attempt(diff_id, descriptor)
            }
            other => other,
        }
    }

    fn attempt(&self, diff_id: DiffId, descriptor: &Descriptor) -> Result<(), PullError> {
        let mut reader = BlobReader::new(self.session, descriptor);
        let compressed = Stoppable { reader: &mut reader, crew: &self.crew };
        let imported = store::compress::decompress(compressed)
            .map_err(|error| ImportError::Tar(ReadTarError::Read(error)))
            .and_then(|tar| self.store.import_layer(tar, Some(diff_id)));
        if let Some(failure) = reader.take_failure() {
            return Err(failure.into());
        }
        if self.crew.is_stopped() && imported.is_err() {
            return imported.map(drop).map_err(|source| self.bad(descriptor, source));
        }
        // What cannot be unpacked may be damaged: the digest of the whole tells. What could be
        // unpacked may have something behind it, and its digest is to be recorded.
        reader.finish()?;
        imported.map(drop).map_err(|source| self.bad(descriptor, source))
    }

    /// Keeps the layer's compressed form beside it, for pushes.
    fn remember(&self, diff_id: DiffId, descriptor: &Descriptor) -> Result<(), PullError> {
        let here = self.reference.repository().to_string();
        let is_known = |blob: &LayerBlob| blob.digest == descriptor.digest && blob.seen_in.contains(&here);
        if self.store.blobs_of(diff_id)?.iter().any(is_known) {
            return Ok(());
        }
        let blob = LayerBlob {
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
            media_type: descriptor.media_type.to_string(),
            encoder: None,
            seen_in: [here].into(),
        };
        Ok(self.store.record_blob(diff_id, blob)?)
    }

    fn bad(&self, descriptor: &Descriptor, source: ImportError) -> PullError {
        PullError::Layer {
            reference: Box::new(self.reference.clone()),
            digest: descriptor.digest,
            source: Box::new(source),
        }
    }
}

/// A reader that ends with an error when another layer has failed.
struct Stoppable<'a, R> {
    reader: R,
    crew: &'a Crew,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.crew.is_stopped() {
            return Err(io::Error::other("another layer failed"));
        }
        self.reader.read(buffer)
    }
}
