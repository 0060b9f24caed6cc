//! The store itself: one directory of plain files that every kiln process shares.
//!
//! What is visible is whole: a file is written in `tmp/` and renamed into its place, after
//! everything that it names. Nothing is locked while work is done.
//!
//! What is visible is not yet durable: [`Store::sync`] makes it so, once for all that was written
//! since the last time, and then *seals* it (mode 0400 instead of 0600). An unsealed file that
//! this process did not write may have lost its bytes in a power cut and is [`Presence::Unproven`].
//!
//! This module knows where things lie, not what they mean.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::area::Area;
use crate::boot::BootId;
use crate::cancel::Cancel;
pub use crate::error::{OpenError, StoreError};
use crate::session::{self, Session, Temporary, TemporaryFile};

/// The version of the layout that this kiln reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const RESERVE: &str = "reserve";

/// How far a file of the store can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not there.
    Absent,
    /// This process wrote it; a sync will seal it.
    Fresh,
    /// A sync has covered it: the bytes that were written are the bytes that are there.
    Sealed,
    /// Another process wrote it and has not synced, or never will: look at the bytes first.
    Unproven,
}

/// A directory of everything that kiln keeps. Clones share one lease and one `tmp/` directory,
/// which go when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    cancel: Cancel,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    boot: BootId,
    session: Mutex<Option<Arc<Session>>>,
    /// What this process wrote since the last sync, with the inode: another process may replace it.
    unsealed: Mutex<BTreeMap<PathBuf, u64>>,
}

