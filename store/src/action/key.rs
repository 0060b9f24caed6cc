//! What went into an action's key, part by part, and how two of them differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::store::{Store, StoreError};

/// Lists of files longer than this are kept as a blob, once for all records that have the same.
const INLINE_FILES: usize = 64;

/// How large such a blob may be, unpacked.
const FILES_LIMIT_BYTES: u64 = 1 << 30;

/// Everything that went into an action's key, in the order of the encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which step this is, whatever it contains: the same text for the same place in the same
    /// Dockerfile, so that what it is now can be compared with what it was.
    pub step: String,
    /// The step as people know it: `RUN make`.
    pub description: String,
    /// What went in.
    pub parts: Vec<Part>,
}

/// One thing that went into a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: `argument 2`, `variable PATH`, `files`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Part {
    /// A part whose value is text.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Value::Text(value.into()) }
    }

    /// A part whose value is a list of files: paths, and what tells one state of a file from another.
    pub fn files(name: impl Into<String>, files: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { name: name.into(), value: Value::Files(files.into_iter().collect()) }
    }
}

/// The value of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Text: an argument, a variable's value, an id.
    Text(String),
    /// Files by path, each with what tells one state of it from another.
    Files(BTreeMap<String, String>),
}

/// How a part of one key differs from that of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The part is new.
    Added {
        /// Its name.
        part: String,
        /// Its value now.
        now: Value,
    },
    /// The part is gone.
    Removed {
        /// Its name.
        part: String,
        /// Its value before.
        before: Value,
    },
    /// The part has another text.
    Changed {
        /// Its name.
        part: String,
        /// Its text before.
        before: String,
        /// Its text now.
        now: String,
    },
    /// Files of the part differ.
    Files {
        /// The part's name.
        part: String,
        /// Which, in order of their paths.
        files: Vec<(String, FileDifference)>,
    },
}

/// How one file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileDifference {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another than before.
    Changed,
}

impl KeyRecord {
    /// What is different now from what an earlier record says, in the order of the parts now, then
    /// of those that are gone. Parts of the same name are compared in their order.
    pub fn differences_from(&self, earlier: &Self) -> Vec<Difference> {
        let (before, now) = (numbered(&earlier.parts), numbered(&self.parts));
        let there = |part: &Part, count: usize| before.get(&(part.name.as_str(), count)).map(|(_, part)| *part);
        let mut counts = BTreeMap::new();
        let mut differences: Vec<Difference> = Vec::new();
        for part in &self.parts {
            let count = next(&mut counts, &part.name);
            differences.extend(match there(part, count) {
                Some(old) => difference(part, &old.value),
                None => Some(Difference::Added { part: part.name.clone(), now: part.value.clone() }),
            });
        }
        let mut gone: Vec<_> =
            before.iter().filter(|(name, _)| !now.contains_key(name)).map(|(_, part)| part).collect();
        gone.sort_by_key(|(at, _)| *at);
        differences.extend(
            gone.into_iter()
                .map(|(_, part)| Difference::Removed { part: part.name.clone(), before: part.value.clone() }),
        );
        differences
    }
}

type Numbered<'a> = BTreeMap<(&'a str, usize), (usize, &'a Part)>;

/// Parts by name and by how many of that name came before.
fn numbered(parts: &[Part]) -> Numbered<'_> {
    let mut counts = BTreeMap::new();
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| ((part.name.as_str(), next(&mut counts, &part.name)), (at, part)))
        .collect()
}

fn next<'a>(counts: &mut BTreeMap<&'a str, usize>, name: &'a str) -> usize {
    let count = counts.entry(name).or_default();
    *count += 1;
    *count
}

fn difference(part: &Part, before: &Value) -> Option<Difference> {
    if part.value == *before {
        return None;
    }
    let name = part.name.clone();
    Some(match (before, &part.value) {
        (Value::Text(before), Value::Text(now)) => {
            Difference::Changed { part: name, before: before.clone(), now: now.clone() }
        }
        (Value::Files(before), Value::Files(now)) => {
            Difference::Files { part: name, files: file_differences(before, now) }
        }
        (_, now) => Difference::Added { part: name, now: now.clone() },
    })
}

