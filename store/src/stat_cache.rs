//! What earlier scans of a directory found, so that a file that nobody touched is not read again.
//!
//! A file is known again by the fingerprint of its path, inode number, size, and the nanoseconds of
//! its times. The change time is the one that counts: no program can set it. A file that was
//! changed within the last clock tick before a scan could be changed once more without its times
//! showing it, so it is not remembered (git's rule for its index: "racily clean").
//!
//! One file per directory in `scans/`: `kiln scan 1\n`, then records of 16 bytes of fingerprint and
//! 32 of ObjectId, sorted, then the BLAKE3 of all that. A file that does not look like this is
//! ignored: everything here can be found out again.

use std::path::{Path, PathBuf};

use crate::fs::Stat;
use crate::store::{Area, Store, StoreError};
use crate::tree::Timestamp;
use crate::{ObjectId, RelPath};

/// The memory of scans of one directory.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    known: Vec<Record>,
}

/// A file as it was seen, and what it held.
pub(crate) type Record = [u8; RECORD_BYTES];

const RECORD_BYTES: usize = FINGERPRINT_BYTES + 32;
const FINGERPRINT_BYTES: usize = 16;
const MAGIC: &[u8] = b"kiln scan 1\n";

impl StatCache {
    /// Reads what is remembered of the directory at that path; nothing, if it was never scanned.
    pub fn open(store: &Store, directory: &Path) -> Result<Self, StoreError> {
        let canonical = directory.canonicalize().map_err(StoreError::io("resolve", directory))?;
        let name = blake3::hash(canonical.as_os_str().as_encoded_bytes());
        let path = store.dir(Area::Scans).join(&*name.to_hex());
        let known = store.read_file(&path)?.and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Ok(Self { path, known })
    }

    /// Writes what is remembered, if a scan has learnt something; the next [`open`](Self::open) finds it.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        store.write_file(&self.path, &encode(&self.known))
    }

    /// How many files are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(crate) fn get(&self, path: &RelPath, stat: &Stat) -> Option<ObjectId> {
        let wanted = fingerprint(path, stat);
        let at = self.known.binary_search_by(|record| record[..FINGERPRINT_BYTES].cmp(&wanted)).ok()?;
        let id: [u8; 32] = self.known[at][FINGERPRINT_BYTES..].try_into().ok()?;
        Some(ObjectId::from_bytes(id))
    }

    /// Adds what a scan read. Of what it did not come across, at most as much is kept as it saw in
    /// all: two builds with different ignore rules can share one memory, and it does not grow for ever.
    pub(crate) fn learn(&mut self, learnt: Vec<Record>, seen: usize) {
        if self.known.len() > 2 * seen.max(1000) {
            self.known.clear();
        }
        self.known.extend(learnt);
        self.known.sort_unstable();
        self.known.dedup_by(|a, b| a[..FINGERPRINT_BYTES] == b[..FINGERPRINT_BYTES]);
    }
}

/// What to remember of a file that was just read; `None` if it is too young to be known again.
pub(crate) fn record(path: &RelPath, stat: &Stat, scan_started: Timestamp, content: ObjectId) -> Option<Record> {
    is_settled(stat.ctime, scan_started).then(|| {
        let mut record = [0; RECORD_BYTES];
        record[..FINGERPRINT_BYTES].copy_from_slice(&fingerprint(path, stat));
        record[FINGERPRINT_BYTES..].copy_from_slice(content.as_bytes());
        record
    })
}

/// Whether a change after `now` must get another change time. Kernels stamp with the time of the
/// last tick (10 ms at most); file systems without fractions, with seconds, or with two (FAT).
fn is_settled(changed: Timestamp, now: Timestamp) -> bool {
    let since = nanoseconds(now) - nanoseconds(changed);
    since > if changed.nanos == 0 { 2_000_000_000 } else { 20_000_000 }
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

fn fingerprint(path: &RelPath, stat: &Stat) -> [u8; FINGERPRINT_BYTES] {
    let mut hasher = blake3::Hasher::new();
    let numbers = [
        stat.inode,
        stat.size_bytes,
        stat.mtime.secs.cast_unsigned(),
        stat.ctime.secs.cast_unsigned(),
        u64::from(stat.mtime.nanos) << 32 | u64::from(stat.ctime.nanos),
    ];
    let mut head = [0; 40];
    for (bytes, number) in head.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    hasher.update(&head).update(path.as_bytes());
    let mut fingerprint = [0; FINGERPRINT_BYTES];
    hasher.finalize_xof().fill(&mut fingerprint);
    fingerprint
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(records.as_flattened());
    let seal = blake3::hash(&bytes);
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (body, seal) = bytes.split_last_chunk::<32>()?;
    let (records, rest) = body.strip_prefix(MAGIC)?.as_chunks::<RECORD_BYTES>();
    (rest.is_empty() && blake3::hash(body) == *seal).then(|| records.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;

    fn stat(inode: u64, changed: Timestamp) -> Stat {
        let (mtime, ctime) = (Timestamp::from_secs(7), changed);
        let (kind, mode, uid, gid) = (Kind::File, 0o644, 0, 0);
        Stat { kind, mode, uid, gid, mtime, ctime, size_bytes: 3, links: 1, device: 1, inode, node: (0, 0) }
    }

    #[test]
    fn a_file_is_known_again_only_unchanged_and_under_its_path() {
        let (path, other) = (RelPath::new(&b"a"[..]).unwrap(), RelPath::new(&b"b"[..]).unwrap());
        let (old, now) = (Timestamp { secs: 10, nanos: 5 }, Timestamp::from_secs(20));
        let content = ObjectId::of(b"abc");
        let mut cache = StatCache { path: PathBuf::new(), known: Vec::new() };
        cache.learn(vec![record(&path, &stat(1, old), now, content).unwrap()], 1);
        assert_eq!(cache.get(&path, &stat(1, old)), Some(content));
        assert_eq!(cache.get(&other, &stat(1, old)), None);
        assert_eq!(cache.get(&path, &stat(2, old)), None);
        assert_eq!(cache.get(&path, &stat(1, Timestamp { secs: 10, nanos: 6 })), None);
        assert_eq!(decode(&encode(&cache.known)), Some(cache.known));
    }

    #[test]
    fn what_changed_just_now_is_not_remembered() {
        let now = Timestamp { secs: 20, nanos: 500_000_000 };
        for (changed, settled) in [
            (Timestamp { secs: 20, nanos: 100_000_000 }, true),
            (Timestamp { secs: 20, nanos: 490_000_000 }, false),
            (Timestamp { secs: 19, nanos: 0 }, false),
            (Timestamp { secs: 18, nanos: 0 }, true),
            (Timestamp { secs: 30, nanos: 1 }, false),
        ] {
            assert_eq!(is_settled(changed, now), settled, "{changed:?}");
        }
    }

    #[test]
    fn damage_is_forgetfulness() {
        let bytes = encode(&[[1; RECORD_BYTES], [2; RECORD_BYTES]]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
