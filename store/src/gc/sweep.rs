//! Letting things go: set aside, look again, unlink or put back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Collected;
use super::mark::Marks;
use super::plan::Plan;
use crate::inventory::Inventory;
use crate::session::{self, remove_tree, trash_name};
use crate::store::{Presence, Store, StoreError, found};
use crate::{DiffId, ObjectId};

/// How many things are set aside at once, to begin with: few enough that the directory for them fits
/// on a full disk. Each batch makes room for a greater one, as what is needed is read for each.
const FIRST_BATCH: usize = 64;
/// The most: few enough that nobody misses them for long.
const GREATEST_BATCH: usize = 4096;

pub(super) struct Sweeper<'a> {
    store: &'a Store,
    inventory: &'a Inventory,
    trash: PathBuf,
    collected: Vec<(Collected, u64)>,
}

/// A thing that is to go, with its files.
struct Doomed {
    what: Collected,
    paths: Vec<PathBuf>,
    bytes: u64,
}

impl<'a> Sweeper<'a> {
    pub(super) fn new(store: &'a Store, inventory: &'a Inventory) -> Result<Self, StoreError> {
        Ok(Self { store, inventory, trash: store.session()?.trash()?, collected: Vec::new() })
    }

    /// Sweeps records, then what they name, then what that is made of.
    pub(super) fn sweep(mut self, plan: &Plan) -> Result<Vec<(Collected, u64)>, StoreError> {
        self.records(plan)?;
        let gone = self.layers(plan)?;
        let checkouts = plan.checkouts.iter().filter_map(|id| self.checkout(id)).collect();
        self.set_aside(
            checkouts,
            |marks, what| matches!(what, Collected::Checkout(id) if marks.checkouts.contains(id)),
        )?;
        let blobs = plan.blobs.iter().filter_map(|digest| {
            let item = self.inventory.blobs.get(digest)?;
            Some(Doomed { what: Collected::Blob(*digest), paths: item.paths.clone(), bytes: item.bytes })
        });
        let blobs = blobs.collect();
        self.set_aside(blobs, |marks, what| matches!(what, Collected::Blob(digest) if marks.blobs.contains(digest)))?;
        self.objects(plan, &gone)?;
        Ok(self.collected)
    }

    fn records(&mut self, plan: &Plan) -> Result<(), StoreError> {
        for key in &plan.buried {
            match self.store.bury_action(*key) {
                Err(error) if error.is_no_space() => drop(self.store.forget_action(*key)?),
                result => result?,
            }
        }
        for key in &plan.forgotten {
            self.store.forget_action(*key)?;
        }
        let images = plan.images.iter().map(|id| Doomed {
            what: Collected::Image(*id),
            paths: vec![self.store.image_path(*id)],
            bytes: 0,
        });
        let images = images.collect();
        self.set_aside(images, |marks, what| matches!(what, Collected::Image(id) if marks.images.contains(id)))
    }

    /// Says which layers are gone: those that were to go and that nobody has come to need.
    fn layers(&mut self, plan: &Plan) -> Result<BTreeSet<DiffId>, StoreError> {
        let mut doomed: Vec<Doomed> = plan.layers.iter().filter_map(|id| self.checkout(id)).collect();
        doomed.extend(plan.layers.iter().filter_map(|id| {
            let item = &self.inventory.layers.get(id)?.item;
            // The layer file goes first: without it nobody looks at what belongs to it.
            let mut paths = item.paths.clone();
            paths.sort_by_key(|path| path.as_os_str().len());
            Some(Doomed { what: Collected::Layer(*id), paths, bytes: item.bytes })
        }));
        let from = self.collected.len();
        self.set_aside(
            doomed,
            |marks, what| matches!(what, Collected::Layer(id) | Collected::Checkout(id) if marks.layers.contains(id)),
        )?;
        let gone = self.collected[from..].iter().filter_map(|(what, _)| match what {
            Collected::Layer(id) => Some(*id),
            _ => None,
        });
        Ok(gone.collect())
    }

