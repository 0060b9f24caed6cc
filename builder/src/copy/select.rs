//! What the sources of COPY and ADD name.
//!
//! A source is a path in a tree, with wildcards or without. Links are followed where the source
//! itself is one, and kept below (docs/dockerfile.md, A099). The selection holds all that a copy can depend
//! on of its sources, so its ids stand for them in the key.

use std::sync::Arc;

use store::tree::{Directory, Entry, HardLinks, Leaf, Metadata, Node, Timestamp};
use store::{Name, RelPath, Tree, TreeId};

use super::CopyError;
use super::links::{Found, Last, follow};
use crate::pattern::Glob;

/// Decides about the paths below a source; `--exclude` and `--parents` do.
pub trait Filter {
    /// What happens to a path relative to the source.
    fn verdict(&self, path: &RelPath) -> Verdict;
}

/// What a filter says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is copied; what is below is asked for again.
    Keep,
    /// It is not copied, nor what is below.
    Skip,
    /// It is copied if something below is.
    OnlyIfNotEmpty,
}

/// One file or directory that a source names.
#[derive(Debug, Clone)]
pub struct Picked {
    /// The last component as the source names it; `None` for a root.
    pub name: Option<Name>,
    /// Where it is in its tree, links resolved.
    pub path: RelPath,
    /// Owner, mode and time.
    pub metadata: Metadata,
    /// A leaf, or a directory without what the filter left out.
    pub node: Node,
    /// The hard-link groups of the whole tree it comes from.
    pub hard_links: HardLinks,
    /// Which tree that is.
    pub tree: TreeId,
}

impl Picked {
    /// The id of everything that a copy of it depends on.
    pub fn id(&self) -> TreeId {
        let (metadata, directory) = match &self.node {
            Node::Directory(directory) => (self.metadata.clone(), directory.clone()),
            Node::Leaf(_) => {
                let name = self.name.clone().unwrap_or_else(|| Name::new(*b"file").expect("a constant name"));
                let entry = Entry { metadata: self.metadata.clone(), node: self.node.clone() };
                (Metadata::root_owned(0, Timestamp::default()), Arc::new(Directory::new(vec![(name, entry)])))
            }
        };
        Tree::new(metadata, directory, self.links_inside()).id()
    }

    /// The links between files of this pick, by their paths below it.
    fn links_inside(&self) -> HardLinks {
        let inside = |group: &[RelPath]| group.iter().filter_map(|path| path.strip_prefix(&self.path)).collect();
        HardLinks::new(self.hard_links.groups().iter().map(|group| inside(group)))
    }
}

/// Finds what a source names in a tree. Nothing is an error without wildcards, and an empty answer
/// with them (docs/dockerfile.md, A097).
pub fn select(tree: &Tree, source: &str, filter: Option<&dyn Filter>) -> Result<Vec<Picked>, CopyError> {
    let pattern = RelPath::clean(source.as_bytes()).map_err(|_| CopyError::not_found(source))?;
    let components: Vec<&[u8]> = pattern.components().collect();
    let plain = components.iter().take_while(|component| !Glob::has_wildcards(component)).count();
    let prefix = plain_path(tree, &components[..plain])?;
    if plain == components.len() {
        let picked = pick(tree, &prefix, source, filter)?;
        return Ok(picked.into_iter().collect());
    }
    let start = resolve(tree, &prefix)?;
    let mut found = Vec::new();
    match entry_at(tree, &start) {
        Some((_, Node::Directory(directory))) => walk(&directory, &start, &components[plain..], &mut found)?,
        Some((_, Node::Leaf(_))) => {}
        None => return Err(CopyError::not_found(source)),
    }
    let picks = found.iter().map(|path| pick(tree, path, source, filter)).collect::<Result<Vec<_>, _>>()?;
    Ok(picks.into_iter().flatten().collect())
}

/// Takes the root of a tree with what the filter leaves of it.
pub fn select_root(tree: &Tree, path: &RelPath, filter: Option<&dyn Filter>) -> Result<Picked, CopyError> {
    let path = resolve(tree, path)?;
    let (metadata, node) = entry_at(tree, &path).ok_or_else(|| CopyError::not_found(&path.to_string()))?;
    let node = prune(node, &RelPath::root(), filter);
    Ok(Picked { name: path.file_name(), path, metadata, node, hard_links: tree.hard_links().clone(), tree: tree.id() })
}

