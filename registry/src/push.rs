//! Pushing: an image of the store to a registry.
//!
//! For each layer, cheapest first: the repository has it; the registry takes it over from another of
//! its repositories; the store has its compressed bytes, or streams them from the registry where
//! the layer was last seen; and only if all of that fails it is compressed (once, ever: the store
//! remembers). Layers and config in parallel, the manifest last, so a tag never names half an image.
//! A pulled image whose blobs are all to be had keeps its manifest, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use store::compress::Encoding;
use store::image::ImageError;
use store::layer::LayerBlob;
use store::oci::{Descriptor, Document, MANIFEST_LIMIT_BYTES, Manifest, MediaType};
use store::refs::RefError;
use store::{DiffId, Digest, Image, ImageId, PinnedReference, Reference, Repository, Store, StoreError, TaggedImage};

use crate::Host;
use crate::blob::BlobReader;
use crate::event::{BlobState, Event, Progress};
use crate::host::HostError;
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::session::Session;
use crate::token::Access;
use crate::upload::{Mount, Upload, UploadError};

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
        let original = original(store, &image)?;
        let blobs = known_blobs(store, &image, original.as_ref(), options.encoding)?;
        let repository = reference.repository();
        let host = Host::new(repository.host())?;
        let sources = mount_sources(&blobs, repository);
        let session = self.session(&host, repository.path(), Access::PullAndPush, &sources, progress)?;
        let push = Push {
            registry: self,
            session,
            store,
            repository,
            options,
            sent: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let layers = push.blobs(&image, &blobs)?;
        let manifest = push.manifest(&image, original, &layers)?;
        let pinned = push.put_manifest(reference, &manifest)?;
        remember(store, &image, reference, &pinned, &manifest.bytes)?;
        let (manifest_bytes, sent_bytes) = (manifest.bytes.len() as u64, push.sent.into_inner());
        Ok(Pushed { pinned, manifest_bytes, sent_bytes })
    }
}

/// A manifest that the image is known by, with its bytes.
struct Written {
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// The manifest that the image was pulled by, or pushed by before.
fn original(store: &Store, image: &Image) -> Result<Option<Written>, StoreError> {
    for digest in &image.record.manifests {
        let Some(bytes) = store.read_blob(*digest, MANIFEST_LIMIT_BYTES)? else { continue };
        if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None)
            && manifest.config.digest == image.id.0
            && manifest.layers.len() == image.layers().len()
        {
            return Ok(Some(Written { manifest, bytes }));
        }
    }
    Ok(None)
}

type KnownBlobs = BTreeMap<DiffId, Vec<LayerBlob>>;

/// The compressed forms in which each layer is known, the original manifest's first; without those
/// that kiln made by another encoder than is wanted now.
fn known_blobs(
    store: &Store,
    image: &Image,
    original: Option<&Written>,
    encoding: Encoding,
) -> Result<KnownBlobs, StoreError> {
    let encoder = encoding.encoder();
    let mut known = KnownBlobs::new();
    for (at, diff_id) in image.layers().iter().enumerate() {
        let mut blobs = store.blobs_of(*diff_id)?;
        blobs.retain(|blob| blob.encoder.as_ref().is_none_or(|made_by| *made_by == encoder));
        let first = original.map(|written| written.manifest.layers[at].digest);
        blobs.sort_by_key(|blob| Some(blob.digest) != first);
        known.insert(*diff_id, blobs);
    }
    Ok(known)
}

/// The repositories of the same host from which blobs may be mounted; a few, since each is another
/// scope of the token.
fn mount_sources(blobs: &KnownBlobs, target: &Repository) -> Vec<String> {
    const MOST: usize = 8;
    let seen = blobs.values().flatten().flat_map(repositories);
    let sources: BTreeSet<_> = seen.filter(|seen| seen.host() == target.host() && seen != target).collect();
    sources.iter().take(MOST).map(|source| source.path().to_owned()).collect()
}

/// Where a blob was seen.
fn repositories(blob: &LayerBlob) -> impl Iterator<Item = Repository> + '_ {
    blob.seen_in.iter().filter_map(|name| name.parse().ok())
}

/// Everything that a push does with.
struct Push<'a> {
    registry: &'a Registry,
    session: Session<'a>,
    store: &'a Store,
    repository: &'a Repository,
    options: &'a PushOptions,
    sent: AtomicU64,
    stop: AtomicBool,
}

/// One thing to bring to the repository.
enum Item<'a> {
    Config(Digest),
    Layer(DiffId, &'a [LayerBlob]),
}