impl Store {
    /// Opens the store at a path and makes it there if nothing is; clears what dead processes left in `tmp/`.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_in_boot(path, BootId::current())
    }

    /// Opens a store as if the machine had been started with that boot id.
    pub fn open_in_boot(path: &Path, boot: BootId) -> Result<Self, OpenError> {
        refuse_foreign(path)?;
        match read_format(path)? {
            Some(found) if found > FORMAT_VERSION => return Err(OpenError::Newer { path: path.to_owned(), found }),
            Some(_) => {}
            None => create(path)?,
        }
        let path = path.canonicalize().map_err(StoreError::io("resolve", path))?;
        session::clear_litter(&path);
        crate::lock::clear_litter(&path);
        let inner = Inner { path, boot, session: Mutex::default(), unsealed: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), cancel: Cancel::default() })
    }

    /// The same store as another process would have it: with a lease of its own.
    pub(crate) fn reopened(&self) -> Self {
        let Inner { path, boot, .. } = &*self.inner;
        let inner = Inner { path: path.clone(), boot: *boot, session: Mutex::default(), unsealed: Mutex::default() };
        Self { inner: Arc::new(inner), cancel: self.cancel.clone() }
    }

    /// The same store for work that ends when the flag is set: whatever is read from it or written to it
    /// in pieces then fails, and [`Cancelled`](crate::Cancelled) is the cause.
    pub fn ending_with(&self, cancel: &Cancel) -> Self {
        Self { inner: Arc::clone(&self.inner), cancel: cancel.clone() }
    }

    /// What ends work with this store.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Fails once somebody asked for an end: what stands at the top of a loop.
    pub(crate) fn go_on(&self) -> Result<(), StoreError> {
        Ok(self.cancel.check()?)
    }

    /// Gives up the room that is kept for a collection on a full disk, until the returned value is dropped.
    pub(crate) fn release_reserve(&self) -> Reserve {
        let path = self.path().join(RESERVE);
        let _ = session::remove_tree(&path);
        Reserve { path }
    }

    /// Where the store is; absolute.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Where a part of the store is; absolute.
    pub fn dir(&self, area: Area) -> PathBuf {
        self.inner.path.join(area.name())
    }

    /// Where the thing of that hexadecimal name lies in an area: `objects/ab/cdef..`.
    pub fn sharded(&self, area: Area, hex: &str) -> PathBuf {
        let (shard, rest) = hex.split_at(2);
        self.dir(area).join(shard).join(rest)
    }

    /// Where a layer's file lies, whether or not it is there: `layers/ab/cdef..`; what belongs to it has
    /// the same name and a suffix.
    pub fn layer_path(&self, id: crate::DiffId) -> PathBuf {
        self.sharded(Area::Layers, &id.hex())
    }

    /// The running system's identity from one start to the next.
    pub fn boot(&self) -> BootId {
        self.inner.boot
    }

    /// A fresh directory in `tmp/`, removed when dropped.
    pub fn temporary(&self) -> Result<Temporary, StoreError> {
        self.session()?.temporary()
    }

    /// A fresh file in `tmp/`, removed when dropped unless it is [placed](Store::place).
    pub fn temporary_file(&self) -> Result<TemporaryFile, StoreError> {
        self.session()?.temporary_file()
    }

    /// Gives a content-addressed file its place. What is there already and can be relied on stays,
    /// and is on the lease from then on.
    pub fn place(&self, file: TemporaryFile, path: &Path) -> Result<(), StoreError> {
        if self.presence(path)? != Presence::Absent {
            self.hold([path])?;
        }
        match self.presence(path)? {
            Presence::Fresh | Presence::Sealed => Ok(()),
            Presence::Absent | Presence::Unproven => self.replace(file, path),
        }
    }

    /// Gives a file its place instead of whatever is there.
    pub fn replace(&self, file: TemporaryFile, path: &Path) -> Result<(), StoreError> {
        let inode = file.file().metadata().map_err(StoreError::io("examine", file.path()))?.ino();
        file.rename_to(path)?;
        self.unsealed().insert(path.to_owned(), inode);
        Ok(())
    }

    /// Gives a directory its place; says whether one was there already, which then stays.
    pub fn place_directory(&self, directory: Temporary, path: &Path) -> Result<Placed, StoreError> {
        directory.rename_to(path)
    }

    /// Writes a small file whole or not at all, in place of whatever is there.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.temporary_file()?;
        file.write_all(bytes).map_err(StoreError::io("write", file.path()))?;
        self.replace(file, path)
    }

    /// Writes a small file such that it is there, whole, when this returns, even if the power is cut then.
    pub fn write_file_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.temporary_file()?;
        file.write_all(bytes).map_err(StoreError::io("write", file.path()))?;
        file.file().set_permissions(sealed()).map_err(StoreError::io("seal", file.path()))?;
        file.file().sync_all().map_err(StoreError::io("sync", file.path()))?;
        file.rename_to(path)?;
        let parent = path.parent().unwrap_or(&self.inner.path);
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(StoreError::io("sync", parent))
    }

    /// Reads a small file; `None` if it is not there.
    pub fn read_file(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        found(fs::read(path)).map_err(StoreError::io("read", path))
    }

    /// Removes a file; says whether it was there.
    pub fn remove_file(&self, path: &Path) -> Result<bool, StoreError> {
        self.unsealed().remove(path);
        found(fs::remove_file(path)).map(|gone| gone.is_some()).map_err(StoreError::io("remove", path))
    }

    /// How far the file at a path can be relied on.
    pub fn presence(&self, path: &Path) -> Result<Presence, StoreError> {
        let Some(metadata) = found(fs::symlink_metadata(path)).map_err(StoreError::io("examine", path))? else {
            return Ok(Presence::Absent);
        };
        Ok(match metadata.mode() & 0o200 {
            0 => Presence::Sealed,
            _ if self.unsealed().contains_key(path) => Presence::Fresh,
            _ => Presence::Unproven,
        })
    }

    /// Says that an unsealed file was looked at and is whole: the next sync seals it.
    pub fn note_unsealed(&self, path: &Path) {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            self.unsealed().insert(path.to_owned(), metadata.ino());
        }
    }

    /// Makes everything durable that this process has written so far, and seals it. One sync of the
    /// file system, however much there is; none if nothing was written.
    pub fn sync(&self) -> Result<(), StoreError> {
        if self.unsealed().is_empty() { Ok(()) } else { self.sync_always() }
    }

    /// Makes durable what any process has written so far.
    pub(crate) fn sync_always(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut *self.unsealed());
        let result = self.sync_and_seal(&written);
        if result.is_err() {
            self.unsealed().extend(written);
        }
        result
    }

    fn sync_and_seal(&self, written: &BTreeMap<PathBuf, u64>) -> Result<(), StoreError> {
        let directory = File::open(self.path()).map_err(StoreError::io("open", self.path()))?;
        rustix::fs::syncfs(&directory).map_err(io::Error::from).map_err(StoreError::io("sync", self.path()))?;
        if written.is_empty() {
            return Ok(());
        }
        // A sealed thing that nothing names yet is kept from the collector by the lease alone.
        self.session()?.lease(self.path(), written.keys().map(PathBuf::as_path))?;
        written.iter().try_for_each(|(path, inode)| seal(path, *inode).map_err(StoreError::io("seal", path)))
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut session = self.inner.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        Ok(Arc::clone(session.insert(Arc::new(Session::start(&self.inner.path)?))))
    }

    fn unsealed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, u64>> {
        self.inner.unsealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few files that only take up room: a collection on a full disk needs some for its own.
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    fn fill(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        (0..4).try_for_each(|number| fs::write(path.join(number.to_string()), [b'-'; 16 * 1024]))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // Where there is still no room, the next collection finds less of it.
        let _ = Self::fill(&self.path);
    }
}