/// Resolves the links of a path in a tree, the last one too.
pub fn resolve(tree: &Tree, path: &RelPath) -> Result<RelPath, CopyError> {
    Ok(follow(path, Last::Follow, |path| match tree.get(path).map(|entry| &entry.node) {
        Some(Node::Leaf(Leaf::Symlink(target))) => Found::Link(target.clone()),
        _ => Found::Other,
    })?)
}

/// Metadata and node at a path of which the links are resolved; the root too.
pub fn entry_at(tree: &Tree, path: &RelPath) -> Option<(Metadata, Node)> {
    if path.is_root() {
        return Some((tree.metadata().clone(), Node::Directory(tree.directory().clone())));
    }
    tree.get(path).map(|entry| (entry.metadata.clone(), entry.node.clone()))
}

/// A component without wildcards as the name it stands for: backslashes taken away.
fn unescape(component: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(component.len());
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        name.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    name
}

/// A path without wildcards: as it is written if that is there, since a backslash may be part of a
/// name, and otherwise with its escapes taken away (docs/dockerfile.md, A098).
fn plain_path(tree: &Tree, components: &[&[u8]]) -> Result<RelPath, CopyError> {
    let clean =
        |path: Vec<u8>| RelPath::clean(&path).map_err(|_| CopyError::not_found(&String::from_utf8_lossy(&path)));
    let written = clean(components.join(&b'/'))?;
    let exists = resolve(tree, &written).is_ok_and(|path| entry_at(tree, &path).is_some());
    if exists || !written.as_bytes().contains(&b'\\') {
        return Ok(written);
    }
    clean(components.iter().map(|component| unescape(component)).collect::<Vec<_>>().join(&b'/'))
}

/// `None` if the filter leaves out the pick itself.
fn pick(tree: &Tree, path: &RelPath, source: &str, filter: Option<&dyn Filter>) -> Result<Option<Picked>, CopyError> {
    let resolved = resolve(tree, path)?;
    let (metadata, node) = entry_at(tree, &resolved).ok_or_else(|| CopyError::not_found(source))?;
    let name = path.file_name();
    if let (Node::Leaf(_), Some(name), Some(filter)) = (&node, &name, filter)
        && filter.verdict(&RelPath::from(name)) == Verdict::Skip
    {
        return Ok(None);
    }
    let node = prune(node, &RelPath::root(), filter);
    Ok(Some(Picked { name, path: resolved, metadata, node, hard_links: tree.hard_links().clone(), tree: tree.id() }))
}

/// Matches the rest of a pattern; links on the way are not followed, as in a walk.
fn walk(directory: &Directory, at: &RelPath, pattern: &[&[u8]], found: &mut Vec<RelPath>) -> Result<(), CopyError> {
    let Some((component, rest)) = pattern.split_first() else { return Ok(()) };
    let glob = Glob::parse(component).map_err(|error| CopyError::BadPattern(error.to_string()))?;
    for (name, entry) in directory.entries() {
        if !glob.matches(name) {
            continue;
        }
        match (&entry.node, rest.is_empty()) {
            (_, true) => found.push(at.join(name)),
            (Node::Directory(below), false) => walk(below, &at.join(name), rest, found)?,
            (Node::Leaf(_), false) => {}
        }
    }
    Ok(())
}

/// Leaves out what the filter does not let pass; shares what it does not touch.
fn prune(node: Node, path: &RelPath, filter: Option<&dyn Filter>) -> Node {
    let Some(rule) = filter else { return node };
    let Node::Directory(directory) = node else { return node };
    let mut kept = Vec::with_capacity(directory.entries().len());
    let mut touched = false;
    for (name, entry) in directory.entries() {
        let path = path.join(name);
        let verdict = rule.verdict(&path);
        if verdict == Verdict::Skip || verdict == Verdict::OnlyIfNotEmpty && matches!(entry.node, Node::Leaf(_)) {
            touched = true;
            continue;
        }
        let node = prune(entry.node.clone(), &path, filter);
        if verdict == Verdict::OnlyIfNotEmpty && is_empty(&node) {
            touched = true;
            continue;
        }
        touched |= !same(&node, &entry.node);
        kept.push((name.clone(), Entry { metadata: entry.metadata.clone(), node }));
    }
    Node::Directory(if touched { Arc::new(Directory::new(kept)) } else { directory })
}

fn is_empty(node: &Node) -> bool {
    matches!(node, Node::Directory(directory) if directory.entries().is_empty())
}

fn same(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Directory(a), Node::Directory(b)) => Arc::ptr_eq(a, b),
        _ => true,
    }
}
