//! A change in the order of the canonical tar, one item at a time.

use std::collections::HashMap;
use std::collections::btree_map::Iter;

use crate::tree::{Change, ChangeDirectory, ChangeEntry, Leaf, Metadata};
use crate::{Name, RelPath};

/// What the tar says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'c> {
    Directory(RelPath, &'c Metadata),
    Leaf(RelPath, &'c Metadata, &'c Leaf),
    HardLink(RelPath, &'c Metadata, &'c RelPath),
    Whiteout(RelPath),
    Opaque(RelPath),
}

impl Item<'_> {
    pub(crate) fn path(&self) -> &RelPath {
        match self {
            Self::Directory(path, _) | Self::Leaf(path, ..) | Self::HardLink(path, ..) => path,
            Self::Whiteout(path) | Self::Opaque(path) => path,
        }
    }
}

/// Walks a change: a directory before what is in it, its whiteouts before its entries (features,
/// E001), names in byte order.
pub(crate) fn items(change: &Change) -> impl Iterator<Item = Item<'_>> {
    let groups = change.hard_links.groups();
    let firsts = groups.iter().flat_map(|group| group[1..].iter().map(|path| (path, &group[0])));
    let mut walk = Walk { open: Vec::new(), firsts: firsts.collect() };
    let root = change.root.as_ref().map(|metadata| Item::Directory(RelPath::root(), metadata));
    walk.enter(RelPath::root(), &change.directory);
    root.into_iter().chain(walk)
}

struct Walk<'c> {
    open: Vec<(RelPath, Step<'c>)>,
    /// The later names of hard-linked files, with their first.
    firsts: HashMap<&'c RelPath, &'c RelPath>,
}

enum Step<'c> {
    Opaque,
    Whiteouts(Iter<'c, Name, ChangeEntry>),
    Entries(Iter<'c, Name, ChangeEntry>),
}

impl<'c> Walk<'c> {
    /// Pushes what a directory consists of, the first last.
    fn enter(&mut self, path: RelPath, directory: &'c ChangeDirectory) {
        self.open.push((path.clone(), Step::Entries(directory.entries.iter())));
        self.open.push((path.clone(), Step::Whiteouts(directory.entries.iter())));
        if directory.opaque {
            self.open.push((path, Step::Opaque));
        }
    }

    fn leaf(&self, path: RelPath, metadata: &'c Metadata, leaf: &'c Leaf) -> Item<'c> {
        match self.firsts.get(&path) {
            Some(first) => Item::HardLink(path, metadata, first),
            None => Item::Leaf(path, metadata, leaf),
        }
    }
}

impl<'c> Iterator for Walk<'c> {
    type Item = Item<'c>;

    fn next(&mut self) -> Option<Item<'c>> {
        loop {
            let (at, step) = self.open.last_mut()?;
            let entry = match step {
                Step::Opaque => None,
                Step::Whiteouts(entries) => match entries.find(|(_, entry)| matches!(entry, ChangeEntry::Removed)) {
                    Some((name, _)) => return Some(Item::Whiteout(at.join(name))),
                    None => None,
                },
                Step::Entries(entries) => entries.next().map(|(name, entry)| (at.join(name), entry)),
            };
            match entry {
                None => {
                    let (at, step) = self.open.pop()?;
                    if let Step::Opaque = step {
                        return Some(Item::Opaque(at));
                    }
                }
                Some((_, ChangeEntry::Removed)) => {}
                Some((path, ChangeEntry::Leaf(metadata, leaf))) => return Some(self.leaf(path, metadata, leaf)),
                Some((path, ChangeEntry::Directory { metadata, directory })) => {
                    self.enter(path.clone(), directory);
                    if let Some(metadata) = metadata {
                        return Some(Item::Directory(path, metadata));
                    }
                }
            }
        }
    }
}
