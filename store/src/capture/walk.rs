//! The walk over an upper directory, or over a copy, beside the tree that it started as.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::{CaptureError, CaptureOptions, intake};
use crate::fs::{self, Dir, FsError, Kind, Stat};
use crate::layer::keeps_attribute;
use crate::object::OBJECT_BYTES;
use crate::scan::{NonDirectory, leaf_of};
use crate::sharing::OPAQUE;
use crate::tree::{
    Change, ChangeDirectory, ChangeEntry, Directory, Entry, HardLinks, Leaf, MOST_COMPONENTS, Metadata, Node, Tree,
    Xattrs,
};
use crate::{Name, ObjectId, RelPath, Store};

/// What the absence of a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Nothing: an upper directory holds only what was touched.
    Upper,
    /// A removal: a copy holds everything.
    Whole,
}

/// What the walk found.
pub(super) struct Found {
    pub(super) change: Change,
    pub(super) places: Vec<(ObjectId, RelPath)>,
    pub(super) adoptable: bool,
}

pub(super) fn walk(
    store: &Store,
    root: &Dir,
    lower: &Tree,
    layout: Layout,
    options: &CaptureOptions<'_>,
    exclude: &BTreeSet<&RelPath>,
) -> Result<Found, CaptureError> {
    let walk = Walk {
        store,
        options,
        exclude,
        layout,
        links_below: links_below(lower, layout),
        cannot_give_away: cannot_give_away(),
        places: Mutex::default(),
        links: Mutex::default(),
        adoptable: AtomicBool::new(true),
    };
    let at = RelPath::root();
    let stat = root.stat().map_err(FsError::of("examine", &at))?;
    let (xattrs, _) = walk.xattrs(root, &at)?;
    let below = Entry { metadata: lower.metadata().clone(), node: Node::Directory(lower.directory().clone()) };
    let metadata = walk.metadata(&stat, xattrs, Some(&below));
    let hidden = layout == Layout::Whole;
    let top = Place { path: at, lower: Some(lower.directory()), hidden, depth: 0 };
    let directory = fs::on_walkers(|| walk.directory(root, &top))?;
    let change = Change {
        root: (!same_but_time(&metadata, lower.metadata())).then_some(metadata),
        directory,
        hard_links: HardLinks::new(into_inner(walk.links).into_values().map(|linked| linked.paths)),
    };
    Ok(Found { change, places: into_inner(walk.places), adoptable: walk.adoptable.into_inner() })
}

struct Walk<'a> {
    store: &'a Store,
    options: &'a CaptureOptions<'a>,
    exclude: &'a BTreeSet<&'a RelPath>,
    layout: Layout,
    /// In a copy: how many names the files below had that had several.
    links_below: HashMap<&'a RelPath, u64>,
    /// Whether every file here is this process's, whoever it should belong to.
    cannot_give_away: bool,
    places: Mutex<Vec<(ObjectId, RelPath)>>,
    /// Files with several names, by device and inode.
    links: Mutex<HashMap<(u64, u64), Linked>>,
    adoptable: AtomicBool,
}

#[derive(Default)]
struct Linked {
    paths: Vec<RelPath>,
    content: Option<ObjectId>,
}

/// A directory and what was there before.
struct Place<'l> {
    path: RelPath,
    lower: Option<&'l Directory>,
    /// Whether what is not here is gone.
    hidden: bool,
    depth: usize,
}

/// Files of one directory are dealt out in heaps of this many.
const FILES_A_TURN: usize = 64;

