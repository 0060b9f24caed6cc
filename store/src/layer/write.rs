//! Writes a change as a layer, in kiln's canonical tar.
//!
//! Every file is read once: hashed for its object id, so that a build context that changes under us is
//! noticed; for the layer's digest; and kept. Small files are read ahead, on all cores, in
//! batches of bounded size.

use std::borrow::Cow;
use std::io::{self, Read};

use rayon::prelude::*;

use super::file::LayerFileWriter;
use super::inline::InlineRows;
use super::walk::{Item, items};
use super::{Layer, keeps_attribute};
use crate::content::{Content, ContentError, Contents};
use crate::object::{OBJECT_BYTES, ObjectWriter};
use crate::tar::{WriteTarError, Writer, clipped};
use crate::tree::{Change, ChangeDirectory, ChangeEntry, Leaf, MOST_COMPONENTS, Metadata, Timestamp};
use crate::{ObjectId, RelPath, Store, StoreError};

/// A change cannot be written as a layer.
#[derive(Debug, thiserror::Error)]
pub enum WriteLayerError {
    /// A file's content cannot be read, or is not what the change says.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A path is deeper than layers may be.
    #[error("{path} is more than {MOST_COMPONENTS} directories deep", path = clipped(.0.as_bytes()))]
    TooDeep(RelPath),
    /// A tar cannot hold an entry.
    #[error(transparent)]
    Tar(WriteTarError),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WriteTarError> for WriteLayerError {
    fn from(error: WriteTarError) -> Self {
        match error {
            // The tar is written into the store, so that is where the error comes from.
            WriteTarError::Write(source) => match source.downcast::<StoreError>() {
                Ok(error) => Self::Store(error),
                Err(source) => Self::Tar(WriteTarError::Write(source)),
            },
            other => Self::Tar(other),
        }
    }
}

impl Store {
    /// Writes a change as a layer: the same change gives the same bytes, whatever the machine, the
    /// number of cores, and where the contents come from. What a layer cannot hold (fractions of
    /// seconds, attributes that are not kept) is not in the change that the layer then has.
    pub fn write_layer(&self, change: &Change, contents: &Contents) -> Result<Layer, WriteLayerError> {
        let change = canonical(change);
        let mut write = Write {
            store: self,
            contents,
            tar: Writer::new(LayerFileWriter::new(self)?),
            rows: InlineRows::default(),
            chunk: vec![0; CHUNK_BYTES],
        };
        let mut items = items(&change);
        let mut batch = Batch::of(&mut items, contents)?;
        while !batch.items.is_empty() {
            let (written, next) = rayon::join(|| write.batch(&batch), || Batch::of(&mut items, contents));
            written?;
            batch = next?;
        }
        let Write { tar, rows, .. } = write;
        Ok(Layer::place(self, tar.finish()?.finish()?, rows, &change)?)
    }
}

/// Writes a change as a tar, as a layer would hold it, without keeping anything of it.
pub fn write_tar(change: &Change, contents: &Contents, output: impl io::Write) -> Result<(), WriteLayerError> {
    let change = canonical(change);
    let mut tar = Writer::new(output);
    for item in items(&change) {
        match &item {
            Item::Directory(path, metadata) => tar.directory(path, metadata)?,
            Item::HardLink(path, metadata, first) => tar.hard_link(path, metadata, first)?,
            Item::Whiteout(path) => tar.whiteout(path)?,
            Item::Opaque(path) => tar.opaque(path)?,
            Item::Leaf(path, metadata, leaf) => {
                tar.leaf(path, metadata, leaf)?;
                if let Leaf::File { content, size_bytes } = leaf {
                    copy_content(contents, *content, *size_bytes, tar.output())?;
                    tar.pad(*size_bytes)?;
                }
            }
        }
    }
    let mut output = tar.finish()?;
    Ok(output.flush().map_err(WriteTarError::Write)?)
}

fn copy_content(
    contents: &Contents,
    id: ObjectId,
    size_bytes: u64,
    output: &mut impl io::Write,
) -> Result<(), WriteLayerError> {
    if size_bytes < OBJECT_BYTES {
        let bytes = if size_bytes == 0 { Vec::new() } else { contents.read(id, size_bytes)? };
        return Ok(output.write_all(&bytes).map_err(WriteTarError::Write)?);
    }
    let content = contents.open(id)?;
    let mut content = content.take(size_bytes);
    match io::copy(&mut content, output).map_err(WriteTarError::Write)? {
        copied if copied == size_bytes => Ok(()),
        _ => Err(content.get_ref().changed(id).into()),
    }
}

const CHUNK_BYTES: usize = 256 << 10;

/// So much is read ahead: enough that every core has work, little enough to stay in its caches.
const BATCH_ITEMS: usize = 512;
const BATCH_BYTES: u64 = 4 << 20;

/// Some items in their order, with the contents of the small files among them.
struct Batch<'c> {
    items: Vec<(Item<'c>, Vec<u8>)>,
}

impl<'c> Batch<'c> {
    fn of(items: &mut (impl Iterator<Item = Item<'c>> + Send), contents: &Contents) -> Result<Self, ContentError> {
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(BATCH_ITEMS);
        while taken.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
            let Some(item) = items.next() else { break };
            bytes += small(&item).map_or(0, |(_, size_bytes)| size_bytes);
            taken.push(item);
        }
        let read = |item: Item<'c>| match small(&item) {
            Some((id, size_bytes)) => Ok((item, contents.read(id, size_bytes)?)),
            None => Ok((item, Vec::new())),
        };
        Ok(Self { items: taken.into_par_iter().map(read).collect::<Result<_, ContentError>>()? })
    }
}

