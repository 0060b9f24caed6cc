//! Writing what a layer puts into a directory, as overlayfs reads it.
//!
//! Only new files are made, in a directory that nobody else can enter yet, by descriptor and single
//! name: nothing that a layer says can be followed anywhere. A removal becomes a whiteout, an opaque
//! directory gets its mark; where large files are stubs, the layer is mounted by itself: the mark is
//! written for that, and removals go into a directory of their own (see [`sharing`]). Attributes that a layer may not carry are dropped again here, whatever
//! the change says.
//!
//! An id that this process cannot give away (no mapping in its user namespace, or no privilege)
//! leaves the file to whoever unpacks it: the tree knows the true owner, the disk does not. Device
//! nodes are left out where the kernel forbids making them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use rustix::io::Errno;

use crate::content::{ContentError, Contents};
use crate::fs::{self, Dir, FsError, Kind, Owner};
use crate::layer::keeps_attribute;
use crate::object::OBJECT_BYTES;
use crate::sharing::{self, NESTED_OPAQUE, OPAQUE, Sharing};
use crate::tree::{Change, ChangeDirectory, ChangeEntry, DeviceKind, Leaf, Metadata};
use crate::{Name, ObjectId, Presence, RelPath, Store, StoreError};

/// Why a layer cannot be written into a directory.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file cannot be filled.
    #[error("cannot write {path}")]
    Write {
        /// Which file.
        path: RelPath,
        /// What the operating system said.
        source: io::Error,
    },
    /// A content is not where it should be.
    #[error("cannot fill {path}")]
    Content {
        /// The file that should hold it.
        path: RelPath,
        /// What is wrong with it.
        source: ContentError,
    },
    /// A character device 0:0 would hide what is below instead of being there.
    #[error("{path} is the character device 0:0, which overlayfs takes for a deletion")]
    WhiteoutDevice {
        /// Where the layer wants it.
        path: RelPath,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where contents come from and how they get into files.
pub(crate) struct Unpack<'a> {
    store: &'a Store,
    contents: &'a Contents,
    sharing: Sharing,
    /// Paths of files with several names: they are made last, one after the other.
    linked: BTreeSet<&'a RelPath>,
    own: Owner,
}

impl<'a> Unpack<'a> {
    pub(crate) fn new(store: &'a Store, contents: &'a Contents, sharing: Sharing) -> Self {
        let own = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        Self { store, contents, sharing, linked: BTreeSet::new(), own }
    }

    /// Writes a change into an empty directory.
    pub(crate) fn change(&mut self, root: &Dir, change: &'a Change) -> Result<(), UnpackError> {
        self.linked = change.hard_links.groups().iter().flatten().collect();
        let at = RelPath::root();
        fs::on_walkers(|| self.directory(root, &at, &change.directory))?;
        for group in change.hard_links.groups() {
            self.group(root, change, group)?;
        }
        match &change.root {
            Some(metadata) => self.describe(root, &at, metadata),
            None => Ok(fs::set_mode(root, 0o755).map_err(FsError::of("set the mode of", &at))?),
        }
    }

    fn directory(&self, dir: &Dir, at: &RelPath, change: &ChangeDirectory) -> Result<(), UnpackError> {
        if change.opaque {
            self.mark_opaque(dir, at)?;
        }
        let mut below = Vec::new();
        for (name, entry) in &change.entries {
            self.store.go_on()?;
            let path = at.join(name);
            match entry {
                // They lie beside it.
                ChangeEntry::Removed if self.sharing == Sharing::Stubs => {}
                ChangeEntry::Removed => mark_removed(dir, name, &path)?,
                ChangeEntry::Leaf(..) if self.linked.contains(&path) => {}
                ChangeEntry::Leaf(metadata, leaf) => self.leaf(dir, name, &path, metadata, leaf)?,
                ChangeEntry::Directory { metadata, directory } => below.push((name, path, metadata, directory)),
            }
        }
        below.into_par_iter().try_for_each(|(name, path, metadata, directory)| {
            let child = dir.make_dir(name).map_err(FsError::of("make", &path))?;
            self.directory(&child, &path, directory)?;
            self.describe(&child, &path, metadata.as_ref().unwrap_or(&Metadata::implied()))
        })
    }

