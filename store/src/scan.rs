//! A directory on disk becomes a [`Tree`]: how a build context is read.
//!
//! Directories are walked and files are hashed in parallel; files that a [`StatCache`] knows are
//! not opened at all, so that a scan of which nothing changed costs one `stat` a file. Nothing is
//! followed: a symbolic link is a symbolic link. Sockets are left out (they are in no layer).
//! The scan does not know why a file is wanted or not: its caller's filter does.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::content::Contents;
use crate::fs::{self, Dir, FsError, HashError, Kind, Stat};
use crate::layer::keeps_attribute;
use crate::stat_cache::{self, Record, StatCache};
use crate::tree::{
    DeviceKind, Directory, Entry, HardLinks, Leaf, MOST_COMPONENTS, Metadata, Node, Timestamp, Tree, Xattrs,
};
use crate::{Cancel, Cancelled, Name, ObjectId, RelPath};

/// What a filter says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted; what is below is asked for one by one.
    Keep,
    /// Neither it nor anything below is wanted; a directory is not even opened.
    Skip,
    /// The directory itself is not wanted, but something below may be: it is kept if something is.
    Descend,
}

/// What modification times the tree gets. All are cut to whole seconds, as layers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Those on disk, but none later than this.
    Clamp(Timestamp),
    /// This one, everywhere.
    Exactly(Timestamp),
    /// Those on disk.
    Preserve,
}

impl Times {
    /// The time that a file with this one gets.
    pub fn of(self, mtime: Timestamp) -> Timestamp {
        match self {
            Self::Clamp(latest) => Timestamp::from_secs(mtime.secs).min(latest),
            Self::Exactly(time) => time,
            Self::Preserve => Timestamp::from_secs(mtime.secs),
        }
    }
}

/// Whom the files in the tree belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Root: who owns them on this machine says nothing.
    Root,
    /// Whom they belong to on disk.
    Keep,
}

/// Whether the tree gets extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// None: what a desktop or a security module noted on this machine is not content.
    Drop,
    /// Those that a layer may carry: `user.*` (not overlayfs's own) and `security.capability`.
    Keep,
}

/// Which files of a directory are read, and what of them.
pub struct ScanOptions<'a> {
    /// Asked once for every path except the root, directories before what is in them.
    pub filter: &'a (dyn Fn(&RelPath, Kind) -> Verdict + Sync),
    /// The modification times in the tree.
    pub times: Times,
    /// The owners in the tree.
    pub ownership: Ownership,
    /// The extended attributes in the tree.
    pub attributes: Attributes,
    /// What ends the scan.
    pub cancel: &'a Cancel,
}

/// What a directory holds.
#[derive(Debug)]
pub struct Scan {
    /// All that the filter kept.
    pub tree: Tree,
    /// Where its contents lie: below the directory.
    pub contents: Contents,
    /// How many files had to be read, because they were not known from an earlier scan.
    pub files_read: usize,
}

/// Why a directory cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file was written to every time it was read.
    #[error("{path} keeps changing while it is read")]
    Changing {
        /// Which file.
        path: RelPath,
    },
    /// Directories are nested more than [`MOST_COMPONENTS`] deep.
    #[error("the directories above {path} are nested more than {MOST_COMPONENTS} deep")]
    TooDeep {
        /// The first directory too many.
        path: RelPath,
    },
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

/// Reads everything in a directory that the filter keeps.
pub fn scan(root: &Dir, options: &ScanOptions<'_>, cache: Option<&mut StatCache>) -> Result<Scan, ScanError> {
    let walk = Walk {
        options,
        cache: cache.as_deref(),
        started: now(),
        found: Mutex::default(),
        links: Mutex::default(),
        files: AtomicUsize::new(0),
    };
    let at = RelPath::root();
    let stat = root.stat().map_err(FsError::of("examine", &at))?;
    let metadata = walk.metadata(&stat, || xattrs_of(root))?;
    let entries = fs::on_walkers(|| walk.directory(root, &at, 0))?;
    let Walk { found, links, files, .. } = walk;
    let Found { places, learnt, read } = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let links = links.into_inner().unwrap_or_else(PoisonError::into_inner);
    let hard_links = HardLinks::new(links.into_values());
    if let Some(cache) = cache.filter(|_| !learnt.is_empty()) {
        cache.learn(learnt, files.into_inner());
    }
    let tree = Tree::new(metadata, Arc::new(Directory::new(entries)), hard_links);
    let directory = root.try_clone().map_err(FsError::of("open", &at))?;
    let contents = Contents::of_files(Arc::new(directory.into()), places);
    Ok(Scan { tree, contents, files_read: read })
}

