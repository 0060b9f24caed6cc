//! Applies a change to a tree.
//!
//! The rules are those of image-spec, layer.md, "Applying Changesets", on data: whiteouts first,
//! directories merge, everything else replaces. A layer may name `run/lock` where the tree below has
//! `run` as a symbolic link and the layer says nothing of `run` itself: what it holds for `run` then
//! lands where the link leads, followed within the root, as an unpacker does it.

use std::sync::Arc;

use super::builder::consistent;
use super::{
    Change, ChangeDirectory, ChangeEntry, Directory, Entry, HardLinks, Leaf, Metadata, Node, ResolveError, Tree,
};
use crate::{Name, RelPath};

/// The change cannot be applied to this tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The layer names something below a symbolic link that leads nowhere.
    #[error("a layer writes below the symbolic link {path}")]
    Parent {
        /// The link.
        path: RelPath,
        /// Why it leads nowhere.
        #[source]
        source: ResolveError,
    },
}

impl Change {
    /// The tree that a layer with this change makes of the tree below it.
    pub fn apply(&self, lower: &Tree) -> Result<Tree, ApplyError> {
        let (mut tree, mut redirects) = apply_once(self, lower);
        let mut groups: Vec<Vec<RelPath>> = self.hard_links.groups().iter().map(|group| group.to_vec()).collect();
        while let Some((link, directory)) = redirects.pop() {
            let target = match tree.resolve(&link) {
                Ok(resolved) => resolved.path(),
                Err(source) => return Err(ApplyError::Parent { path: link, source }),
            };
            move_paths(&mut groups, &link, &target);
            let (next, more) = apply_once(&directory.at(&target), &tree);
            tree = next;
            redirects.extend(more);
        }
        Ok(with_links(tree, groups))
    }
}

/// What lands behind a symbolic link, and the link.
type Redirect = (RelPath, ChangeDirectory);

/// Applies all but what lies behind symbolic links, last to be applied first. The tree's hard links
/// are those of `lower` that the change leaves alone.
fn apply_once(change: &Change, lower: &Tree) -> (Tree, Vec<Redirect>) {
    let mut merge = Merge::default();
    let directory = merge.directory(&RelPath::root(), Some(lower.directory()), &change.directory);
    merge.redirects.reverse();
    let metadata = change.root.as_ref().unwrap_or(lower.metadata()).clone();
    let bare = Tree::new(metadata, directory, HardLinks::default());
    let kept = |group: &[RelPath]| group.iter().filter(|path| leaves_alone(change, &bare, path)).cloned().collect();
    let groups: Vec<_> = lower.hard_links().groups().iter().map(|group| kept(group)).collect();
    let tree = Tree::new(bare.metadata().clone(), bare.directory().clone(), HardLinks::new(groups));
    (tree, merge.redirects)
}

#[derive(Default)]
struct Merge {
    redirects: Vec<Redirect>,
}

impl Merge {
    fn directory(&mut self, at: &RelPath, lower: Option<&Arc<Directory>>, change: &ChangeDirectory) -> Arc<Directory> {
        let lower = lower.filter(|_| !change.opaque);
        let mut below = lower.map_or(&[][..], |directory| directory.entries()).iter().peekable();
        let mut entries = Vec::with_capacity(below.len() + change.entries.len());
        for (name, entry) in &change.entries {
            while let Some(kept) = below.next_if(|(other, _)| other < name) {
                entries.push(kept.clone());
            }
            let before = below.next_if(|(other, _)| other == name).map(|(_, entry)| entry);
            entries.extend(self.entry(at, name, before, entry).map(|entry| (name.clone(), entry)));
        }
        entries.extend(below.cloned());
        match lower {
            Some(lower) if lower.entries() == entries => lower.clone(),
            _ => Arc::new(Directory::new(entries)),
        }
    }

    fn entry(&mut self, at: &RelPath, name: &Name, before: Option<&Entry>, change: &ChangeEntry) -> Option<Entry> {
        let (metadata, directory) = match change {
            ChangeEntry::Removed => return None,
            ChangeEntry::Leaf(metadata, leaf) => {
                return Some(Entry { metadata: metadata.clone(), node: Node::Leaf(leaf.clone()) });
            }
            ChangeEntry::Directory { metadata, directory } => (metadata, directory),
        };
        let path = at.join(name);
        let (lower, implied) = match (before, metadata) {
            (Some(Entry { metadata, node: Node::Directory(lower) }), _) => (Some(lower), metadata.clone()),
            (Some(link @ Entry { node: Node::Leaf(Leaf::Symlink(_)), .. }), None) => {
                self.redirects.push((path, directory.clone()));
                return Some(link.clone());
            }
            (before, None) if !directory.puts_anything() => return before.cloned(),
            _ => (None, Metadata::implied()),
        };
        let merged = self.directory(&path, lower, directory);
        Some(Entry { metadata: metadata.clone().unwrap_or(implied), node: Node::Directory(merged) })
    }
}

impl ChangeDirectory {
    /// Whether anything exists because of it, and not only ceases to.
    fn puts_anything(&self) -> bool {
        self.entries.values().any(|entry| match entry {
            ChangeEntry::Removed => false,
            ChangeEntry::Leaf(..) => true,
            ChangeEntry::Directory { metadata, directory } => metadata.is_some() || directory.puts_anything(),
        })
    }

    /// A change that does this in the directory at a path, and nothing to the directories above.
    fn at(self, path: &RelPath) -> Change {
        let wrap = |directory, name: &[u8]| {
            let entry = ChangeEntry::Directory { metadata: None, directory };
            Self { opaque: false, entries: [(Name::of_component(name), entry)].into() }
        };
        Change { directory: path.components().rev().fold(self, wrap), ..Change::default() }
    }
}

/// Whether the leaf at a path is still the one of the tree below.
fn leaves_alone(change: &Change, upper: &Tree, path: &RelPath) -> bool {
    let mut directory = &change.directory;
    for name in path.components() {
        match directory.entries.get(name) {
            _ if directory.opaque => return false,
            None => return true,
            Some(ChangeEntry::Removed | ChangeEntry::Leaf(..)) => return false,
            Some(ChangeEntry::Directory { directory: below, .. }) => directory = below,
        }
    }
    // The change has a directory here, which did nothing or lies behind a symbolic link.
    upper.get(path).is_some_and(|entry| matches!(entry.node, Node::Leaf(_)))
}

fn move_paths(groups: &mut [Vec<RelPath>], from: &RelPath, to: &RelPath) {
    for path in groups.iter_mut().flatten() {
        if let Some(below) = path.strip_prefix(from).filter(|below| !below.is_root()) {
            *path = to.join_path(&below);
        }
    }
}

fn with_links(tree: Tree, mut groups: Vec<Vec<RelPath>>) -> Tree {
    if groups.is_empty() {
        return tree;
    }
    groups = consistent(&tree, groups);
    groups.extend(tree.hard_links().groups().iter().map(|group| group.to_vec()));
    Tree::new(tree.metadata().clone(), tree.directory().clone(), HardLinks::new(groups))
}
