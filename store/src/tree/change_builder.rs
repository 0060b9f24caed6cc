//! Makes changes entry by entry, in the order of a tar.
//!
//! The rules are those of an unpacker that reads a layer from its first entry to its last: what
//! comes later replaces what came before, a whiteout touches only what was below the layer, and what
//! stands on top of a name that the layer has taken away does not merge with what was there.

use std::collections::HashMap;

use super::builder::Links;
use super::{Change, ChangeDirectory, ChangeEntry, HardLinks, Leaf, Metadata, Tree};
use crate::{Name, RelPath};

/// A change being made.
#[derive(Debug, Clone, Default)]
pub struct ChangeBuilder {
    change: Change,
    links: Links,
    /// Names whose metadata a link has set, and when: the last one holds for all names of a file.
    described: HashMap<RelPath, usize>,
    /// The directory that entries were put into last, and how many since it was packed.
    filling: (RelPath, usize),
}

impl ChangeBuilder {
    /// Starts with a change that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been put so far, hard links aside.
    pub fn get(&self, path: &RelPath) -> Option<&ChangeEntry> {
        self.change.get(path)
    }

    /// Whether the change has a symbolic link at a path or on the way to it.
    pub(crate) fn passes_link(&self, path: &RelPath) -> bool {
        let mut directory = &self.change.directory;
        for name in path.components() {
            match directory.entries.get(name) {
                Some(ChangeEntry::Directory { directory: below, .. }) => directory = below,
                Some(ChangeEntry::Leaf(_, Leaf::Symlink(_))) => return true,
                _ => return false,
            }
        }
        false
    }

    /// Gives the root directory new metadata.
    pub fn set_root(&mut self, metadata: Metadata) {
        self.change.root = Some(metadata);
    }

    /// Puts a leaf in place of whatever is there. Does nothing at the root.
    pub fn put_leaf(&mut self, path: &RelPath, metadata: Metadata, leaf: Leaf) {
        if let Some((parent, name)) = self.parent_of(path) {
            let before = parent.entries.insert(name, ChangeEntry::Leaf(metadata, leaf));
            self.links.replaced(path, matches!(before, Some(ChangeEntry::Directory { .. })));
        }
    }

    /// Puts a directory, which merges with one that is there.
    pub fn put_directory(&mut self, path: &RelPath, put: Metadata) {
        let Some((parent, name)) = self.parent_of(path) else {
            self.change.root = Some(put);
            return;
        };
        if let Some(ChangeEntry::Directory { metadata, .. }) = parent.entries.get_mut(&name) {
            *metadata = Some(put);
            return;
        }
        let directory = ChangeDirectory { opaque: parent.entries.contains_key(&name), ..ChangeDirectory::default() };
        parent.entries.insert(name, ChangeEntry::Directory { metadata: Some(put), directory });
        self.links.replaced(path, false);
    }

    /// Hides everything that a directory of the tree below holds (an opaque whiteout).
    pub fn make_opaque(&mut self, path: &RelPath) {
        self.directory(path).opaque = true;
    }

    /// Removes a name of the tree below (a whiteout). What this change puts there stays, but no
    /// longer merges with what was there.
    pub fn remove(&mut self, path: &RelPath) {
        let Some((parent, name)) = self.parent_of(path) else { return };
        match parent.entries.entry(name).or_insert(ChangeEntry::Removed) {
            ChangeEntry::Removed | ChangeEntry::Leaf(..) => {}
            ChangeEntry::Directory { metadata, directory } => {
                metadata.get_or_insert_with(Metadata::implied);
                directory.opaque = true;
            }
        }
    }

    /// Declares leaves, all put before, to be one file. Replacing one of them later takes it out.
    pub fn link(&mut self, paths: Vec<RelPath>) {
        self.links.add(paths);
    }

    /// Makes a path another name of a leaf that was put, and gives that leaf, under all its names,
    /// this metadata.
    pub(crate) fn link_described(&mut self, target: &RelPath, path: &RelPath, metadata: Metadata) {
        let Some(ChangeEntry::Leaf(old, leaf)) = self.get_mut(target) else { return };
        let leaf = leaf.clone();
        let differs = *old != metadata;
        old.clone_from(&metadata);
        self.put_leaf(path, metadata, leaf);
        self.links.add(vec![target.clone(), path.clone()]);
        if differs {
            let turn = self.described.len();
            self.described.extend([(target.clone(), turn), (path.clone(), turn)]);
        }
    }

