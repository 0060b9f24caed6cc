//! Which keys a step has had, and which of them explains best why it has another one now.
//!
//! The lists and counts here are hints: losing them loses an explanation and nothing else.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::{Action, Difference, KeyRecord};
use crate::record::now;
use crate::store::{Area, Store, StoreError};
use crate::{ActionKey, ObjectId};

/// How many keys are remembered for a step.
const KEYS_PER_STEP: usize = 16;

/// How often a result was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// How many times.
    pub count: u64,
    /// When last, in seconds since 1970.
    pub last_at: i64,
}

impl Store {
    /// Finds the earlier record of the same step that is nearest to a new key, and how the new one
    /// differs: the fewest parts, and of equals the latest.
    pub fn nearest_action(
        &self,
        record: &KeyRecord,
        except: ActionKey,
    ) -> Result<Option<(Action, Vec<Difference>)>, StoreError> {
        let mut nearest: Option<(Action, Vec<Difference>)> = None;
        for key in self.keys_of_step(&record.step)?.into_iter().filter(|key| *key != except) {
            let Some(action) = self.action_record(key)? else { continue };
            let differences = record.differences_from(&action.record);
            if nearest.as_ref().is_none_or(|(_, best)| differences.len() <= best.len()) {
                nearest = Some((action, differences));
            }
        }
        Ok(nearest)
    }

    /// The keys that a step has had, the latest last.
    pub fn keys_of_step(&self, step: &str) -> Result<Vec<ActionKey>, StoreError> {
        let bytes = self.read_file(&self.step_path(step))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Remembers that results were used instead of computed.
    pub fn note_uses(&self, keys: &[ActionKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let at = now();
        let lines: String = keys.iter().map(|key| format!("{at} 1 {key}\n")).collect();
        let path = self.uses_path();
        let open = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        open.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(StoreError::io("append to", &path))
    }

    /// How often each result was used.
    pub fn uses(&self) -> Result<BTreeMap<ActionKey, Uses>, StoreError> {
        let bytes = self.read_file(&self.uses_path())?.unwrap_or_default();
        let mut uses: BTreeMap<ActionKey, Uses> = BTreeMap::new();
        for (key, used) in String::from_utf8_lossy(&bytes).lines().filter_map(parse_use) {
            let entry = uses.entry(key).or_default();
            *entry = Uses { count: entry.count + used.count, last_at: entry.last_at.max(used.last_at) };
        }
        Ok(uses)
    }

    /// Writes the uses anew, a line for each key, without those of keys that are no longer known.
    pub(crate) fn compact_uses(&self, is_known: impl Fn(ActionKey) -> bool) -> Result<(), StoreError> {
        let uses = self.uses()?.into_iter().filter(|(key, _)| is_known(*key));
        let lines: String = uses.map(|(key, Uses { count, last_at })| format!("{last_at} {count} {key}\n")).collect();
        self.write_file(&self.uses_path(), lines.as_bytes())
    }

    pub(super) fn note_step(&self, step: &str, key: ActionKey) -> Result<(), StoreError> {
        let mut keys = self.keys_of_step(step)?;
        keys.retain(|old| *old != key);
        keys.push(key);
        let first = keys.len().saturating_sub(KEYS_PER_STEP);
        let lines: String = keys[first..].iter().map(|key| format!("{key}\n")).collect();
        self.write_file(&self.step_path(step), lines.as_bytes())
    }

    fn step_path(&self, step: &str) -> PathBuf {
        self.dir(Area::Builds).join("steps").join(ObjectId::of(step.as_bytes()).hex())
    }

    fn uses_path(&self) -> PathBuf {
        self.dir(Area::Builds).join("uses")
    }
}

fn parse_use(line: &str) -> Option<(ActionKey, Uses)> {
    let mut words = line.split(' ');
    let last_at = words.next()?.parse().ok()?;
    let count = words.next()?.parse().ok()?;
    Some((words.next()?.parse().ok()?, Uses { count, last_at }))
}
