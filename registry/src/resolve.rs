//! From a reference to the documents of one image: manifest and config.
//!
//! A tag is looked up once, by HEAD (which Docker Hub does not count); everything after goes by
//! digest. The digest is always that of the bytes that came. A document that the store has is not
//! fetched. No layer is touched here.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use store::oci::{CONFIG_LIMIT_BYTES, Document, DocumentError, ImageConfig, MANIFEST_LIMIT_BYTES, Manifest, MediaType};
use store::{Digest, PinnedReference, Platform, Reference, Store, StoreError};

use crate::event::{Event, Progress};
use crate::host::{Host, HostError};
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::session::Session;
use crate::token::Access;

/// Why a reference leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The reference's host cannot be one.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The registry could not be asked, or refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A document is not one.
    #[error("{what} of {reference} cannot be used")]
    Document {
        /// `the manifest`, `the config`.
        what: &'static str,
        /// Of which image.
        reference: Box<Reference>,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The bytes that came are not those that were asked for.
    #[error("{host} answered with other bytes than {expected}: their digest is {actual}")]
    WrongBytes {
        /// The registry.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// No image of the index fits.
    #[error("{reference} has no image for {platform}; it has {}", list(offered))]
    NoPlatform {
        /// The index.
        reference: Box<Reference>,
        /// What was wanted.
        platform: Box<Platform>,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// The reference names something that is no container image, such as a chart.
    #[error("{reference} is no image: its config is {media_type}")]
    NotAnImage {
        /// What was asked for.
        reference: Box<Reference>,
        /// The type of its config.
        media_type: MediaType,
    },
    /// Indexes that hold indexes, too many times.
    #[error("the index of {reference} is nested too deeply")]
    TooDeep {
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// Manifest and config disagree about the number of layers.
    #[error("the manifest of {reference} has {blobs} layers, its config {diff_ids}")]
    LayerCount {
        /// Which image.
        reference: Box<Reference>,
        /// Layers in the manifest.
        blobs: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
    /// A document is larger than any honest one.
    #[error("the {what} of {reference} has {size_bytes} bytes, more than the {limit_bytes} that are read")]
    TooLarge {
        /// `config`.
        what: &'static str,
        /// Of which image.
        reference: Box<Reference>,
        /// Its announced size.
        size_bytes: u64,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResolveError {
    /// What went wrong with a request, if that was it.
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Request(error) => Some(error),
            _ => None,
        }
    }

    /// Whether a document was damaged on its way, which another connection may not do.
    fn is_damage(&self) -> bool {
        use RequestError::{Broken, TooLong};
        matches!(self, Self::WrongBytes { .. } | Self::Request(Broken { .. } | TooLong { .. }))
    }
}

/// An image at a registry: everything about it but its layers.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// As it was asked for.
    pub reference: Reference,
    /// The digest of what the reference names: of the index if that is what it is.
    pub pinned: PinnedReference,
    /// The index's bytes, if the reference names one.
    pub index: Option<Vec<u8>>,
    /// The digest of the image's own manifest.
    pub manifest_digest: Digest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
    /// The config's bytes; their digest is the image's id.
    pub config_bytes: Vec<u8>,
    /// The config.
    pub config: ImageConfig,
}

/// A manifest or an index, byte for byte as the registry has it.
#[derive(Debug, Clone)]
pub struct RemoteDocument {
    /// The digest of its bytes.
    pub digest: Digest,
    /// What the registry calls it; what it says of itself, if it does.
    pub media_type: Option<MediaType>,
    /// Its bytes, which may be of a kind that kiln does not know.
    pub bytes: Vec<u8>,
}

impl Registry {
    /// Fetches what a reference names, whatever it is, and reads nothing into it.
    pub fn document(&self, reference: &Reference, progress: Progress<'_>) -> Result<RemoteDocument, ResolveError> {
        let session = self.pull_session(reference, progress)?;
        let Found { digest, bytes, announced } = get(&session, &reference.manifest_name(), reference.digest())?;
        Ok(RemoteDocument { digest, media_type: announced, bytes })
    }

    /// Looks up what a reference names at this moment, with one HEAD request where the registry allows.
    pub fn pin(&self, reference: &Reference, progress: Progress<'_>) -> Result<PinnedReference, ResolveError> {
        let session = self.pull_session(reference, progress)?;
        let digest = match head(&session, reference)? {
            Some(digest) => digest,
            None => get(&session, &reference.manifest_name(), reference.digest())?.digest,
        };
        Ok(PinnedReference { repository: reference.repository().clone(), digest })
    }

    /// Fetches the manifest and the config of the image that a reference names for a platform.
    pub fn resolve(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        progress: Progress<'_>,
    ) -> Result<RemoteImage, ResolveError> {
        let registry = &self.ending_with(store.cancel());
        resolve(&registry.pull_session(reference, progress)?, store, reference, platform)
    }

    pub(crate) fn pull_session<'a>(
        &'a self,
        reference: &Reference,
        progress: Progress<'a>,
    ) -> Result<Session<'a>, ResolveError> {
        let repository = reference.repository();
        Ok(self.session(&Host::new(repository.host())?, repository.path(), Access::Pull, &[], progress)?)
    }
}

/// [`Registry::resolve`] in a conversation that goes on.
pub(crate) fn resolve(
    session: &Session<'_>,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
) -> Result<RemoteImage, ResolveError> {
    let top = manifest(session, store, reference)?;
    let pinned = PinnedReference { repository: reference.repository().clone(), digest: top.digest };
    let (mut found, mut index) = (top, None);
    for _ in 0..DEEPEST_INDEX {
        let document = found.parse(reference)?;
        let list = match document {
            Document::Manifest(manifest) => {
                let (config_bytes, config) = config(session, store, reference, &manifest)?;
                let Found { digest, bytes, .. } = found;
                let (reference, manifest_digest, manifest_bytes) = (reference.clone(), digest, bytes);
                return Ok(RemoteImage {
                    reference,
                    pinned,
                    index,
                    manifest_digest,
                    manifest_bytes,
                    manifest,
                    config_bytes,
                    config,
                });
            }
            Document::Index(list) => list,
        };
        let chosen = list.select(platform).ok_or_else(|| ResolveError::NoPlatform {
            reference: Box::new(reference.clone()),
            platform: Box::new(platform.clone()),
            offered: list.platforms().cloned().collect(),
        })?;
        let next = by_digest(session, store, chosen.digest, Some(&chosen.media_type))?;
        index.get_or_insert(std::mem::replace(&mut found, next).bytes);
    }
    Err(ResolveError::TooDeep { reference: Box::new(reference.clone()) })
}

const DEEPEST_INDEX: usize = 4;

/// A manifest or index as it came.
struct Found {
    digest: Digest,
    bytes: Vec<u8>,
    announced: Option<MediaType>,
}

impl Found {
    fn parse(&self, reference: &Reference) -> Result<Document, ResolveError> {
        Document::parse(&self.bytes, self.announced.as_ref()).map_err(|source| ResolveError::Document {
            what: "the manifest",
            reference: Box::new(reference.clone()),
            source,
        })
    }
}

fn manifest(session: &Session<'_>, store: &Store, reference: &Reference) -> Result<Found, ResolveError> {
    let digest = match reference.digest() {
        Some(digest) => Some(digest),
        None => head(session, reference)?,
    };
    match digest {
        Some(digest) => by_digest(session, store, digest, None),
        None => get(session, &reference.manifest_name(), None),
    }
}

fn by_digest(
    session: &Session<'_>,
    store: &Store,
    digest: Digest,
    announced: Option<&MediaType>,
) -> Result<Found, ResolveError> {
    if let Some(bytes) = store.read_blob(digest, MANIFEST_LIMIT_BYTES)? {
        return Ok(Found { digest, bytes, announced: announced.cloned() });
    }
    let found = get(session, &digest.to_string(), Some(digest))?;
    Ok(Found { announced: announced.cloned().or(found.announced), ..found })
}

/// The digest that the registry says a reference has; `None` where it answers no HEAD, or not with
/// a digest. A refusal is then explained by the GET that follows: a HEAD has no text.
fn head(session: &Session<'_>, reference: &Reference) -> Result<Option<Digest>, ResolveError> {
    let call = manifest_call(Method::HEAD, session, &reference.manifest_name());
    match session.call(&call, &[200]) {
        Ok(response) => {
            rate_limit(response.headers(), session.progress);
            Ok(content_digest(response.headers()))
        }
        Err(error) if matches!(error.status(), Some(400..=405)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Fetches a manifest; if its bytes are not the announced ones, once more.
fn get(session: &Session<'_>, name: &str, expected: Option<Digest>) -> Result<Found, ResolveError> {
    let call = manifest_call(Method::GET, session, name);
    let once = || -> Result<Found, ResolveError> {
        let response = session.call(&call, &[200])?;
        rate_limit(response.headers(), session.progress);
        let announced = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let announced = announced.map(|text| MediaType::from(text.split(';').next().unwrap_or_default().trim()));
        let expected = expected.or_else(|| content_digest(response.headers()));
        let bytes = session.read(response, MANIFEST_LIMIT_BYTES, &call.doing)?;
        let actual = Digest::of(&bytes);
        match expected.filter(|expected| *expected != actual) {
            Some(expected) => {
                Err(ResolveError::WrongBytes { host: session.endpoint.host.to_string(), expected, actual })
            }
            None => Ok(Found { digest: actual, bytes, announced }),
        }
    };
    match once() {
        Err(error) if error.is_damage() => once(),
        other => other,
    }
}

fn config(
    session: &Session<'_>,
    store: &Store,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<(Vec<u8>, ImageConfig), ResolveError> {
    let descriptor = &manifest.config;
    if !descriptor.media_type.is_config() {
        let media_type = descriptor.media_type.clone();
        return Err(ResolveError::NotAnImage { reference: Box::new(reference.clone()), media_type });
    }
    let (size_bytes, limit_bytes) = (descriptor.size_bytes, CONFIG_LIMIT_BYTES);
    if size_bytes > limit_bytes {
        return Err(ResolveError::TooLarge {
            what: "config",
            reference: Box::new(reference.clone()),
            size_bytes,
            limit_bytes,
        });
    }
    let bytes = match store.read_blob(descriptor.digest, limit_bytes)? {
        Some(bytes) => bytes,
        None => small_blob(session, descriptor.digest, size_bytes)?,
    };
    let config = ImageConfig::parse(&bytes).map_err(|source| ResolveError::Document {
        what: "the config",
        reference: Box::new(reference.clone()),
        source,
    })?;
    let (blobs, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if blobs != diff_ids {
        return Err(ResolveError::LayerCount { reference: Box::new(reference.clone()), blobs, diff_ids });
    }
    Ok((bytes, config))
}

/// Fetches a blob that fits into memory; if its bytes are not the right ones, once more.
fn small_blob(session: &Session<'_>, expected: Digest, size_bytes: u64) -> Result<Vec<u8>, ResolveError> {
    let call = Call::new(
        Method::GET,
        session.url(&format!("blobs/{expected}")),
        format!("pull the config from {}", session.name()),
    );
    let once = || -> Result<Vec<u8>, ResolveError> {
        let bytes = session.read(session.call(&call, &[200])?, size_bytes, &call.doing)?;
        let actual = Digest::of(&bytes);
        let host = session.endpoint.host.to_string();
        if actual == expected { Ok(bytes) } else { Err(ResolveError::WrongBytes { host, expected, actual }) }
    };
    match once() {
        Err(error) if error.is_damage() => once(),
        other => other,
    }
}

fn manifest_call(method: Method, session: &Session<'_>, name: &str) -> Call {
    let doing = format!("pull the manifest of {}:{name}", session.name()).replace(":sha256:", "@sha256:");
    let mut call = Call::new(method, session.url(&format!("manifests/{name}")), doing);
    for accepted in
        [MediaType::OciIndex, MediaType::OciManifest, MediaType::DockerManifestList, MediaType::DockerManifest]
    {
        call = call.header(ACCEPT, accepted.as_str());
    }
    call
}

fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// Docker Hub: `ratelimit-remaining: 76;w=21600`.
fn rate_limit(headers: &HeaderMap, progress: Progress<'_>) {
    let value = headers.get("ratelimit-remaining").and_then(|value| value.to_str().ok());
    if let Some(remaining) = value.and_then(|value| value.split(';').next()?.trim().parse().ok()) {
        progress(Event::RateLimit { remaining });
    }
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none at all".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
