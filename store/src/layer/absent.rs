//! Layers that are known but not here: what a base is made of that nobody has read yet.
//!
//! Of such a layer there is only the `.blobs` file, which says by which digests which repositories have
//! it. An image may be made of such layers; whoever needs their files brings them first.

use super::BLOBS;
use crate::{DiffId, LayerBlob, Store, StoreError};

impl Store {
    /// Of some layers those that are not here, each once. What is here stays while this process lives.
    pub fn absent_layers(&self, layers: &[DiffId]) -> Result<Vec<DiffId>, StoreError> {
        let mut absent = Vec::new();
        for layer in layers {
            if !absent.contains(layer) && self.layer(*layer)?.is_none() {
                absent.push(*layer);
            }
        }
        Ok(absent)
    }

    /// The forms of a layer that some repository is known to have.
    pub fn blobs_elsewhere(&self, layer: DiffId) -> Result<Vec<LayerBlob>, StoreError> {
        // A collector may have set aside what is known of it: holding it puts it back.
        self.hold([self.beside_layer(layer, BLOBS).as_path()])?;
        Ok(self.blobs_of(layer)?.into_iter().filter(|blob| !blob.seen_in.is_empty()).collect())
    }

    /// Whether a layer is here, or known to be elsewhere. Cheap: what is here is not looked into.
    pub(crate) fn knows_layer(&self, layer: DiffId) -> Result<bool, StoreError> {
        Ok(self.layer_path(layer).exists() || !self.blobs_elsewhere(layer)?.is_empty())
    }
}