fn small(item: &Item<'_>) -> Option<(ObjectId, u64)> {
    match item {
        Item::Leaf(_, _, Leaf::File { content, size_bytes }) if *size_bytes < OBJECT_BYTES => {
            Some((*content, *size_bytes))
        }
        _ => None,
    }
}

struct Write<'a> {
    store: &'a Store,
    contents: &'a Contents,
    tar: Writer<LayerFileWriter>,
    rows: InlineRows,
    chunk: Vec<u8>,
}

impl Write<'_> {
    fn batch(&mut self, batch: &Batch<'_>) -> Result<(), WriteLayerError> {
        batch.items.iter().try_for_each(|(item, content)| self.item(item, content))
    }

    fn item(&mut self, item: &Item<'_>, content: &[u8]) -> Result<(), WriteLayerError> {
        if item.path().components().count() > MOST_COMPONENTS {
            return Err(WriteLayerError::TooDeep(item.path().clone()));
        }
        match item {
            Item::Directory(path, metadata) => self.tar.directory(path, metadata)?,
            Item::HardLink(path, metadata, first) => self.tar.hard_link(path, metadata, first)?,
            Item::Whiteout(path) => self.tar.whiteout(path)?,
            Item::Opaque(path) => self.tar.opaque(path)?,
            Item::Leaf(path, metadata, leaf) => {
                self.tar.leaf(path, metadata, leaf)?;
                if let Leaf::File { content: id, size_bytes } = leaf {
                    self.content(*id, *size_bytes, content)?;
                    self.tar.pad(*size_bytes)?;
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, id: ObjectId, size_bytes: u64, small: &[u8]) -> Result<(), WriteLayerError> {
        if size_bytes >= OBJECT_BYTES {
            return self.large(id, size_bytes);
        }
        if !small.is_empty() {
            let offset = self.tar.output().inline(small)?;
            self.rows.add(id, offset, small.len());
        }
        Ok(())
    }

    fn large(&mut self, id: ObjectId, size_bytes: u64) -> Result<(), WriteLayerError> {
        self.store.hold([self.store.object_path(id).as_path()])?;
        let (content, mut keep) = match self.store.object(id)? {
            Some(file) => (Content::of_store(file), Keep::There(Box::default())),
            None => (self.contents.open(id)?, Keep::New(Box::new(self.store.object_writer()?))),
        };
        let mut content = self.store.cancel().reader(content).take(size_bytes + 1);
        let mut read = 0;
        loop {
            let count = match content.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(content.get_ref().get_ref().failed(id, error).into()),
            };
            let (file, part) = (self.tar.output(), &self.chunk[..count]);
            rayon::join(|| file.lifted(part), || keep.append(part)).1?;
            read += count as u64;
        }
        if read != size_bytes || !keep.finish_as(id)? {
            return Err(content.get_ref().get_ref().changed(id).into());
        }
        Ok(self.tar.output().object(id, size_bytes)?)
    }
}

/// What becomes of a large content while it is hashed.
enum Keep {
    New(Box<ObjectWriter>),
    There(Box<blake3::Hasher>),
}

impl Keep {
    fn append(&mut self, part: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::New(writer) => writer.append(part),
            Self::There(hasher) => {
                hasher.update(part);
                Ok(())
            }
        }
    }

    fn finish_as(self, id: ObjectId) -> Result<bool, StoreError> {
        match self {
            Self::New(writer) => writer.finish_as(id),
            Self::There(hasher) => Ok(ObjectId::from(hasher.finalize()) == id),
        }
    }
}

/// The change as a layer can hold it, which nearly every change is already.
fn canonical(change: &Change) -> Cow<'_, Change> {
    if change.root.as_ref().is_none_or(is_canonical) && directory_is_canonical(&change.directory) {
        return Cow::Borrowed(change);
    }
    let mut owned = change.clone();
    owned.root.iter_mut().for_each(make_canonical);
    make_directory_canonical(&mut owned.directory);
    Cow::Owned(owned)
}

fn is_canonical(metadata: &Metadata) -> bool {
    metadata.mtime.nanos == 0 && metadata.xattrs.iter().all(|(name, _)| keeps_attribute(name))
}

fn directory_is_canonical(directory: &ChangeDirectory) -> bool {
    directory.entries.values().all(|entry| match entry {
        ChangeEntry::Removed => true,
        ChangeEntry::Leaf(metadata, leaf) => {
            is_canonical(metadata) && (metadata.mode == 0o777 || !matches!(leaf, Leaf::Symlink(_)))
        }
        ChangeEntry::Directory { metadata, directory } => {
            let says_something = metadata.is_some() || directory.opaque || !directory.entries.is_empty();
            says_something && metadata.as_ref().is_none_or(is_canonical) && directory_is_canonical(directory)
        }
    })
}

fn make_canonical(metadata: &mut Metadata) {
    metadata.mtime = Timestamp::from_secs(metadata.mtime.secs);
    let kept = metadata.xattrs.iter().filter(|(name, _)| keeps_attribute(name));
    metadata.xattrs = kept.map(|(name, value)| (name.into(), value.into())).collect();
}

fn make_directory_canonical(directory: &mut ChangeDirectory) {
    for entry in directory.entries.values_mut() {
        match entry {
            ChangeEntry::Removed => {}
            ChangeEntry::Leaf(metadata, leaf) => {
                make_canonical(metadata);
                if let Leaf::Symlink(_) = leaf {
                    metadata.mode = 0o777;
                }
            }
            ChangeEntry::Directory { metadata, directory } => {
                metadata.iter_mut().for_each(make_canonical);
                make_directory_canonical(directory);
            }
        }
    }
    directory.entries.retain(|_, entry| {
        !matches!(entry, ChangeEntry::Directory { metadata: None, directory } if *directory == ChangeDirectory::default())
    });
}
