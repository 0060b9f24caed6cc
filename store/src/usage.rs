//! How much room things take: what is shared counts once, and everybody's share is told apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Inventory, LayerItem, copied_bytes, disk_bytes};
use crate::sharing::Sharing;
use crate::store::{Area, Store, StoreError};
use crate::{ActionKey, DiffId, ImageId};

/// The room that one thing takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// With everything that it needs.
    pub bytes: u64,
    /// Of that, what nothing else needs: what removing it would give back.
    pub unique_bytes: u64,
}

impl Share {
    /// What others need too.
    pub fn shared_bytes(&self) -> u64 {
        self.bytes - self.unique_bytes
    }
}

/// The room that everything takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// By part of the store, all of it.
    pub areas: BTreeMap<Area, u64>,
    /// Of the unpacked layers, the large files that are copies of objects.
    pub copied_bytes: u64,
    /// By image, tagged or not: its layers, against those of other images and of cached results.
    pub images: BTreeMap<ImageId, Share>,
    /// By cached result: the layer that a step made.
    pub actions: BTreeMap<ActionKey, Share>,
}

impl Usage {
    /// All of it together.
    pub fn bytes(&self) -> u64 {
        self.areas.values().sum()
    }
}

impl Store {
    /// Measures everything.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        // With a lease of its own: to look at a thing is not to need it.
        let inventory = Inventory::take(&self.reopened())?;
        let mut usage = Usage::default();
        for area in Area::ALL {
            usage.areas.insert(area, disk_bytes(&self.dir(area), &mut BTreeSet::new())?);
        }
        let copied_bytes = copied_bytes(&self.dir(Area::Checkouts))?;
        // Reflinks take their room once, but each of them says that it takes it.
        if copied_bytes > 0 && self.mechanism()?.sharing != Sharing::Reflink {
            usage.copied_bytes = copied_bytes;
        }
        let measure = Measure::new(&inventory);
        for (id, record) in &inventory.images {
            usage.images.insert(*id, measure.share(record.layers.iter().copied().collect()));
        }
        for (key, stored) in inventory.actions.iter().filter(|(_, stored)| stored.collected_at.is_none()) {
            usage.actions.insert(*key, measure.share(stored.result.layer.into_iter().collect()));
        }
        Ok(usage)
    }
}

struct Measure<'a> {
    inventory: &'a Inventory,
    /// How many images need each layer; a layer of none is of cached results only.
    images: BTreeMap<DiffId, usize>,
    /// How many layers need each content.
    layers: BTreeMap<crate::ObjectId, usize>,
}

impl<'a> Measure<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let mut images = BTreeMap::new();
        for record in inventory.images.values() {
            let layers: BTreeSet<DiffId> = record.layers.iter().copied().collect();
            layers.into_iter().for_each(|layer| *images.entry(layer).or_default() += 1);
        }
        Self { inventory, images, layers: inventory.holders(inventory.layers.keys()) }
    }

    fn share(&self, layers: BTreeSet<DiffId>) -> Share {
        let items: Vec<(&DiffId, &LayerItem)> =
            layers.iter().filter_map(|id| self.inventory.layers.get_key_value(id)).collect();
        let is_own = |id: &DiffId| self.images.get(id).is_none_or(|count| *count <= 1);
        let own = |id: &DiffId, bytes: u64| if is_own(id) { bytes } else { 0 };
        let held = self.inventory.holders(layers.iter());
        let held_by_own = self.inventory.holders(layers.iter().filter(|id| is_own(id)));
        let sum =
            |of: &dyn Fn(&DiffId, u64) -> u64| items.iter().map(|(id, layer)| of(id, layer.item.bytes)).sum::<u64>();
        let only_here = held_by_own.iter().filter(|(id, count)| self.layers.get(*id) == Some(count));
        Share {
            bytes: sum(&|_, bytes| bytes) + held.keys().map(|id| self.inventory.object_bytes(id)).sum::<u64>(),
            unique_bytes: sum(&own) + only_here.map(|(id, _)| self.inventory.object_bytes(id)).sum::<u64>(),
        }
    }
}
