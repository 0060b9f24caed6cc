//! What turns one tree into another.

use std::collections::BTreeMap;

use super::{HardLinks, Leaf, Metadata};
use crate::{Name, RelPath};

/// What a layer does to the tree below it (image-spec, layer.md): a sparse tree of entries that
/// are put, directories that are merged or replaced, and names that are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// New metadata of the root directory; `None` leaves it as it is.
    pub root: Option<Metadata>,
    /// What happens in the root directory.
    pub directory: ChangeDirectory,
    /// Which of the put files are one file.
    pub hard_links: HardLinks,
}

/// What happens in one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeDirectory {
    /// Whether everything that was below is hidden first (an opaque whiteout).
    pub opaque: bool,
    /// What happens to the names, in byte order.
    pub entries: BTreeMap<Name, ChangeEntry>,
}

/// What happens to one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeEntry {
    /// The name goes, with everything under it (a whiteout).
    Removed,
    /// A leaf takes the place of whatever was there.
    Leaf(Metadata, Leaf),
    /// A directory: merged with the one that is there, or in place of whatever else is there.
    Directory {
        /// `None` where a layer names something below without naming the directory: what is there
        /// keeps its metadata, and what is absent is created 0755 for root.
        metadata: Option<Metadata>,
        /// What happens in it.
        directory: ChangeDirectory,
    },
}

impl ChangeDirectory {
    /// Whether it hides anything of what is below.
    pub(crate) fn hides(&self) -> bool {
        let hides = |entry: &ChangeEntry| match entry {
            ChangeEntry::Directory { directory, .. } => directory.hides(),
            ChangeEntry::Removed => true,
            ChangeEntry::Leaf(..) => false,
        };
        self.opaque || self.entries.values().any(hides)
    }

    fn stands_alone(&self) -> bool {
        self.entries.values().all(|entry| match entry {
            ChangeEntry::Removed | ChangeEntry::Leaf(..) => true,
            ChangeEntry::Directory { metadata, directory } => metadata.is_some() && directory.stands_alone(),
        })
    }
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.root.is_none() && !self.directory.opaque && self.directory.entries.is_empty()
    }

    /// Whether every directory that it touches comes with its metadata. Only then does it mean the
    /// same on every tree: without, a directory may turn out to be a symbolic link that leads elsewhere, and
    /// takes its metadata from what is there. `diff(lower, &change.apply(lower)?)` always stands alone.
    pub fn stands_alone(&self) -> bool {
        self.directory.stands_alone()
    }

    /// The entry at a path, if the change touches it.
    pub fn get(&self, path: &RelPath) -> Option<&ChangeEntry> {
        let mut directory = &self.directory;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let entry = directory.entries.get(name)?;
            match (entry, names.peek()) {
                (_, None) => return Some(entry),
                (ChangeEntry::Directory { directory: below, .. }, Some(_)) => directory = below,
                _ => return None,
            }
        }
        None
    }
}
