//! What the steps of a build name in a context that is not there.
//!
//! The first step that misses its source ends the build; whoever mends the file wants to know of the others, too.

use store::Tree;

use super::Solver;
use super::copying::From;
use crate::copy::CopyError;
use crate::copy::select::select;
use crate::error::StepError;
use crate::graph::{CopySource, Op, Vertex, VertexId};
use crate::ignore::IgnoreFile;
use crate::missing::{AlsoMissing, Missing};

/// Says why a source may be missing; other errors stay what they are.
pub(super) fn explain(error: CopyError, source: &str, tree: &Tree, from: &From) -> StepError {
    match error {
        CopyError::NotFound(_) => StepError::Missing(Box::new(Missing::explain(source, tree, ignored(from)))),
        error => error.into(),
    }
}

impl Solver<'_> {
    /// Adds what other steps miss in the same context.
    pub(super) fn with_others(&self, error: StepError, vertex: &Vertex, id: VertexId, from: &From) -> StepError {
        let From::Context(context) = from else { return error };
        let StepError::Missing(mut missing) = error else { return error };
        let others = self.graph.vertices().filter(|(_, other)| other.step.id != vertex.step.id);
        for (_, other) in others {
            let (Op::Copy(copy), Some(span)) = (&other.op, other.step.span) else { continue };
            let lacks = |source: &CopySource| match source {
                CopySource::Path { from, pattern } if *from == id => {
                    let is_missing = matches!(select(&context.tree, pattern, None), Err(CopyError::NotFound(_)));
                    is_missing.then(|| Missing::explain(pattern, &context.tree, context.ignored.as_ref()))
                }
                _ => None,
            };
            let line = span.first_line(&self.request.dockerfile.bytes);
            missing.also.extend(copy.sources.iter().find_map(lacks).map(|missing| AlsoMissing { span, line, missing }));
        }
        missing.also.sort_by_key(|also| also.line);
        missing.also.dedup_by_key(|also| also.line);
        StepError::Missing(missing)
    }
}

fn ignored(from: &From) -> Option<&(String, IgnoreFile)> {
    match from {
        From::Context(context) => context.ignored.as_ref(),
        From::Rootfs(_) => None,
    }
}
