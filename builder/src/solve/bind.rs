//! Trees as directories: what a bind mount shows, and what a new cache mount holds.
//!
//! Always new files in a fresh directory, each reached by descriptor and name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Mode;
use store::content::ContentError;
use store::fs::{Dir, Kind, Owner};
use store::tree::{DeviceKind, Directory, Leaf, Metadata, Node};
use store::{Contents, Name, Temporary};

use crate::error::StepError;

/// The one thing in the directory of a tree that was written out.
pub(super) const PART: &[u8; 5] = b"bound";

/// Trees that were written out for steps that only read them, each once while a build lasts.
#[derive(Debug, Default)]
pub struct Shown {
    trees: Mutex<BTreeMap<String, Slot>>,
}

type Slot = Arc<Mutex<Option<Arc<Temporary>>>>;

impl Shown {
    /// The tree of that id, which whoever asks first writes; others wait for it, and for no other.
    pub(super) fn get_or_write(
        &self,
        id: &str,
        write: impl FnOnce() -> Result<Temporary, StepError>,
    ) -> Result<Arc<Temporary>, StepError> {
        let slot = lock(&self.trees).entry(id.to_owned()).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(shown) = &*slot {
            return Ok(shown.clone());
        }
        Ok(slot.insert(Arc::new(write()?)).clone())
    }
}

/// Where the tree is that was written into a directory.
pub(super) fn part_of(temporary: &Temporary) -> PathBuf {
    temporary.path().join(OsStr::from_bytes(PART))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a tree cannot be written out.
#[derive(Debug, thiserror::Error)]
pub enum WriteTreeError {
    /// The bytes of a file cannot be had.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file cannot be made.
    #[error("cannot write {name}")]
    Write {
        /// Its name.
        name: Name,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes what a directory holds into a directory.
pub(super) fn write_directory(into: &Dir, directory: &Directory, contents: &Contents) -> Result<(), WriteTreeError> {
    for (name, entry) in directory.entries() {
        write_node(into, name, &entry.metadata, &entry.node, contents)?;
    }
    Ok(())
}

/// Writes one entry into a directory.
pub(super) fn write_node(
    into: &Dir,
    name: &Name,
    metadata: &Metadata,
    node: &Node,
    contents: &Contents,
) -> Result<(), WriteTreeError> {
    let failed = |source: io::Error| WriteTreeError::Write { name: name.clone(), source };
    let errno = |errno: rustix::io::Errno| failed(errno.into());
    let owner = Owner { uid: metadata.uid, gid: metadata.gid };
    match node {
        Node::Directory(directory) => {
            let below = into.make_dir(name).map_err(errno)?;
            write_directory(&below, directory, contents)?;
            describe(into, name, &below, metadata, owner).map_err(failed)?;
        }
        Node::Leaf(Leaf::File { content, .. }) => {
            let mut file: File = into.make_file(name).map_err(errno)?;
            let mut source = contents.open(*content)?;
            io::copy(&mut source, &mut file).map_err(failed)?;
            describe(into, name, &file, metadata, owner).map_err(failed)?;
        }
        Node::Leaf(Leaf::Symlink(target)) => {
            into.make_link(name, target).and_then(|()| into.set_owner(name, owner)).map_err(errno)?;
        }
        Node::Leaf(Leaf::Device { kind, major, minor }) => {
            let kind = match kind {
                DeviceKind::Character => Kind::Character,
                DeviceKind::Block => Kind::Block,
            };
            into.make_node(name, kind, (*major, *minor)).and_then(|()| into.set_owner(name, owner)).map_err(errno)?;
        }
        Node::Leaf(Leaf::Fifo) => {
            into.make_node(name, Kind::Fifo, (0, 0)).and_then(|()| into.set_owner(name, owner)).map_err(errno)?;
        }
    }
    into.set_mtime(name, metadata.mtime).map_err(errno)
}

/// Opens a directory that kiln made.
pub(super) fn open(path: &Path) -> Result<Dir, io::Error> {
    Dir::open(path).map_err(io::Error::from)
}

/// Owner before mode: a change of owner clears setuid and setgid.
fn describe(into: &Dir, name: &Name, file: impl AsFd, metadata: &Metadata, owner: Owner) -> io::Result<()> {
    into.set_owner(name, owner)?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode.into()))?)
}
