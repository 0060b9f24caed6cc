//! Makes and edits trees.
//!
//! A [`TreeBuilder`] opens only the directories on the way to what is edited; everything else stays
//! shared with the tree it came from, ids included. What it builds is canonical: hard-link groups
//! hold only paths that are there and agree in content and metadata.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Directory, Entry, HardLinks, Leaf, Metadata, Node, Tree};
use crate::{Name, RelPath};

/// A tree being made.
#[derive(Debug, Clone)]
pub struct TreeBuilder {
    root: Metadata,
    draft: Draft,
    links: Links,
}

impl TreeBuilder {
    /// Starts with a root directory that holds nothing.
    pub fn new(root: Metadata) -> Self {
        Self { root, draft: Draft::default(), links: Links::default() }
    }

    /// Starts with everything that a tree holds.
    pub fn from_tree(tree: &Tree) -> Self {
        let mut links = Links::default();
        for group in tree.hard_links().groups() {
            links.add(group.to_vec());
        }
        Self { root: tree.metadata().clone(), draft: Draft::Shared(tree.directory().clone()), links }
    }

    /// Sets the root directory's own metadata.
    pub fn set_root(&mut self, metadata: Metadata) {
        self.root = metadata;
    }

    /// Puts a leaf in place of whatever is there; missing parents are made 0755 for root.
    /// Does nothing at the root, which is always a directory.
    pub fn put_leaf(&mut self, path: &RelPath, metadata: Metadata, leaf: Leaf) {
        if let Some((parent, name)) = self.draft.parent_of(path) {
            let before = parent.insert(name, DraftEntry { metadata, node: DraftNode::Leaf(leaf) });
            self.links.replaced(path, before.is_some_and(|entry| entry.is_directory()));
        }
    }

    /// Puts a directory: one that is there keeps what it holds and gets the metadata; anything else
    /// is replaced by an empty one.
    pub fn put_directory(&mut self, path: &RelPath, metadata: Metadata) {
        if path.is_root() {
            self.root = metadata;
        } else if let Some(entry) = self.draft.get_mut(path).filter(|entry| entry.is_directory()) {
            entry.metadata = metadata;
        } else {
            self.put_subtree(path, metadata, Arc::new(Directory::new(Vec::new())));
        }
    }

    /// Puts a whole directory in place of whatever is there, sharing what it holds.
    pub fn put_subtree(&mut self, path: &RelPath, metadata: Metadata, directory: Arc<Directory>) {
        match self.draft.parent_of(path) {
            Some((parent, name)) => {
                let node = DraftNode::Directory(Draft::Shared(directory));
                let before = parent.insert(name, DraftEntry { metadata, node });
                self.links.replaced(path, before.is_some_and(|entry| entry.is_directory()));
            }
            None => {
                self.root = metadata;
                self.draft = Draft::Shared(directory);
                self.links = Links::default();
            }
        }
    }

    /// Puts a whole tree in place of whatever is there, with its hard links.
    pub fn put_tree(&mut self, path: &RelPath, tree: &Tree) {
        self.put_subtree(path, tree.metadata().clone(), tree.directory().clone());
        for group in tree.hard_links().groups() {
            self.link(group.iter().map(|below| path.join_path(below)).collect());
        }
    }

    /// Removes a name with everything under it, if it is there.
    pub fn remove(&mut self, path: &RelPath) {
        if self.draft.get_mut(path).is_none() {
            return; // without opening, or making, the directories on the way
        }
        if let Some((parent, name)) = self.draft.parent_of(path) {
            let before = parent.remove(&name);
            self.links.replaced(path, before.is_some_and(|entry| entry.is_directory()));
        }
    }

    /// Declares paths, all put before, to be one file. Replacing one of them later takes it out.
    pub fn link(&mut self, paths: Vec<RelPath>) {
        self.links.add(paths);
    }

    /// Computes the ids and checks the hard links: of a group only those paths stay that are leaves
    /// and agree with its first one in everything.
    pub fn build(self) -> Tree {
        let directory = self.draft.finish();
        let tree = Tree::new(self.root.clone(), directory.clone(), HardLinks::default());
        let groups = consistent(&tree, self.links.groups());
        Tree::new(self.root, directory, HardLinks::new(groups))
    }
}

/// Keeps of each group the paths that are leaves of the tree and agree with the group's first leaf.
pub(super) fn consistent(tree: &Tree, groups: impl IntoIterator<Item = Vec<RelPath>>) -> Vec<Vec<RelPath>> {
    let leaf = |path: &RelPath| tree.get(path).filter(|entry| matches!(entry.node, Node::Leaf(_)));
    let agreeing = |mut group: Vec<RelPath>| {
        group.sort();
        let first = group.iter().find_map(leaf);
        group.retain(|path| first.is_some() && leaf(path) == first);
        group
    };
    groups.into_iter().map(agreeing).collect()
}