fn file_differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<(String, FileDifference)> {
    let mut differences = BTreeMap::new();
    for (path, id) in now {
        match before.get(path) {
            None => drop(differences.insert(path.clone(), FileDifference::Added)),
            Some(old) if old != id => drop(differences.insert(path.clone(), FileDifference::Changed)),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    differences.extend(gone.map(|path| (path.clone(), FileDifference::Removed)));
    differences.into_iter().collect()
}

/// A key record as it is written: long lists of files stand elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compact {
    step: String,
    description: String,
    parts: Vec<CompactPart>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CompactPart {
    name: String,
    #[serde(flatten)]
    value: CompactValue,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CompactValue {
    Text(String),
    Files(BTreeMap<String, String>),
    /// The files are in a blob.
    List(Digest),
}

impl Compact {
    /// The blobs that hold lists of files.
    pub(crate) fn lists(&self) -> impl Iterator<Item = Digest> {
        self.parts.iter().filter_map(|part| match part.value {
            CompactValue::List(digest) => Some(digest),
            CompactValue::Text(_) | CompactValue::Files(_) => None,
        })
    }
}

impl Store {
    pub(super) fn compact_key(&self, record: &KeyRecord) -> Result<Compact, StoreError> {
        let compact =
            |part: &Part| Ok(CompactPart { name: part.name.clone(), value: self.compact_value(&part.value)? });
        let parts = record.parts.iter().map(compact).collect::<Result<_, StoreError>>()?;
        Ok(Compact { step: record.step.clone(), description: record.description.clone(), parts })
    }

    fn compact_value(&self, value: &Value) -> Result<CompactValue, StoreError> {
        Ok(match value {
            Value::Text(text) => CompactValue::Text(text.clone()),
            Value::Files(files) if files.len() <= INLINE_FILES => CompactValue::Files(files.clone()),
            Value::Files(files) => CompactValue::List(self.put_list(files)?),
        })
    }

    fn put_list(&self, files: &BTreeMap<String, String>) -> Result<Digest, StoreError> {
        let json = serde_json::to_vec(files).expect("a map of strings is always written");
        let packed =
            zstd::encode_all(&*json, 1).map_err(StoreError::io("compress a list of files for", self.path()))?;
        self.put_blob(&packed)
    }

    pub(super) fn whole_key(&self, compact: Compact) -> Result<KeyRecord, StoreError> {
        let whole = |part: CompactPart| Ok(Part { name: part.name, value: self.whole_value(part.value)? });
        let parts = compact.parts.into_iter().map(whole).collect::<Result<_, StoreError>>()?;
        Ok(KeyRecord { step: compact.step, description: compact.description, parts })
    }

    fn whole_value(&self, value: CompactValue) -> Result<Value, StoreError> {
        Ok(match value {
            CompactValue::Text(text) => Value::Text(text),
            CompactValue::Files(files) => Value::Files(files),
            CompactValue::List(digest) => match self.read_blob(digest, FILES_LIMIT_BYTES)? {
                Some(packed) => Value::Files(self.unpack_list(digest, &packed)?),
                None => Value::Text(format!("list {digest}, which was collected")),
            },
        })
    }

    fn unpack_list(&self, digest: Digest, packed: &[u8]) -> Result<BTreeMap<String, String>, StoreError> {
        let damaged = |reason: String| StoreError::Damaged { path: self.blob_path(digest), reason };
        let json = zstd::decode_all(packed).map_err(|error| damaged(error.to_string()))?;
        serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(parts: &[(&str, &str)]) -> KeyRecord {
        KeyRecord {
            parts: parts.iter().map(|(name, value)| Part::text(*name, *value)).collect(),
            ..KeyRecord::default()
        }
    }

    #[test]
    fn the_part_that_differs_is_named() {
        let before = record(&[("argument", "make"), ("argument", "all"), ("variable A", "1"), ("variable B", "2")]);
        let now = record(&[("argument", "make"), ("argument", "install"), ("variable B", "2"), ("variable C", "3")]);
        let text = |text: &str| text.to_owned();
        let expected = [
            Difference::Changed { part: text("argument"), before: text("all"), now: text("install") },
            Difference::Added { part: text("variable C"), now: Value::Text(text("3")) },
            Difference::Removed { part: text("variable A"), before: Value::Text(text("1")) },
        ];
        assert_eq!(now.differences_from(&before), expected);
        assert_eq!(now.differences_from(&now), []);
    }

    #[test]
    fn files_that_differ_are_named() {
        let files = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(path, id)| ((*path).to_owned(), (*id).to_owned()));
            KeyRecord { parts: vec![Part::files("files", owned)], ..KeyRecord::default() }
        };
        let before = files(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let now = files(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let expected = [("b", FileDifference::Changed), ("c", FileDifference::Removed), ("d", FileDifference::Added)];
        let expected = expected.map(|(path, kind)| (path.to_owned(), kind)).to_vec();
        assert_eq!(now.differences_from(&before), [Difference::Files { part: "files".into(), files: expected }]);
    }

    #[test]
    fn long_lists_survive_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let files = (0..1000).map(|n| (format!("file {n}"), n.to_string()));
        let record =
            KeyRecord { step: "s".into(), description: "COPY . .".into(), parts: vec![Part::files("files", files)] };
        let compact = store.compact_key(&record).unwrap();
        assert_eq!(compact.lists().count(), 1);
        let bytes = serde_json::to_vec(&compact).unwrap();
        assert!(bytes.len() < 300);
        assert_eq!(store.whole_key(serde_json::from_slice(&bytes).unwrap()).unwrap(), record);
    }
}