impl Walk<'_> {
    fn directory(&self, dir: &Dir, at: &Place<'_>) -> Result<ChangeDirectory, CaptureError> {
        if at.depth > MOST_COMPONENTS {
            return Err(CaptureError::TooDeep { path: at.path.clone() });
        }
        let names = dir.entries().map_err(FsError::of("list", &at.path))?;
        let mut change = ChangeDirectory::default();
        if let Some(lower) = at.lower.filter(|_| at.hidden) {
            change.entries = gone(lower, &names);
        }
        let (directories, leaves): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|(_, kind)| matches!(kind, Some(Kind::Directory) | None));
        let turns = [(directories, 1), (leaves, FILES_A_TURN)];
        for (names, a_turn) in turns {
            let names = names.into_par_iter().with_min_len(a_turn);
            let entries = names.map(|(name, kind)| Ok(self.entry(dir, &name, kind, at)?.map(|entry| (name, entry))));
            change.entries.extend(entries.filter_map(Result::transpose).collect::<Result<Vec<_>, CaptureError>>()?);
        }
        Ok(change)
    }

    fn entry(
        &self,
        dir: &Dir,
        name: &Name,
        kind: Option<Kind>,
        at: &Place<'_>,
    ) -> Result<Option<ChangeEntry>, CaptureError> {
        self.store.go_on()?;
        let path = at.path.join(name);
        let below = at.lower.and_then(|lower| lower.get(name));
        let kind = match kind {
            Some(kind) => kind,
            None => dir.examine(name).map_err(FsError::of("examine", &path))?.kind,
        };
        if self.exclude.contains(&path) && kind != Kind::Directory {
            return Ok(None);
        }
        if name.starts_with(b".wh.") {
            return Err(CaptureError::WhiteoutName { path });
        }
        match kind {
            Kind::Directory => self.subdirectory(dir, name, path, below, at),
            Kind::File => self.file(dir, name, path, below),
            Kind::Socket => Ok(below.map(|_| ChangeEntry::Removed)),
            Kind::Symlink | Kind::Character | Kind::Block | Kind::Fifo => self.other(dir, name, path, below),
        }
    }

    fn subdirectory(
        &self,
        dir: &Dir,
        name: &Name,
        path: RelPath,
        below: Option<&Entry>,
        at: &Place<'_>,
    ) -> Result<Option<ChangeEntry>, CaptureError> {
        let child = dir.child(name).map_err(FsError::of("open", &path))?;
        let (xattrs, opaque) = self.xattrs(&child, &path)?;
        let lower = below.and_then(|entry| match &entry.node {
            Node::Directory(lower) => Some(&**lower),
            Node::Leaf(_) => None,
        });
        let excluded = self.exclude.contains(&path);
        let place = Place { path, lower, hidden: at.hidden || opaque, depth: at.depth + 1 };
        let directory = self.directory(&child, &place)?;
        let stat = child.stat().map_err(FsError::of("examine", &place.path))?;
        let metadata = self.metadata(&stat, xattrs, below);
        let unchanged = below.is_some_and(|below| lower.is_some() && same_but_time(&below.metadata, &metadata));
        if directory.entries.is_empty() && (unchanged || excluded) {
            return Ok(None);
        }
        Ok(Some(ChangeEntry::Directory { metadata: Some(metadata), directory }))
    }

    fn other(
        &self,
        dir: &Dir,
        name: &Name,
        path: RelPath,
        below: Option<&Entry>,
    ) -> Result<Option<ChangeEntry>, CaptureError> {
        let stat = dir.examine(name).map_err(FsError::of("examine", &path))?;
        if stat.is_whiteout() {
            return Ok(below.map(|_| ChangeEntry::Removed));
        }
        let leaf = match leaf_of(dir, name, &stat).map_err(FsError::of("read", &path))? {
            NonDirectory::Leaf(leaf) => leaf,
            NonDirectory::File | NonDirectory::None => return Err(CaptureError::Changing { path }),
        };
        let entry = Entry { metadata: self.metadata(&stat, Xattrs::default(), below), node: Node::Leaf(leaf) };
        Ok(self.leaf(entry, &stat, path, below, None))
    }

    fn file(
        &self,
        dir: &Dir,
        name: &Name,
        path: RelPath,
        below: Option<&Entry>,
    ) -> Result<Option<ChangeEntry>, CaptureError> {
        let file = dir.file(name).map_err(FsError::of("open", &path))?;
        let stat = Stat::of(&file).map_err(FsError::of("examine", &path))?;
        let (xattrs, _) = self.xattrs(&file, &path)?;
        let known = self.linked_content(&stat);
        let content = known.map_or_else(|| content(self.store, &file, &stat, &path), Ok)?;
        let leaf = Leaf::File { content, size_bytes: stat.size_bytes };
        let entry = Entry { metadata: self.metadata(&stat, xattrs, below), node: Node::Leaf(leaf) };
        let change = self.leaf(entry, &stat, path.clone(), below, Some(content));
        if change.is_some() && stat.size_bytes >= OBJECT_BYTES {
            intake::take(self.store, self.options.source, (dir, name, &path), (&file, &stat), content)?;
        } else if change.is_some() && stat.size_bytes > 0 {
            lock(&self.places).push((content, path));
        }
        Ok(change)
    }

    /// Decides whether a leaf is a change, and notes its other names if it is.
    fn leaf(
        &self,
        entry: Entry,
        stat: &Stat,
        path: RelPath,
        below: Option<&Entry>,
        content: Option<ObjectId>,
    ) -> Option<ChangeEntry> {
        let links = self.links_below.get(&path).copied().unwrap_or(1);
        if below == Some(&entry) && stat.links == links {
            return None;
        }
        if stat.links > 1 {
            let mut all = lock(&self.links);
            let linked = all.entry((stat.device, stat.inode)).or_default();
            linked.paths.push(path);
            linked.content = content;
        }
        match entry.node {
            Node::Leaf(leaf) => Some(ChangeEntry::Leaf(entry.metadata, leaf)),
            Node::Directory(_) => None,
        }
    }

    /// The content of a file that was read under another name.
    fn linked_content(&self, stat: &Stat) -> Option<ObjectId> {
        if stat.links == 1 {
            return None;
        }
        lock(&self.links).get(&(stat.device, stat.inode)).and_then(|linked| linked.content)
    }

    fn metadata(&self, stat: &Stat, xattrs: Xattrs, below: Option<&Entry>) -> Metadata {
        let mtime = match below {
            Some(below) if below.metadata.mtime == stat.mtime => stat.mtime,
            _ => self.options.times.of(stat.mtime),
        };
        let (uid, gid) = match below {
            _ if !self.cannot_give_away => (stat.uid, stat.gid),
            Some(below) if is_same_kind(stat.kind, &below.node) => (below.metadata.uid, below.metadata.gid),
            _ => (0, 0),
        };
        Metadata { mode: mode(stat), uid, gid, mtime, xattrs }
    }

    /// The attributes that a layer carries, and whether the directory is marked opaque.
    fn xattrs(&self, fd: impl std::os::fd::AsFd, path: &RelPath) -> Result<(Xattrs, bool), CaptureError> {
        let names = fs::list_xattrs(&fd).map_err(FsError::of("list the attributes of", path))?;
        let (mut kept, mut opaque) = (Vec::new(), false);
        for name in names {
            let read = || fs::get_xattr(&fd, &name).map_err(FsError::of("read an attribute of", path));
            if &*name == OPAQUE {
                opaque = self.layout == Layout::Upper && read()?.as_deref() == Some(b"y");
            } else if keeps_attribute(&name) {
                let value = read()?;
                kept.extend(value.map(|value| (name, value)));
            } else if !is_bookkeeping(&name) {
                self.adoptable.store(false, Ordering::Relaxed);
            }
        }
        Ok((kept.into_iter().collect(), opaque))
    }
}

