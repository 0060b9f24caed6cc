//! Looking at what is there, byte by byte.

use crate::DiffId;
use crate::store::{Presence, Store, StoreError};

impl Store {
    /// Whether a layer from before a restart can be relied on: only if a sync has sealed it.
    pub(crate) fn prove_layer(&self, id: DiffId) -> Result<bool, StoreError> {
        Ok(self.presence(&self.layer_path(id))? == Presence::Sealed)
    }
}
