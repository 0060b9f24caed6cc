//! Whether anything looks into an image.
//!
//! The layers of a base that nothing looks into need not be here: a build that only changes the config, or lays
//! linked copies on it, names them and no more. What is laid on an image makes whoever reads that read the image, too.

use std::collections::BTreeSet;

use crate::copy::OwnerSpec;
use crate::graph::{CopySource, Footing, Graph, Op, VertexId};

/// Whether some step reads the files of an image, or of what is laid on it.
pub(super) fn reads(graph: &Graph, image: VertexId) -> bool {
    let mut stacked = BTreeSet::from([image]);
    graph.vertices().skip(image.0 as usize + 1).any(|(id, vertex)| {
        let is_on_it = base_of(&vertex.op).is_some_and(|base| stacked.contains(&base));
        if is_on_it {
            stacked.insert(id);
        }
        looks_into(&vertex.op).iter().any(|read| stacked.contains(read))
    })
}

fn base_of(op: &Op) -> Option<VertexId> {
    match op {
        Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Remote(_) => None,
        Op::Copy(copy) => Some(copy.base),
        Op::Run(run) => Some(run.base),
        Op::Workdir(workdir) => Some(workdir.base),
    }
}

/// The inputs of which a step needs the tree: its key, or its work.
fn looks_into(op: &Op) -> Vec<VertexId> {
    match op {
        // A linked copy looks at nothing below it, unless it has to find somebody by name.
        Op::Copy(copy) if copy.footing == Footing::Nothing => {
            let names = copy.owner.as_ref().is_some_and(OwnerSpec::needs_accounts);
            let base = names.then_some(copy.base);
            base.into_iter().chain(copy.sources.iter().filter_map(CopySource::from)).collect()
        }
        op => op.inputs(),
    }
}
