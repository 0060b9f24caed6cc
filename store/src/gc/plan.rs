//! What may go, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::mark::Marks;
use super::{Collected, is_old};
use crate::inventory::{Inventory, Item};
use crate::{ActionKey, DiffId, Digest, ImageId, ObjectId};

/// How fast a layer can be unpacked again, in bytes a second; a guess that orders, nothing more.
const UNPACK_SPEED: f64 = 300e6;
/// How fast a layer can be compressed again.
const COMPRESS_SPEED: f64 = 30e6;
/// How fast a layer can be fetched again.
const FETCH_SPEED: f64 = 5e6;

/// What will go.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) images: BTreeSet<ImageId>,
    /// In the order of their going.
    pub(super) layers: Vec<DiffId>,
    pub(super) checkouts: Vec<DiffId>,
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) objects: BTreeSet<ObjectId>,
    /// Records of actions whose layers go.
    pub(super) buried: BTreeSet<ActionKey>,
    /// Tombstones that have explained enough.
    pub(super) forgotten: BTreeSet<ActionKey>,
}

#[derive(Debug, Clone, Copy)]
enum Candidate {
    Layer(DiffId),
    Checkout(DiffId),
    Blob(Digest),
}

impl Plan {
    pub(super) fn make(inventory: &Inventory, marks: &Marks, ceiling: Option<u64>) -> Self {
        let mut plan = Self::default();
        let mut budget = Budget::new(inventory, marks, ceiling);
        for (candidate, _) in candidates(inventory, marks, ceiling.is_none()) {
            if budget.is_met() {
                break;
            }
            match candidate {
                Candidate::Layer(id) => plan.layers.push(id),
                Candidate::Checkout(id) => plan.checkouts.push(id),
                Candidate::Blob(digest) => {
                    plan.blobs.insert(digest);
                }
            }
            budget.spend(candidate);
        }
        let gone: BTreeSet<DiffId> = plan.layers.iter().copied().collect();
        let is_doomed = |image: &ImageId, layers: &[DiffId]| {
            !marks.images.contains(image) && (ceiling.is_none() || layers.iter().any(|layer| gone.contains(layer)))
        };
        plan.images =
            inventory.images.iter().filter(|(id, record)| is_doomed(id, &record.layers)).map(|(id, _)| *id).collect();
        plan.follow(inventory, marks);
        plan
    }

    /// Some images, with the layers that neither another image nor a cached step has.
    pub(super) fn of_images(inventory: &Inventory, marks: &Marks, images: &BTreeSet<ImageId>) -> Self {
        let going = |id: &ImageId| images.contains(id) && !marks.images.contains(id);
        let (gone, stay): (Vec<_>, Vec<_>) = inventory.images.iter().partition(|(id, _)| going(id));
        let of_steps = inventory.actions.values().filter(|stored| stored.collected_at.is_none());
        let mut needed: BTreeSet<DiffId> = of_steps.filter_map(|stored| stored.result.layer).collect();
        needed.extend(stay.iter().flat_map(|(_, record)| &record.layers));
        needed.extend(&marks.layers);
        let is_free = |id: &DiffId| {
            let layer = inventory.layers.get(id);
            !needed.contains(id) && layer.is_some_and(|layer| layer.item.is_sealed || !marks.has_company)
        };
        let layers: BTreeSet<DiffId> = gone.iter().flat_map(|(_, record)| &record.layers).copied().collect();
        let mut plan = Self {
            images: gone.iter().map(|(id, _)| **id).collect(),
            layers: layers.into_iter().filter(is_free).collect(),
            ..Self::default()
        };
        plan.follow(inventory, marks);
        plan
    }

