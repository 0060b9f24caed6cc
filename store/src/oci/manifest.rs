//! Manifests and indexes (image-spec, manifest.md and image-index.md).

use serde::{Deserialize, Serialize};

use super::{Annotations, Descriptor, DocumentError, MediaType, null_is_empty, to_bytes};
use crate::platform::Platform;

/// The parts of one image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which version of the document this is.
    #[serde(rename = "schemaVersion")]
    pub schema_version: SchemaVersion,
    /// OCI's or Docker's; some tools leave it out.
    #[serde(rename = "mediaType", default = "oci_manifest")]
    pub media_type: MediaType,
    /// What kind of artifact this is, if it is no image.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers as the registry has them.
    #[serde(deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
    /// What this manifest says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What is said about the image.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Manifest {
    /// Puts an image's manifest together. The media types of config and layers should be of the family of `media_type`.
    pub fn new(media_type: MediaType, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let annotations = Annotations::new();
        Self {
            schema_version: SchemaVersion,
            media_type,
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations,
        }
    }

    /// The bytes that a new manifest is written as.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

/// Several manifests, or indexes of manifests: the images of one name, by platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Which version of the document this is.
    #[serde(rename = "schemaVersion")]
    pub schema_version: SchemaVersion,
    /// OCI's or Docker's; some tools leave it out.
    #[serde(rename = "mediaType", default = "oci_index")]
    pub media_type: MediaType,
    /// What kind of artifact this is, if it is no list of images.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, in their order.
    #[serde(deserialize_with = "null_is_empty")]
    pub manifests: Vec<Descriptor>,
    /// What this index says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What is said about all of it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// Puts an index together.
    pub fn new(media_type: MediaType, manifests: Vec<Descriptor>) -> Self {
        let annotations = Annotations::new();
        Self { schema_version: SchemaVersion, media_type, artifact_type: None, manifests, subject: None, annotations }
    }

    /// The manifest that fits a platform best, the first of equals. Attestations are never chosen; a
    /// manifest without a platform is chosen only if nothing else fits, and its config decides.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let distance = |descriptor: &&Descriptor| match &descriptor.platform {
            Some(offered) => platform.distance_to(offered),
            None => Some(usize::MAX),
        };
        let images = self.manifests.iter().filter(|descriptor| !descriptor.is_attestation());
        images.filter(|image| distance(image).is_some()).min_by_key(distance)
    }

    /// The platforms that images are offered for, in order.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.manifests
            .iter()
            .filter(|descriptor| !descriptor.is_attestation())
            .filter_map(|image| image.platform.as_ref())
    }

    /// The bytes that a new index is written as.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

/// What a registry or a layout answers when asked for a name: one image or several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is never more than a handful of these")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index. What the document says itself must agree with the type that it
    /// was announced as, or two readers could see two images in the same bytes.
    pub fn parse(bytes: &[u8], announced: Option<&MediaType>) -> Result<Self, DocumentError> {
        let malformed = |source| DocumentError::Malformed { what: "manifest", source };
        let Shape { media_type, has_layers, has_manifests, is_schema1 } = Shape::of(bytes).map_err(malformed)?;
        if is_schema1 || media_type.as_ref().or(announced).is_some_and(MediaType::is_schema1) {
            return Err(DocumentError::Schema1(media_type.unwrap_or(MediaType::DockerSchema1)));
        }
        if has_layers && has_manifests {
            return Err(DocumentError::Ambiguous);
        }
        check_agreement(media_type.as_ref(), announced, has_manifests)?;
        if has_manifests {
            return serde_json::from_slice(bytes).map(Self::Index).map_err(malformed);
        }
        serde_json::from_slice(bytes).map(Self::Manifest).map_err(malformed)
    }
}

fn check_agreement(
    found: Option<&MediaType>,
    announced: Option<&MediaType>,
    is_index: bool,
) -> Result<(), DocumentError> {
    if let (Some(found), Some(announced)) = (found, announced)
        && (announced.is_manifest() || announced.is_index())
        && found != announced
    {
        return Err(DocumentError::OtherType { found: found.clone(), announced: announced.clone() });
    }
    let said = found.or(announced).filter(|said| said.is_manifest() || said.is_index());
    match said {
        Some(said) if said.is_index() != is_index => {
            let found = if is_index { MediaType::OciIndex } else { MediaType::OciManifest };
            Err(DocumentError::OtherType { found, announced: said.clone() })
        }
        _ => Ok(()),
    }
}