impl Push<'_> {
    /// Brings config and layers, a few at a time; gives the form in which each layer is there now.
    /// The first failure stops the others.
    fn blobs(&self, image: &Image, known: &KnownBlobs) -> Result<BTreeMap<DiffId, Descriptor>, PushError> {
        let config = std::iter::once(Item::Config(image.id.0));
        let layers = known.iter().map(|(diff_id, blobs)| Item::Layer(*diff_id, blobs));
        let queue = Mutex::new(layers.chain(config).collect::<Vec<_>>().into_iter());
        let done = Mutex::new(BTreeMap::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(item) = next().filter(|_| !self.stop.load(Ordering::Relaxed)) {
                match self.item(&item) {
                    Ok(Some((layer, descriptor))) => {
                        done.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, descriptor);
                    }
                    Ok(None) => {}
                    Err(_) if self.stop.swap(true, Ordering::Relaxed) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let count = self.registry.options().parallel.clamp(1, known.len() + 1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect::<Result<(), PushError>>()
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
        let bytes =
            self.store.read_blob(digest, store::oci::CONFIG_LIMIT_BYTES)?.ok_or(PushError::NoImage(ImageId(digest)))?;
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
        if let Some(original) = usable.iter().find(|blob| blob.encoder.is_none()) {
            (self.session.progress)(Event::Recompressing { layer: diff_id, original: original.digest });
        }
        self.compress(diff_id)
    }

    /// Mounts a blob, or sends it from wherever its bytes are; says whether that was possible.
    fn bring(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<bool, PushError> {
        let upload = self.upload(blob.digest, blob.size_bytes);
        let mut opened = None;
        for source in repositories(blob).filter(|source| self.is_beside(source)) {
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
        if blob.encoder.is_some() {
            let layer = self.store.layer(diff_id)?.ok_or(PushError::NoLayer(diff_id))?;
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

    /// Whether a repository is another one of the same registry.
    fn is_beside(&self, source: &Repository) -> bool {
        source.host() == self.repository.host() && source != self.repository
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
        Upload { session: &self.session, digest, size_bytes }
    }

    fn send(
        &self,
        upload: &Upload<'_>,
        opened: Option<reqwest::Url>,
        source: crate::upload::Source<'_>,
    ) -> Result<(), UploadError> {
        upload.send(opened, source)?;
        self.sent.fetch_add(upload.size_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn has_name(&self, blob: &LayerBlob) -> bool {
        self.options.family != Family::Docker || MediaType::from(&*blob.media_type).to_docker().is_some()
    }

    /// The manifest to push: the original one where it still tells the truth.
    fn manifest(
        &self,
        image: &Image,
        original: Option<Written>,
        layers: &BTreeMap<DiffId, Descriptor>,
    ) -> Result<Written, PushError> {
        let came_from_docker =
            original.as_ref().is_some_and(|written| written.manifest.media_type == MediaType::DockerManifest);
        let family = match self.options.family {
            Family::AsItCame if came_from_docker => Family::Docker,
            Family::AsItCame => Family::Oci,
            chosen => chosen,
        };
        let named = |media_type: &MediaType| match family {
            Family::Docker => media_type.to_docker().ok_or_else(|| PushError::NoDockerName(media_type.clone())),
            Family::Oci | Family::AsItCame => Ok(media_type.to_oci()),
        };
        let mut descriptors = Vec::new();
        for diff_id in image.layers() {
            let arrived = layers.get(diff_id).ok_or(PushError::NoLayer(*diff_id))?;
            descriptors.push(Descriptor { media_type: named(&arrived.media_type)?, ..arrived.clone() });
        }
        let media_type = named(&MediaType::OciManifest)?;
        if let Some(written) = original
            && written.manifest.media_type == media_type
            && written
                .manifest
                .layers
                .iter()
                .zip(&descriptors)
                .all(|(a, b)| a.digest == b.digest && a.media_type == b.media_type)
        {
            return Ok(written);
        }
        let size_bytes = self
            .store
            .read_blob(image.id.0, store::oci::CONFIG_LIMIT_BYTES)?
            .ok_or(PushError::NoImage(image.id))?
            .len() as u64;
        let config = Descriptor::new(named(&MediaType::OciConfig)?, image.id.0, size_bytes);
        let manifest = Manifest::new(media_type, config, descriptors);
        let bytes = manifest.to_bytes();
        Ok(Written { manifest, bytes })
    }

    fn put_manifest(&self, reference: &Reference, written: &Written) -> Result<PinnedReference, PushError> {
        let name = reference.manifest_name();
        let doing = format!("push the manifest of {}:{name}", self.session.name());
        let call = Call::new(Method::PUT, self.session.url(&format!("manifests/{name}")), doing)
            .header(CONTENT_TYPE, written.manifest.media_type.as_str())
            .body(written.bytes.clone());
        let response = self.session.call(&call, &[201])?;
        let expected = Digest::of(&written.bytes);
        let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match said.filter(|said| said.starts_with("sha256:") && **said != expected.to_string()) {
            Some(said) => {
                let (host, actual) = (self.session.endpoint.host.to_string(), crate::text::printable(said.as_bytes()));
                Err(PushError::OtherDigest { host, expected, actual })
            }
            None => Ok(PinnedReference { repository: self.repository.clone(), digest: expected }),
        }
    }
}

fn descriptor(blob: &LayerBlob) -> Descriptor {
    Descriptor::new(MediaType::from(&*blob.media_type), blob.digest, blob.size_bytes)
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