    /// Gives every directory above a path that has none yet the metadata that `lower` has for it, so
    /// that unpackers find the parents of what changes (features, E003).
    pub fn describe_parents(&mut self, path: &RelPath, lower: &Tree) {
        let mut at = path.parent();
        while let Some(parent) = at.filter(|parent| !parent.is_root()) {
            if let Some(ChangeEntry::Directory { metadata: metadata @ None, .. }) = self.get_mut(&parent) {
                *metadata = lower.directory_metadata(&parent).cloned();
            }
            at = parent.parent();
        }
    }

    /// The finished change.
    pub fn build(mut self) -> Change {
        let groups = self.links.groups();
        groups.iter().for_each(|group| self.describe(group));
        let Self { mut change, .. } = self;
        let is_leaf = |path: &RelPath| matches!(change.get(path), Some(ChangeEntry::Leaf(..)));
        let groups = groups.into_iter().map(|group| group.into_iter().filter(|path| is_leaf(path)).collect());
        let groups: Vec<_> = groups.collect();
        change.hard_links = HardLinks::new(groups);
        change
    }

    /// Gives all names of a file what the last link to it said of it.
    fn describe(&mut self, group: &[RelPath]) {
        let turn = |path: &&RelPath| self.described.get(*path).copied();
        let last = group.iter().filter(|path| turn(path).is_some()).max_by_key(turn);
        let Some(ChangeEntry::Leaf(metadata, _)) = last.and_then(|path| self.get(path)) else { return };
        let metadata = metadata.clone();
        for path in group {
            if let Some(ChangeEntry::Leaf(old, _)) = self.get_mut(path) {
                old.clone_from(&metadata);
            }
        }
    }

    fn get_mut(&mut self, path: &RelPath) -> Option<&mut ChangeEntry> {
        let mut directory = &mut self.change.directory;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let entry = directory.entries.get_mut(name)?;
            if names.peek().is_none() {
                return Some(entry);
            }
            match entry {
                ChangeEntry::Directory { directory: below, .. } => directory = below,
                ChangeEntry::Removed | ChangeEntry::Leaf(..) => return None,
            }
        }
        None
    }

    fn parent_of(&mut self, path: &RelPath) -> Option<(&mut ChangeDirectory, Name)> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        self.fill(&parent);
        Some((self.directory(&parent), name))
    }

    /// Entries come in order, and a map that grows at its end leaves its nodes half empty: a million
    /// entries would take twice the memory. So a directory is packed when it has grown by half, or is left
    /// after that; the work stays proportional to the entries.
    fn fill(&mut self, parent: &RelPath) {
        let (filled, count) = &mut self.filling;
        if filled == parent {
            *count += 1;
            if count.is_multiple_of(PACK_EVERY) {
                self.pack();
            }
        } else {
            self.pack();
            self.filling = (parent.clone(), 1);
        }
    }

    fn pack(&mut self) {
        let (path, count) = std::mem::take(&mut self.filling);
        if count >= LEAST_PACKED {
            let entries = &mut self.directory(&path).entries;
            if count >= entries.len() / 2 {
                let mut loose = std::mem::take(entries);
                entries.extend(loose.pop_first());
                entries.append(&mut loose);
                self.filling = (path, 0);
                return;
            }
        }
        self.filling = (path, count);
    }

    /// The directory at a path, made if the change says nothing of it, and made afresh if the change
    /// has something else there.
    fn directory(&mut self, path: &RelPath) -> &mut ChangeDirectory {
        let mut directory = &mut self.change.directory;
        for name in path.components() {
            if !matches!(directory.entries.get(name), Some(ChangeEntry::Directory { .. })) {
                let name = Name::of_component(name);
                let replaces = directory.entries.remove(&name).is_some();
                directory.entries.insert(name, implied(replaces));
            }
            directory = match directory.entries.get_mut(name) {
                Some(ChangeEntry::Directory { directory, .. }) => directory,
                _ => unreachable!("made above"),
            };
        }
        directory
    }
}

/// Below this many new entries a directory is not worth packing; and so often a long one is looked at.
const LEAST_PACKED: usize = 32;
const PACK_EVERY: usize = 4096;

/// A directory that the layer does not describe: it merges with what is below, unless the layer
/// itself has taken that away.
fn implied(replaces: bool) -> ChangeEntry {
    let directory = ChangeDirectory { opaque: replaces, ..ChangeDirectory::default() };
    ChangeEntry::Directory { metadata: replaces.then(Metadata::implied), directory }
}
