//! Where base images and remote files come from, as the builder sees it.
//!
//! The builder knows no registry and no HTTP. Whoever asks for a build brings an [`ImageSource`]:
//! over a registry, an OCI layout, or what the store has already.

use std::fs::File;

use store::oci::ImageConfig;
use store::tree::Timestamp;
use store::{DiffId, Digest, Platform, Reference};

use crate::progress::{Cancel, Transfer};

/// Finds and brings images, and files by their URL. What takes long ends when its flag is set, with
/// [`Cancelled`](store::Cancelled) among the error's causes.
pub trait ImageSource: Sync {
    /// Finds out which image a name means now, and its config. Brings no layers.
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<ResolvedImage, SourceError>;

    /// Has the store know the image, and where those of its layers are that it does not have. Brings none: for
    /// a base that nothing reads.
    fn note(&self, image: &ResolvedImage) -> Result<(), SourceError>;

    /// Brings what is missing of an image's layers: afterwards the store has them all.
    fn fetch(
        &self,
        image: &ResolvedImage,
        cancel: &Cancel,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<(), SourceError>;

    /// Brings a file, unless it is what is known already. It stands in `into` then, whole.
    fn download(
        &self,
        wanted: &Download<'_>,
        into: &mut File,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Answer, SourceError>;
}

/// A file by its URL.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// An http or https URL; may hold a name and password.
    pub url: &'a str,
    /// A value for the `Authorization` header, for the URL's own origin.
    pub authorization: Option<&'a str>,
    /// What is known of the file that is here already, if one is.
    pub known: Option<&'a Validators>,
    /// The most bytes that are taken.
    pub limit_bytes: u64,
    /// Ends it when somebody sets it.
    pub cancel: &'a Cancel,
}

/// What tells one state of a remote file from another (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`, where the file was old enough for it to tell.
    pub modified: Option<String>,
}

/// What came of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What is known is what the server has.
    Unchanged,
    /// The file is here.
    Received {
        /// For the next time.
        validators: Validators,
        /// When it was changed, if the server says so.
        modified: Option<Timestamp>,
    },
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

/// Why there is no such image or file.
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
    /// A file cannot be downloaded.
    #[error(transparent)]
    Download(Box<dyn std::error::Error + Send + Sync>),
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