/// What one scan has at hand and collects.
struct Walk<'a> {
    options: &'a ScanOptions<'a>,
    cache: Option<&'a StatCache>,
    started: Timestamp,
    found: Mutex<Found>,
    /// Names by device and inode, of files that have several.
    links: Mutex<HashMap<(u64, u64), Vec<RelPath>>>,
    files: AtomicUsize,
}

#[derive(Default)]
struct Found {
    places: Vec<(ObjectId, RelPath)>,
    learnt: Vec<Record>,
    read: usize,
}

/// Files of one directory are dealt out in heaps of this many: less is not worth a thread's turn.
const FILES_A_TURN: usize = 64;

impl Walk<'_> {
    fn directory(&self, dir: &Dir, at: &RelPath, depth: usize) -> Result<Vec<(Name, Entry)>, ScanError> {
        if depth > MOST_COMPONENTS {
            return Err(ScanError::TooDeep { path: at.clone() });
        }
        let Wanted { directories, files } = self.wanted(dir, at)?;
        let leaves = files.into_par_iter().with_min_len(FILES_A_TURN).map(|(name, path)| self.leaf(dir, name, &path));
        let mut entries: Vec<_> = leaves.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let below = directories.into_par_iter().map(|below| self.subdirectory(dir, below, depth + 1));
        entries.extend(below.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?);
        Ok(entries)
    }

    /// Lists a directory and asks the filter: directories to enter, and all else to keep.
    fn wanted(&self, dir: &Dir, at: &RelPath) -> Result<Wanted, ScanError> {
        let Wanted { mut directories, mut files } = Wanted::default();
        for (name, kind) in dir.entries().map_err(FsError::of("list", at))? {
            self.options.cancel.check()?;
            let path = at.join(&name);
            let kind = kind.map_or_else(|| dir.examine(&name).map(|stat| stat.kind), Ok);
            let kind = kind.map_err(FsError::of("examine", &path))?;
            match ((self.options.filter)(&path, kind), kind) {
                (Verdict::Skip, _) | (_, Kind::Socket) => {}
                (verdict, Kind::Directory) => directories.push(Subdirectory { name, path, verdict }),
                (Verdict::Keep, _) => files.push((name, path)),
                (Verdict::Descend, _) => {}
            }
        }
        Ok(Wanted { directories, files })
    }

    fn subdirectory(&self, dir: &Dir, below: Subdirectory, depth: usize) -> Result<Option<(Name, Entry)>, ScanError> {
        let Subdirectory { name, path, verdict } = below;
        let child = dir.child(&name).map_err(FsError::of("open", &path))?;
        let entries = self.directory(&child, &path, depth)?;
        if verdict == Verdict::Descend && entries.is_empty() {
            return Ok(None);
        }
        let stat = child.stat().map_err(FsError::of("examine", &path))?;
        let metadata = self.metadata(&stat, || xattrs_of(&child).map_err(|error| error.at(&path)))?;
        Ok(Some((name, Entry { metadata, node: Node::Directory(Arc::new(Directory::new(entries))) })))
    }

    fn leaf(&self, dir: &Dir, name: Name, path: &RelPath) -> Result<Option<(Name, Entry)>, ScanError> {
        self.options.cancel.check()?;
        let stat = dir.examine(&name).map_err(FsError::of("examine", path))?;
        let leaf = match leaf_of(dir, &name, &stat).map_err(FsError::of("read", path))? {
            NonDirectory::Leaf(leaf) => leaf,
            NonDirectory::File => return self.file(dir, name, path, stat).map(Some),
            NonDirectory::None => return Ok(None),
        };
        self.note_link(&stat, path);
        let metadata = self.metadata(&stat, || Ok(Xattrs::default()))?;
        Ok(Some((name, Entry { metadata, node: Node::Leaf(leaf) })))
    }

    fn file(&self, dir: &Dir, name: Name, path: &RelPath, stat: Stat) -> Result<(Name, Entry), ScanError> {
        self.files.fetch_add(1, Ordering::Relaxed);
        let (content, stat) = match self.cache.and_then(|cache| cache.get(path, &stat)) {
            Some(content) => {
                self.lock_found().places.push((content, path.clone()));
                (content, stat)
            }
            None => self.read(dir, &name, path)?,
        };
        self.note_link(&stat, path);
        let metadata = self.metadata(&stat, || {
            let file = dir.file(&name).map_err(FsError::of("open", path))?;
            xattrs_of(&file).map_err(|error| error.at(path))
        })?;
        let leaf = Leaf::File { content, size_bytes: stat.size_bytes };
        Ok((name, Entry { metadata, node: Node::Leaf(leaf) }))
    }

    /// Hashes a file, again if it changes meanwhile, and notes what was learnt.
    fn read(&self, dir: &Dir, name: &Name, path: &RelPath) -> Result<(ObjectId, Stat), ScanError> {
        for _ in 0..ATTEMPTS {
            let file = dir.file(name).map_err(FsError::of("open", path))?;
            let stat = Stat::of(&file).map_err(FsError::of("examine", path))?;
            match fs::hash(&file, &stat, self.options.cancel) {
                Ok(content) => {
                    let mut found = self.lock_found();
                    found.learnt.extend(stat_cache::record(path, &stat, self.started, content));
                    found.places.push((content, path.clone()));
                    found.read += 1;
                    return Ok((content, stat));
                }
                Err(HashError::Read(errno)) => return Err(FsError::of("read", path)(errno).into()),
                Err(HashError::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(HashError::Changed) => {}
            }
        }
        Err(ScanError::Changing { path: path.clone() })
    }

    fn metadata(&self, stat: &Stat, xattrs: impl FnOnce() -> Result<Xattrs, FsError>) -> Result<Metadata, FsError> {
        let (uid, gid) = match self.options.ownership {
            Ownership::Root => (0, 0),
            Ownership::Keep => (stat.uid, stat.gid),
        };
        let xattrs = match self.options.attributes {
            Attributes::Drop => Xattrs::default(),
            Attributes::Keep => xattrs()?,
        };
        Ok(Metadata { mode: stat.mode, uid, gid, mtime: self.options.times.of(stat.mtime), xattrs })
    }

    fn note_link(&self, stat: &Stat, path: &RelPath) {
        if stat.links > 1 {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.entry((stat.device, stat.inode)).or_default().push(path.clone());
        }
    }

    fn lock_found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a file that changes under the reader is read before giving up.
const ATTEMPTS: usize = 3;

/// What of a directory is to be looked at.
#[derive(Default)]
struct Wanted {
    directories: Vec<Subdirectory>,
    files: Vec<(Name, RelPath)>,
}

struct Subdirectory {
    name: Name,
    path: RelPath,
    verdict: Verdict,
}

/// What stands under a name that is no directory.
pub(crate) enum NonDirectory {
    /// Something that its metadata describes whole.
    Leaf(Leaf),
    /// A regular file: it has to be read.
    File,
    /// Something that is in no tree.
    None,
}

/// Reads a leaf that has no content.
pub(crate) fn leaf_of(dir: &Dir, name: &Name, stat: &Stat) -> rustix::io::Result<NonDirectory> {
    let (major, minor) = stat.node;
    let device = |kind| NonDirectory::Leaf(Leaf::Device { kind, major, minor });
    Ok(match stat.kind {
        Kind::File => NonDirectory::File,
        Kind::Symlink => NonDirectory::Leaf(Leaf::Symlink(dir.read_link(name)?)),
        Kind::Character => device(DeviceKind::Character),
        Kind::Block => device(DeviceKind::Block),
        Kind::Fifo => NonDirectory::Leaf(Leaf::Fifo),
        Kind::Directory | Kind::Socket => NonDirectory::None,
    })
}

/// The attributes that a layer may carry.
pub(crate) fn xattrs_of(fd: impl std::os::fd::AsFd) -> Result<Xattrs, FsError> {
    let names = fs::list_xattrs(&fd).map_err(FsError::of("list the attributes of", &RelPath::root()))?;
    let wanted = names.into_iter().filter(|name| keeps_attribute(name));
    let pairs = wanted.filter_map(|name| match fs::get_xattr(&fd, &name) {
        Ok(value) => value.map(|value| Ok((name, value))),
        Err(errno) => Some(Err(FsError::of("read an attribute of", &RelPath::root())(errno))),
    });
    pairs.collect()
}

fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp { secs: since.as_secs().cast_signed(), nanos: since.subsec_nanos() }
}
