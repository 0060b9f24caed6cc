//! Cache mounts: directories that outlive builds, and what they have seen.
//!
//! `cache-mounts/<hash of id, owner, mode and first content>/` holds numbered copies: `0`, and more where a private one was in
//! use. Beside each stand its lock, which dies with its holder, and the list of root filesystems
//! that it was used with. Files of a step that differ from what the cache saw last get the current
//! time (docs/cache.md): that is what tells make, ninja and cargo that something is newer than
//! what they keep in the cache.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use store::fs::Dir;
use store::tree::{ChangeDirectory, ChangeEntry, Leaf, Metadata, Node, Timestamp, diff};
use store::{Area, Contents, DiffId, Name, ObjectId, RelPath, Snapshot, Store, StoreError, Tree};

use super::Rootfs;
use super::bind::{self, write_directory, write_node};
use crate::copy::select::{entry_at, resolve};
use crate::error::StepError;
use crate::graph::{CacheMount, Sharing};
use crate::progress::Cancel;

/// How often a lock that somebody has is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// How many root filesystems are remembered that a cache was used with and that may not all have been seen to the end.
const MOST_SEEN: usize = 8;

/// A cache mount that a step may use until this is dropped.
#[derive(Debug)]
pub(super) struct HeldCache {
    directory: PathBuf,
    seen: PathBuf,
    hold: Hold,
    _lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Alone,
    WithOthers,
}

/// Where a new cache mount gets its content from.
pub(super) struct Seed {
    pub(super) tree: Arc<Tree>,
    pub(super) contents: Contents,
    pub(super) path: RelPath,
}

/// Takes a cache mount, waiting if it must; `waiting` is called before it does. `None` if the build
/// was cancelled meanwhile.
pub(super) fn hold(
    store: &Store,
    cache: &CacheMount,
    seed: Option<Seed>,
    stop: &Cancel,
    waiting: &dyn Fn(),
) -> Result<Option<HeldCache>, StepError> {
    let home = store.dir(Area::CacheMounts).join(ObjectId::of(identity(cache, seed.as_ref()).as_bytes()).hex());
    fs::create_dir_all(&home).map_err(StoreError::io("make", &home))?;
    store.write_file(&home.join("id"), cache.id.as_bytes())?;
    let (number, lock, hold) = match cache.sharing {
        Sharing::Private => free_copy(&home)?,
        Sharing::Shared | Sharing::Locked => match wait_for(&home, cache.sharing, stop, waiting)? {
            Some((lock, hold)) => (0, lock, hold),
            None => return Ok(None),
        },
    };
    let directory = home.join(number.to_string());
    if !directory.exists() {
        create(store, cache, seed, &directory)?;
    }
    Ok(Some(HeldCache { directory, seen: home.join(format!("{number}.seen")), hold, _lock: lock }))
}

impl HeldCache {
    /// The directory to mount.
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// Gives the files that differ from what the cache has seen the current time, in a root
    /// filesystem that is about to be used, and notes that the cache sees it.
    pub(super) fn show(&self, store: &Store, rootfs: &Rootfs, snapshot: &Snapshot) -> Result<(), StepError> {
        let mut seen = self.seen()?;
        let now = rootfs.layers().to_vec();
        let mut touched = BTreeSet::new();
        if seen.len() >= MOST_SEEN {
            // Too many to compare with: until a step succeeds, all that the build laid on its image is news.
            touch(store, &own_files(store, rootfs)?, rootfs, snapshot)?;
            return Ok(());
        }
        for layers in seen.iter().filter(|layers| **layers != now) {
            // What a collection took cannot be compared with; the next use will be compared again.
            if let Ok(before) = store.root_tree(layers) {
                touched.extend(changed_files(store, &before, rootfs)?);
            }
        }
        touch(store, &touched, rootfs, snapshot)?;
        seen.retain(|layers| *layers != now);
        seen.push(now);
        self.write_seen(store, &seen)
    }