    /// Hides what is below a directory.
    pub(crate) fn mark_opaque(&self, dir: &Dir, at: &RelPath) -> Result<(), UnpackError> {
        let attribute = if self.sharing == Sharing::Stubs { NESTED_OPAQUE } else { OPAQUE };
        Ok(fs::set_xattr(dir, attribute, b"y").map_err(FsError::of("mark as opaque", at))?)
    }

    /// Makes a leaf that is not there yet.
    pub(crate) fn leaf(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        metadata: &Metadata,
        leaf: &Leaf,
    ) -> Result<(), UnpackError> {
        match leaf {
            Leaf::File { content, size_bytes } => {
                let file = dir.make_file(name).map_err(FsError::of("make", path))?;
                self.fill(&file, path, *content, *size_bytes)?;
                return self.describe(&file, path, metadata);
            }
            Leaf::Symlink(target) => {
                dir.make_link(name, target).map_err(FsError::of("make the symbolic link", path))?;
            }
            Leaf::Fifo => self.node(dir, name, path, metadata, (Kind::Fifo, (0, 0)))?,
            Leaf::Device { kind: DeviceKind::Character, major: 0, minor: 0 } => {
                return Err(UnpackError::WhiteoutDevice { path: path.clone() });
            }
            Leaf::Device { kind, major, minor } => {
                let kind = match kind {
                    DeviceKind::Character => Kind::Character,
                    DeviceKind::Block => Kind::Block,
                };
                self.node(dir, name, path, metadata, (kind, (*major, *minor)))?;
            }
        }
        // A device node that was left out has neither owner nor time.
        let owner = self.owner(metadata).map_or(Ok(()), |owner| permitted(dir.set_owner(name, owner)));
        present(owner).map_err(FsError::of("set the owner of", path))?;
        Ok(present(dir.set_mtime(name, metadata.mtime)).map_err(FsError::of("set the time of", path))?)
    }

    fn node(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        metadata: &Metadata,
        (kind, numbers): (Kind, (u32, u32)),
    ) -> Result<(), UnpackError> {
        match dir.make_node(name, kind, numbers) {
            Err(Errno::PERM) if kind != Kind::Fifo => return Ok(()),
            made => made.map_err(FsError::of("make the node", path))?,
        }
        let owner = self.owner(metadata).map_or(Ok(()), |owner| permitted(dir.set_owner(name, owner)));
        owner.map_err(FsError::of("set the owner of", path))?;
        Ok(dir.set_mode(name, metadata.mode).map_err(FsError::of("set the mode of", path))?)
    }

    fn fill(&self, file: &File, path: &RelPath, content: ObjectId, size_bytes: u64) -> Result<(), UnpackError> {
        let failed = |source| UnpackError::Content { path: path.clone(), source };
        if size_bytes >= OBJECT_BYTES && self.sharing == Sharing::Stubs {
            return self.stub(file, path, content, size_bytes);
        }
        if size_bytes < OBJECT_BYTES {
            let bytes = self.contents.read(content, size_bytes).map_err(failed)?;
            return (&mut &*file).write_all(&bytes).map_err(|source| UnpackError::Write { path: path.clone(), source });
        }
        let mut source = self.contents.open(content).map_err(failed)?;
        let shared = source
            .file()
            .is_some_and(|object| self.sharing == Sharing::Reflink && rustix::fs::ioctl_ficlone(file, object).is_ok());
        if shared {
            return Ok(());
        }
        let copied = match source.file() {
            Some(mut object) => self.store.cancel().copy(&mut object, &mut &*file),
            None => self.store.cancel().copy(&mut source, &mut &*file),
        };
        match copied {
            Ok(count) if count == size_bytes => Ok(()),
            Ok(_) => Err(failed(source.changed(content))),
            Err(source) => Err(UnpackError::Write { path: path.clone(), source }),
        }
    }

