//! Bringing an image's blobs to a repository, each in the cheapest way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use store::layer::LayerBlob;
use store::oci::{CONFIG_LIMIT_BYTES, Descriptor, MediaType};
use store::{DiffId, Digest, Image, ImageId, Repository, Store, StoreError};

use super::manifest::Written;
use super::{Family, PushError, PushOptions, Reuse};
use crate::Host;
use crate::blob::BlobReader;
use crate::event::{BlobState, Event};
use crate::parallel::Crew;
use crate::registry::Registry;
use crate::request::RequestError;
use crate::session::Session;
use crate::token::Access;
use crate::upload::{Mount, Source, Upload, UploadError};

/// Everything that blobs are brought with.
pub(super) struct Push<'a> {
    pub(super) registry: &'a Registry,
    pub(super) session: &'a Session<'a>,
    pub(super) store: &'a Store,
    pub(super) repository: &'a Repository,
    pub(super) options: &'a PushOptions,
    /// Bytes that had to be sent.
    pub(super) sent: AtomicU64,
}

/// One thing to bring to the repository.
enum Item<'a> {
    Config(Digest),
    Layer(DiffId, &'a [LayerBlob]),
}

impl Push<'_> {
    /// Brings config and layers, a few at a time; gives the form in which each layer is there now.
    pub(super) fn blobs(&self, image: &Image, known: &KnownBlobs) -> Result<BTreeMap<DiffId, Descriptor>, PushError> {
        let layers = known.iter().map(|(diff_id, blobs)| Item::Layer(*diff_id, blobs));
        let items = layers.chain([Item::Config(image.id.0)]).collect();
        let done = Mutex::new(BTreeMap::new());
        Crew::default().each(items, self.registry.options().parallel, |item| {
            let arrived = self.item(&item)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);
            Ok::<_, PushError>(())
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn item(&self, item: &Item<'_>) -> Result<Option<(DiffId, Descriptor)>, PushError> {
        match item {
            Item::Config(digest) => self.config(*digest).map(|()| None),
            Item::Layer(diff_id, blobs) => Ok(Some((*diff_id, self.layer(*diff_id, blobs)?))),
        }
    }

    fn config(&self, digest: Digest) -> Result<(), PushError> {
        let bytes = self.store.read_blob(digest, CONFIG_LIMIT_BYTES)?.ok_or(PushError::NoImage(ImageId(digest)))?;
        let upload = self.upload(digest, bytes.len() as u64);
        if upload.is_there()? {
            upload.tell(BlobState::Present);
            return Ok(());
        }
        Ok(self.send(&upload, None, &|| Ok(Box::new(bytes.as_slice())))?)
    }

    fn layer(&self, diff_id: DiffId, known: &[LayerBlob]) -> Result<Descriptor, PushError> {
        let usable: Vec<_> = known.iter().filter(|blob| self.has_name(blob)).collect();
        for blob in &usable {
            let upload = self.upload(blob.digest, blob.size_bytes);
            if upload.is_there()? {
                upload.tell(BlobState::Present);
                return self.arrived(diff_id, blob);
            }
        }
        for blob in &usable {
            if self.bring(diff_id, blob)? {
                return self.arrived(diff_id, blob);
            }
        }
        // The compressed form that came is not to be had, or not wanted; a layer that nobody unpacked is now.
        self.registry.bring(self.store, &[diff_id], self.session.progress)?;
        if let Some(original) = usable.iter().find(|blob| blob.encoder.is_none()) {
            (self.session.progress)(Event::Recompressing { layer: diff_id, original: original.digest });
        }
        self.compress(diff_id)
    }

    /// Mounts a blob, or sends it from wherever its bytes are; says whether that was possible.
    fn bring(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<bool, PushError> {
        let upload = self.upload(blob.digest, blob.size_bytes);
        let mut opened = None;
        for source in repositories(blob).filter(|source| is_beside(source, self.repository)) {
            match upload.mount(source.path())? {
                Mount::Done => return Ok(true),
                Mount::Opened(url) => opened = Some(url),
                Mount::Refused => {}
            }
        }
        if self.store.blob(blob.digest)?.is_some() {
            self.send(&upload, opened, &|| self.open(blob.digest))?;
            return Ok(true);
        }
        if blob.encoder.is_some()
            && let Some(layer) = self.store.layer(diff_id)?
        {
            let encoding = self.options.encoding;
            self.send(&upload, opened, &|| Ok(Box::new(layer.compress(encoding).map_err(io::Error::other)?)))?;
            return Ok(true);
        }
        for source in repositories(blob).filter(|source| source != self.repository) {
            match self.stream_from(&source, &upload, opened.take(), blob) {
                Ok(()) => return Ok(true),
                // The source has it no longer, or does not let one read it: on to the next.
                Err(PushError::Upload(UploadError::Source { .. }) | PushError::Host(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn open(&self, digest: Digest) -> io::Result<Box<dyn io::Read>> {
        let file = self.store.blob(digest).map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(file))
    }

    /// Sends a blob while it comes from another repository; nothing of it touches the disk.
    fn stream_from(
        &self,
        source: &Repository,
        upload: &Upload<'_>,
        opened: Option<reqwest::Url>,
        blob: &LayerBlob,
    ) -> Result<(), PushError> {
        let lost = |error: RequestError| UploadError::Source { digest: blob.digest, source: io::Error::other(error) };
        let session = self
            .registry
            .session(&Host::new(source.host())?, source.path(), Access::Pull, &[], self.session.progress)
            .map_err(lost)?;
        let descriptor = descriptor(blob);
        Ok(self.send(upload, opened, &|| Ok(Box::new(BlobReader::new(&session, &descriptor))))?)
    }

    fn compress(&self, diff_id: DiffId) -> Result<Descriptor, PushError> {
        let layer = self.store.layer(diff_id)?.ok_or(PushError::NoLayer(diff_id))?;
        (self.session.progress)(Event::Compressing { layer: diff_id, size_bytes: layer.size_bytes() });
        let blob = self.store.compressed(&layer, self.options.encoding)?;
        let upload = self.upload(blob.digest, blob.size_bytes);
        if upload.is_there()? {
            upload.tell(BlobState::Present);
        } else {
            self.send(&upload, None, &|| self.open(blob.digest))?;
        }
        self.arrived(diff_id, &blob)
    }

    /// The repository has the layer in this form from now on.
    fn arrived(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<Descriptor, PushError> {
        let here = self.repository.to_string();
        if !blob.seen_in.contains(&here) {
            self.store.record_blob(diff_id, LayerBlob { seen_in: [here].into(), ..blob.clone() })?;
        }
        Ok(descriptor(blob))
    }

    fn upload(&self, digest: Digest, size_bytes: u64) -> Upload<'_> {
        Upload { session: self.session, digest, size_bytes }
    }

    fn send(&self, upload: &Upload<'_>, opened: Option<reqwest::Url>, source: Source<'_>) -> Result<(), UploadError> {
        upload.send(opened, source)?;
        self.sent.fetch_add(upload.size_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn has_name(&self, blob: &LayerBlob) -> bool {
        self.options.family != Family::Docker || MediaType::from(&*blob.media_type).to_docker().is_some()
    }
}

pub(super) type KnownBlobs = BTreeMap<DiffId, Vec<LayerBlob>>;

/// The compressed forms in which each layer is known, the original manifest's first; without those
/// that kiln made by another encoder than is wanted now.
pub(super) fn known_blobs(
    store: &Store,
    image: &Image,
    original: Option<&Written>,
    options: &PushOptions,
) -> Result<KnownBlobs, StoreError> {
    let encoder = options.encoding.encoder();
    let mut known = KnownBlobs::new();
    for (at, diff_id) in image.layers().iter().enumerate() {
        let mut blobs = store.blobs_of(*diff_id)?;
        blobs.retain(|blob| match &blob.encoder {
            Some(made_by) => *made_by == encoder,
            None => options.reuse == Reuse::Received,
        });
        let first = original.map(|written| written.manifest.layers[at].digest);
        blobs.sort_by_key(|blob| Some(blob.digest) != first);
        known.insert(*diff_id, blobs);
    }
    Ok(known)
}

/// The repositories of the same host from which blobs may be mounted; a few, since each is another
/// scope of the token.
pub(super) fn mount_sources(blobs: &KnownBlobs, target: &Repository) -> Vec<String> {
    const MOST: usize = 8;
    let seen = blobs.values().flatten().flat_map(repositories);
    let sources: BTreeSet<_> = seen.filter(|seen| is_beside(seen, target)).collect();
    sources.iter().take(MOST).map(|source| source.path().to_owned()).collect()
}

/// Whether a repository is another one of the same registry.
fn is_beside(source: &Repository, target: &Repository) -> bool {
    source.host() == target.host() && source != target
}

/// Where a blob was seen.
fn repositories(blob: &LayerBlob) -> impl Iterator<Item = Repository> + '_ {
    blob.seen_in.iter().filter_map(|name| name.parse().ok())
}

fn descriptor(blob: &LayerBlob) -> Descriptor {
    Descriptor::new(MediaType::from(&*blob.media_type), blob.digest, blob.size_bytes)
}
