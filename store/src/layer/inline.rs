//! Where the small contents of a layer lie within its layer file.
//!
//! ```text
//!   "kiln contents 1\n"  (object id (32)  offset u64  length u16)*  blake3 of all that (32)
//! ```
//!
//! Rows ascend by id, numbers are little-endian: a lookup is a binary search in the open file and
//! needs no memory, however large the layer.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::object::OBJECT_BYTES;
use crate::{ObjectId, Store, StoreError, TemporaryFile};

const MAGIC: &[u8; 16] = b"kiln contents 1\n";
const ROW_BYTES: usize = 42;
const HASH_BYTES: usize = 32;

/// Gathers rows while a layer file is written.
#[derive(Default)]
pub(super) struct InlineRows {
    rows: Vec<[u8; ROW_BYTES]>,
}

impl InlineRows {
    pub(super) fn add(&mut self, id: ObjectId, offset: u64, length: usize) {
        debug_assert!(length < OBJECT_BYTES as usize);
        let mut row = [0; ROW_BYTES];
        row[..32].copy_from_slice(id.as_bytes());
        row[32..40].copy_from_slice(&offset.to_le_bytes());
        row[40..].copy_from_slice(&(length as u16).to_le_bytes());
        self.rows.push(row);
    }

    pub(super) fn write(mut self, store: &Store) -> Result<TemporaryFile, StoreError> {
        self.rows.sort_unstable();
        self.rows.dedup_by(|later, first| later[..32] == first[..32]);
        let mut file = store.temporary_file()?;
        let mut hasher = blake3::Hasher::new();
        let rows = self.rows.as_flattened();
        for bytes in [MAGIC, rows] {
            hasher.update(bytes);
            file.write_all(bytes).map_err(StoreError::io("write", file.path()))?;
        }
        file.write_all(hasher.finalize().as_bytes()).map_err(StoreError::io("write", file.path()))?;
        Ok(file)
    }
}

/// The small contents of one layer.
#[derive(Debug)]
pub struct InlineContents {
    layer: File,
    layer_path: PathBuf,
    index: File,
    index_path: PathBuf,
    count: u64,
}

impl InlineContents {
    pub(super) fn open(store: &Store, layer_path: &Path, index_path: &Path) -> Result<Option<Self>, StoreError> {
        let (Some(layer), Some(index)) = (store.open_held(layer_path)?, store.open_held(index_path)?) else {
            return Ok(None);
        };
        let size = index.metadata().map_err(StoreError::io("examine", index_path))?.len() as usize;
        let rows = size.checked_sub(MAGIC.len() + HASH_BYTES).filter(|rows| rows % ROW_BYTES == 0);
        let count = (rows.ok_or_else(|| damaged(index_path))? / ROW_BYTES) as u64;
        Ok(Some(Self { layer, layer_path: layer_path.into(), index, index_path: index_path.into(), count }))
    }

    /// Reads a content; `None` if the layer does not hold it within its file.
    pub fn read(&self, id: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.find(id).map_err(StoreError::io("read", &self.index_path))?;
        let Some((offset, length)) = found else { return Ok(None) };
        let mut content = vec![0; length];
        self.layer.read_exact_at(&mut content, offset).map_err(StoreError::io("read", &self.layer_path))?;
        Ok(Some(content))
    }

    /// Whether the index is the one that was written; reads all of it.
    pub(super) fn verify(&self) -> Result<bool, StoreError> {
        let size = self.index.metadata().map_err(StoreError::io("examine", &self.index_path))?.len() as usize;
        let mut bytes = vec![0; size];
        self.index.read_exact_at(&mut bytes, 0).map_err(StoreError::io("read", &self.index_path))?;
        let (body, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
        Ok(body.starts_with(MAGIC) && blake3::hash(body).as_bytes() == hash)
    }

    fn find(&self, id: ObjectId) -> io::Result<Option<(u64, usize)>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row(middle)?;
            match row[..32].cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(place(&row))),
            }
        }
        Ok(None)
    }

    fn row(&self, number: u64) -> io::Result<[u8; ROW_BYTES]> {
        let mut row = [0; ROW_BYTES];
        self.index.read_exact_at(&mut row, MAGIC.len() as u64 + number * ROW_BYTES as u64)?;
        Ok(row)
    }
}

fn place(row: &[u8; ROW_BYTES]) -> (u64, usize) {
    let (mut offset, mut length) = ([0; 8], [0; 2]);
    offset.copy_from_slice(&row[32..40]);
    length.copy_from_slice(&row[40..]);
    (u64::from_le_bytes(offset), u16::from_le_bytes(length).into())
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Damaged { path: path.into(), reason: "its size is not that of an index of contents".into() }
}
