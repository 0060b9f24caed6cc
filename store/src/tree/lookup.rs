//! Finds things in a tree: through symbolic links as in a chroot, below a path, one after the other.

use super::{Directory, Entry, HardLinks, Leaf, Metadata, Node, Tree};
use crate::{Name, RelPath};

/// How many symbolic links one lookup may follow. The kernel stops at 40; Go's `securejoin`, which
/// the other builders use, at 255.
const MOST_LINKS: usize = 255;

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More symbolic links than any sane path has.
    #[error("too many levels of symbolic links below {0}")]
    TooManyLinks(RelPath),
    /// Something on the way is neither a directory nor a symbolic link to one.
    #[error("{0} is not a directory")]
    NotADirectory(RelPath),
}

/// Where a path leads, once every symbolic link is followed within the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<'t> {
    /// The root directory.
    Root,
    /// Something other than a symbolic link, at its real path.
    Entry(RelPath, &'t Entry),
    /// Nothing: the real path at which it would have to be made.
    Missing(RelPath),
}

impl Resolved<'_> {
    /// The real path.
    pub fn path(&self) -> RelPath {
        match self {
            Self::Root => RelPath::root(),
            Self::Entry(path, _) | Self::Missing(path) => path.clone(),
        }
    }
}

impl Tree {
    /// Follows a path as a process whose root is this tree would, the last component included:
    /// absolute targets start at the root, and `..` stops there.
    pub fn resolve(&self, path: &RelPath) -> Result<Resolved<'_>, ResolveError> {
        Walk { tree: self, entered: Vec::new(), absent: Vec::new(), links_left: MOST_LINKS }.run(path)
    }

    /// What is below a directory, as a tree of its own with those hard links that lie in it;
    /// `None` if there is no directory at the path. Symbolic links are not followed.
    pub fn subtree(&self, path: &RelPath) -> Option<Self> {
        if path.is_root() {
            return Some(self.clone());
        }
        let Entry { metadata, node: Node::Directory(directory) } = self.get(path)? else { return None };
        let below = |group: &[RelPath]| group.iter().filter_map(|link| link.strip_prefix(path)).collect();
        let groups = self.hard_links().groups().iter().map(|group| below(group));
        Some(Self::new(metadata.clone(), directory.clone(), HardLinks::new(groups)))
    }

    /// Everything but the root, parents first, siblings in byte order.
    pub fn walk(&self) -> Entries<'_> {
        Entries { open: vec![(RelPath::root(), self.directory().entries().iter())] }
    }

    /// The metadata of the directory at a path, the root included.
    pub fn directory_metadata(&self, path: &RelPath) -> Option<&Metadata> {
        if path.is_root() {
            return Some(self.metadata());
        }
        self.get(path).filter(|entry| matches!(entry.node, Node::Directory(_))).map(|entry| &entry.metadata)
    }
}

/// An iterator over all entries of a tree; see [`Tree::walk`].
#[derive(Debug, Clone)]
pub struct Entries<'t> {
    open: Vec<(RelPath, std::slice::Iter<'t, (Name, Entry)>)>,
}

impl<'t> Iterator for Entries<'t> {
    type Item = (RelPath, &'t Entry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (above, entries) = self.open.last_mut()?;
            let Some((name, entry)) = entries.next() else {
                self.open.pop();
                continue;
            };
            let path = above.join(name);
            if let Node::Directory(directory) = &entry.node {
                self.open.push((path.clone(), directory.entries().iter()));
            }
            return Some((path, entry));
        }
    }
}

/// One lookup: the directories entered so far, innermost last, and below them the names that are
/// not there. As in `filepath-securejoin`, `..` leaves a name that is not there, too.
struct Walk<'t> {
    tree: &'t Tree,
    entered: Vec<(&'t [u8], &'t Directory)>,
    absent: Vec<Vec<u8>>,
    links_left: usize,
}

impl<'t> Walk<'t> {
    fn run(mut self, asked: &RelPath) -> Result<Resolved<'t>, ResolveError> {
        // Components still to go, the next one last; the target of a link is pushed on top.
        let mut todo: Vec<Vec<u8>> = components(asked.as_bytes()).rev().collect();
        while let Some(name) = todo.pop() {
            if name == b".." {
                self.leave();
                continue;
            }
            match self.here().and_then(|directory| directory.find(&name)) {
                None => self.absent.push(name),
                Some((name, Entry { node: Node::Directory(below), .. })) => self.entered.push((name, below)),
                Some((_, Entry { node: Node::Leaf(Leaf::Symlink(target)), .. })) => {
                    self.links_left =
                        self.links_left.checked_sub(1).ok_or_else(|| ResolveError::TooManyLinks(asked.clone()))?;
                    if target.first() == Some(&b'/') {
                        self.entered.clear();
                    }
                    todo.extend(components(target).rev());
                }
                Some((name, entry)) if todo.is_empty() => return Ok(Resolved::Entry(self.path_of(name), entry)),
                Some((name, _)) => return Err(ResolveError::NotADirectory(self.path_of(name))),
            }
        }
        Ok(self.arrived())
    }

    /// The directory to look in; `None` below a name that is not there.
    fn here(&self) -> Option<&'t Directory> {
        self.absent.is_empty().then(|| self.entered.last().map_or(&**self.tree.directory(), |(_, directory)| directory))
    }

    fn leave(&mut self) {
        if self.absent.pop().is_none() {
            self.entered.pop();
        }
    }

    fn arrived(self) -> Resolved<'t> {
        let path = joined(self.entered.iter().map(|(name, _)| *name).chain(self.absent.iter().map(|name| &name[..])));
        if !self.absent.is_empty() {
            return Resolved::Missing(path);
        }
        self.tree.get(&path).map_or(Resolved::Root, |entry| Resolved::Entry(path, entry))
    }

    fn path_of(&self, leaf: &[u8]) -> RelPath {
        joined(self.entered.iter().map(|(name, _)| *name).chain([leaf]))
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

fn joined<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> RelPath {
    RelPath::of_components(names.into_iter().collect::<Vec<_>>().join(&b'/'))
}