    /// Makes an empty file stand for an object.
    pub(crate) fn stub(
        &self,
        file: &File,
        path: &RelPath,
        content: ObjectId,
        size_bytes: u64,
    ) -> Result<(), UnpackError> {
        if !self.has_object(content)? {
            return Err(UnpackError::Content { path: path.clone(), source: ContentError::Missing(content) });
        }
        let hex = content.hex();
        let redirect = format!("/{}/{}", &hex[..2], &hex[2..]);
        let made = sharing::make_stub(file, size_bytes, redirect.as_bytes());
        Ok(made.map_err(FsError::of("make a stub of", path))?)
    }

    fn has_object(&self, content: ObjectId) -> Result<bool, StoreError> {
        match self.store.presence(&self.store.object_path(content))? {
            Presence::Fresh | Presence::Sealed => Ok(true),
            Presence::Absent | Presence::Unproven => Ok(self.store.object(content)?.is_some()),
        }
    }

    /// Gives a file or directory its metadata: the owner first, because that clears setuid and
    /// capabilities, and the time last.
    pub(crate) fn describe(&self, fd: impl AsFd, path: &RelPath, metadata: &Metadata) -> Result<(), UnpackError> {
        if let Some(owner) = self.owner(metadata) {
            permitted(fs::set_owner(&fd, owner)).map_err(FsError::of("set the owner of", path))?;
        }
        fs::set_mode(&fd, metadata.mode).map_err(FsError::of("set the mode of", path))?;
        for (name, value) in metadata.xattrs.iter().filter(|(name, _)| keeps_attribute(name)) {
            permitted(fs::set_xattr(&fd, name, value)).map_err(FsError::of("set an attribute of", path))?;
        }
        Ok(fs::set_mtime(&fd, metadata.mtime).map_err(FsError::of("set the time of", path))?)
    }

    /// The owner that has to be set: none, where it is the one that new files have.
    fn owner(&self, metadata: &Metadata) -> Option<Owner> {
        let owner = Owner { uid: metadata.uid, gid: metadata.gid };
        (owner != self.own).then_some(owner)
    }

    fn group(&self, root: &Dir, change: &Change, group: &[RelPath]) -> Result<(), UnpackError> {
        let mut first: Option<(Dir, Name)> = None;
        for path in group {
            self.store.go_on()?;
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Some(ChangeEntry::Leaf(metadata, leaf)) = change.get(path) else { continue };
            let dir = root.exact_dir(&parent).map_err(FsError::of("open", &parent))?;
            match &first {
                Some((other, original)) => {
                    present(other.link(original, &dir, &name)).map_err(FsError::of("link", path))?;
                }
                None => self.leaf(&dir, &name, path, metadata, leaf)?,
            }
            if let Some(ChangeEntry::Directory { metadata: Some(metadata), .. }) = change.get(&parent) {
                fs::set_mtime(&dir, metadata.mtime).map_err(FsError::of("set the time of", &parent))?;
            }
            first.get_or_insert((dir, name));
        }
        Ok(())
    }
}

/// Hides a name that is below a directory.
pub(crate) fn mark_removed(dir: &Dir, name: &Name, path: &RelPath) -> Result<(), UnpackError> {
    Ok(dir.make_whiteout(name).map_err(FsError::of("mark as removed", path))?)
}

/// Writes nothing of a change but its removals, and the directories that they are in.
pub(crate) fn removals(dir: &Dir, at: &RelPath, change: &ChangeDirectory) -> Result<(), UnpackError> {
    for (name, entry) in &change.entries {
        let path = at.join(name);
        match entry {
            ChangeEntry::Removed => mark_removed(dir, name, &path)?,
            ChangeEntry::Directory { directory, .. } if directory.hides() => {
                let child = dir.make_dir(name).map_err(FsError::of("make", &path))?;
                removals(&child, &path, directory)?;
            }
            ChangeEntry::Directory { .. } | ChangeEntry::Leaf(..) => {}
        }
    }
    Ok(())
}

/// Takes "this id is not yours to give away" as an answer. In a user namespace an id without a
/// mapping is EINVAL; without privilege every other owner is EPERM.
fn permitted(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// Takes "it is not there" as an answer.
fn present(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