/// A directory that is edited, or one that is shared as long as nobody edits it.
#[derive(Debug, Clone)]
enum Draft {
    Shared(Arc<Directory>),
    Open(BTreeMap<Name, DraftEntry>),
}

#[derive(Debug, Clone)]
struct DraftEntry {
    metadata: Metadata,
    node: DraftNode,
}

#[derive(Debug, Clone)]
enum DraftNode {
    Leaf(Leaf),
    Directory(Draft),
}

impl Default for Draft {
    fn default() -> Self {
        Self::Open(BTreeMap::new())
    }
}

impl DraftEntry {
    fn implied() -> Self {
        Self { metadata: Metadata::implied(), node: DraftNode::Directory(Draft::default()) }
    }

    fn is_directory(&self) -> bool {
        matches!(self.node, DraftNode::Directory(_))
    }
}

impl Draft {
    fn open(&mut self) -> &mut BTreeMap<Name, DraftEntry> {
        if let Self::Shared(directory) = self {
            *self = Self::Open(directory.entries().iter().map(|(name, entry)| (name.clone(), draft(entry))).collect());
        }
        match self {
            Self::Open(entries) => entries,
            Self::Shared(_) => unreachable!("opened above"),
        }
    }

    /// The open directory that holds the path, made if it is missing; `None` for the root.
    fn parent_of(&mut self, path: &RelPath) -> Option<(&mut BTreeMap<Name, DraftEntry>, Name)> {
        let name = path.file_name()?;
        let mut directory = self;
        for above in path.parent()?.components() {
            let entries = directory.open();
            if !entries.get(above).is_some_and(DraftEntry::is_directory) {
                entries.insert(Name::of_component(above), DraftEntry::implied());
            }
            directory = match &mut entries.get_mut(above)?.node {
                DraftNode::Directory(below) => below,
                DraftNode::Leaf(_) => return None,
            };
        }
        Some((directory.open(), name))
    }

    fn get_mut(&mut self, path: &RelPath) -> Option<&mut DraftEntry> {
        let mut directory = self;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            if matches!(&*directory, Self::Shared(shared) if shared.get(name).is_none()) {
                return None;
            }
            let entry = directory.open().get_mut(name)?;
            if names.peek().is_none() {
                return Some(entry);
            }
            directory = match &mut entry.node {
                DraftNode::Directory(below) => below,
                DraftNode::Leaf(_) => return None,
            };
        }
        None
    }

    fn finish(self) -> Arc<Directory> {
        match self {
            Self::Shared(directory) => directory,
            Self::Open(entries) => {
                let finished = entries.into_iter().map(|(name, entry)| (name, entry.finish()));
                Arc::new(Directory::new(finished.collect()))
            }
        }
    }
}

impl DraftEntry {
    fn finish(self) -> Entry {
        let node = match self.node {
            DraftNode::Leaf(leaf) => Node::Leaf(leaf),
            DraftNode::Directory(draft) => Node::Directory(draft.finish()),
        };
        Entry { metadata: self.metadata, node }
    }
}

fn draft(entry: &Entry) -> DraftEntry {
    let node = match &entry.node {
        Node::Leaf(leaf) => DraftNode::Leaf(leaf.clone()),
        Node::Directory(directory) => DraftNode::Directory(Draft::Shared(directory.clone())),
    };
    DraftEntry { metadata: entry.metadata.clone(), node }
}

/// Which path belongs to which group of hard links, while paths come and go.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    group_of: HashMap<RelPath, usize>,
    next: usize,
}

impl Links {
    /// Makes paths one group; a path that was in a group before brings that group along.
    pub(super) fn add(&mut self, paths: Vec<RelPath>) {
        let mut known: Vec<usize> = paths.iter().filter_map(|path| self.group_of.get(path).copied()).collect();
        known.sort_unstable();
        known.dedup();
        let group = known.first().copied().unwrap_or_else(|| self.next_group());
        if known.len() > 1 {
            self.group_of.values_mut().filter(|other| known.contains(other)).for_each(|other| *other = group);
        }
        self.group_of.extend(paths.into_iter().map(|path| (path, group)));
    }

    /// Takes a path out of its group because something else stands there now; and, where that was a
    /// directory, everything that was below it.
    pub(super) fn replaced(&mut self, path: &RelPath, was_directory: bool) {
        if self.group_of.is_empty() {
            return;
        }
        if was_directory {
            self.group_of.retain(|other, _| other.strip_prefix(path).is_none());
        } else {
            self.group_of.remove(path);
        }
    }

    fn next_group(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The groups as they stand.
    pub(super) fn groups(&self) -> Vec<Vec<RelPath>> {
        let mut groups: BTreeMap<usize, Vec<RelPath>> = BTreeMap::new();
        for (path, group) in &self.group_of {
            groups.entry(*group).or_default().push(path.clone());
        }
        groups.into_values().collect()
    }
}