    /// Adds what depends on the layers that go, and what only they and the images needed.
    fn follow(&mut self, inventory: &Inventory, marks: &Marks) {
        let gone: BTreeSet<DiffId> = self.layers.iter().copied().collect();
        for (key, stored) in &inventory.actions {
            match stored.collected_at {
                Some(at) if is_old(at) => {
                    self.forgotten.insert(*key);
                }
                None if stored.result.layer.is_some_and(|layer| gone.contains(&layer)) => {
                    self.buried.insert(*key);
                }
                _ => {}
            }
        }
        self.checkouts.retain(|id| !gone.contains(id));
        let needed = self.needed_blobs(inventory, marks, &gone);
        let is_free = |item: &Item| item.is_sealed || !marks.has_company;
        self.blobs.extend(
            inventory
                .blobs
                .iter()
                .filter(|(digest, item)| !needed.contains(digest) && is_free(item))
                .map(|(digest, _)| *digest),
        );
        let held = inventory.holders(inventory.layers.keys().filter(|id| !gone.contains(id)));
        let is_needed = |id: &ObjectId| held.contains_key(id) || marks.objects.contains(id);
        self.objects =
            inventory.objects.iter().filter(|(id, item)| !is_needed(id) && is_free(item)).map(|(id, _)| *id).collect();
    }

    fn needed_blobs(&self, inventory: &Inventory, marks: &Marks, gone: &BTreeSet<DiffId>) -> BTreeSet<Digest> {
        let mut needed = marks.blobs.clone();
        for (id, record) in inventory.images.iter().filter(|(id, _)| !self.images.contains(id)) {
            needed.insert(id.0);
            needed.extend(&record.manifests);
        }
        for (_, layer) in inventory.layers.iter().filter(|(id, _)| !gone.contains(id)) {
            needed.extend(layer.blobs.iter().map(|blob| blob.digest).filter(|digest| !self.blobs.contains(digest)));
        }
        for (_, stored) in inventory.actions.iter().filter(|(key, _)| !self.forgotten.contains(key)) {
            needed.extend(stored.key.lists());
            needed.extend(stored.result.log);
        }
        needed
    }

    /// What will go, with the room that each thing gives back.
    pub(super) fn collected(&self, inventory: &Inventory) -> Vec<(Collected, u64)> {
        let checkout = |id: &DiffId| inventory.checkouts.get(id).map(|item| (Collected::Checkout(*id), item.bytes));
        let layer = |id: &DiffId| inventory.layers.get(id).map(|layer| (Collected::Layer(*id), layer.item.bytes));
        let blob = |digest: &Digest| inventory.blobs.get(digest).map(|item| (Collected::Blob(*digest), item.bytes));
        let images = self.images.iter().map(|id| (Collected::Image(*id), 0));
        let layers = self.layers.iter().flat_map(|id| checkout(id).into_iter().chain(layer(id)));
        let rest = self.checkouts.iter().filter_map(checkout).chain(self.blobs.iter().filter_map(blob));
        let objects = self.objects.iter().map(|id| (Collected::Object(*id), inventory.object_bytes(id)));
        images.chain(layers).chain(rest).chain(objects).collect()
    }
}

/// Everything that may go, the cheapest first: seconds that losing it costs, for each byte that only
/// it holds (of what several hold, each counts its share). Deterministic: equals go by their names.
fn candidates(inventory: &Inventory, marks: &Marks, everything: bool) -> Vec<(Candidate, f64)> {
    let seconds = seconds_of_layers(inventory);
    let holders = inventory.holders(inventory.layers.keys());
    let share = |id: &ObjectId| inventory.object_bytes(id) as f64 / holders.get(id).copied().unwrap_or(1) as f64;
    let free = inventory
        .layers
        .iter()
        .filter(|(id, layer)| !marks.layers.contains(id) && (layer.item.is_sealed || !marks.has_company));
    let mut candidates: Vec<(Candidate, f64)> = free
        .map(|(id, layer)| {
            let bytes = layer.item.bytes as f64 + layer.objects.iter().map(share).sum::<f64>();
            (Candidate::Layer(*id), seconds.get(id).copied().unwrap_or(0.0) / bytes.max(1.0))
        })
        .collect();
    let unused = inventory.checkouts.keys().filter(|id| !marks.checkouts.contains(id));
    // When everything unneeded goes, the checkout of a layer that stays is not unneeded.
    let unused = unused.filter(|id| !everything || !inventory.layers.contains_key(id));
    candidates.extend(unused.map(|id| (Candidate::Checkout(*id), 1.0 / UNPACK_SPEED)));
    let blobs =
        inventory.layers.values().flat_map(|layer| &layer.blobs).filter(|blob| !marks.blobs.contains(&blob.digest));
    candidates.extend(blobs.filter_map(|blob| {
        let cost = if blob.encoder.is_some() { 1.0 / COMPRESS_SPEED } else { 1.0 / FETCH_SPEED };
        // Nobody else may have bytes that came from a file and that kiln cannot make.
        let is_replaceable = blob.encoder.is_some() || !blob.seen_in.is_empty();
        is_replaceable.then_some((Candidate::Blob(blob.digest), cost))
    }));
    candidates.sort_by(|a, b| a.1.total_cmp(&b.1));
    candidates
}

