//! What is needed: by tags, pins, and the leases of living processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::action::Stored;
use crate::image::ImageRecord;
use crate::inventory::{Inventory, digest, objects_of};
use crate::oci::Document;
use crate::root::Thing;
use crate::session::HOLDS_EVERYTHING;
use crate::store::{Area, Store, StoreError, found};
use crate::{DiffId, Digest, ImageId, ObjectId};

/// What must stay.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) images: BTreeSet<ImageId>,
    pub(super) layers: BTreeSet<DiffId>,
    pub(super) checkouts: BTreeSet<DiffId>,
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) objects: BTreeSet<ObjectId>,
    /// Whether other processes live: what is unsealed may be theirs.
    pub(super) has_company: bool,
    /// Whether one of them could not say what it needs.
    pub(super) everything: bool,
}

/// What a living process says that it needs.
enum Lease {
    /// It could not list it: the disk was full.
    Everything,
    /// Paths, one a line.
    Lines(String),
}

impl Marks {
    /// Reads what is needed now. The leases are read first: whoever ends after that is in them, and
    /// whoever ended before has left its tags and layers to be seen.
    pub(super) fn read(store: &Store, inventory: &Inventory) -> Result<Self, StoreError> {
        let mut marks = Self::default();
        for lease in store.other_leases()? {
            marks.has_company = true;
            match lease {
                Lease::Everything => marks.everything = true,
                Lease::Lines(lines) => lines.lines().for_each(|line| marks.lease(store, line)),
            }
        }
        for pin in store.pins()? {
            pin.things.into_iter().for_each(|thing| marks.thing(store, thing));
        }
        // A process or container that needs a layer may have its checkout mounted; a tag has not.
        marks.checkouts.clone_from(&marks.layers);
        for (_, target) in store.tags()? {
            marks.thing(store, Thing::Image(target.image));
            target.document.into_iter().for_each(|digest| marks.document(store, digest));
        }
        let new = store.layer_ids()?.into_iter().filter(|id| !inventory.layers.contains_key(id));
        let needed = new.map(|id| objects_of(store, id));
        marks.objects.extend(needed.flatten());
        for layer in marks.layers.iter().filter_map(|id| inventory.layers.get(id)) {
            marks.objects.extend(&layer.objects);
        }
        Ok(marks)
    }

    fn thing(&mut self, store: &Store, thing: Thing) {
        match thing {
            Thing::Image(id) => self.image(store, id),
            Thing::Layer(id) => {
                self.layers.insert(id);
            }
            Thing::Blob(digest) => {
                self.blobs.insert(digest);
            }
            Thing::Action(key) => {
                if let Ok(Some((Stored { result, .. }, _))) = store.read_record(&store.action_path(key)) {
                    self.layers.extend(result.layer);
                    self.blobs.extend(result.log);
                }
            }
        }
    }

    /// A manifest or index, and the images of an index.
    fn document(&mut self, store: &Store, digest: Digest) {
        self.blobs.insert(digest);
        let Ok(Some(Document::Index(index))) = store.document(digest) else { return };
        self.blobs.extend(index.manifests.iter().map(|descriptor| descriptor.digest));
        let members = store.members(&index).unwrap_or_default();
        members.into_iter().for_each(|member| self.image(store, member.image));
    }

    fn image(&mut self, store: &Store, id: ImageId) {
        self.images.insert(id);
        self.blobs.insert(id.0);
        if let Ok(Some((ImageRecord { layers, manifests, .. }, _))) = store.read_record(&store.image_path(id)) {
            self.layers.extend(layers);
            self.blobs.extend(manifests);
        }
    }

    /// Takes a line of a lease: the path of something in the store.
    fn lease(&mut self, store: &Store, line: &str) {
        let Some((area, rest)) = line.split_once('/') else { return };
        let hex: String = match rest.strip_prefix("sha256/").unwrap_or(rest).split_once('/') {
            Some((shard, rest)) if shard.len() == 2 => [shard, rest].concat(),
            Some((name, _)) => name.to_owned(),
            None => rest.to_owned(),
        };
        let hex = hex.split('.').next().unwrap_or_default();
        let is = |other: Area| other.name() == area;
        match digest(hex) {
            Some(id) if is(Area::Layers) || is(Area::Checkouts) => {
                self.layers.insert(DiffId(id));
            }
            Some(id) if is(Area::Blobs) => {
                self.blobs.insert(id);
            }
            Some(id) if is(Area::Images) => self.image(store, ImageId(id)),
            Some(_) if is(Area::Objects) => self.objects.extend(hex.parse::<ObjectId>()),
            Some(_) if is(Area::Actions) => {
                hex.parse().into_iter().for_each(|key| self.thing(store, Thing::Action(key)))
            }
            _ => {}
        }
    }
}

impl Store {
    /// What the leases of other living processes say.
    fn other_leases(&self) -> Result<Vec<Lease>, StoreError> {
        let own = self.session()?.name().to_owned();
        let directory = self.dir(Area::Leases);
        let entries = found(fs::read_dir(&directory)).map_err(StoreError::io("list", &directory))?;
        let others = entries.into_iter().flatten().filter_map(Result::ok).filter(|entry| entry.file_name() != own);
        others.filter_map(|entry| living_lease(&entry.path()).transpose()).collect()
    }

    fn layer_ids(&self) -> Result<Vec<DiffId>, StoreError> {
        let directory = self.dir(Area::Layers);
        let files = crate::record::files_below(&directory)?;
        Ok(files.iter().filter_map(|path| Some(DiffId(digest(&crate::record::hex_of(&directory, path)?)?))).collect())
    }
}

fn living_lease(path: &Path) -> Result<Option<Lease>, StoreError> {
    let Some(mut file) = found(File::open(path)).map_err(StoreError::io("open", path))? else { return Ok(None) };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(None);
    }
    if file.metadata().map_err(StoreError::io("examine", path))?.mode() & 0o777 == HOLDS_EVERYTHING {
        return Ok(Some(Lease::Everything));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(StoreError::io("read", path))?;
    Ok(Some(Lease::Lines(String::from_utf8_lossy(&text).into_owned())))
}
