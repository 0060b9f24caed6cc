//! What of a directory the steps of a build read: nothing else is even looked at (docs/dockerfile.md, C001).
//!
//! Where the paths alone do not tell (patterns, links, `--parents`, and what is not there and wants an
//! explanation) everything is wanted.

use std::collections::BTreeSet;

use store::RelPath;
use store::fs::{Dir, Kind};
use store::scan::Verdict;

use crate::graph::{CopySource, Graph, MountKind, Op, VertexId};

/// The part of a directory that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Everything,
    /// These paths with all that is below.
    Below(BTreeSet<RelPath>),
}

impl Wanted {
    /// What the steps of a graph read of one of its contexts.
    pub fn of(graph: &Graph, context: VertexId) -> Self {
        let mut paths = BTreeSet::new();
        for (_, vertex) in graph.vertices().filter(|(_, vertex)| vertex.op.inputs().contains(&context)) {
            for source in sources(&vertex.op, context) {
                match source.filter(|path| !path.is_root()) {
                    Some(path) => drop(paths.insert(path)),
                    None => return Self::Everything,
                }
            }
        }
        Self::Below(paths)
    }

    /// The same, as far as the directory has these paths and no link stands in them.
    pub(super) fn in_directory(self, root: &Dir) -> Self {
        match &self {
            Self::Below(paths) if paths.iter().all(|path| is_plain(root, path)) => self,
            _ => Self::Everything,
        }
    }

    /// What to do with something that is found in the directory.
    pub(super) fn verdict(&self, path: &RelPath, kind: Kind) -> Verdict {
        let Self::Below(wanted) = self else { return Verdict::Keep };
        if std::iter::successors(Some(path.clone()), RelPath::parent).any(|path| wanted.contains(&path)) {
            Verdict::Keep
        } else if kind == Kind::Directory && wanted.iter().any(|wanted| wanted.strip_prefix(path).is_some()) {
            Verdict::Descend
        } else {
            Verdict::Skip
        }
    }
}

/// The paths that a step names in a tree; `None` for what no path alone names.
fn sources(op: &Op, tree: VertexId) -> Vec<Option<RelPath>> {
    match op {
        Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Remote(_) | Op::Workdir(_) => Vec::new(),
        Op::Copy(copy) => {
            copy.sources.iter().filter(|source| source.from() == Some(tree)).map(path_of_source).collect()
        }
        Op::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| mount.from() == Some(tree))
            .map(|mount| path_of_mount(&mount.kind))
            .collect(),
    }
}

fn path_of_source(source: &CopySource) -> Option<RelPath> {
    match source {
        CopySource::Path { pattern, .. } if !pattern.contains(['*', '?', '[', '\\']) => {
            RelPath::clean(pattern.as_bytes()).ok()
        }
        CopySource::Path { .. }
        | CopySource::WithParents { .. }
        | CopySource::Fetched { .. }
        | CopySource::Inline { .. } => None,
    }
}

fn path_of_mount(kind: &MountKind) -> Option<RelPath> {
    match kind {
        MountKind::Bind { source, .. } => Some(source.clone()),
        MountKind::Cache(cache) => cache.seed.as_ref().map(|(_, source)| source.clone()),
        MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Ssh(_) | MountKind::Script { .. } => None,
    }
}

/// Whether a path is there, and is no link and leads through none.
fn is_plain(root: &Dir, path: &RelPath) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let kind = root.exact_dir(&parent).and_then(|parent| parent.examine(&name)).map(|stat| stat.kind);
    kind.is_ok_and(|kind| kind != Kind::Symlink)
}
