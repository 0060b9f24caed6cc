//! Where base images come from: the store first, else the registry that the name says.

use std::sync::OnceLock;

use builder::progress::Transfer;
use builder::source::{ImageSource, ResolvedImage, SourceError};
use registry::{BlobState, Event, Registry};
use store::{Platform, Reference, Store};

use crate::command::wire;

/// When a registry is asked about a name that the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Only for what the store lacks.
    Missing,
    /// Always (`--pull`).
    Always,
}

/// The images of the store and of all registries.
pub(crate) struct Images {
    store: Store,
    refresh: Refresh,
    registry: OnceLock<Registry>,
}

impl Images {
    /// Nothing is read or connected before an image is asked for.
    pub(crate) fn new(store: Store, refresh: Refresh) -> Self {
        Self { store, refresh, registry: OnceLock::new() }
    }

    fn registry(&self) -> std::io::Result<&Registry> {
        if let Some(registry) = self.registry.get() {
            return Ok(registry);
        }
        let made = wire::registry(registry::TlsVerify::Always)?;
        Ok(self.registry.get_or_init(|| made))
    }

    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<ResolvedImage>, SourceError> {
        let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| SourceError::Unavailable {
            reference: reference.familiar(),
            source,
        };
        let id = self.store.resolve_name(reference).map_err(|error| unavailable(error.into()))?;
        let image = id.map(|id| self.store.image(id)).transpose().map_err(|error| unavailable(error.into()))?.flatten();
        let fits = |image: &store::image::Image| platform.distance_to(&image.config.platform()).is_some();
        let whole = |image: store::image::Image| ResolvedImage {
            reference: reference.clone(),
            manifest: None,
            config: image.config,
        };
        // A base that is only here, for whatever platform, is what was meant; a registry might have the right one.
        Ok(image.filter(|image| fits(image) || reference.repository().host() == "localhost").map(whole))
    }
}

impl ImageSource for Images {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        let local = self.in_store(reference, platform)?;
        match (local, self.refresh) {
            (Some(image), Refresh::Missing) => Ok(image),
            (local, _) => {
                let unavailable = |source| SourceError::Unavailable { reference: reference.familiar(), source };
                let registry = self.registry().map_err(|error| unavailable(error.into()))?;
                match registry.resolve(&self.store, reference, platform, &|_| {}) {
                    Ok(remote) => Ok(ResolvedImage {
                        reference: reference.clone(),
                        manifest: Some(remote.manifest_digest),
                        config: remote.config,
                    }),
                    Err(error) => local.ok_or_else(|| unavailable(error.into())),
                }
            }
        }
    }

    fn fetch(&self, image: &ResolvedImage, report: &(dyn Fn(Transfer) + Sync)) -> Result<(), SourceError> {
        let Some(manifest) = image.manifest else { return Ok(()) };
        let reference = image.reference.with_digest(manifest);
        let unavailable = |source| SourceError::Unavailable { reference: image.reference.familiar(), source };
        let registry = self.registry().map_err(|error| unavailable(error.into()))?;
        let sizes = std::sync::Mutex::new(std::collections::HashMap::new());
        let progress = |event: Event| {
            let mut sizes = sizes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match event {
                Event::Resolved { layers, .. } => sizes.extend(layers),
                Event::Moved { digest, moved_bytes } => report(transfer(digest, moved_bytes, sizes.get(&digest))),
                Event::Blob { digest, size_bytes, state: BlobState::Unpacked } => {
                    report(transfer(digest, size_bytes, Some(&size_bytes)))
                }
                _ => {}
            }
        };
        let platform = image.config.platform();
        registry.pull(&self.store, &reference, &platform, &progress).map_err(|error| unavailable(error.into()))?;
        Ok(())
    }
}

fn transfer(digest: store::Digest, done_bytes: u64, total_bytes: Option<&u64>) -> Transfer {
    let total_bytes = total_bytes.and_then(|total| std::num::NonZeroU64::new(*total));
    Transfer { item: digest.short(), done_bytes, total_bytes }
}
