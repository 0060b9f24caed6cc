//! One process's presence in the store: its lease and its directory in `tmp/`, of the same name.
//!
//! The lease is flocked while the process lives, so a lease that can be locked belongs to a dead
//! process, and so does the `tmp/` directory of its name. The lease is made first and removed last.
//! Beside being a sign of life it lists, one path a line, what the process relies on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::Name;
use crate::fs::Dir;
use crate::store::{Area, Placed, StoreError, found};

/// The directory in a session's `tmp/` where a collector puts what it is about to unlink.
pub(crate) const TRASH: &str = "trash";

/// The mode of a lease that could not list what it holds: everything must stay.
pub(crate) const HOLDS_EVERYTHING: u32 = 0o660;

#[derive(Debug)]
pub(crate) struct Session {
    lease: File,
    lease_path: PathBuf,
    directory: PathBuf,
    next: AtomicU64,
}

impl Session {
    pub(crate) fn start(store: &Path) -> Result<Self, StoreError> {
        let leases = store.join(Area::Leases.name());
        loop {
            let name = session_name();
            let lease_path = leases.join(&name);
            if let Some(lease) = create_locked(&lease_path).map_err(StoreError::io("make the lease", &lease_path))? {
                let directory = store.join(Area::Temporary.name()).join(&name);
                make_directory(&directory).map_err(StoreError::io("make", &directory))?;
                return Ok(Self { lease, lease_path, directory, next: AtomicU64::new(0) });
            }
        }
    }

    /// The name of the lease and of the directory.
    pub(crate) fn name(&self) -> &std::ffi::OsStr {
        self.directory.file_name().unwrap_or_default()
    }

    /// Where a collector of this session puts what it is about to unlink.
    pub(crate) fn trash(&self) -> Result<PathBuf, StoreError> {
        let trash = self.directory.join(TRASH);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&trash).map_err(StoreError::io("make", &trash))?;
        Ok(trash)
    }

    /// Appends what the process relies on: paths in the store.
    pub(crate) fn lease<'a>(&self, store: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        for path in paths {
            lines.extend_from_slice(path.strip_prefix(store).unwrap_or(path).as_os_str().as_bytes());
            lines.push(b'\n');
        }
        // One write with O_APPEND: a collector never sees half a line that later grows into a whole one.
        match (&self.lease).write_all(&lines).map_err(StoreError::io("append to", &self.lease_path)) {
            // On a full disk nothing can be listed, but a change of mode needs no room.
            Err(error) if error.is_no_space() => {
                let everything = fs::Permissions::from_mode(HOLDS_EVERYTHING);
                self.lease.set_permissions(everything).map_err(StoreError::io("protect", &self.lease_path))
            }
            result => result,
        }
    }

    pub(crate) fn temporary(&self) -> Result<Temporary, StoreError> {
        let path = self.fresh_path();
        make_directory(&path).map_err(StoreError::io("make", &path))?;
        Ok(Temporary { path: Some(path) })
    }

    pub(crate) fn temporary_file(&self) -> Result<TemporaryFile, StoreError> {
        let path = self.fresh_path();
        let open = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = open.map_err(StoreError::io("make", &path))?;
        Ok(TemporaryFile { file, path: Some(path) })
    }

    fn fresh_path(&self) -> PathBuf {
        self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is litter, which the next command clears.
        if remove_tree(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lease_path);
        }
    }
}

/// A directory in `tmp/`, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub(crate) fn rename_to(mut self, path: &Path) -> Result<Placed, StoreError> {
        match rename(self.path(), path) {
            Ok(()) => {
                self.path = None;
                Ok(Placed::Now)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                Ok(Placed::Already)
            }
            Err(source) => Err(StoreError::Io { doing: "move a directory to", path: path.to_owned(), source }),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = remove_tree(path);
        }
    }
}

/// A file in `tmp/`, open for reading and writing, removed when dropped unless it was given a place.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    path: Option<PathBuf>,
}

impl TemporaryFile {
    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn rename_to(mut self, path: &Path) -> Result<(), StoreError> {
        rename(self.path(), path).map_err(StoreError::io("move a file to", path))?;
        self.path = None;
        Ok(())
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes what dead processes left behind: their directories in `tmp/`, then their leases. What a
/// dead collector had set aside goes back to its place first, because somebody may rely on it.
///
/// Best effort: on a read-only store, or if another process is at it too, nothing is lost.
pub(crate) fn clear_litter(store: &Path) {
    let leases = store.join(Area::Leases.name());
    let temporary = store.join(Area::Temporary.name());
    for name in names(&temporary).into_iter().chain(names(&leases)) {
        let lease_path = leases.join(&name);
        let Ok(lease) = found(File::open(&lease_path)) else { continue };
        if lease.as_ref().is_some_and(|lease| flock(lease, FlockOperation::NonBlockingLockExclusive).is_err()) {
            continue;
        }
        let directory = temporary.join(&name);
        restore_all(store, &directory.join(TRASH));
        if remove_tree(&directory).is_ok() {
            let _ = fs::remove_file(&lease_path);
        }
    }
}

/// The name under which a collector sets aside what lies at a path relative to the store.
pub(crate) fn trash_name(relative: &Path) -> PathBuf {
    relative.to_string_lossy().replace('/', "%").into()
}

/// Where what is set aside under a name belongs.
fn place_of(name: &std::ffi::OsStr, store: &Path) -> PathBuf {
    store.join(name.to_string_lossy().replace('%', "/"))
}

/// Moves everything in a collector's trash back to where it was.
fn restore_all(store: &Path, trash: &Path) {
    for name in names(trash) {
        let _ = rename_back(&trash.join(&name), &place_of(&name, store));
    }
}

/// Moves back from a trash the files that have the name of a thing and a suffix.
pub(crate) fn rename_back_what_belongs_to(thing: &Path, trash: &Path, store: &Path) {
    let prefix = format!("{}.", thing.display());
    for name in names(trash).into_iter().filter(|name| name.to_string_lossy().starts_with(&prefix)) {
        let _ = rename_back(&trash.join(&name), &place_of(&name, store));
    }
}

/// Renames to where nothing is: what was put there meanwhile stays.
pub(crate) fn rename_back(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL) if !to.exists() => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// Renames, making the directory above if need be: the shard directories appear on first use.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = to.parent().unwrap_or(Path::new("/"));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            fs::rename(from, to)
        }
        result => result,
    }
}

/// Removes a directory and everything in it, also where an image's permissions lock its owner out.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let name = Name::new(last.as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let removed = Dir::open(parent).and_then(|dir| dir.remove_tree(&name));
    found(removed.map_err(io::Error::from)).map(drop)
}

/// Makes a file and locks it; `None` if another process took it for a dead one's and removed it in between.
fn create_locked(path: &Path) -> io::Result<Option<File>> {
    let file = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name()).collect()
}

/// A name that no other process has used or will use in this store.
fn session_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}-{}", std::process::id(), now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}
