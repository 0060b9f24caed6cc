//! A change that grows on top of a tree, and what it had to know of that tree.
//!
//! [`Merge`] answers lookups from the change first and the base below it, creates directories,
//! places files, and carries the metadata of every directory above (docs/dockerfile.md, E003). Each answer
//! that came from the base is kept as a [`Fact`]: two bases that agree on the facts give the same
//! change, which is what lets a COPY layer be reused on another base.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::tree::{ChangeDirectory, ChangeEntry, Directory, Entry, Leaf, Metadata, Node, Timestamp};
use store::{Change, Name, RelPath, Tree};

use super::links::{Found, Last, follow};
use super::{CopyError, Owner};

/// What the base has at one path, as far as a change can depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A directory with this metadata.
    Directory(Metadata),
    /// A symbolic link to this target.
    Link(Box<[u8]>),
    /// Nothing, or a file that is neither: both give way to what is placed there.
    Other,
}

/// What stands at a path while the merge goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A directory.
    Directory(Metadata),
    /// A symbolic link.
    Link(Box<[u8]>),
    /// Some other file.
    File,
}

/// How directories that a destination needs are made.
#[derive(Debug, Clone, Copy)]
pub struct NewDirectory {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub owner: Owner,
    /// Time.
    pub mtime: Timestamp,
}

/// What turns an entry of a source into the entry that is placed.
pub trait Arrival {
    /// The metadata that a file or directory of the source has at its destination.
    fn metadata(&self, metadata: &Metadata, node: &Node) -> Metadata;
    /// Told of every file that is placed: where it is from, and where it is now.
    fn placed(&mut self, from: &RelPath, to: &RelPath);
}

/// A change in the making.
#[derive(Debug)]
pub struct Merge<'a> {
    base: &'a Tree,
    change: ChangeDirectory,
    facts: BTreeMap<RelPath, Fact>,
}

impl<'a> Merge<'a> {
    /// Starts with a change of nothing.
    pub fn new(base: &'a Tree) -> Self {
        Self { base, change: ChangeDirectory::default(), facts: BTreeMap::new() }
    }

    /// The change, without hard links, and what it depends on of the base.
    pub fn finish(self) -> (Change, BTreeMap<RelPath, Fact>) {
        (Change { directory: self.change, ..Change::default() }, self.facts)
    }

    /// What is at a path, links not followed.
    pub fn look(&mut self, path: &RelPath) -> Seen {
        if path.is_root() {
            return Seen::Directory(self.base.metadata().clone());
        }
        match look_in(&self.change, path) {
            Answer::Put(seen) => seen,
            Answer::Below => self.look_below(path),
        }
    }

    /// Resolves the links of a path inside the root.
    pub fn resolve(&mut self, path: &RelPath) -> Result<RelPath, CopyError> {
        Ok(follow(path, Last::Follow, |path| match self.look(path) {
            Seen::Link(target) => Found::Link(target),
            _ => Found::Other,
        })?)
    }

    /// Resolves the links of a path as if a directory above it, free of links, were the root.
    pub fn resolve_within(&mut self, root: &RelPath, path: &RelPath) -> Result<RelPath, CopyError> {
        let Some(inner) = path.strip_prefix(root) else { return self.resolve(path) };
        let resolved = follow(&inner, Last::Follow, |path| match self.look(&root.join_path(path)) {
            Seen::Link(target) => Found::Link(target),
            _ => Found::Other,
        })?;
        Ok(root.join_path(&resolved))
    }

    /// Makes a directory and all that are missing above it; the path has no links.
    pub fn make_directories(&mut self, path: &RelPath, new: &NewDirectory) -> Result<(), CopyError> {
        let mut at = RelPath::root();
        for component in path.components() {
            at = at.join(&Name::new(component).expect("a component of a path"));
            match self.look(&at) {
                Seen::Directory(_) => {}
                Seen::Absent => self.put_directory(&at, new.metadata()),
                Seen::Link(_) | Seen::File => return Err(CopyError::NotADirectory(at)),
            }
        }
        Ok(())
    }

