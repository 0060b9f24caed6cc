//! Descriptors: what a blob is, how large, and which (image-spec, descriptor.md).

use serde::{Deserialize, Serialize};

use super::{Annotations, MediaType, null_is_empty};
use crate::Digest;
use crate::platform::Platform;

/// Says which blob is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What kind of bytes.
    #[serde(rename = "mediaType")]
    pub media_type: MediaType,
    /// Their digest.
    pub digest: Digest,
    /// How many they are.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Where else they can be had.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What is said about them.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// The bytes themselves, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the manifest's image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact the manifest is.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes bytes of that digest and size.
    pub fn new(media_type: MediaType, digest: Digest, size_bytes: u64) -> Self {
        let (urls, annotations) = (Vec::new(), Annotations::new());
        Self { media_type, digest, size_bytes, urls, annotations, data: None, platform: None, artifact_type: None }
    }

    /// Describes bytes that are all in memory.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Whether this is a statement about another image of the same index (BuildKit's attestations).
    pub fn is_attestation(&self) -> bool {
        self.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }
}
