//! Actions: what was computed, from what, and what came of it.
//!
//! A record `actions/ab/cdef..`, named by the [`ActionKey`], holds everything that went into the
//! key and the result. It outlives the result's bytes as a tombstone, so that a miss can be
//! explained by an eviction. A second, small file per *step* (the same place in the same
//! Dockerfile, whatever it contains) lists the keys that it has had, so that a miss can be compared
//! with what was there before.

mod key;
mod steps;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use key::{Difference, FileDifference, KeyRecord, Part, Value};
pub use steps::Uses;

use crate::record::{Trust, files_below, hex_of, now};
use crate::store::{Area, Store, StoreError};
use crate::{ActionKey, DiffId, Digest, TreeId};

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The layer that it made, if it is one that makes layers.
    pub layer: Option<DiffId>,
    /// The tree that came out, where the action has one whatever it is applied to.
    #[serde(default)]
    pub tree: Option<TreeId>,
    /// Facts that it found out, by name: the commit of a branch, the digest behind a URL.
    #[serde(default)]
    pub facts: std::collections::BTreeMap<String, String>,
    /// How long it took: what losing it costs.
    pub duration: Duration,
    /// What it printed, as a blob.
    #[serde(default)]
    pub log: Option<Digest>,
    /// When it was done, in seconds since 1970.
    pub created_at: i64,
}

impl ActionResult {
    /// A result that was had now.
    pub fn now(layer: Option<DiffId>, duration: Duration) -> Self {
        Self { layer, tree: None, facts: Default::default(), duration, log: None, created_at: now() }
    }
}

/// Whether the bytes of a result are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionState {
    /// They are.
    Present,
    /// They were collected, in seconds since 1970.
    Collected(i64),
    /// They are gone, and no collection took them.
    Lost,
}

/// A record: an action and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its name.
    pub key: ActionKey,
    /// What went in.
    pub record: KeyRecord,
    /// What came out.
    pub result: ActionResult,
    /// Whether that is still there.
    pub state: ActionState,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) key: key::Compact,
    pub(crate) result: ActionResult,
    #[serde(default)]
    pub(crate) collected_at: Option<i64>,
}

impl Store {
    /// Looks up what came of an action: only what is there, and stays while this process lives.
    pub fn action(&self, key: ActionKey) -> Result<Option<ActionResult>, StoreError> {
        let path = self.action_path(key);
        self.hold([path.as_path()])?;
        let Some((stored, trust)) = self.read_record::<Stored>(&path)? else { return Ok(None) };
        if stored.collected_at.is_some() || !self.hold_result(&stored.result)? {
            return Ok(None);
        }
        if trust == Trust::Unproven && !self.prove_result(&stored.result)? {
            self.remove_file(&path)?;
            return Ok(None);
        }
        if trust == Trust::Unproven {
            self.note_unsealed(&path);
        }
        Ok(Some(stored.result))
    }

    /// Remembers what came of an action. The layer and the log must be in the store already.
    pub fn put_action(&self, key: ActionKey, record: &KeyRecord, result: &ActionResult) -> Result<(), StoreError> {
        let compact = self.compact_key(record)?;
        let stored = Stored { key: compact, result: result.clone(), collected_at: None };
        self.write_record(&self.action_path(key), &stored)?;
        self.note_step(&record.step, key)
    }

    /// Reads a record whole, also that of a result whose bytes are gone.
    pub fn action_record(&self, key: ActionKey) -> Result<Option<Action>, StoreError> {
        let Some((stored, _)) = self.read_record::<Stored>(&self.action_path(key))? else { return Ok(None) };
        let state = match stored.collected_at {
            Some(at) => ActionState::Collected(at),
            None if self.has_result(&stored.result) => ActionState::Present,
            None => ActionState::Lost,
        };
        Ok(Some(Action { key, record: self.whole_key(stored.key)?, result: stored.result, state }))
    }

    /// The names of all records, in order.
    pub fn action_keys(&self) -> Result<Vec<ActionKey>, StoreError> {
        let directory = self.dir(Area::Actions);
        let hexes = files_below(&directory)?.into_iter().filter_map(|path| hex_of(&directory, &path));
        Ok(hexes.filter_map(|hex| hex.parse().ok()).collect())
    }

    /// All records whose names begin with some hexadecimal digits, in order of their names.
    pub fn actions(&self, prefix: &str) -> Result<Vec<Action>, StoreError> {
        let keys = self.action_keys()?.into_iter().filter(|key| key.hex().starts_with(prefix));
        keys.filter_map(|key| self.action_record(key).transpose()).collect()
    }

    /// Forgets an action altogether; says whether it was known.
    pub fn forget_action(&self, key: ActionKey) -> Result<bool, StoreError> {
        self.remove_file(&self.action_path(key))
    }

    pub(crate) fn action_path(&self, key: ActionKey) -> PathBuf {
        self.sharded(Area::Actions, &key.hex())
    }

