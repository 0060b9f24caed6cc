//! Collection: what nothing needs goes, the cheapest to lose first.
//!
//! ```text
//!   mark    tags, pins and the leases of living processes; from them images, layers, blobs, objects
//!   plan    what else there is, ordered by the seconds that losing it costs per byte that only it holds
//!   sweep   records first, then layers, then blobs and objects: nothing ever names what is gone
//! ```
//!
//! It neither waits for builds nor breaks them. Each thing is first set aside in `tmp/`; then the
//! leases are read again, and after them everything that a process which has ended since may have
//! left behind: its tags and its layers. What is needed after all goes back. Something unsealed is
//! left alone while any other process lives: it may be at work on it.

mod mark;
mod plan;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::inventory::Inventory;
use crate::record::now;
use crate::store::{Store, StoreError};
use crate::{DiffId, Digest, ImageId, ObjectId};

use mark::Marks;
use plan::Plan;
use sweep::Sweeper;

/// How long a tombstone explains a miss.
const TOMBSTONE_SECONDS: i64 = 30 * 24 * 3600;

/// Whether to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcMode {
    /// Say what would go.
    DryRun,
    /// Let it go.
    Collect,
}

/// What to collect.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// How much may stay. Without it everything goes that no tag, pin or process needs.
    pub max_size_bytes: Option<u64>,
    /// Whether to do it.
    pub mode: GcMode,
}

/// Something that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collected {
    /// An untagged image.
    Image(ImageId),
    /// A layer, and with it the results of the steps that made it.
    Layer(DiffId),
    /// A layer's checkout; it is made again when it is needed.
    Checkout(DiffId),
    /// A blob.
    Blob(Digest),
    /// The content of a file.
    Object(ObjectId),
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gc {
    /// How much room everything took before.
    pub before_bytes: u64,
    /// How much it takes now.
    pub after_bytes: u64,
    /// What went, in the order of its going, and the room that each gave back.
    pub collected: Vec<(Collected, u64)>,
    /// By how much what is left is more than what may stay: tags, pins and processes need it.
    pub over_bytes: u64,
}

impl Store {
    /// Collects what nothing needs. Waits for another collection that is under way.
    pub fn gc(&self, options: GcOptions) -> Result<Gc, StoreError> {
        self.gc_by(options, |inventory, marks| Plan::make(inventory, marks, options.max_size_bytes))
    }

    /// Collects these images, as far as no tag, pin or process needs them, and what only they hold: layers
    /// that are results of cached steps stay, and so do all other images.
    pub fn gc_images(&self, images: &BTreeSet<ImageId>) -> Result<Gc, StoreError> {
        let options = GcOptions { max_size_bytes: None, mode: GcMode::Collect };
        self.gc_by(options, |inventory, marks| Plan::of_images(inventory, marks, images))
    }

    fn gc_by(&self, options: GcOptions, plan: impl FnOnce(&Inventory, &Marks) -> Plan) -> Result<Gc, StoreError> {
        // On a full disk the lock and the lease need the room that is kept for them.
        let _reserve = (options.mode == GcMode::Collect).then(|| self.release_reserve());
        // A store of its own: what this process holds otherwise counts like anybody else's.
        let collector = self.reopened();
        let _lock = match options.mode {
            GcMode::Collect => Some(collector.lock_named("gc", || ())?),
            GcMode::DryRun => None,
        };
        let inventory = Inventory::take(&collector)?;
        let marks = Marks::read(&collector, &inventory)?;
        let plan = if marks.everything { Plan::default() } else { plan(&inventory, &marks) };
        let mut gc = Gc { before_bytes: inventory.bytes(), ..Gc::default() };
        gc.collected = match options.mode {
            GcMode::DryRun => plan.collected(&inventory),
            GcMode::Collect => Sweeper::new(&collector, &inventory)?.sweep(&plan)?,
        };
        if options.mode == GcMode::Collect {
            collector.compact_uses(|key| collector.action_path(key).exists())?;
        }
        gc.after_bytes =
            gc.before_bytes - gc.collected.iter().map(|(_, bytes)| bytes).sum::<u64>().min(gc.before_bytes);
        gc.over_bytes = options.max_size_bytes.map_or(0, |most| gc.after_bytes.saturating_sub(most));
        Ok(gc)
    }
}

/// Whether a tombstone has explained enough.
fn is_old(collected_at: i64) -> bool {
    now() - collected_at > TOMBSTONE_SECONDS
}
