//! Everything that the store has, how much room it takes, and what needs what.
//!
//! Made anew from the files each time: it is true whatever happened to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::action::Stored;
use crate::image::ImageRecord;
use crate::object::OBJECT_BYTES;
use crate::record::{files_below, hex_of};
use crate::store::{Area, Store, StoreError, found};
use crate::tree::{ChangeDirectory, ChangeEntry, Leaf};
use crate::{ActionKey, DiffId, Digest, ImageId, ObjectId};

/// One thing of the store: its files and the room that they take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) bytes: u64,
    /// Whether a sync has covered all of it.
    pub(crate) is_sealed: bool,
}

/// A layer's files, and what they refer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerItem {
    pub(crate) item: Item,
    pub(crate) objects: BTreeSet<ObjectId>,
    pub(crate) blobs: Vec<crate::layer::LayerBlob>,
}

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) layers: BTreeMap<DiffId, LayerItem>,
    pub(crate) checkouts: BTreeMap<DiffId, Item>,
    pub(crate) objects: BTreeMap<ObjectId, Item>,
    pub(crate) blobs: BTreeMap<Digest, Item>,
    pub(crate) images: BTreeMap<ImageId, ImageRecord>,
    pub(crate) actions: BTreeMap<ActionKey, Stored>,
}

impl Inventory {
    pub(crate) fn take(store: &Store) -> Result<Self, StoreError> {
        let layers = items(&store.dir(Area::Layers))?;
        let layers = layers.into_par_iter().map(|(hex, item): (String, Item)| {
            let id = DiffId(digest(&hex)?);
            Some((
                id,
                LayerItem { item, objects: objects_of(store, id), blobs: store.blobs_of(id).unwrap_or_default() },
            ))
        });
        Ok(Self {
            layers: layers.flatten().collect(),
            checkouts: trees(&store.dir(Area::Checkouts))?
                .into_iter()
                .filter_map(|(hex, item)| Some((DiffId(digest(&hex)?), item)))
                .collect(),
            objects: items(&store.dir(Area::Objects))?
                .into_iter()
                .filter_map(|(hex, item)| Some((hex.parse().ok()?, item)))
                .collect(),
            blobs: items(&store.dir(Area::Blobs).join("sha256"))?
                .into_iter()
                .filter_map(|(hex, item)| Some((digest(&hex)?, item)))
                .collect(),
            images: store
                .image_ids()?
                .into_iter()
                .filter_map(|id| Some((id, store.read_record(&store.image_path(id)).ok()??.0)))
                .collect(),
            actions: store
                .action_keys()?
                .into_iter()
                .filter_map(|key| Some((key, store.read_record(&store.action_path(key)).ok()??.0)))
                .collect(),
        })
    }

    /// The room that all of it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let layers = self.layers.values().map(|layer| layer.item.bytes);
        let others =
            self.checkouts.values().chain(self.objects.values()).chain(self.blobs.values()).map(|item| item.bytes);
        layers.chain(others).sum()
    }

    /// How many of some layers refer to each object.
    pub(crate) fn holders<'a>(&'a self, layers: impl Iterator<Item = &'a DiffId>) -> BTreeMap<ObjectId, usize> {
        let mut holders = BTreeMap::new();
        for object in layers.filter_map(|id| self.layers.get(id)).flat_map(|layer| &layer.objects) {
            *holders.entry(*object).or_default() += 1;
        }
        holders
    }

    /// The room that one object takes; none if it is missing.
    pub(crate) fn object_bytes(&self, id: &ObjectId) -> u64 {
        self.objects.get(id).map_or(0, |item| item.bytes)
    }
}

/// The objects that a layer needs: those that its file refers to, and the large contents of its
/// files (a sparse file's content is not in its tar as one piece). A damaged layer needs what can be read of it.
pub(crate) fn objects_of(store: &Store, id: DiffId) -> BTreeSet<ObjectId> {
    let Ok(Some(layer)) = store.layer(id) else { return BTreeSet::new() };
    let mut objects: BTreeSet<ObjectId> = layer.objects().into_iter().flatten().map(|(id, _)| id).collect();
    if let Ok(change) = layer.change() {
        add_contents(&change.directory, &mut objects);
    }
    objects
}

fn add_contents(directory: &ChangeDirectory, objects: &mut BTreeSet<ObjectId>) {
    for entry in directory.entries.values() {
        match entry {
            ChangeEntry::Leaf(_, Leaf::File { content, size_bytes }) if *size_bytes >= OBJECT_BYTES => {
                objects.insert(*content);
            }
            ChangeEntry::Directory { directory, .. } => add_contents(directory, objects),
            ChangeEntry::Leaf(..) | ChangeEntry::Removed => {}
        }
    }
}

/// The files of a sharded directory, by the 64 digits that their names begin with.
fn items(directory: &Path) -> Result<BTreeMap<String, Item>, StoreError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for path in files_below(directory)? {
        let Some(hex) = hex_of(directory, &without_suffix(&path)) else { continue };
        let Some(metadata) = found(fs::symlink_metadata(&path)).map_err(StoreError::io("examine", &path))? else {
            continue;
        };
        let item = items.entry(hex).or_insert_with(|| Item { is_sealed: true, ..Item::default() });
        item.bytes += metadata.blocks() * 512;
        // A layer's last file decides for all that belongs to it.
        item.is_sealed &= path.extension().is_some() || metadata.mode() & 0o200 == 0;
        item.paths.push(path);
    }
    Ok(items)
}

/// The directories whose names begin with 64 digits, with everything in them.
fn trees(directory: &Path) -> Result<BTreeMap<String, Item>, StoreError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for path in list(directory)? {
        let Some(hex) = hex_of(directory, &without_suffix(&path)) else { continue };
        let item = items.entry(hex).or_default();
        item.bytes += disk_bytes(&path, &mut BTreeSet::new())?;
        item.paths.push(path);
    }
    Ok(items)
}

/// The room that a file, or a directory with everything in it, takes; hard links count once.
pub(crate) fn disk_bytes(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> Result<u64, StoreError> {
    room_of(path, seen, &|_| true)
}

/// The room that large files with their contents take. A stub has a block of attributes and no content.
pub(crate) fn copied_bytes(directory: &Path) -> Result<u64, StoreError> {
    let is_copy = |file: &Metadata| file.is_file() && file.len().min(file.blocks() * 512) >= OBJECT_BYTES;
    room_of(directory, &mut BTreeSet::new(), &is_copy)
}

fn room_of(
    path: &Path,
    seen: &mut BTreeSet<(u64, u64)>,
    counts: &dyn Fn(&Metadata) -> bool,
) -> Result<u64, StoreError> {
    let Some(metadata) = found(fs::symlink_metadata(path)).map_err(StoreError::io("examine", path))? else {
        return Ok(0);
    };
    if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(0);
    }
    let below = if metadata.is_dir() { list(path)? } else { Vec::new() };
    let below: u64 = below.iter().map(|path| room_of(path, seen, counts)).sum::<Result<u64, _>>()?;
    Ok(below + if counts(&metadata) { metadata.blocks() * 512 } else { 0 })
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = found(fs::read_dir(directory)).map_err(StoreError::io("list", directory))?;
    Ok(entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn without_suffix(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(name.split('.').next().unwrap_or_default())
}

pub(crate) fn digest(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}
