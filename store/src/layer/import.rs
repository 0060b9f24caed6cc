//! Takes somebody's tar in as a layer.
//!
//! Every byte goes into the layer file, large contents into objects, and what the entries mean into a
//! [`Change`](crate::Change); all in one pass that holds one small file in memory. Entries
//! are untrusted; see [`names`](super::names) for where they may point, and `docs/sandbox.md` for
//! the threats.

use std::io::Read;

use super::file::LayerFileWriter;
use super::inline::InlineRows;
use super::names::{Meaning, meaning, target};
use super::{ImportError, Layer, keeps_attribute};
use crate::object::{OBJECT_BYTES, ObjectWriter};
use crate::tar::{Entry, Kind, Reader, SparseMap};
use crate::tree::{ChangeBuilder, ChangeEntry, DeviceKind, Leaf, Metadata, Xattrs};
use crate::{DiffId, ObjectId, RelPath, Store, StoreError};

/// What one layer may ask of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportLimits {
    /// How many entries it may have.
    pub entries: u64,
    /// How many bytes of zeros its sparse files may have for free, and how many more for each byte of
    /// the tar: what a few bytes can make the store hash and, where it has no holes, write.
    pub free_hole_bytes: u64,
    /// See there.
    pub hole_bytes_per_byte: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self { entries: 5_000_000, free_hole_bytes: 64 << 20, hole_bytes_per_byte: 200 }
    }
}

impl Store {
    /// Takes in an uncompressed tar of any kind; of a compressed one read through
    /// [`decompress`](crate::compress::decompress). If an id is expected and comes out different,
    /// nothing of it stays visible but objects.
    pub fn import_layer(&self, tar: impl Read, expected: Option<DiffId>) -> Result<Layer, ImportError> {
        self.import_layer_within(tar, expected, &ImportLimits::default())
    }

    /// Takes in a tar that may ask for so much and no more.
    pub fn import_layer_within(
        &self,
        tar: impl Read,
        expected: Option<DiffId>,
        limits: &ImportLimits,
    ) -> Result<Layer, ImportError> {
        let mut import = Import {
            store: self,
            limits,
            reader: Reader::new(tar),
            file: LayerFileWriter::new(self)?,
            rows: InlineRows::default(),
            builder: ChangeBuilder::new(),
            buffer: vec![0; CHUNK_BYTES],
            tar_bytes: 0,
            hole_bytes: 0,
        };
        import.run()?;
        let Import { file, rows, builder, .. } = import;
        let finished = file.finish()?;
        match expected.filter(|expected| *expected != finished.diff_id) {
            Some(expected) => Err(ImportError::Mismatch { expected, actual: finished.diff_id }),
            None => Ok(Layer::place(self, finished, rows, &builder.build())?),
        }
    }
}

const CHUNK_BYTES: usize = 256 << 10;

struct Import<'a, R> {
    store: &'a Store,
    limits: &'a ImportLimits,
    reader: Reader<R>,
    file: LayerFileWriter,
    rows: InlineRows,
    builder: ChangeBuilder,
    buffer: Vec<u8>,
    tar_bytes: u64,
    hole_bytes: u64,
}