/// What became of a directory that was to be given a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It has it.
    Now,
    /// Another process was faster; this one's directory was removed.
    Already,
}

/// Treats "not there" as an answer.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Seals a file, unless it was removed, or replaced by another process, which seals its own.
fn seal(path: &Path, inode: u64) -> io::Result<()> {
    let Some(file) = found(File::open(path))? else { return Ok(()) };
    if file.metadata()?.ino() == inode { file.set_permissions(sealed()) } else { Ok(()) }
}

fn sealed() -> fs::Permissions {
    fs::Permissions::from_mode(0o400)
}

/// The owner of the format file is whoever made the store; where it cannot be seen, that of the directory.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let metadata = match fs::symlink_metadata(path.join("format")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::metadata(path),
        found => found,
    };
    match metadata.map(|metadata| metadata.uid()) {
        Ok(owner) if owner != rustix::process::geteuid().as_raw() => Err(OpenError::Foreign { path: path.to_owned() }),
        _ => Ok(()),
    }
}

fn read_format(path: &Path) -> Result<Option<u32>, OpenError> {
    let file = path.join("format");
    let Some(text) = found(fs::read_to_string(&file)).map_err(StoreError::io("read", &file))? else {
        return Ok(None);
    };
    let version = text.strip_prefix("kiln-store ").and_then(|rest| rest.trim_end().parse().ok());
    version.map(Some).ok_or_else(|| OpenError::NotAStore { path: path.to_owned() })
}

/// Makes the directories and, last, the format file. Several processes may do so at once.
fn create(path: &Path) -> Result<(), OpenError> {
    make_private(path)?;
    let entries = fs::read_dir(path).map_err(StoreError::io("list", path))?;
    let ours = |name: &str| {
        name.starts_with(".format-")
            || matches!(name, "format" | "lost+found" | RESERVE)
            || Area::ALL.iter().any(|area| area.name() == name)
    };
    if entries.filter_map(Result::ok).any(|entry| !entry.file_name().to_str().is_some_and(ours)) {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(StoreError::io("protect", path))?;
    for area in Area::ALL {
        make_private(&path.join(area.name()))?;
    }
    let reserve = path.join(RESERVE);
    Reserve::fill(&reserve).map_err(StoreError::io("make", reserve))?;
    let draft = path.join(format!(".format-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "kiln-store {FORMAT_VERSION}")?;
        file.sync_all()?;
        fs::rename(&draft, path.join("format"))
    };
    Ok(write().map_err(StoreError::io("write", &draft))?)
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::io("make", path))
}