    /// Notes that the step succeeded: from now on only what it saw counts, if nobody else used the
    /// cache with it. What failed or was stopped may not have looked at every file.
    pub(super) fn shown(&self, store: &Store, rootfs: &Rootfs) -> Result<(), StepError> {
        match self.hold {
            Hold::Alone => self.write_seen(store, &[rootfs.layers().to_vec()]),
            Hold::WithOthers if is_alone(&self._lock)? => self.write_seen(store, &[rootfs.layers().to_vec()]),
            Hold::WithOthers => Ok(()),
        }
    }

    fn seen(&self) -> Result<Vec<Vec<DiffId>>, StepError> {
        match fs::read_to_string(&self.seen) {
            Ok(text) => {
                Ok(text.lines().map(|line| line.split(' ').filter_map(|id| id.parse().ok()).collect()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("read", &self.seen)(error).into()),
        }
    }

    fn write_seen(&self, store: &Store, seen: &[Vec<DiffId>]) -> Result<(), StepError> {
        let line = |layers: &Vec<DiffId>| layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n";
        Ok(store.write_file(&self.seen, seen.iter().map(line).collect::<String>().as_bytes())?)
    }
}

/// What names a cache: its id, and what it was when it was new (BuildKit's rule).
fn identity(cache: &CacheMount, seed: Option<&Seed>) -> String {
    let CacheMount { id, mode, uid, gid, .. } = cache;
    let seed = seed.map_or_else(String::new, |seed| format!("{} {}", seed.tree.id(), seed.path));
    format!("{mode:o} {uid}:{gid} {seed}\n{id}")
}

/// A copy that nobody uses, the first of them if it can be.
fn free_copy(home: &Path) -> Result<(u32, File, Hold), StepError> {
    for number in 0.. {
        let lock = open_lock(home, number)?;
        if try_lock(&lock, FlockOperation::NonBlockingLockExclusive, home)? {
            return Ok((number, lock, Hold::Alone));
        }
    }
    unreachable!("some copy is free")
}

fn wait_for(
    home: &Path,
    sharing: Sharing,
    stop: &Cancel,
    waiting: &dyn Fn(),
) -> Result<Option<(File, Hold)>, StepError> {
    let lock = open_lock(home, 0)?;
    let (operation, hold) = match sharing {
        Sharing::Shared => (FlockOperation::NonBlockingLockShared, Hold::WithOthers),
        Sharing::Private | Sharing::Locked => (FlockOperation::NonBlockingLockExclusive, Hold::Alone),
    };
    let mut told = false;
    while !try_lock(&lock, operation, home)? {
        if stop.is_cancelled() {
            return Ok(None);
        }
        if !told {
            waiting();
            told = true;
        }
        std::thread::sleep(RETRY);
    }
    Ok(Some((lock, hold)))
}

fn open_lock(home: &Path, number: u32) -> Result<File, StepError> {
    let path = home.join(format!("{number}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    Ok(file.map_err(StoreError::io("open the lock", path))?)
}

fn try_lock(lock: &File, operation: FlockOperation, home: &Path) -> Result<bool, StepError> {
    match flock(lock, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(StoreError::io("lock", home)(errno.into()).into()),
    }
}

/// Whether nobody else holds the lock that this process shares.
fn is_alone(lock: &File) -> Result<bool, StepError> {
    let alone = flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    let _ = flock(lock, FlockOperation::NonBlockingLockShared);
    Ok(alone)
}

/// Makes the directory with the owner and mode that were asked for; it gets its name when it is whole.
fn create(store: &Store, cache: &CacheMount, seed: Option<Seed>, place: &Path) -> Result<(), StepError> {
    let temporary = store.temporary()?;
    let draft = temporary.path().join("cache");
    let failed = |error| StoreError::io("make", &draft)(error);
    fs::create_dir(&draft).map_err(failed)?;
    if let Some(Seed { tree, contents, path }) = seed
        && let Some((_, Node::Directory(directory))) = entry_at(&tree, &resolve(&tree, &path)?)
    {
        write_directory(&bind::open(&draft).map_err(failed)?, &directory, &contents)?;
    }
    let found = fs::metadata(&draft).map_err(failed)?;
    if (found.uid(), found.gid()) != (cache.uid, cache.gid) {
        chown(&draft, Some(cache.uid), Some(cache.gid)).map_err(failed)?;
    }
    fs::set_permissions(&draft, fs::Permissions::from_mode(cache.mode.into())).map_err(failed)?;
    match fs::rename(&draft, place) {
        // Another step that shares the cache was faster.
        Err(_) if place.exists() => Ok(()),
        result => Ok(result.map_err(StoreError::io("rename to", place))?),
    }
}

/// The regular files that this build laid on its image and that are not what a tree has there.
fn changed_files(store: &Store, before: &Tree, rootfs: &Rootfs) -> Result<BTreeSet<RelPath>, StepError> {
    let now = rootfs.tree(store)?;
    let mut changed = BTreeSet::new();
    files_put(&diff(before, &now).directory, &RelPath::root(), &mut changed);
    Ok(changed.intersection(&own_files(store, rootfs)?).cloned().collect())
}

/// The regular files that this build laid on its image.
fn own_files(store: &Store, rootfs: &Rootfs) -> Result<BTreeSet<RelPath>, StepError> {
    let mut own = BTreeSet::new();
    for id in rootfs.own_layers() {
        if let Some(layer) = store.layer(*id)? {
            files_put(&layer.change()?.directory, &RelPath::root(), &mut own);
        }
    }
    Ok(own)
}

fn files_put(directory: &ChangeDirectory, at: &RelPath, files: &mut BTreeSet<RelPath>) {
    for (name, entry) in &directory.entries {
        match entry {
            ChangeEntry::Leaf(_, Leaf::File { .. }) => drop(files.insert(at.join(name))),
            ChangeEntry::Directory { directory, .. } => files_put(directory, &at.join(name), files),
            ChangeEntry::Leaf(..) | ChangeEntry::Removed => {}
        }
    }
}

/// Writes files with the current time into the directory in which changes show. The capture cuts
/// that time down again, and finds them unchanged.
fn touch(store: &Store, files: &BTreeSet<RelPath>, rootfs: &Rootfs, snapshot: &Snapshot) -> Result<(), StepError> {
    if files.is_empty() {
        return Ok(());
    }
    let (tree, contents) = (rootfs.tree(store)?, rootfs.contents(store)?);
    let linked: BTreeSet<&RelPath> = tree.hard_links().groups().iter().flat_map(|group| group.iter()).collect();
    let top = bind::open(snapshot.changes()).map_err(StoreError::io("open", snapshot.changes()))?;
    let mtime = now();
    for path in files.iter().filter(|path| !linked.contains(path)) {
        let (Some(entry), Some(name), Some(parent)) = (tree.get(path), path.file_name(), path.parent()) else {
            continue;
        };
        let failed = |errno: rustix::io::Errno| StoreError::io("touch files in", snapshot.changes())(errno.into());
        let directory = descend(&top, &tree, &parent).map_err(failed)?;
        if directory.examine(&name).is_ok() {
            directory.set_mtime(&name, mtime).map_err(failed)?;
        } else {
            let metadata = Metadata { mtime, ..entry.metadata.clone() };
            write_node(&directory, &name, &metadata, &entry.node, &contents)?;
        }
    }
    Ok(())
}

/// A directory below, made like the tree's where it is missing.
fn descend(top: &Dir, tree: &Tree, path: &RelPath) -> rustix::io::Result<Dir> {
    let mut directory = top.try_clone()?;
    let mut at = RelPath::root();
    for component in path.components() {
        let name = Name::new(component).expect("a component of a path");
        at = at.join(&name);
        directory = match directory.child(&name) {
            Err(rustix::io::Errno::NOENT) => make_like(&directory, &name, tree, &at)?,
            found => found?,
        };
    }
    Ok(directory)
}

fn make_like(directory: &Dir, name: &Name, tree: &Tree, path: &RelPath) -> rustix::io::Result<Dir> {
    let below = directory.make_dir(name)?;
    if let Some(entry) = tree.get(path) {
        let Metadata { mode, uid, gid, mtime, xattrs: _ } = entry.metadata;
        directory.set_owner(name, store::fs::Owner { uid, gid })?;
        rustix::fs::fchmod(&below, rustix::fs::Mode::from_raw_mode(mode.into()))?;
        directory.set_mtime(name, mtime)?;
    }
    Ok(below)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs().cast_signed(), nanos: since.subsec_nanos() }
}
