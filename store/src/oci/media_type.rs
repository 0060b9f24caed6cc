//! What kind of bytes a blob is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::DocumentError;

/// A media type: those that kiln acts upon by name, all others as they are written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaType {
    /// An image's manifest.
    OciManifest,
    /// A list of manifests, by platform.
    OciIndex,
    /// An image's config.
    OciConfig,
    /// A layer, not compressed.
    OciLayer,
    /// A layer, compressed with gzip.
    OciLayerGzip,
    /// A layer, compressed with zstd.
    OciLayerZstd,
    /// A layer that may not be redistributed.
    OciForeignLayer,
    /// The same, compressed with gzip.
    OciForeignLayerGzip,
    /// `{}`, where a descriptor must stand and nothing is meant.
    OciEmpty,
    /// An image's manifest, Docker's form.
    DockerManifest,
    /// A list of manifests, Docker's form.
    DockerManifestList,
    /// An image's config, Docker's form.
    DockerConfig,
    /// A layer, not compressed, Docker's form.
    DockerLayer,
    /// A layer, compressed with gzip, Docker's form.
    DockerLayerGzip,
    /// A layer that may not be redistributed, compressed with gzip, Docker's form.
    DockerForeignLayer,
    /// Docker's first manifest format, signed.
    DockerSchema1Signed,
    /// Docker's first manifest format.
    DockerSchema1,
    /// Anything else.
    Other(Box<str>),
}

const NAMES: [(MediaType, &str); 17] = [
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::OciLayer, "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayerGzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayerZstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::OciForeignLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar"),
    (MediaType::OciForeignLayerGzip, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    (MediaType::OciEmpty, "application/vnd.oci.empty.v1+json"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::DockerLayer, "application/vnd.docker.image.rootfs.diff.tar"),
    (MediaType::DockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (MediaType::DockerForeignLayer, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    (MediaType::DockerSchema1Signed, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    (MediaType::DockerSchema1, "application/vnd.docker.distribution.manifest.v1+json"),
];

impl MediaType {
    /// The type as it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => NAMES.iter().find(|(media_type, _)| media_type == known).map_or("", |(_, name)| name),
        }
    }

    /// Whether it is an image's manifest.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// Whether it is a list of manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// Whether it is one of Docker's first manifest formats.
    pub fn is_schema1(&self) -> bool {
        matches!(self, Self::DockerSchema1 | Self::DockerSchema1Signed)
    }

    /// Whether it is an image's config.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }

    /// Whether it is a layer, of any kind.
    pub fn is_layer(&self) -> bool {
        let is_known = matches!(
            self,
            Self::OciLayer | Self::OciLayerGzip | Self::OciLayerZstd | Self::DockerLayer | Self::DockerLayerGzip
        );
        is_known || self.is_foreign()
    }

    /// Whether it is a layer that may not be redistributed, and is fetched from where its `urls` say.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::OciForeignLayer | Self::OciForeignLayerGzip | Self::DockerForeignLayer)
    }

    /// The same kind of thing in OCI's names. Bytes and digests stay: the layer formats are the same.
    pub fn to_oci(&self) -> Self {
        match self {
            Self::DockerManifest => Self::OciManifest,
            Self::DockerManifestList => Self::OciIndex,
            Self::DockerConfig => Self::OciConfig,
            Self::DockerLayer => Self::OciLayer,
            Self::DockerLayerGzip => Self::OciLayerGzip,
            Self::DockerForeignLayer => Self::OciForeignLayerGzip,
            other => other.clone(),
        }
    }

    /// The same kind of thing in Docker's names; `None` if Docker has none (zstd).
    pub fn to_docker(&self) -> Option<Self> {
        Some(match self {
            Self::OciManifest => Self::DockerManifest,
            Self::OciIndex => Self::DockerManifestList,
            Self::OciConfig => Self::DockerConfig,
            Self::OciLayer => Self::DockerLayer,
            Self::OciLayerGzip => Self::DockerLayerGzip,
            Self::OciForeignLayerGzip => Self::DockerForeignLayer,
            Self::OciLayerZstd | Self::OciForeignLayer | Self::OciEmpty => return None,
            other => other.clone(),
        })
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        match NAMES.iter().find(|(_, name)| *name == text) {
            Some((media_type, _)) => media_type.clone(),
            None => Self::Other(text.into()),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*String::deserialize(deserializer)?))
    }
}

/// Whose media types a manifest has; they are not mixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// Those that the image came with, OCI's for what was made here.
    #[default]
    AsItCame,
    /// OCI's.
    Oci,
    /// Docker's.
    Docker,
}

impl Family {
    /// The family of a manifest or index.
    pub fn of(media_type: &MediaType) -> Self {
        match media_type {
            MediaType::DockerManifest | MediaType::DockerManifestList => Self::Docker,
            _ => Self::Oci,
        }
    }

    /// A type by its name in this family.
    pub fn of_type(self, media_type: &MediaType) -> Result<MediaType, DocumentError> {
        let nameless = || DocumentError::NoDockerName(media_type.clone());
        match self {
            Self::AsItCame | Self::Oci => Ok(media_type.to_oci()),
            Self::Docker => media_type.to_docker().ok_or_else(nameless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for (media_type, name) in NAMES {
            assert_eq!((MediaType::from(name), media_type.as_str()), (media_type.clone(), name));
        }
        assert_eq!(MediaType::from("text/plain").as_str(), "text/plain");
    }

    #[test]
    fn families_convert() {
        for (media_type, _) in NAMES {
            if let Some(docker) = media_type.to_docker() {
                assert_eq!(docker.to_oci(), media_type.to_oci(), "{media_type}");
            }
        }
        assert_eq!(MediaType::OciLayerZstd.to_docker(), None);
    }
}
