//! The documents of the OCI image specification, as kiln reads and writes them.
//!
//! Ours and not a crate's, because their bytes are the product: maps are ordered, fields that kiln
//! does not know are kept, Docker's extensions are fields like the others, and what is written twice
//! is the same twice. What came from elsewhere is never written anew: its bytes are its name.

mod config;
mod descriptor;
mod manifest;
mod media_type;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs, RootFsKind};
pub use descriptor::Descriptor;
pub use manifest::{Document, Index, Manifest, SchemaVersion};
pub use media_type::{Family, MediaType};

/// Annotations: names to values.
pub type Annotations = std::collections::BTreeMap<String, String>;

/// How large a manifest or index may be, as registries have it (distribution-spec, "Pushing Manifests").
pub const MANIFEST_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// How large a config may be: it is read whole.
pub const CONFIG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// They are no JSON, or not of the shape.
    #[error("{what} is malformed")]
    Malformed {
        /// Which kind of document.
        what: &'static str,
        /// Where and how.
        source: serde_json::Error,
    },
    /// It claims to be an image and an index at once, and readers would disagree about it.
    #[error("manifest has both layers and manifests")]
    Ambiguous,
    /// What it says it is and what it is announced as differ.
    #[error("manifest says it is {found}, but was announced as {announced}")]
    OtherType {
        /// Its own `mediaType`.
        found: MediaType,
        /// The descriptor's or the registry's.
        announced: MediaType,
    },
    /// Docker's first image format, which nobody writes any more.
    #[error("image format {0} (Docker schema 1) is not supported; push the image anew with a current tool")]
    Schema1(MediaType),
    /// Docker's manifests know no zstd.
    #[error("Docker's manifest format has no name for layers of type {0}; use OCI media types")]
    NoDockerName(MediaType),
    /// A version or kind that this kiln does not know.
    #[error("{what} {found:?} is not supported")]
    Unsupported {
        /// Which property.
        what: &'static str,
        /// Its value.
        found: String,
    },
}

/// The bytes of a document: compact, fields in the order of their declaration, maps sorted.
fn to_bytes(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have string keys and finite numbers only")
}

/// Reads a field that Go programs write as `null` where it is empty.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
