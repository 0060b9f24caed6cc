//! Directories as data.
//!
//! A [`Tree`] is a root filesystem, a build context, or any directory with everything under it. It
//! is canonical by construction: entries are sorted by the bytes of their names, hard-link groups
//! are sorted paths of at least two, and every [`Directory`] carries the Merkle id of what is in
//! it, so that equal subtrees compare in one step. A [`Change`] turns one tree into another; a
//! layer holds one. Neither knows where the bytes of its files are, nor that there is a disk.

mod apply;
mod builder;
mod change;
mod change_builder;
mod diff;
mod encoding;
mod lookup;
#[cfg(test)]
pub(crate) mod strategy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use apply::ApplyError;
pub use builder::TreeBuilder;
pub use change::{Change, ChangeDirectory, ChangeEntry};
pub use change_builder::ChangeBuilder;
pub use diff::diff;
pub use encoding::DecodeChangeError;
pub use lookup::{Entries, ResolveError, Resolved};

use crate::{DirectoryId, Name, ObjectId, RelPath, TreeId};

/// The mode of a directory that nobody described (image-spec has no rule; containerd and Docker agree).
pub const IMPLIED_MODE: u16 = 0o755;

/// The time of a directory that nobody described: the constant that is kiln's clock where no
/// `SOURCE_DATE_EPOCH` is given, so that it never depends on the day of the unpacking.
pub const IMPLIED_MTIME: Timestamp = Timestamp::from_secs(315_532_800);

/// How deep a tree may be: no image comes near, and whoever recurses over a tree stays within a
/// thread's stack.
pub const MOST_COMPONENTS: usize = 512;

/// A point in time as a file system keeps it: seconds since 1970 and nanoseconds after that second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub secs: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// A whole second.
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// Extended attributes: names to values, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Xattrs(Option<Arc<BTreeMap<Bytes, Bytes>>>);

type Bytes = Box<[u8]>;

impl Xattrs {
    /// The attributes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().flat_map(|map| map.iter()).map(|(name, value)| (&name[..], &value[..]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len())
    }

    /// Whether there are none, as on nearly every file.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl FromIterator<(Bytes, Bytes)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Bytes, Bytes)>>(pairs: I) -> Self {
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        Self((!map.is_empty()).then(|| Arc::new(map)))
    }
}

/// What is known of a file beside its name and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// Numeric owner, as inside the image.
    pub uid: u32,
    /// Numeric group, as inside the image.
    pub gid: u32,
    /// When the content was last changed.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// What a directory gets that nobody described.
    pub fn implied() -> Self {
        Self::root_owned(IMPLIED_MODE, IMPLIED_MTIME)
    }

    /// Owned by root, without extended attributes.
    pub fn root_owned(mode: u16, mtime: Timestamp) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, xattrs: Xattrs::default() }
    }
}

/// The two kinds of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// Everything that a directory can hold except directories. Sockets are in no tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// A regular file.
    File {
        /// What it holds.
        content: ObjectId,
        /// How much that is.
        size_bytes: u64,
    },
    /// A symbolic link, its target verbatim.
    Symlink(Box<[u8]>),
    /// A device node.
    Device {
        /// Character or block.
        kind: DeviceKind,
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// What stands under a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Something without entries of its own.
    Leaf(Leaf),
    /// A directory, shared between the trees that hold it.
    Directory(Arc<Directory>),
}

/// A name's metadata and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Owner, mode, time, attributes.
    pub metadata: Metadata,
    /// A leaf or a directory.
    pub node: Node,
}

/// The entries of a directory, without the directory's own metadata (its parent has that).
#[derive(Debug, Clone)]
pub struct Directory {
    entries: Box<[(Name, Entry)]>,
    id: DirectoryId,
}

impl Directory {
    /// Sorts the entries and computes the id. Of entries with the same name the last one wins.
    pub fn new(mut entries: Vec<(Name, Entry)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut unique: Vec<(Name, Entry)> = Vec::with_capacity(entries.len());
        for entry in entries {
            match unique.last_mut() {
                Some(last) if last.0 == entry.0 => *last = entry,
                _ => unique.push(entry),
            }
        }
        let id = directory_id(&unique);
        Self { entries: unique.into(), id }
    }

    /// The Merkle id of the entries.
    pub fn id(&self) -> DirectoryId {
        self.id
    }

    /// The entries in byte order of their names.
    pub fn entries(&self) -> &[(Name, Entry)] {
        &self.entries
    }

    /// The entry of that name.
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.find(name).map(|(_, entry)| entry)
    }

    /// The entry of that name, and the name as the directory holds it.
    fn find(&self, name: &[u8]) -> Option<(&Name, &Entry)> {
        let at = self.entries.binary_search_by(|(other, _)| other.as_bytes().cmp(name)).ok()?;
        let (name, entry) = &self.entries[at];
        Some((name, entry))
    }
}

impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Directory {}

/// A directory with everything under it.
#[derive(Debug, Clone)]
pub struct Tree {
    metadata: Metadata,
    directory: Arc<Directory>,
    hard_links: HardLinks,
    id: TreeId,
}

impl Tree {
    /// Puts a tree together from its root's metadata, its entries and its hard links.
    pub fn new(metadata: Metadata, directory: Arc<Directory>, hard_links: HardLinks) -> Self {
        let id = tree_id(&metadata, &directory, &hard_links);
        Self { metadata, directory, hard_links, id }
    }

    /// A root directory (0755, root, at the given time) with nothing in it: what `FROM scratch` starts from.
    pub fn empty(mtime: Timestamp) -> Self {
        Self::new(Metadata::root_owned(0o755, mtime), Arc::new(Directory::new(Vec::new())), HardLinks::default())
    }

    /// The id of all of it.
    pub fn id(&self) -> TreeId {
        self.id
    }

    /// The root directory's own metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What the root directory holds.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The groups of paths that are one file.
    pub fn hard_links(&self) -> &HardLinks {
        &self.hard_links
    }

    /// The entry at a path, symbolic links not followed; `None` for the root and for what is absent.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        let mut directory = &self.directory;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let entry = directory.get(name)?;
            match (&entry.node, names.peek()) {
                (_, None) => return Some(entry),
                (Node::Directory(below), Some(_)) => directory = below,
                (Node::Leaf(_), Some(_)) => return None,
            }
        }
        None
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Tree {}

/// Which paths of a tree are one file: groups of two or more sorted paths, sorted by their first.
///
/// Only groups of which every path is in the tree are kept; whoever takes a subtree keeps those
/// that lie in it whole or in part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HardLinks(Arc<[Box<[RelPath]>]>);

impl HardLinks {
    /// Sorts the groups and drops those of fewer than two paths.
    pub fn new(groups: impl IntoIterator<Item = Vec<RelPath>>) -> Self {
        let mut groups: Vec<Box<[RelPath]>> = groups
            .into_iter()
            .filter_map(|mut group| {
                group.sort();
                group.dedup();
                (group.len() > 1).then(|| group.into_boxed_slice())
            })
            .collect();
        groups.sort();
        Self(groups.into())
    }

    /// The groups, each sorted, in the order of their first paths.
    pub fn groups(&self) -> &[Box<[RelPath]>] {
        &self.0
    }
}

/// Appends a canonical encoding to a hash; every length is written before its bytes.
struct Encoder(blake3::Hasher);

impl Encoder {
    fn new(domain: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(domain))
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn metadata(&mut self, metadata: &Metadata) {
        let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
        self.number(u64::from(*mode));
        self.number(u64::from(*uid) << 32 | u64::from(*gid));
        self.number(mtime.secs.cast_unsigned());
        self.number(u64::from(mtime.nanos));
        self.number(xattrs.len() as u64);
        for (name, value) in xattrs.iter() {
            self.bytes(name);
            self.bytes(value);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Directory(directory) => {
                self.number(0);
                self.0.update(directory.id.as_bytes());
            }
            Node::Leaf(Leaf::File { content, size_bytes }) => {
                self.number(1);
                self.0.update(content.as_bytes());
                self.number(*size_bytes);
            }
            Node::Leaf(Leaf::Symlink(target)) => {
                self.number(2);
                self.bytes(target);
            }
            Node::Leaf(Leaf::Device { kind, major, minor }) => {
                self.number(match kind {
                    DeviceKind::Character => 3,
                    DeviceKind::Block => 4,
                });
                self.number(u64::from(*major) << 32 | u64::from(*minor));
            }
            Node::Leaf(Leaf::Fifo) => self.number(5),
        }
    }
}

fn directory_id(entries: &[(Name, Entry)]) -> DirectoryId {
    let mut encoder = Encoder::new("kiln directory 1");
    encoder.number(entries.len() as u64);
    for (name, entry) in entries {
        encoder.bytes(name);
        encoder.metadata(&entry.metadata);
        encoder.node(&entry.node);
    }
    encoder.0.finalize().into()
}

fn tree_id(metadata: &Metadata, directory: &Directory, hard_links: &HardLinks) -> TreeId {
    let mut encoder = Encoder::new("kiln tree 1");
    encoder.metadata(metadata);
    encoder.0.update(directory.id.as_bytes());
    encoder.number(hard_links.groups().len() as u64);
    for group in hard_links.groups() {
        encoder.number(group.len() as u64);
        for path in group {
            encoder.bytes(path.as_bytes());
        }
    }
    encoder.0.finalize().into()
}
