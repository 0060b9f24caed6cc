//! Bringing layers that are known but not here, from wherever they were seen.
//!
//! A build notes a base that it does not read ([`note`](crate::note)); what of it somebody needs later is
//! brought by the digests that were noted then. No tag is looked up: a layer is what its digest says.

use std::sync::atomic::{AtomicU64, Ordering};

use store::layer::ImportError;
use store::oci::{Descriptor, MediaType};
use store::{DiffId, LayerBlob, Repository, Store, StoreError};

use crate::Host;
use crate::arrival::{Arrival, LayerError};
use crate::blob::BlobError;
use crate::event::Progress;
use crate::host::HostError;
use crate::parallel::Crew;
use crate::registry::Registry;
use crate::request::RequestError;
use crate::token::Access;

/// Why a layer that is not here could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum BringError {
    /// Nobody is known to have it.
    #[error("layer {0} is not in the store, and no registry is known to have it")]
    Unknown(DiffId),
    /// Where it was seen it is not to be had any more.
    #[error("layer {layer} is not in the store, and {repository} does not give it (any more)")]
    Gone {
        /// Which layer.
        layer: DiffId,
        /// Who was asked last.
        repository: Repository,
        /// What became of that.
        source: Box<FromError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BringError {
    /// What went wrong with a request, if that was it.
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Gone { source, .. } => match &**source {
                FromError::Request(error) | FromError::Blob(BlobError::Request(error)) => Some(error),
                _ => None,
            },
            Self::Unknown(_) | Self::Store(_) => None,
        }
    }
}

/// Why one repository did not give a layer.
#[derive(Debug, thiserror::Error)]
pub enum FromError {
    /// Its host cannot be one.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It could not be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It refused, or sent something else.
    #[error(transparent)]
    Blob(BlobError),
    /// What it sent cannot be unpacked.
    #[error("it cannot be unpacked")]
    Unpack(#[source] ImportError),
}

impl From<LayerError> for FromError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Blob(error) => Self::Blob(error),
            LayerError::Unpack(error) => Self::Unpack(error),
        }
    }
}

impl Registry {
    /// Brings those of some layers that are not in the store; says how many bytes came. Each is tried
    /// wherever it was seen. What came is durable when this returns.
    pub fn bring(&self, store: &Store, layers: &[DiffId], progress: Progress<'_>) -> Result<u64, BringError> {
        let absent = store.absent_layers(layers)?;
        if absent.is_empty() {
            return Ok(0);
        }
        let registry = &self.ending_with(store.cancel());
        let bring = Bring { registry, store, progress, crew: Crew::default(), bytes: AtomicU64::new(0) };
        bring.crew.each(absent, self.options().parallel, |layer| bring.layer(layer))?;
        store.sync()?;
        Ok(bring.bytes.into_inner())
    }
}

struct Bring<'a> {
    registry: &'a Registry,
    store: &'a Store,
    progress: Progress<'a>,
    crew: Crew,
    bytes: AtomicU64,
}

impl Bring<'_> {
    fn layer(&self, layer: DiffId) -> Result<(), BringError> {
        let mut last = BringError::Unknown(layer);
        for (repository, blob) in places(&self.store.blobs_elsewhere(layer)?) {
            match self.from(&repository, layer, blob) {
                Ok(()) => {
                    self.bytes.fetch_add(blob.size_bytes, Ordering::Relaxed);
                    return Ok(());
                }
                // A full disk is nobody else's fault.
                Err(FromError::Unpack(ImportError::Store(error))) => return Err(error.into()),
                Err(error) => last = BringError::Gone { layer, repository, source: Box::new(error) },
            }
        }
        Err(last)
    }

    fn from(&self, repository: &Repository, diff_id: DiffId, blob: &LayerBlob) -> Result<(), FromError> {
        let host = Host::new(repository.host())?;
        let session = &self.registry.session(&host, repository.path(), Access::Pull, &[], self.progress)?;
        let descriptor = &Descriptor::new(MediaType::from(&*blob.media_type), blob.digest, blob.size_bytes);
        Ok(Arrival { session, store: self.store, crew: &self.crew, diff_id, descriptor }.download()?)
    }
}

/// Every place of every form.
fn places(blobs: &[LayerBlob]) -> impl Iterator<Item = (Repository, &LayerBlob)> {
    blobs.iter().flat_map(|blob| blob.seen_in.iter().filter_map(move |name| Some((name.parse().ok()?, blob))))
}
