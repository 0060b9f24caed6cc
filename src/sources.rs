//! Where base images and remote files come from: the store first, else the server that the name says.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::sync::{Mutex, OnceLock, PoisonError};

use builder::progress::Transfer;
use builder::source::{Answer, Download, ImageSource, ResolvedImage, SourceError, Validators};
use registry::{BlobState, Downloaded, Event, Received, Registry, RemoteImage};
use store::oci::Document;
use store::refs::TaggedImage;
use store::tree::Timestamp;
use store::{Cancel, Digest, ImageId, Platform, Reference, Store};

use crate::command::access::Access;

/// The host of the names that images of `oci-layout://` contexts have within a build. No registry is there (RFC 6761).
pub(crate) const LAYOUTS: &str = "oci-layout.invalid";

/// When a registry is asked about a name that the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Only for what the store lacks.
    Missing,
    /// Always (`--pull`); what they do not say is an error then.
    Always,
    /// Always (`--pull=newer`); where they cannot be asked, what the store has is good enough.
    Newer,
    /// Never (`--pull=never`).
    Never,
}

/// The images of the store and of all registries.
pub(crate) struct Images {
    store: Store,
    refresh: Refresh,
    access: Access,
    registry: OnceLock<Registry>,
    /// What registries said in this build, so that the layers that come are those of the image that was planned with.
    found: Mutex<HashMap<Digest, RemoteImage>>,
}

impl Images {
    /// Nothing is read or connected before an image is asked for.
    pub(crate) fn new(store: Store, refresh: Refresh, access: Access) -> Self {
        Self { store, refresh, access, registry: OnceLock::new(), found: Mutex::default() }
    }

    fn registry(&self) -> std::io::Result<&Registry> {
        if let Some(registry) = self.registry.get() {
            return Ok(registry);
        }
        let made = self.access.registry()?;
        Ok(self.registry.get_or_init(|| made))
    }

    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<ResolvedImage>, SourceError> {
        let cannot = |error: Box<dyn Error + Send + Sync>| unavailable(reference, error);
        let target = self.store.target_of(reference).map_err(|error| cannot(error.into()))?;
        let fitting = target.as_ref().map(|target| self.store.image_for(target, platform)).transpose();
        let fitting = fitting.map_err(|error| cannot(error.into()))?.flatten();
        let image = fitting.or(target.map(|target| target.image)).map(|id| self.store.image(id)).transpose();
        let image = image.map_err(|error| cannot(error.into()))?.flatten();
        let fits = |image: &store::image::Image| platform.distance_to(&image.config.platform()).is_some();
        let whole = |image: store::image::Image| ResolvedImage {
            reference: reference.clone(),
            manifest: None,
            config: image.config,
        };
        // A base that was built or loaded is what was meant, for whatever platform it is; a registry that an
        // image came from might have the right one.
        let tagged = self.store.tagged(reference).map_err(|error| unavailable(reference, error.into()))?;
        let is_of_here = tagged.is_some_and(|tagged| tagged.manifest.is_none());
        Ok(image.filter(|image| fits(image) || is_of_here).map(whole))
    }
}

impl Images {
    /// The platforms that an image is there for, in its own order.
    pub(crate) fn platforms(&self, reference: &Reference) -> Result<Vec<Platform>, SourceError> {
        let here = || self.platforms_here(reference).map_err(|error| unavailable(reference, error));
        let of_registry = self.store.tagged(reference).map_err(|error| unavailable(reference, error.into()))?;
        let is_known = match (self.refresh, of_registry) {
            (Refresh::Never, _) => true,
            // Of an image that came from a registry the store may have one platform of several.
            (Refresh::Missing | Refresh::Newer, Some(tagged)) => tagged.manifest.is_none(),
            (Refresh::Missing | Refresh::Newer | Refresh::Always, _) => false,
        };
        match (is_known, here()?) {
            (true, known) if !known.is_empty() => Ok(known),
            (true, _) => Err(SourceError::NotFound { reference: reference.familiar() }),
            (false, _) => self.platforms_there(reference).map_err(|error| unavailable(reference, error)),
        }
    }

    fn platforms_here(&self, reference: &Reference) -> Result<Vec<Platform>, Box<dyn Error + Send + Sync>> {
        let Some(target) = self.store.target_of(reference)? else { return Ok(Vec::new()) };
        let mut platforms = Vec::new();
        for image in self.store.images_of(&target)? {
            platforms.extend(self.store.image_record(image)?.map(|record| record.platform));
        }
        Ok(platforms)
    }

    fn platforms_there(&self, reference: &Reference) -> Result<Vec<Platform>, Box<dyn Error + Send + Sync>> {
        let found = self.registry()?.document(reference, &|_| {})?;
        match Document::parse(&found.bytes, found.media_type.as_ref())? {
            // What is for no platform is about an image, and none.
            Document::Index(index) => {
                let platforms = index.manifests.into_iter().filter_map(|manifest| manifest.platform);
                Ok(platforms.filter(|platform| platform.os != "unknown").collect())
            }
            Document::Manifest(_) => {
                Ok(vec![self.ask(reference, &Platform::host(), self.store.cancel())?.config.platform()])
            }
        }
    }

    fn ask(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        let remote = self.registry()?.resolve(&self.store.ending_with(cancel), reference, platform, &|_| {})?;
        let (manifest, config) = (remote.manifest_digest, remote.config.clone());
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(manifest, remote);
        Ok(ResolvedImage { reference: reference.clone(), manifest: Some(manifest), config })
    }

