//! Root filesystems as stacks of layers, looked into only when somebody has to.
//!
//! Most steps of an unchanged build need nothing but the names of layers and the id of a tree,
//! which the store remembers. Trees and contents are loaded once, on demand, and a child's tree is
//! made from its parent's.

use std::sync::{Arc, OnceLock};

use store::layer::RootTreeError;
use store::tree::{Leaf, Node};
use store::{Contents, DiffId, RelPath, Store, Tree, TreeId};

use crate::copy::Accounts;
use crate::copy::select::{entry_at, resolve};
use crate::error::StepError;

/// How large an account file may be.
const ACCOUNTS_LIMIT_BYTES: u64 = 4 << 20;

/// A stack of layers.
#[derive(Debug)]
pub struct Rootfs {
    layers: Vec<DiffId>,
    /// What the topmost layer lies on; `None` for scratch and for images.
    below: Option<Arc<Rootfs>>,
    tree: OnceLock<Arc<Tree>>,
    id: OnceLock<TreeId>,
}

impl Rootfs {
    /// An image's layers, or none.
    pub fn of_image(layers: Vec<DiffId>) -> Self {
        Self { layers, below: None, tree: OnceLock::new(), id: OnceLock::new() }
    }

    /// One more layer on a stack.
    pub fn with_layer(below: &Arc<Self>, layer: DiffId) -> Self {
        let layers = below.layers.iter().copied().chain([layer]).collect();
        Self { layers, below: Some(below.clone()), tree: OnceLock::new(), id: OnceLock::new() }
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[DiffId] {
        &self.layers
    }

    /// The layers that this build laid on the image, lowest first.
    pub fn own_layers(&self) -> &[DiffId] {
        let mut bottom = self;
        while let Some(below) = &bottom.below {
            bottom = below;
        }
        &self.layers[bottom.layers.len()..]
    }

    /// The id of the tree.
    pub fn id(&self, store: &Store) -> Result<TreeId, RootTreeError> {
        if let Some(id) = self.id.get() {
            return Ok(*id);
        }
        let id = match self.tree.get() {
            Some(tree) => tree.id(),
            None => store.root_tree_id(&self.layers)?,
        };
        Ok(*self.id.get_or_init(|| id))
    }

    /// The tree.
    pub fn tree(&self, store: &Store) -> Result<Arc<Tree>, RootTreeError> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree.clone());
        }
        let tree = match self.below.as_ref().and_then(|below| below.tree.get()) {
            Some(below) => self.on_top_of(below, store)?,
            None => store.root_tree(&self.layers)?,
        };
        Ok(self.tree.get_or_init(|| tree).clone())
    }

    /// Where the contents of its files are.
    pub fn contents(&self, store: &Store) -> Result<Contents, StepError> {
        let mut contents = Contents::of_objects(store);
        for id in &self.layers {
            let layer = store.layer(*id)?.ok_or(RootTreeError::Missing(*id))?;
            contents = contents.merge(layer.contents()?);
        }
        Ok(contents)
    }

    /// Its account files.
    pub fn accounts(&self, store: &Store) -> Result<Accounts, StepError> {
        let tree = self.tree(store)?;
        let contents = self.contents(store)?;
        Ok(Accounts {
            passwd: read_file(&tree, &contents, &Accounts::passwd_path())?,
            group: read_file(&tree, &contents, &Accounts::group_path())?,
        })
    }

    fn on_top_of(&self, below: &Tree, store: &Store) -> Result<Arc<Tree>, RootTreeError> {
        let id = *self.layers.last().expect("a stack on another has a layer of its own");
        let layer = store.layer(id)?.ok_or(RootTreeError::Missing(id))?;
        let tree = layer.change()?.apply(below).map_err(|source| RootTreeError::Apply { layer: id, source })?;
        store.remember_root_tree(&self.layers, tree.id())?;
        Ok(Arc::new(tree))
    }
}

/// A small file of a tree; empty if it is absent, no file, or too large to be meant.
fn read_file(tree: &Tree, contents: &Contents, path: &RelPath) -> Result<Vec<u8>, StepError> {
    let Ok(path) = resolve(tree, path) else { return Ok(Vec::new()) };
    match entry_at(tree, &path) {
        Some((_, Node::Leaf(Leaf::File { content, size_bytes }))) if size_bytes <= ACCOUNTS_LIMIT_BYTES => {
            Ok(contents.read(content, size_bytes)?)
        }
        _ => Ok(Vec::new()),
    }
}
