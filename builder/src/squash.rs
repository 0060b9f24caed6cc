//! Several layers as one: `--squash` and `--squash-all`.
//!
//! The one layer is what turns the tree below it into the finished tree, so what an instruction made
//! and a later one removed is in no layer. It depends on these two trees alone, and is made once for
//! them. The history keeps every instruction, as ones without a layer, and ends with an entry for the
//! one that there is, which is Docker's way.

use std::time::Instant;

use store::action::{ActionResult, Part};
use store::oci::{History, ImageConfig};
use store::tree::{Timestamp, diff};
use store::{Contents, DiffId, KeyRecord, Store};

use crate::error::StepError;
use crate::graph::{Clock, Lookup};
use crate::image::{MadeLayer, rfc3339};
use crate::key;

/// Which layers of an image become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Squash {
    /// None.
    #[default]
    None,
    /// Those that the build laid on the base image.
    New,
    /// Those of the base image, too.
    All,
}

impl Squash {
    /// How many of the lowest layers stay, of an image that has so many of its base.
    fn kept(self, of_base: usize) -> Option<usize> {
        match self {
            Self::None => None,
            Self::New => Some(of_base),
            Self::All => Some(0),
        }
    }

    /// Makes one layer of those of a finished image that are asked for. Where there are not two there is nothing to do.
    pub(crate) fn squash(
        self,
        config: &mut ImageConfig,
        of_base: usize,
        clock: Clock,
        (store, lookup): (&Store, Lookup),
    ) -> Result<(), StepError> {
        let layers = std::mem::take(&mut config.rootfs.diff_ids);
        let Some(kept) = self.kept(of_base).filter(|kept| layers.len() > kept + 1) else {
            config.rootfs.diff_ids = layers;
            return Ok(());
        };
        let made = one(store, &layers, kept, lookup)?;
        config.rootfs.diff_ids = layers[..kept].iter().copied().chain([made.diff_id]).collect();
        let created = rfc3339(clock.written().unwrap_or(Timestamp::from_secs(made.created_at)));
        rewrite(&mut config.history, kept, layers.len() - kept, &created);
        config.created = Some(created);
        Ok(())
    }
}

/// The layer that does what those above the lowest do together.
fn one(store: &Store, layers: &[DiffId], kept: usize, lookup: Lookup) -> Result<MadeLayer, StepError> {
    let ids = [store.root_tree_id(&layers[..kept])?, store.root_tree_id(layers)?];
    let parts = [Part::text("below", ids[0].to_string()), Part::text("whole", ids[1].to_string())];
    let key = key::of_parts("squash", &parts);
    let known = store.action(key)?.filter(|_| lookup == Lookup::Cached);
    if let Some(ActionResult { layer: Some(diff_id), created_at, .. }) = known {
        return Ok(MadeLayer { diff_id, created_at });
    }
    let started = Instant::now();
    let (below, whole) = (store.root_tree(&layers[..kept])?, store.root_tree(layers)?);
    let layer = store.write_layer(&diff(&below, &whole), &Contents::of_layers(store, layers)?)?.diff_id();
    let description = text(layers.len() - kept);
    let record = KeyRecord { step: description.clone(), description, parts: parts.into() };
    let result = ActionResult::now(Some(layer), started.elapsed());
    store.put_action(key, &record, &result)?;
    Ok(MadeLayer { diff_id: layer, created_at: result.created_at })
}

/// Entries of the layers that stay stay as they are.
fn rewrite(history: &mut Vec<History>, kept: usize, squashed: usize, created: &str) {
    let with_layer = history.iter_mut().filter(|entry| !entry.empty_layer);
    with_layer.skip(kept).for_each(|entry| entry.empty_layer = true);
    history.push(History { created: Some(created.to_owned()), created_by: text(squashed), ..History::default() });
}

fn text(layers: usize) -> String {
    format!("squash of {layers} layers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule C033.
    #[test]
    fn the_history_keeps_the_instructions() {
        let entry = |text: &str| History {
            created_by: text.to_owned(),
            empty_layer: text.starts_with('-'),
            ..History::default()
        };
        let check = |kept: usize, expected: &[&str]| {
            let mut history: Vec<History> = ["base", "-base", "new", "-new", "other"].map(entry).into();
            rewrite(&mut history, kept, 3 - kept, "now");
            let layers = history.iter().filter(|entry| !entry.empty_layer).map(|entry| entry.created_by.as_str());
            assert_eq!((layers.collect::<Vec<_>>(), history.len()), (expected.to_vec(), 6));
        };
        check(1, &["base", "squash of 2 layers"]);
        check(0, &["squash of 3 layers"]);
    }
}
