//! Root trees: what layers, stacked, look like.
//!
//! Beside the topmost layer stands what its stacks come to: `<chain id> <tree id>` a line. That is
//! derived, and checked by nobody: an id that a crash left half-written does not parse.

use std::sync::Arc;

use super::ROOTS;
use crate::tree::{ApplyError, IMPLIED_MTIME};
use crate::{ChainId, DiffId, Store, StoreError, Tree, TreeId};

/// Layers cannot be stacked.
#[derive(Debug, thiserror::Error)]
pub enum RootTreeError {
    /// The store does not have a layer.
    #[error("the layer {0} is not in the store")]
    Missing(DiffId),
    /// A layer does not fit on those below.
    #[error("cannot apply the layer {layer}")]
    Apply {
        /// Which.
        layer: DiffId,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The tree that layers make, lowest first, applied in turn to an empty root directory.
    pub fn root_tree(&self, layers: &[DiffId]) -> Result<Arc<Tree>, RootTreeError> {
        let mut tree = Tree::empty(IMPLIED_MTIME);
        for id in layers {
            let layer = self.layer(*id)?.ok_or(RootTreeError::Missing(*id))?;
            tree = layer.change()?.apply(&tree).map_err(|source| RootTreeError::Apply { layer: *id, source })?;
        }
        if let (Some(chain), Some(top)) = (ChainId::of(layers), layers.last()) {
            self.remember_root(*top, chain, tree.id())?;
        }
        Ok(Arc::new(tree))
    }

    /// The id of that tree, without making it if it was made before.
    pub fn root_tree_id(&self, layers: &[DiffId]) -> Result<TreeId, RootTreeError> {
        if let (Some(chain), Some(top)) = (ChainId::of(layers), layers.last())
            && let Some(id) = self.known_roots(*top)?.into_iter().find_map(|(other, id)| (other == chain).then_some(id))
        {
            return Ok(id);
        }
        Ok(self.root_tree(layers)?.id())
    }

    fn known_roots(&self, top: DiffId) -> Result<Vec<(ChainId, TreeId)>, StoreError> {
        let lines = self.read_file(&self.beside_layer(top, ROOTS))?.unwrap_or_default();
        let line = |line: &str| {
            let (chain, tree) = line.split_once(' ')?;
            Some((chain.parse().ok()?, tree.parse().ok()?))
        };
        Ok(String::from_utf8_lossy(&lines).lines().filter_map(line).collect())
    }

    /// Remembers the id of the tree that layers make, for one who made it without
    /// [`root_tree`](Self::root_tree).
    pub fn remember_root_tree(&self, layers: &[DiffId], tree: TreeId) -> Result<(), StoreError> {
        match (ChainId::of(layers), layers.last()) {
            (Some(chain), Some(top)) => self.remember_root(*top, chain, tree),
            _ => Ok(()),
        }
    }

    fn remember_root(&self, top: DiffId, chain: ChainId, tree: TreeId) -> Result<(), StoreError> {
        let mut roots = self.known_roots(top)?;
        if roots.contains(&(chain, tree)) {
            return Ok(());
        }
        roots.retain(|(other, _)| *other != chain);
        roots.push((chain, tree));
        // A base has few tops, but a layer that is put on ever new bases has many: keep the latest.
        let latest = roots.iter().rev().take(MOST_ROOTS).rev();
        let lines: String = latest.map(|(chain, tree)| format!("{chain} {tree}\n")).collect();
        self.write_file(&self.beside_layer(top, ROOTS), lines.as_bytes())
    }
}

const MOST_ROOTS: usize = 32;