    /// Makes a tombstone of a record, whose result's bytes are about to go.
    pub(crate) fn bury_action(&self, key: ActionKey) -> Result<(), StoreError> {
        let path = self.action_path(key);
        let Some((stored, _)) = self.read_record::<Stored>(&path)? else { return Ok(()) };
        let collected_at = stored.collected_at.or(Some(now()));
        self.write_record(&path, &Stored { collected_at, ..stored })
    }

    fn hold_result(&self, result: &ActionResult) -> Result<bool, StoreError> {
        let layer = result.layer.map(|layer| self.layer_path(layer));
        self.hold(layer.as_deref())?;
        Ok(self.has_result(result))
    }

    fn has_result(&self, result: &ActionResult) -> bool {
        result.layer.is_none_or(|layer| self.layer_path(layer).exists())
    }

    fn prove_result(&self, result: &ActionResult) -> Result<bool, StoreError> {
        result.layer.map_or(Ok(true), |layer| self.prove_layer(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(store: &Store, byte: u8) -> DiffId {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "file", &[byte][..]).unwrap();
        store.import_layer(&*tar.into_inner().unwrap(), None).unwrap().diff_id()
    }

    fn record(value: &str) -> KeyRecord {
        KeyRecord {
            step: "step".into(),
            description: "RUN x".into(),
            parts: vec![Part::text("argument", value), Part::text("user", "root")],
        }
    }

    fn key(byte: u8) -> ActionKey {
        ActionKey::from_bytes([byte; 32])
    }

    fn at(path: &std::path::Path, boot: u128) -> Store {
        Store::open_in_boot(path, format!("{boot:032x}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_result_is_found_again_and_explained() {
        let directory = tempfile::tempdir().unwrap();
        let store = at(directory.path(), 1);
        assert_eq!(store.action(key(1)).unwrap(), None);
        let result = ActionResult::now(None, Duration::from_millis(1500));
        store.put_action(key(1), &record("one"), &result).unwrap();
        store.put_action(key(2), &record("two"), &result).unwrap();
        assert_eq!(store.action(key(1)).unwrap().as_ref(), Some(&result));
        let (nearest, differences) = store.nearest_action(&record("three"), key(3)).unwrap().unwrap();
        assert_eq!((nearest.key, nearest.record), (key(2), record("two")));
        assert!(
            matches!(&differences[..], [Difference::Changed { part, before, now }] if (&**part, &**before, &**now) == ("argument", "two", "three"))
        );
        assert_eq!(
            store.nearest_action(&record("one"), key(3)).unwrap().unwrap().0.key,
            key(1),
            "equal parts are nearest"
        );
        assert_eq!(store.actions("01").unwrap().len(), 1);
        store.note_uses(&[key(1), key(2)]).unwrap();
        store.note_uses(&[key(1)]).unwrap();
        assert_eq!(store.uses().unwrap()[&key(1)].count, 2);
        store.compact_uses(|known| known == key(1)).unwrap();
        assert_eq!(
            store.uses().unwrap().into_iter().map(|(key, uses)| (key, uses.count)).collect::<Vec<_>>(),
            [(key(1), 2)]
        );
    }

    #[test]
    fn a_result_without_its_layer_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = at(directory.path(), 1);
        let made = layer(&store, 0);
        store.put_action(key(1), &record("one"), &ActionResult::now(Some(made), Duration::ZERO)).unwrap();
        assert!(store.action(key(1)).unwrap().is_some());
        store.remove_file(&store.layer_path(made)).unwrap();
        assert_eq!(store.action(key(1)).unwrap(), None);
        assert_eq!(store.action_record(key(1)).unwrap().unwrap().state, ActionState::Lost);
        store.bury_action(key(1)).unwrap();
        assert!(matches!(store.action_record(key(1)).unwrap().unwrap().state, ActionState::Collected(_)));
        let again = layer(&store, 0);
        store.put_action(key(1), &record("one"), &ActionResult::now(Some(again), Duration::ZERO)).unwrap();
        assert!(store.action(key(1)).unwrap().is_some(), "building it again raises it from the dead");
    }

    #[test]
    fn after_a_power_cut_a_result_is_looked_at_before_use() {
        let directory = tempfile::tempdir().unwrap();
        let before = at(directory.path(), 1);
        let put = |byte: u8| {
            let layer = layer(&before, byte);
            before.put_action(key(byte), &record("x"), &ActionResult::now(Some(layer), Duration::ZERO)).unwrap();
            before.layer_path(layer)
        };
        let (_, torn) = (put(0), put(1));
        std::fs::write(&torn, "").unwrap();
        let after = at(directory.path(), 2);
        assert!(after.action(key(0)).unwrap().is_some());
        assert_eq!(after.action(key(1)).unwrap(), None);
        assert_eq!(after.action_record(key(1)).unwrap(), None, "what did not hold is forgotten");
    }
}
