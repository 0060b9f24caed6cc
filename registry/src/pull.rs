//! Pulling: an image from a registry into the store.
//!
//! Layers come in parallel, each decompressed and unpacked into the store while it streams, so no
//! compressed blob touches the disk. A layer is visible only once its compressed digest, its size
//! and its `DiffId` are all verified; the image after its last layer; the tag last of all, after a
//! sync. A layer that the store has is not downloaded.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store::image::ImageError;
use store::layer::{ImportError, LayerBlob};
use store::oci::Descriptor;
use store::refs::RefError;
use store::tar::ReadTarError;
use store::{DiffId, Digest, ImageId, PinnedReference, Platform, Reference, Store, StoreError, TaggedImage};

use crate::blob::{BlobError, BlobReader};
use crate::event::{BlobState, Event, Progress};
use crate::registry::Registry;
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
        let layers = layers(&remote)?;
        let announced = remote.manifest.layers.iter().map(|layer| (layer.digest, layer.size_bytes)).collect();
        progress(Event::Resolved { manifest: remote.manifest_digest, layers: announced });
        let fetch =
            Fetch { session: &session, store, reference, bytes: AtomicU64::new(0), stop: AtomicBool::new(false) };
        fetch.all(&layers, self.options().parallel)?;
        let (image, news) = keep(store, &remote)?;
        let downloaded_bytes = fetch.bytes.into_inner();
        Ok(Pulled { image, pinned: remote.pinned, manifest: remote.manifest_digest, downloaded_bytes, news })
    }
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

/// Writes what ties the layers together: documents, image, names; the tag last.
fn keep(store: &Store, remote: &RemoteImage) -> Result<(ImageId, News), PullError> {
    store.put_blob(&remote.manifest_bytes)?;
    if let Some(index) = &remote.index {
        store.put_blob(index)?;
    }
    let image = store.put_image(&remote.config_bytes)?;
    store.note_manifest(image, remote.manifest_digest)?;
    store.note_repo_digest(image, &remote.pinned)?;
    if remote.reference.digest().is_some() {
        store.sync()?;
        return Ok((image, News::Newer));
    }
    let target = TaggedImage { manifest: Some(remote.pinned.digest), ..TaggedImage::now(image) };
    let before = store.tagged(&remote.reference)?;
    store.tag(&remote.reference, &target)?;
    let same = before.is_some_and(|before| (before.image, before.manifest) == (target.image, target.manifest));
    Ok((image, if same { News::UpToDate } else { News::Newer }))
}

/// The layers of one image on their way.
struct Fetch<'a> {
    session: &'a Session<'a>,
    store: &'a Store,
    reference: &'a Reference,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Fetch<'_> {
    /// Fetches all layers, a few at a time. The first failure stops the others.
    fn all(&self, layers: &[(DiffId, &Descriptor)], parallel: usize) -> Result<(), PullError> {
        let queue = Mutex::new(layers.iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((diff_id, descriptor)) = next().filter(|_| !self.stop.load(Ordering::Relaxed)) {
                if let Err(error) = self.one(*diff_id, descriptor) {
                    let is_first = !self.stop.swap(true, Ordering::Relaxed);
                    return if is_first { Err(error) } else { Ok(()) };
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let count = parallel.clamp(1, layers.len().max(1));
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let results = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

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
        let compressed = Stoppable { reader: &mut reader, stop: &self.stop };
        let imported = store::compress::decompress(compressed)
            .map_err(|error| ImportError::Tar(ReadTarError::Read(error)))
            .and_then(|tar| self.store.import_layer(tar, Some(diff_id)));
        if let Some(failure) = reader.take_failure() {
            return Err(failure.into());
        }
        if self.stop.load(Ordering::Relaxed) && imported.is_err() {
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
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("another layer failed"));
        }
        self.reader.read(buffer)
    }
}
