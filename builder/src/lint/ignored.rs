//! The check for sources of COPY and ADD that the ignore file hides (rule A198). It looks at the plan,
//! since the file alone does not tell what a source becomes.

use store::RelPath;

use super::Lint;
use crate::diagnostic::Diagnostic;
use crate::graph::{ContextName, CopySource, Graph, Op};
use crate::ignore::IgnoreFile;

/// Says of every source in the build context that the rules exclude it. With exceptions among the rules
/// nothing is said, as in BuildKit: what is excluded may hold what is not.
pub(crate) fn ignored_sources(graph: &Graph, file: &str, rules: &IgnoreFile) -> Vec<Diagnostic> {
    if rules.is_empty() || rules.has_exceptions() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (_, vertex) in graph.vertices() {
        let (Op::Copy(copy), Some(span)) = (&vertex.op, vertex.step.span) else { continue };
        for source in &copy.sources {
            let (Some(from), Some(pattern)) = (source.from(), pattern(source)) else { continue };
            let is_context = matches!(graph.vertex(from).op, Op::Context(ContextName::Main));
            let path = RelPath::clean(pattern.as_bytes()).ok().filter(|path| !path.is_root());
            if is_context && path.is_some_and(|path| rules.matches(&path)) {
                let message = format!("the source '{pattern}' is excluded by {file}");
                findings.push(Diagnostic::lint(Lint::CopyIgnoredFile, span, message));
            }
        }
    }
    findings
}

fn pattern(source: &CopySource) -> Option<&str> {
    match source {
        CopySource::Path { pattern, .. } | CopySource::WithParents { pattern, .. } => Some(pattern),
        CopySource::Inline { .. } | CopySource::Fetched { .. } => None,
    }
}
