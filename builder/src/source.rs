//! Where base images come from, as the builder sees it.
//!
//! The builder knows no registry. Whoever asks for a build brings an [`ImageSource`]: over a
//! registry, an OCI layout, or what the store has already.

use store::oci::ImageConfig;
use store::{DiffId, Digest, Platform, Reference};

use crate::progress::Transfer;

/// Finds and brings images.
pub trait ImageSource: Sync {
    /// Finds out which image a name means now, and its config. Brings no layers.
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceError>;

    /// Brings what is missing of an image's layers: afterwards the store has them all.
    fn fetch(&self, image: &ResolvedImage, report: &(dyn Fn(Transfer) + Sync)) -> Result<(), SourceError>;
}

/// An image of which the config is known.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// The name it was asked for by.
    pub reference: Reference,
    /// The digest of its manifest, which pins it; `None` for an image that only the store knows.
    pub manifest: Option<Digest>,
    /// Its config, with layers and history.
    pub config: ImageConfig,
}

impl ResolvedImage {
    /// Its layers, lowest first.
    pub fn layers(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    /// What names the image's content in a key, whatever it is tagged: the manifest, or the layers.
    pub fn pin(&self) -> String {
        match self.manifest {
            Some(manifest) => manifest.to_string(),
            None => self.config.id().to_string(),
        }
    }
}

/// Why there is no such image.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody knows it.
    #[error("{reference}: not found")]
    NotFound {
        /// The name, as people write it.
        reference: String,
    },
    /// It exists, but not for this platform.
    #[error("{reference}: no image for platform {platform}")]
    NoPlatform {
        /// The name.
        reference: String,
        /// The platform asked for.
        platform: String,
    },
    /// It cannot be had: network, credentials, or bytes that are not what they should be.
    #[error("cannot get {reference}")]
    Unavailable {
        /// The name.
        reference: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
