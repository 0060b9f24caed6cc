//! How a large new file becomes an object.
//!
//! A file that only the finished process knew is moved: nothing is copied.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;

use super::CaptureError;
use crate::fs::{self, Dir, FsError, HashError, Owner, Stat};
use crate::{Name, ObjectId, Presence, RelPath, Store, StoreError};

/// What becomes of the directory that a change is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody needs it as it is: its large files are moved into the store.
    Spent,
    /// It stays as it is: its large files are copied, or share their blocks.
    Kept,
}

/// Hashes a file whose metadata was just read.
pub(super) fn hash(store: &Store, file: &File, stat: &Stat, path: &RelPath) -> Result<ObjectId, CaptureError> {
    match fs::hash(file, stat, store.cancel()) {
        Ok(id) => Ok(id),
        Err(HashError::Read(errno)) => Err(FsError::of("read", path)(errno).into()),
        Err(HashError::Cancelled(cancelled)) => Err(StoreError::from(cancelled).into()),
        Err(HashError::Changed) => Err(CaptureError::Changing { path: path.clone() }),
    }
}

/// Makes the store hold the content of an open file. After that the name may be gone.
pub(super) fn take(
    store: &Store,
    source: Source,
    (dir, name, path): (&Dir, &Name, &RelPath),
    (file, stat): (&File, &Stat),
    content: ObjectId,
) -> Result<(), CaptureError> {
    let object = store.object_path(content);
    if store.presence(&object)? != Presence::Absent {
        store.hold([&*object])?;
        if store.object(content)?.is_some() {
            return Ok(());
        }
    }
    match source {
        // A file with another name elsewhere must stay what it is there.
        Source::Spent if stat.links == 1 => rename(store, (dir, name, path), file, &object),
        Source::Spent | Source::Kept => copy(store, file, path, content),
    }
}

fn rename(
    store: &Store,
    (dir, name, path): (&Dir, &Name, &RelPath),
    file: &File,
    object: &Path,
) -> Result<(), CaptureError> {
    let own = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let bare = || -> rustix::io::Result<()> {
        for attribute in fs::list_xattrs(file)? {
            if attribute.starts_with(b"user.") || &*attribute == b"security.capability" {
                fs::remove_xattr(file, &attribute)?;
            }
        }
        fs::set_owner(file, own)?;
        fs::set_mode(file, 0o600)
    };
    bare().map_err(FsError::of("take", path))?;
    let shard = object.parent().unwrap_or(store.path());
    let mut moved = rename_into(dir, name, object);
    if moved == Err(Errno::NOENT) {
        std::fs::create_dir_all(shard).map_err(StoreError::io("make", shard))?;
        moved = rename_into(dir, name, object);
    }
    moved.map_err(FsError::of("take", path))?;
    store.note_unsealed(object);
    Ok(())
}

fn rename_into(dir: &Dir, name: &Name, object: &Path) -> rustix::io::Result<()> {
    rustix::fs::renameat(dir, name.as_os_str(), rustix::fs::CWD, object)
}

fn copy(store: &Store, file: &File, path: &RelPath, content: ObjectId) -> Result<(), CaptureError> {
    let target = store.temporary_file()?;
    if rustix::fs::ioctl_ficlone(target.file(), file).is_ok() {
        return Ok(store.place(target, &store.object_path(content))?);
    }
    drop(target);
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).map_err(FsError::of("read", path))?;
    match store.put_object(file)? {
        (id, _) if id == content => Ok(()),
        _ => Err(CaptureError::Changing { path: path.clone() }),
    }
}