/// Attributes of overlayfs that mean nothing in a lower directory, or that are every file's.
fn is_bookkeeping(name: &[u8]) -> bool {
    matches!(name, b"user.overlay.origin" | b"user.overlay.impure" | b"user.overlay.uuid" | b"user.overlay.nlink")
        || name == b"security.selinux"
}

/// Whether what was there is still of that kind.
fn is_same_kind(kind: Kind, below: &Node) -> bool {
    match below {
        Node::Directory(_) => kind == Kind::Directory,
        Node::Leaf(Leaf::File { .. }) => kind == Kind::File,
        Node::Leaf(Leaf::Symlink(_)) => kind == Kind::Symlink,
        Node::Leaf(Leaf::Fifo) => kind == Kind::Fifo,
        Node::Leaf(Leaf::Device { .. }) => matches!(kind, Kind::Character | Kind::Block),
    }
}

/// The mode in the tree: that of a symbolic link is always the same.
fn mode(stat: &Stat) -> u16 {
    if stat.kind == Kind::Symlink { 0o777 } else { stat.mode }
}

fn same_but_time(a: &Metadata, b: &Metadata) -> bool {
    (a.mode, a.uid, a.gid, &a.xattrs) == (b.mode, b.uid, b.gid, &b.xattrs)
}

/// What was there and is not listed.
fn gone<'n>(
    lower: &Directory,
    names: impl IntoIterator<Item = &'n (Name, Option<Kind>)>,
) -> std::collections::BTreeMap<Name, ChangeEntry> {
    let here: BTreeSet<&Name> = names.into_iter().map(|(name, _)| name).collect();
    let gone = lower.entries().iter().filter(|(name, _)| !here.contains(name));
    gone.map(|(name, _)| (name.clone(), ChangeEntry::Removed)).collect()
}

/// Files of a copy that had several names still have them; in an upper directory a file that was
/// copied up has lost the others.
fn links_below(lower: &Tree, layout: Layout) -> HashMap<&RelPath, u64> {
    let groups = lower.hard_links().groups().iter().filter(|_| layout == Layout::Whole);
    groups.flat_map(|group| group.iter().map(|path| (path, group.len() as u64))).collect()
}

/// Whether this process has one id only: that of an ordinary user, or of a user namespace that maps no other.
fn cannot_give_away() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = |line: &str| line.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    !rustix::process::geteuid().is_root() || map.lines().filter_map(count).sum::<u64>() == 1
}

/// The name of what a file holds. Small files are read at once: nobody writes to them any more.
fn content(store: &Store, file: &File, stat: &Stat, path: &RelPath) -> Result<ObjectId, CaptureError> {
    if stat.size_bytes >= OBJECT_BYTES {
        return intake::hash(store, file, stat, path);
    }
    SMALL.with_borrow_mut(|buffer| {
        let mut length = 0;
        let mut reader = file;
        while length < stat.size_bytes as usize {
            match reader.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(FsError { doing: "read", path: path.clone(), source }.into()),
            }
        }
        if length as u64 != stat.size_bytes {
            return Err(CaptureError::Changing { path: path.clone() });
        }
        Ok(ObjectId::of(&buffer[..length]))
    })
}

thread_local! {
    static SMALL: RefCell<Box<[u8]>> = RefCell::new(vec![0; OBJECT_BYTES as usize].into());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