    /// Gives a directory that exists, or is new, this metadata.
    pub fn put_directory(&mut self, path: &RelPath, metadata: Metadata) {
        let Some((parent, name)) = split(path) else { return };
        let parent = self.enter(&parent);
        match parent.entries.get_mut(&name) {
            Some(ChangeEntry::Directory { metadata: old, .. }) => *old = Some(metadata),
            _ => {
                let entry = ChangeEntry::Directory { metadata: Some(metadata), directory: ChangeDirectory::default() };
                parent.entries.insert(name, entry);
            }
        }
    }

    /// Places something that is no directory; what was there goes, unless it is a directory.
    pub fn put_leaf(&mut self, path: &RelPath, metadata: Metadata, leaf: Leaf) -> Result<(), CopyError> {
        let Some((parent, name)) = split(path) else { return Err(CopyError::FileOverDirectory(path.clone())) };
        if let Seen::Directory(_) = self.look(path) {
            return Err(CopyError::FileOverDirectory(path.clone()));
        }
        self.enter(&parent).entries.insert(name, ChangeEntry::Leaf(metadata, leaf));
        Ok(())
    }

    /// Places something that is no directory in place of whatever is there.
    pub fn replace_with_leaf(&mut self, path: &RelPath, metadata: Metadata, leaf: Leaf) {
        if let Some((parent, name)) = split(path) {
            self.enter(&parent).entries.insert(name, ChangeEntry::Leaf(metadata, leaf));
        }
    }

    /// Puts the entries of a source directory into a directory that exists.
    pub fn put_contents(
        &mut self,
        path: &RelPath,
        source: &Directory,
        from: &RelPath,
        arrival: &mut dyn Arrival,
    ) -> Result<(), CopyError> {
        let below = directory_in(self.base, path);
        let into = self.enter(path);
        fill(into, below.as_deref(), Places { from, to: path }, source, arrival)
    }

    fn look_below(&mut self, path: &RelPath) -> Seen {
        let (fact, seen) = match self.base.get(path) {
            None => (Fact::Other, Seen::Absent),
            Some(Entry { metadata, node: Node::Directory(_) }) => {
                (Fact::Directory(metadata.clone()), Seen::Directory(metadata.clone()))
            }
            Some(Entry { node: Node::Leaf(Leaf::Symlink(target)), .. }) => {
                (Fact::Link(target.clone()), Seen::Link(target.clone()))
            }
            Some(_) => (Fact::Other, Seen::File),
        };
        self.facts.insert(path.clone(), fact);
        seen
    }

    /// The change of a directory that exists; those above it and itself are carried along.
    fn enter(&mut self, path: &RelPath) -> &mut ChangeDirectory {
        let mut at = RelPath::root();
        for component in path.components() {
            at = at.join(&Name::new(component).expect("a component of a path"));
            if matches!(look_in(&self.change, &at), Answer::Below)
                && let Seen::Directory(metadata) = self.look_below(&at)
                && let Some((parent, name)) = split(&at)
            {
                let entry = ChangeEntry::Directory { metadata: Some(metadata), directory: ChangeDirectory::default() };
                descend(&mut self.change, &parent).entries.insert(name, entry);
            }
        }
        descend(&mut self.change, path)
    }
}

impl NewDirectory {
    fn metadata(&self) -> Metadata {
        let Self { mode, owner, mtime } = *self;
        Metadata { uid: owner.uid, gid: owner.gid, ..Metadata::root_owned(mode, mtime) }
    }
}

enum Answer {
    Put(Seen),
    Below,
}

fn look_in(change: &ChangeDirectory, path: &RelPath) -> Answer {
    let mut directory = change;
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        match (directory.entries.get(name), names.peek()) {
            (None, _) => return Answer::Below,
            (Some(ChangeEntry::Directory { directory: below, .. }), Some(_)) => directory = below,
            (Some(ChangeEntry::Directory { metadata: Some(metadata), .. }), None) => {
                return Answer::Put(Seen::Directory(metadata.clone()));
            }
            (Some(ChangeEntry::Directory { metadata: None, .. }), None) => return Answer::Below,
            (Some(ChangeEntry::Leaf(_, Leaf::Symlink(target))), None) => {
                return Answer::Put(Seen::Link(target.clone()));
            }
            (Some(ChangeEntry::Leaf(..)), None) => return Answer::Put(Seen::File),
            (Some(ChangeEntry::Removed), _) | (Some(ChangeEntry::Leaf(..)), Some(_)) => {
                return Answer::Put(Seen::Absent);
            }
        }
    }
    Answer::Below
}

