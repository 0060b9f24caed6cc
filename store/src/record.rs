//! Records: small JSON files that say what is known, and how far that can be relied on.
//!
//! A record is written after everything that it speaks of. Until a sync has sealed it, it carries
//! the boot id of the system that wrote it: within the same boot what was written is there, and
//! after another one what it speaks of has to be looked at first. A record that was itself lost in
//! a power cut counts as never written; a damaged sealed one is an error.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::boot::BootId;
use crate::store::{Presence, Store, StoreError};

/// Whether what a record speaks of is known to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A sync covered it, or the system has not been restarted since.
    Proven,
    /// It was written before the last restart of the system and no sync covered it.
    Unproven,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    boot: BootId,
    record: T,
}

impl Store {
    /// Writes a record in place of whatever is there. What it speaks of must be in its place already.
    pub fn write_record(&self, path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
        self.write_file(path, &self.envelope(record))
    }

    /// Writes a record such that it is there when this returns, even if the power is cut then. What
    /// it speaks of must have been synced.
    pub fn write_record_durably(&self, path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
        self.write_file_durably(path, &self.envelope(record))
    }

    /// Reads a record. Whoever gets an [unproven](Trust::Unproven) one looks at what it speaks of
    /// and then calls [`note_unsealed`](Store::note_unsealed), or removes it.
    pub fn read_record<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<(T, Trust)>, StoreError> {
        let Some(bytes) = self.read_file(path)? else { return Ok(None) };
        let is_sealed = || self.presence(path).map(|presence| presence == Presence::Sealed);
        match serde_json::from_slice::<Envelope<T>>(&bytes) {
            Ok(Envelope { boot, record }) if boot == self.boot() || is_sealed()? => Ok(Some((record, Trust::Proven))),
            Ok(Envelope { record, .. }) => Ok(Some((record, Trust::Unproven))),
            Err(error) if is_sealed()? => Err(StoreError::Damaged { path: path.to_owned(), reason: error.to_string() }),
            Err(_) => Ok(None),
        }
    }

    fn envelope(&self, record: &impl Serialize) -> Vec<u8> {
        serde_json::to_vec(&Envelope { boot: self.boot(), record })
            .expect("records have string keys and finite numbers only")
    }
}

/// The files below a directory, at any depth, in byte order.
pub(crate) fn files_below(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let listing = crate::store::found(std::fs::read_dir(&directory)).map_err(StoreError::io("list", &directory))?;
        for entry in listing.into_iter().flatten() {
            let entry = entry.map_err(StoreError::io("list", &directory))?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory { directories.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    Ok(found)
}

/// The name of what lies at a path of the shape `ab/cdef..` below a directory.
pub(crate) fn hex_of(directory: &Path, path: &Path) -> Option<String> {
    let hex: String = path.strip_prefix(directory).ok()?.to_str()?.split('/').collect();
    (hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(hex)
}

/// Now, in seconds since 1970: for people to read, never for a decision.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path, boot: u128) -> Store {
        Store::open_in_boot(path, format!("{boot:032x}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_record_is_unproven_only_after_a_restart_without_a_sync() {
        let directory = tempfile::tempdir().unwrap();
        let first = at(directory.path(), 1);
        let path = first.path().join("actions/x");
        let read = |store: &Store| store.read_record::<u32>(&path).unwrap();
        first.write_record(&path, &7).unwrap();
        assert_eq!(read(&first), Some((7, Trust::Proven)));
        assert_eq!(read(&at(directory.path(), 1)), Some((7, Trust::Proven)));
        let second = at(directory.path(), 2);
        assert_eq!(read(&second), Some((7, Trust::Unproven)));
        second.note_unsealed(&path);
        second.sync().unwrap();
        assert_eq!(read(&at(directory.path(), 3)), Some((7, Trust::Proven)));
    }

    #[test]
    fn a_lost_record_was_never_written_and_a_damaged_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let store = at(directory.path(), 1);
        let path = store.path().join("actions/x");
        std::fs::write(&path, "").unwrap();
        assert_eq!(store.read_record::<u32>(&path).unwrap(), None);
        store.write_record_durably(&path, &"text").unwrap();
        assert!(matches!(store.read_record::<u32>(&path), Err(StoreError::Damaged { .. })));
        assert_eq!(store.read_record::<u32>(&store.path().join("absent")).unwrap(), None);
    }
}
