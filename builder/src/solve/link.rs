//! Links from quick keys to keys.
//!
//! A link file holds a key and a checksum, so that what a power cut left of it is no link. Losing
//! one costs a lookup.

use std::path::PathBuf;

use store::action::Part;
use store::{ActionKey, Area, Store, StoreError};

use crate::key;

/// The name under which a key is found without loading any tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuickKey(ActionKey);

impl QuickKey {
    /// A quick key is made as keys are, of cheaper parts.
    pub(super) fn of(operation: &str, parts: &[Part]) -> Self {
        Self(key::of_parts(&format!("quick {operation}"), parts))
    }

    /// The key that it led to last time.
    pub(super) fn follow(self, store: &Store) -> Result<Option<ActionKey>, StoreError> {
        let Some(bytes) = store.read_file(&self.path(store))? else { return Ok(None) };
        let Some((key, checksum)) = bytes.split_first_chunk::<32>() else { return Ok(None) };
        Ok((checksum == self.checksum(key)).then(|| ActionKey::from_bytes(*key)))
    }

    /// Remembers the key.
    pub(super) fn lead_to(self, key: ActionKey, store: &Store) -> Result<(), StoreError> {
        let bytes = [&key.as_bytes()[..], &self.checksum(key.as_bytes())].concat();
        store.write_file(&self.path(store), &bytes)
    }

    fn path(self, store: &Store) -> PathBuf {
        store.dir(Area::Scans).join("links").join(self.0.hex())
    }

    fn checksum(self, key: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(self.0.as_bytes(), key).as_bytes()
    }
}