    fn objects(&mut self, plan: &Plan, gone: &BTreeSet<DiffId>) -> Result<(), StoreError> {
        let held = self.inventory.holders(self.inventory.layers.keys().filter(|id| !gone.contains(id)));
        let doomed = plan.objects.iter().filter(|id| !held.contains_key(id)).filter_map(|id: &ObjectId| {
            let item = self.inventory.objects.get(id)?;
            Some(Doomed { what: Collected::Object(*id), paths: item.paths.clone(), bytes: item.bytes })
        });
        let doomed = doomed.collect();
        self.set_aside(doomed, |marks, what| matches!(what, Collected::Object(id) if marks.objects.contains(id)))
    }

    fn checkout(&self, id: &DiffId) -> Option<Doomed> {
        let item = self.inventory.checkouts.get(id)?;
        // The record that vouches for a checkout goes before the directory.
        let mut paths = item.paths.clone();
        paths.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
        Some(Doomed { what: Collected::Checkout(*id), paths, bytes: item.bytes })
    }

    /// Sets things aside, reads again what is needed, and unlinks what is not. What has come to be
    /// needed since the plan was made is not touched at all.
    fn set_aside(
        &mut self,
        mut doomed: Vec<Doomed>,
        is_needed: impl Fn(&Marks, &Collected) -> bool,
    ) -> Result<(), StoreError> {
        let mut batch = FIRST_BATCH;
        while !doomed.is_empty() {
            let rest = doomed.split_off(doomed.len().min(batch));
            self.set_some_aside(doomed, &is_needed)?;
            doomed = rest;
            batch = GREATEST_BATCH.min(2 * batch);
        }
        Ok(())
    }

    fn set_some_aside(
        &mut self,
        mut doomed: Vec<Doomed>,
        is_needed: impl Fn(&Marks, &Collected) -> bool,
    ) -> Result<(), StoreError> {
        let is_needed = |marks: &Marks, what: &Collected| marks.everything || is_needed(marks, what);
        let marks = Marks::read(self.store, self.inventory)?;
        doomed.retain(|doomed| !is_needed(&marks, &doomed.what));
        for path in doomed.iter().flat_map(|doomed| &doomed.paths) {
            found(fs::rename(path, self.trashed(path))).map_err(StoreError::io("set aside", path))?;
        }
        let marks = Marks::read(self.store, self.inventory)?;
        for doomed in doomed {
            if is_needed(&marks, &doomed.what) || (marks.has_company && self.is_unsealed(&doomed)?) {
                self.put_back(&doomed.paths);
            } else {
                self.unlink(&doomed)?;
            }
        }
        Ok(())
    }

    /// What a thing is made of goes back first, so that whoever finds it finds it whole.
    fn put_back(&self, paths: &[PathBuf]) {
        for path in paths.iter().rev() {
            let _ = session::rename_back(&self.trashed(path), path);
        }
    }

    /// Unlinks a thing, unless somebody takes it back before: whoever moves its first file has all of it.
    fn unlink(&mut self, doomed: &Doomed) -> Result<(), StoreError> {
        for (at, path) in doomed.paths.iter().enumerate() {
            let claimed = self.trash.with_file_name("claimed");
            let is_claimed = found(fs::rename(self.trashed(path), &claimed)).map_err(StoreError::io("remove", path))?;
            match is_claimed {
                None if at == 0 => {
                    self.put_back(&doomed.paths);
                    return Ok(());
                }
                None => continue,
                Some(()) => {}
            }
            let is_directory = claimed.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_directory { remove_tree(&claimed) } else { fs::remove_file(&claimed) };
            removed.map_err(StoreError::io("remove", path))?;
        }
        self.collected.push((doomed.what, doomed.bytes));
        Ok(())
    }

    /// Whether a thing may be what another process is at work on. Checkouts have leases for that.
    fn is_unsealed(&self, doomed: &Doomed) -> Result<bool, StoreError> {
        if matches!(doomed.what, Collected::Checkout(_)) {
            return Ok(false);
        }
        let first = doomed.paths.first().map(|path| self.store.presence(&self.trashed(path))).transpose()?;
        Ok(first.is_some_and(|presence| matches!(presence, Presence::Fresh | Presence::Unproven)))
    }

    fn trashed(&self, path: &Path) -> PathBuf {
        self.trash.join(trash_name(path.strip_prefix(self.store.path()).unwrap_or(path)))
    }
}
