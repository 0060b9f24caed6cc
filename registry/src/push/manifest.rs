//! The manifest of a push: the one that the image came with wherever that is still true, byte for
//! byte; otherwise a new one in OCI's or Docker's names, never mixed.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use store::oci::{Annotations, CONFIG_LIMIT_BYTES, Descriptor, Document, MANIFEST_LIMIT_BYTES, Manifest, MediaType};
use store::{DiffId, Digest, Image, PinnedReference, Reference, Store, StoreError};

use super::{Family, PushError};
use crate::request::Call;
use crate::session::Session;

/// A manifest with its bytes.
pub(super) struct Written {
    pub(super) manifest: Manifest,
    pub(super) bytes: Vec<u8>,
}

/// The manifest that the image is known by, from a pull or an earlier push. Of several, one of the
/// wanted family; OCI's if nobody wants a particular one.
pub(super) fn original(store: &Store, image: &Image, family: Family) -> Result<Option<Written>, StoreError> {
    let mut found = None;
    for digest in &image.record.manifests {
        let Some(bytes) = store.read_blob(*digest, MANIFEST_LIMIT_BYTES)? else { continue };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
        if manifest.config.digest != image.id.0 || manifest.layers.len() != image.layers().len() {
            continue;
        }
        let is_wanted = (manifest.media_type == MediaType::DockerManifest) == (family == Family::Docker);
        if found.is_none() || is_wanted {
            found = Some(Written { manifest, bytes });
        }
    }
    Ok(found)
}

/// The manifest to push for layers that are at the registry in these forms. Its annotations are those that
/// were asked for; if nobody said anything they stay what they were.
pub(super) fn compose(
    store: &Store,
    image: &Image,
    original: Option<Written>,
    family: Family,
    said: Option<&Annotations>,
    layers: &BTreeMap<DiffId, Descriptor>,
) -> Result<Written, PushError> {
    let names = Names::of(family, original.as_ref());
    let mut descriptors = Vec::new();
    for (at, diff_id) in image.layers().iter().enumerate() {
        let arrived = layers.get(diff_id).ok_or(PushError::NoLayer(*diff_id))?;
        // What was said about a layer stays with it.
        let before = original.as_ref().map(|written| &written.manifest.layers[at]);
        let descriptor = before.filter(|before| before.digest == arrived.digest).unwrap_or(arrived);
        descriptors.push(Descriptor { media_type: names.of_type(&descriptor.media_type)?, ..descriptor.clone() });
    }
    let media_type = names.of_type(&MediaType::OciManifest)?;
    let annotations = match (said, &original) {
        (Some(said), _) => said.clone(),
        (None, Some(written)) if media_type == MediaType::OciManifest => written.manifest.annotations.clone(),
        (None, _) => Annotations::new(),
    };
    if let Some(written) = original
        && written.manifest.media_type == media_type
        && written.manifest.layers == descriptors
        && written.manifest.annotations == annotations
    {
        return Ok(written);
    }
    let config = store.read_blob(image.id.0, CONFIG_LIMIT_BYTES)?.ok_or(PushError::NoImage(image.id))?;
    let config = Descriptor::of(names.of_type(&MediaType::OciConfig)?, &config);
    let manifest = Manifest { annotations, ..Manifest::new(media_type, config, descriptors) };
    let bytes = manifest.to_bytes();
    Ok(Written { manifest, bytes })
}

/// Gives a manifest or index its tag or digest at the registry: the last act of a push.
pub(super) fn put(
    session: &Session<'_>,
    reference: &Reference,
    name: &str,
    media_type: &MediaType,
    bytes: &[u8],
) -> Result<PinnedReference, PushError> {
    let doing = format!("push the manifest of {}:{name}", session.name());
    let call = Call::new(Method::PUT, session.url(&format!("manifests/{name}")), doing)
        .header(CONTENT_TYPE, media_type.as_str())
        .body(bytes.to_vec());
    let response = session.call(&call, &[201])?;
    let expected = Digest::of(bytes);
    let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    match said.filter(|said| said.starts_with("sha256:") && **said != expected.to_string()) {
        Some(said) => {
            let (host, actual) = (session.endpoint.host.to_string(), crate::text::printable(said.as_bytes()));
            Err(PushError::OtherDigest { host, expected, actual })
        }
        None => Ok(PinnedReference { repository: reference.repository().clone(), digest: expected }),
    }
}

/// Whose media types are written.
#[derive(Clone, Copy)]
enum Names {
    Oci,
    Docker,
}

impl Names {
    fn of(family: Family, original: Option<&Written>) -> Self {
        let came_from_docker = original.is_some_and(|written| written.manifest.media_type == MediaType::DockerManifest);
        match family {
            Family::Docker => Self::Docker,
            Family::AsItCame if came_from_docker => Self::Docker,
            Family::AsItCame | Family::Oci => Self::Oci,
        }
    }

    fn of_type(self, media_type: &MediaType) -> Result<MediaType, PushError> {
        match self {
            Self::Oci => Ok(media_type.to_oci()),
            Self::Docker => media_type.to_docker().ok_or_else(|| PushError::NoDockerName(media_type.clone())),
        }
    }
}