    fn remote(&self, manifest: Digest) -> Result<RemoteImage, Box<dyn Error + Send + Sync>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&manifest).cloned();
        found.ok_or_else(|| "it was not looked up before".into())
    }

    /// Brings an image that a registry has told of, or what the store lacks of one that it knows.
    fn bring(
        &self,
        image: &ResolvedImage,
        cancel: &Cancel,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let sizes = Mutex::new(HashMap::new());
        let progress = |event: Event| {
            let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Resolved { layers, .. } => sizes.extend(layers),
                Event::Moved { digest, moved_bytes } => report(transfer(digest, moved_bytes, sizes.get(&digest))),
                Event::Blob { digest, size_bytes, state: BlobState::Unpacked } => {
                    report(transfer(digest, size_bytes, Some(&size_bytes)))
                }
                _ => {}
            }
        };
        let Some(manifest) = image.manifest else {
            self.registry()?.bring(&self.store.ending_with(cancel), image.layers(), &progress)?;
            let target = self.store.target_of(&image.reference)?;
            return Ok(target.map_or(Ok(()), |target| self.store.remeasure(target.image))?);
        };
        let remote = self.remote(manifest)?;
        let pulled = self.registry()?.fetch(&self.store.ending_with(cancel), &remote, &progress)?;
        self.name(&remote, pulled.image)
    }

    /// The next build then needs no registry. A name stands for what runs here, so not for another platform's image.
    fn name(&self, remote: &RemoteImage, image: ImageId) -> Result<(), Box<dyn Error + Send + Sync>> {
        if remote.reference.digest().is_none() && Platform::host().distance_to(&remote.config.platform()).is_some() {
            let tagged = TaggedImage { manifest: Some(remote.pinned.digest), ..TaggedImage::now(image) };
            self.store.tag(&remote.reference, &tagged)?;
        }
        Ok(())
    }
}

impl ImageSource for Images {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<ResolvedImage, SourceError> {
        let is_only_here = reference.repository().host() == LAYOUTS;
        let refresh = if is_only_here { Refresh::Never } else { self.refresh };
        let in_store = match refresh {
            Refresh::Missing | Refresh::Never | Refresh::Newer => self.in_store(reference, platform)?,
            Refresh::Always => None,
        };
        match (refresh, in_store) {
            (Refresh::Missing | Refresh::Never, Some(image)) => Ok(image),
            (Refresh::Never, None) => Err(SourceError::NotFound { reference: reference.familiar() }),
            (_, known) => match (self.ask(reference, platform, cancel), known) {
                (Ok(image), _) => Ok(image),
                (Err(_), Some(known)) => Ok(known),
                (Err(source), None) => Err(unavailable(reference, source)),
            },
        }
    }

    fn note(&self, image: &ResolvedImage) -> Result<(), SourceError> {
        // What the store found by itself it knows already.
        let Some(manifest) = image.manifest else { return Ok(()) };
        let noted = || -> Result<(), Box<dyn Error + Send + Sync>> {
            let remote = self.remote(manifest)?;
            let known = registry::note(&self.store, &remote)?;
            self.name(&remote, known)
        };
        noted().map_err(|source| unavailable(&image.reference, source))
    }

    fn fetch(
        &self,
        image: &ResolvedImage,
        cancel: &Cancel,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<(), SourceError> {
        self.bring(image, cancel, report).map_err(|source| unavailable(&image.reference, source))
    }

    fn download(
        &self,
        wanted: &Download<'_>,
        into: &mut File,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Answer, SourceError> {
        let item = called(wanted.url);
        let watch = |done_bytes, total_bytes: Option<u64>| {
            let total_bytes = total_bytes.and_then(std::num::NonZeroU64::new);
            report(Transfer { item: item.clone(), done_bytes, total_bytes });
        };
        let known = wanted.known;
        let asked = registry::Download {
            url: wanted.url,
            authorization: wanted.authorization,
            etag: known.and_then(|known| known.etag.as_deref()),
            modified: known.and_then(|known| known.modified.as_deref()),
            limit_bytes: wanted.limit_bytes,
            cancel: wanted.cancel,
        };
        let registry = self.registry().map_err(|error| SourceError::Download(error.into()))?;
        match registry.download(&asked, into, &watch) {
            Ok(Downloaded::Unchanged) => Ok(Answer::Unchanged),
            Ok(Downloaded::Received(received)) => Ok(file_of(received)),
            Err(error) => Err(SourceError::Download(error.into())),
        }
    }
}

/// What a file is called while it comes: the end of its URL, without what may be a signature.
fn called(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

fn file_of(received: Received) -> Answer {
    let Received { etag, modified, modified_secs, is_settled } = received;
    let validators = Validators { etag, modified: modified.filter(|_| is_settled) };
    Answer::Received { validators, modified: modified_secs.map(Timestamp::from_secs) }
}

fn unavailable(reference: &Reference, source: Box<dyn Error + Send + Sync>) -> SourceError {
    SourceError::Unavailable { reference: reference.familiar(), source }
}

fn transfer(digest: Digest, done_bytes: u64, total_bytes: Option<&u64>) -> Transfer {
    let total_bytes = total_bytes.and_then(|total| std::num::NonZeroU64::new(*total));
    Transfer { item: digest.short(), done_bytes, total_bytes }
}
