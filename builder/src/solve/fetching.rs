//! What lies elsewhere, as a root filesystem to copy from.

use std::sync::Arc;

use store::compress::{Expansion, decompress};
use store::tree::{Leaf, Node};
use store::{DiffId, Store, StoreError};

use super::copying::is_archive;
use super::{Rootfs, Solved, Solver, Value, at};
use crate::error::{BuildError, StepError};
use crate::graph::{Archives, RemoteOp, Vertex};
use crate::progress::Event;
use crate::remote::Fetcher;

impl Solver<'_> {
    /// Fetches what a step or a named context needs; in a dry run, too, as with base images.
    pub(super) fn remote(&self, op: &RemoteOp, vertex: &Vertex) -> Result<Solved, BuildError> {
        let step = vertex.step.id;
        let fetcher = Fetcher {
            store: self.store,
            sources: self.sources,
            secrets: &self.request.secrets,
            clock: self.clock,
            lookup: vertex.lookup,
            cancel: &self.stop,
            report: &|transfer| self.progress.report(Event::Transfer { step, transfer }),
        };
        let fetched = fetcher.fetch(&op.remote).map_err(|error| at(vertex, error.into()))?;
        let layer = match op.archive {
            Archives::Keep => fetched.layer,
            Archives::Unpack => unpacked(self.store, fetched.layer).map_err(|error| at(vertex, error))?,
        };
        let value = Value::Rootfs(Arc::new(Rootfs::of_image(vec![layer])));
        Ok(Solved { outcome: fetched.outcome, key: Some(fetched.key), ..Solved::source(value) })
    }

    /// A context that is in the store already.
    pub(super) fn kept_context(&self, layer: DiffId) -> Result<Solved, StoreError> {
        self.store.hold([self.store.layer_path(layer).as_path()])?;
        Ok(Solved::source(Value::Rootfs(Arc::new(Rootfs::of_image(vec![layer])))))
    }
}

/// A named context is an archive's files, or the one file (docs/dockerfile.md, C027).
pub(crate) fn unpacked(store: &Store, layer: DiffId) -> Result<DiffId, StepError> {
    let rootfs = Rootfs::of_image(vec![layer]);
    let (tree, contents) = (rootfs.tree(store)?, rootfs.contents(store)?);
    let Some((_, entry)) = tree.directory().entries().first() else { return Ok(layer) };
    let Node::Leaf(Leaf::File { content, .. }) = &entry.node else { return Ok(layer) };
    if !is_archive(&contents, *content) {
        return Ok(layer);
    }
    let plain = decompress(contents.open(*content)?).map_err(StepError::Archive)?.limit(Expansion::default());
    Ok(store.import_layer(plain, None)?.diff_id())
}