/// The change of a directory of which every parent is in the change already.
fn descend<'c>(change: &'c mut ChangeDirectory, path: &RelPath) -> &'c mut ChangeDirectory {
    path.components().fold(change, |directory, component| {
        enter_directory(directory, &Name::new(component).expect("a component of a path"), None)
    })
}

/// The directory of that name in a change; in place of a file that the change put there.
fn enter_directory<'c>(
    change: &'c mut ChangeDirectory,
    name: &Name,
    metadata: Option<Metadata>,
) -> &'c mut ChangeDirectory {
    let new = || ChangeEntry::Directory { metadata: None, directory: ChangeDirectory::default() };
    let entry = change.entries.entry(name.clone()).or_insert_with(new);
    if !matches!(entry, ChangeEntry::Directory { .. }) {
        *entry = new();
    }
    let ChangeEntry::Directory { metadata: old, directory } = entry else {
        unreachable!("made a directory just above")
    };
    if metadata.is_some() {
        *old = metadata;
    }
    directory
}

/// A directory of the source and where it goes.
#[derive(Clone, Copy)]
struct Places<'p> {
    from: &'p RelPath,
    to: &'p RelPath,
}

fn fill(
    into: &mut ChangeDirectory,
    below: Option<&Directory>,
    places: Places<'_>,
    source: &Directory,
    arrival: &mut dyn Arrival,
) -> Result<(), CopyError> {
    for (name, entry) in source.entries() {
        let (from, to) = (places.from.join(name), places.to.join(name));
        let metadata = arrival.metadata(&entry.metadata, &entry.node);
        let base = below.and_then(|below| below.get(name));
        match &entry.node {
            Node::Directory(directory) => {
                let below = directory_below(into.entries.get(name), base, &to)?;
                let into = enter_directory(into, name, Some(metadata));
                fill(into, below, Places { from: &from, to: &to }, directory, arrival)?;
            }
            Node::Leaf(leaf) => {
                if is_directory(into.entries.get(name), base) {
                    return Err(CopyError::FileOverDirectory(to));
                }
                into.entries.insert(name.clone(), ChangeEntry::Leaf(metadata, leaf.clone()));
                arrival.placed(&from, &to);
            }
        }
    }
    Ok(())
}

/// What of the base a directory is merged with. A directory over anything else is an error, as it
/// is for the field's builders (docs/dockerfile.md, A104).
fn directory_below<'b>(
    put: Option<&ChangeEntry>,
    base: Option<&'b Entry>,
    path: &RelPath,
) -> Result<Option<&'b Directory>, CopyError> {
    match (put, base) {
        (Some(ChangeEntry::Leaf(..)), _) => Err(CopyError::DirectoryOverFile(path.clone())),
        (Some(ChangeEntry::Removed), _) | (None, None) => Ok(None),
        (_, Some(Entry { node: Node::Directory(directory), .. })) => Ok(Some(directory)),
        (None, Some(_)) => Err(CopyError::DirectoryOverFile(path.clone())),
        (Some(ChangeEntry::Directory { .. }), _) => Ok(None),
    }
}

fn is_directory(put: Option<&ChangeEntry>, base: Option<&Entry>) -> bool {
    match put {
        Some(ChangeEntry::Directory { .. }) => true,
        Some(ChangeEntry::Leaf(..) | ChangeEntry::Removed) => false,
        None => matches!(base, Some(Entry { node: Node::Directory(_), .. })),
    }
}

fn directory_in(tree: &Tree, path: &RelPath) -> Option<Arc<Directory>> {
    if path.is_root() {
        return Some(tree.directory().clone());
    }
    match &tree.get(path)?.node {
        Node::Directory(directory) => Some(directory.clone()),
        Node::Leaf(_) => None,
    }
}

fn split(path: &RelPath) -> Option<(RelPath, Name)> {
    Some((path.parent()?, path.file_name()?))
}