impl<R: Read> Import<'_, R> {
    fn run(&mut self) -> Result<(), ImportError> {
        let mut headers = Vec::new();
        let mut count = 0;
        loop {
            self.store.go_on()?;
            headers.clear();
            let entry = self.reader.next_entry(&mut headers)?;
            self.file.literal(&headers)?;
            self.tar_bytes += headers.len() as u64;
            let Some(entry) = entry else { return self.trailing() };
            count += 1;
            if count > self.limits.entries {
                return Err(ImportError::TooManyEntries { limit: self.limits.entries, path: entry.path });
            }
            self.tar_bytes += entry.body_bytes;
            self.entry(entry)?;
        }
    }

    fn trailing(&mut self) -> Result<(), ImportError> {
        loop {
            match self.reader.read_trailing(&mut self.buffer)? {
                0 => return Ok(()),
                count => self.file.literal(&self.buffer[..count])?,
            }
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), ImportError> {
        let meaning = meaning(&entry.path, &self.builder)?;
        let file = match &entry.kind {
            Kind::File => Some(self.content(entry.body_bytes)?),
            Kind::SparseFile(map) => Some(self.sparse_content(&entry, map)?),
            _ => None,
        };
        match meaning {
            Meaning::Put(path) => self.put(path, entry, file)?,
            Meaning::Whiteout(path) => self.builder.remove(&path),
            Meaning::Opaque(path) => self.builder.make_opaque(&path),
            Meaning::Ignored => {}
        }
        Ok(())
    }

    fn put(&mut self, path: RelPath, entry: Entry, file: Option<Leaf>) -> Result<(), ImportError> {
        let Entry { path: raw, mut metadata, kind, .. } = entry;
        metadata.xattrs = kept_attributes(&metadata);
        let leaf = match (kind, file) {
            (Kind::Directory, _) => {
                self.builder.put_directory(&path, metadata);
                return Ok(());
            }
            // A name that is missing names the root, and a file there is passed over.
            _ if raw.is_empty() => return Ok(()),
            _ if path.is_root() => return Err(ImportError::Root { path: raw }),
            (Kind::HardLink(link), _) => return self.hard_link(path, raw, metadata, &link),
            (_, Some(file)) => file,
            (kind, None) => special(kind, raw)?,
        };
        if let Leaf::Symlink(_) = leaf {
            metadata.mode = 0o777; // the only one that Linux gives them
        }
        self.builder.put_leaf(&path, metadata, leaf);
        Ok(())
    }

    /// Makes a path another name of a file. What the link's own header says of owner, mode and time
    /// holds for the file under all its names, as for the field's unpackers.
    fn hard_link(&mut self, path: RelPath, raw: Box<[u8]>, own: Metadata, link: &[u8]) -> Result<(), ImportError> {
        let target = target(link, &self.builder)?;
        let Some(ChangeEntry::Leaf(metadata, leaf)) = self.builder.get(&target) else {
            return Err(ImportError::HardLink { path: raw, target: link.into() });
        };
        if target != path {
            let mut metadata = shared_metadata(metadata, own);
            if let Leaf::Symlink(_) = leaf {
                metadata.mode = 0o777;
            }
            self.builder.link_described(&target, &path, metadata);
        }
        Ok(())
    }

    /// Stores the body as it is; says what it is called.
    fn content(&mut self, size_bytes: u64) -> Result<Leaf, ImportError> {
        if size_bytes < OBJECT_BYTES {
            let length = self.small_body(size_bytes)?;
            let content = &self.buffer[..length];
            let (id, offset) = (ObjectId::of(content), self.file.inline(content)?);
            if length > 0 {
                self.rows.add(id, offset, length);
            }
            return Ok(Leaf::File { content: id, size_bytes });
        }
        let mut object = self.store.object_writer()?;
        loop {
            match self.reader.read_body(&mut self.buffer)? {
                0 => break,
                count => hash_both(&mut self.file, &mut object, &self.buffer[..count])?,
            }
        }
        let (id, size_bytes) = object.finish()?;
        self.file.object(id, size_bytes)?;
        Ok(Leaf::File { content: id, size_bytes })
    }

    /// Reads a small body whole into the buffer.
    fn small_body(&mut self, size_bytes: u64) -> Result<usize, ImportError> {
        let mut length = 0;
        while (length as u64) < size_bytes {
            length += self.reader.read_body(&mut self.buffer[length..])?;
        }
        Ok(length)
    }

    /// Stores a sparse file's body as it is, and the file with its holes as an object.
    fn sparse_content(&mut self, entry: &Entry, map: &SparseMap) -> Result<Leaf, ImportError> {
        self.hole_bytes = self.hole_bytes.saturating_add(map.size_bytes() - entry.body_bytes);
        let limit = self.tar_bytes.saturating_mul(self.limits.hole_bytes_per_byte);
        if self.hole_bytes > limit.saturating_add(self.limits.free_hole_bytes) {
            return Err(ImportError::Holes { path: entry.path.clone(), size_bytes: map.size_bytes() });
        }
        let mut whole = self.store.object_writer()?;
        let mut stored = self.store.object_writer()?;
        let mut end = 0;
        for (offset, length) in map.parts() {
            whole.append_zeros(offset - end)?;
            end = offset + length;
            self.sparse_part(*length, &mut stored, &mut whole)?;
        }
        whole.append_zeros(map.size_bytes() - end)?;
        if entry.body_bytes > 0 {
            let (id, size_bytes) = stored.finish()?;
            self.file.object(id, size_bytes)?;
        }
        let (content, size_bytes) = whole.finish()?;
        self.file.whole(content, size_bytes)?;
        Ok(Leaf::File { content, size_bytes })
    }

    fn sparse_part(
        &mut self,
        length: u64,
        stored: &mut ObjectWriter,
        whole: &mut ObjectWriter,
    ) -> Result<(), ImportError> {
        let mut left = length;
        while left > 0 {
            let most = left.min(CHUNK_BYTES as u64) as usize;
            let count = self.reader.read_body(&mut self.buffer[..most])?;
            let part = &self.buffer[..count];
            hash_both(&mut self.file, stored, part)?;
            whole.append(part)?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// The leaf that an entry without a body is.
fn special(kind: Kind, path: Box<[u8]>) -> Result<Leaf, ImportError> {
    match kind {
        Kind::Symlink(target) if target.is_empty() || target.contains(&0) || target.len() > MOST_TARGET_BYTES => {
            Err(ImportError::Target { path })
        }
        Kind::Symlink(target) => Ok(Leaf::Symlink(target)),
        // Checked out, it would hide the file of that name in the layers below.
        Kind::Device { kind: DeviceKind::Character, major: 0, minor: 0 } => Err(ImportError::WhiteoutDevice { path }),
        Kind::Device { major, minor, .. } if major > MOST_MAJOR || minor > MOST_MINOR => {
            Err(ImportError::DeviceNumber { path })
        }
        Kind::Device { kind, major, minor } => Ok(Leaf::Device { kind, major, minor }),
        Kind::Fifo => Ok(Leaf::Fifo),
        Kind::File | Kind::SparseFile(_) | Kind::HardLink(_) | Kind::Directory => unreachable!("handled before"),
    }
}

/// What Linux takes: a path less its NUL, and the 12 and 20 bits of a device number.
const MOST_TARGET_BYTES: usize = 4095;
const MOST_MAJOR: u32 = 0xfff;
const MOST_MINOR: u32 = 0xf_ffff;

/// What a file is after a link to it: the link's own metadata, and the attributes that only the
/// file has.
fn shared_metadata(file: &Metadata, own: Metadata) -> Metadata {
    let mut xattrs: std::collections::BTreeMap<&[u8], &[u8]> = file.xattrs.iter().collect();
    xattrs.extend(own.xattrs.iter());
    let xattrs = xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Metadata { xattrs, ..own }
}

fn kept_attributes(metadata: &Metadata) -> Xattrs {
    if metadata.xattrs.is_empty() {
        return Xattrs::default();
    }
    let kept = metadata.xattrs.iter().filter(|(name, _)| keeps_attribute(name));
    kept.map(|(name, value)| (name.into(), value.into())).collect()
}

/// Hashes part of a large content for the layer and for the object, on two cores if there are two.
fn hash_both(file: &mut LayerFileWriter, object: &mut ObjectWriter, part: &[u8]) -> Result<(), StoreError> {
    rayon::join(|| file.lifted(part), || object.append(part)).1
}
