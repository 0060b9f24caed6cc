//! What a new volume starts with: what the image has at its place.

use std::path::Path;

use store::{DiffId, RelPath, Store};

use super::error::ContainerError;

/// An image's files, looked at only if a volume needs them.
pub(super) struct Seed<'a> {
    store: &'a Store,
    layers: &'a [DiffId],
}

impl<'a> Seed<'a> {
    pub(super) fn of(store: &'a Store, layers: &'a [DiffId]) -> Self {
        Self { store, layers }
    }

    /// Copies what the image has in the directory `target` into the empty directory `to`, which then
    /// looks like it. Without such a directory nothing happens.
    pub(super) fn fill(&self, target: &str, to: &Path) -> Result<(), ContainerError> {
        let error = |_| ContainerError::Value { what: "target of a volume", value: target.to_owned() };
        let path = RelPath::clean(target.as_bytes()).map_err(error)?;
        self.store.write_out(self.layers, &path, to)?;
        Ok(())
    }
}