/// How long it takes to have each layer again: as long as the steps that made it, or the fetching.
fn seconds_of_layers(inventory: &Inventory) -> BTreeMap<DiffId, f64> {
    let mut seconds: BTreeMap<DiffId, f64> = BTreeMap::new();
    for id in inventory.images.values().flat_map(|record| &record.layers) {
        let bytes = inventory.layers.get(id).map_or(0, |layer| {
            layer.item.bytes + layer.objects.iter().map(|object| inventory.object_bytes(object)).sum::<u64>()
        });
        seconds.insert(*id, bytes as f64 / FETCH_SPEED);
    }
    let present = inventory.actions.values().filter(|stored| stored.collected_at.is_none());
    let made: Vec<_> =
        present.filter_map(|stored| Some((stored.result.layer?, stored.result.duration.as_secs_f64()))).collect();
    for (layer, _) in &made {
        seconds.insert(*layer, 0.0);
    }
    for (layer, duration) in made {
        *seconds.entry(layer).or_default() += duration;
    }
    seconds
}

/// Counts down to the ceiling.
struct Budget<'a> {
    inventory: &'a Inventory,
    holders: BTreeMap<ObjectId, usize>,
    left_bytes: u64,
    ceiling: Option<u64>,
}

impl<'a> Budget<'a> {
    fn new(inventory: &'a Inventory, marks: &Marks, ceiling: Option<u64>) -> Self {
        let holders = inventory.holders(inventory.layers.keys());
        let is_orphan = |id: &ObjectId, item: &Item| {
            !holders.contains_key(id) && !marks.objects.contains(id) && (item.is_sealed || !marks.has_company)
        };
        let orphans: u64 =
            inventory.objects.iter().filter(|(id, item)| is_orphan(id, item)).map(|(_, item)| item.bytes).sum();
        Self { inventory, left_bytes: inventory.bytes() - orphans, holders, ceiling }
    }

    fn is_met(&self) -> bool {
        self.ceiling.is_some_and(|ceiling| self.left_bytes <= ceiling)
    }

    fn spend(&mut self, candidate: Candidate) {
        let inventory = self.inventory;
        let freed = match candidate {
            Candidate::Checkout(id) => inventory.checkouts.get(&id).map_or(0, |item| item.bytes),
            Candidate::Blob(digest) => inventory.blobs.get(&digest).map_or(0, |item| item.bytes),
            Candidate::Layer(id) => inventory.layers.get(&id).map_or(0, |layer| {
                let freed = layer
                    .objects
                    .iter()
                    .filter(|object| release(&mut self.holders, object))
                    .map(|object| inventory.object_bytes(object));
                layer.item.bytes + freed.sum::<u64>()
            }),
        };
        self.left_bytes = self.left_bytes.saturating_sub(freed);
    }
}

/// Takes away one holder of an object; says whether it was the last.
fn release(holders: &mut BTreeMap<ObjectId, usize>, object: &ObjectId) -> bool {
    holders.get_mut(object).is_some_and(|count| {
        *count -= 1;
        *count == 0
    })
}