/// What tells the kinds of document apart, before any is believed.
struct Shape {
    media_type: Option<MediaType>,
    has_layers: bool,
    has_manifests: bool,
    is_schema1: bool,
}

impl Shape {
    fn of(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let fields: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes)?;
        let has = |name: &str| fields.contains_key(name);
        Ok(Self {
            media_type: fields
                .get("mediaType")
                .and_then(|value| value.as_str())
                .filter(|text| !text.is_empty())
                .map(MediaType::from),
            has_layers: has("layers") || has("config"),
            has_manifests: has("manifests"),
            is_schema1: fields.get("schemaVersion").is_some_and(|version| version == 1) || has("fsLayers"),
        })
    }
}

/// The number 2, which is all that `schemaVersion` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersion;

impl Serialize for SchemaVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            2 => Ok(Self),
            other => Err(serde::de::Error::custom(format!("schemaVersion {other} is not 2"))),
        }
    }
}

fn oci_manifest() -> MediaType {
    MediaType::OciManifest
}

fn oci_index() -> MediaType {
    MediaType::OciIndex
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7}"#;

    fn parse(text: &str, announced: Option<MediaType>) -> Result<Document, DocumentError> {
        Document::parse(text.replace("DESC", DESCRIPTOR).as_bytes(), announced.as_ref())
    }

    #[test]
    fn manifests_and_indexes_are_told_apart_by_what_they_hold() {
        let manifest = r#"{"schemaVersion":2,"config":DESC,"layers":[DESC]}"#;
        let index = r#"{"schemaVersion":2,"manifests":[DESC],"unknown":[1]}"#;
        assert!(matches!(parse(manifest, None), Ok(Document::Manifest(manifest)) if manifest.layers.len() == 1));
        assert!(matches!(parse(index, None), Ok(Document::Index(index)) if index.manifests.len() == 1));
        assert!(matches!(parse(manifest, Some(MediaType::OciIndex)), Err(DocumentError::OtherType { .. })));
        assert!(matches!(parse(manifest, Some(MediaType::Other("text/plain".into()))), Ok(Document::Manifest(_))));
    }

    #[test]
    fn confusing_documents_are_refused() {
        let both = r#"{"schemaVersion":2,"config":DESC,"layers":[],"manifests":[]}"#;
        assert!(matches!(parse(both, None), Err(DocumentError::Ambiguous)));
        let other =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":DESC,"layers":[]}"#;
        assert!(matches!(parse(other, None), Err(DocumentError::OtherType { .. })));
        assert!(matches!(parse(other, Some(MediaType::OciManifest)), Err(DocumentError::OtherType { .. })));
        let old = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(parse(old, None), Err(DocumentError::Schema1(_))));
        for text in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":3,"layers":[],"config":DESC}"#,
            r#"{"schemaVersion":2,"layers":[{"digest":"sha256:../../x","size":-1}]}"#,
        ] {
            assert!(matches!(parse(text, None), Err(DocumentError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let offer = |platform: Option<&str>, byte: u8| {
            let platform = platform.map(|text| text.parse().unwrap());
            Descriptor { platform, ..Descriptor::of(MediaType::OciManifest, &[byte]) }
        };
        let index = Index::new(
            MediaType::OciIndex,
            vec![
                offer(Some("unknown/unknown"), 0),
                offer(Some("linux/arm/v5"), 1),
                offer(Some("linux/arm/v6"), 2),
                offer(Some("linux/arm64/v8"), 3),
            ],
        );
        let chosen = |platform: &str| {
            index
                .select(&platform.parse().unwrap())
                .map(|found| index.manifests.iter().position(|other| other == found).unwrap())
        };
        assert_eq!(chosen("linux/arm/v7"), Some(2));
        assert_eq!(chosen("linux/arm64"), Some(3));
        assert_eq!(chosen("linux/amd64"), None);
        assert_eq!(index.platforms().count(), 3);
        let unsaid = Index::new(MediaType::OciIndex, vec![offer(None, 0)]);
        assert!(unsaid.select(&Platform::host()).is_some());
    }
}
