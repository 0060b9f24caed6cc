//! An upper directory becomes the checkout of the layer that was made of it.
//!
//! Unpacking the layer would make every file once more, and making files is the dear part. What is
//! on disk already is the layer, but for the times, for what turned out to be no change, and for the
//! large files that are objects now: those that were moved are made again, those that are still there
//! (the store had the content before, or they have several names) become stubs where they are.

use super::Captured;
use crate::checkout::{CheckoutError, Flavour, ROOT};
use crate::fs::{Dir, FsError, Kind, on_walkers, remove_xattr};
use crate::layer::Layer;
use crate::object::OBJECT_BYTES;
use crate::sharing::OPAQUE;
use crate::snapshot::{Snapshot, SnapshotRoot};
use crate::tree::{ChangeDirectory, ChangeEntry, Leaf, Metadata};
use crate::unpack::{Unpack, UnpackError, mark_removed};
use crate::{Name, RelPath, Store, StoreError};

/// Whether an upper directory was made a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// It was.
    Yes,
    /// It cannot be; the layer's checkout is made the usual way when it is wanted.
    No,
}

impl Store {
    /// Makes the upper directory of a snapshot the checkout of the layer that was written from what
    /// was captured of it. Worth it if something will run on that layer.
    pub fn adopt(&self, snapshot: Snapshot, captured: &Captured, layer: &Layer) -> Result<Adopted, CheckoutError> {
        let sharing = self.mechanism()?.sharing;
        let flavour = Flavour::of(&captured.change, sharing);
        let place = self.checkout_place(layer.diff_id(), flavour);
        let SnapshotRoot::Overlay { upper, .. } = snapshot.root() else { return Ok(Adopted::No) };
        if !captured.adoptable || !snapshot.is_temporary() || self.has_checkout(&place)? {
            return Ok(Adopted::No);
        }
        let failed = |source| CheckoutError::Unpack { layer: layer.diff_id(), source };
        let root = Dir::open(upper).map_err(|errno| StoreError::io("open", upper)(errno.into()))?;
        let adoption = Adoption { unpack: Unpack::new(self, &captured.contents, flavour.sharing(sharing)), flavour };
        let top = &captured.change.directory;
        let whole = on_walkers(|| adoption.directory(&root, &RelPath::root(), top, Sight::Clear));
        if whole.map_err(failed)? == Adopted::No {
            return Ok(Adopted::No);
        }
        let draft = self.temporary()?;
        let target = draft.path().join(ROOT);
        std::fs::rename(upper, &target).map_err(StoreError::io("rename to", target))?;
        if flavour == Flavour::Split {
            self.write_removals(&draft, &captured.change).map_err(failed)?;
        }
        self.place_checkout(draft, &place)?;
        Ok(Adopted::Yes)
    }
}

struct Adoption<'a> {
    unpack: Unpack<'a>,
    flavour: Flavour,
}

/// Whether what lies below a directory shows through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    Hidden,
}

impl Adoption<'_> {
    /// Makes a directory hold what the change says of it.
    fn directory(
        &self,
        dir: &Dir,
        at: &RelPath,
        change: &ChangeDirectory,
        sight: Sight,
    ) -> Result<Adopted, UnpackError> {
        let sight = self.sight(dir, at, sight)?;
        let mut here = std::collections::BTreeSet::new();
        for (name, kind) in dir.entries().map_err(FsError::of("list", at))? {
            let path = at.join(&name);
            match (change.entries.get(&name), kind) {
                (Some(ChangeEntry::Leaf(metadata, leaf)), _) => self.leaf(dir, &name, &path, metadata, leaf)?,
                (Some(ChangeEntry::Directory { metadata, directory }), _) => {
                    let child = dir.child(&name).map_err(FsError::of("open", &path))?;
                    if self.directory(&child, &path, directory, sight)? == Adopted::No {
                        return Ok(Adopted::No);
                    }
                    let mtime = metadata.as_ref().unwrap_or(&Metadata::implied()).mtime;
                    crate::fs::set_mtime(&child, mtime).map_err(FsError::of("set the time of", &path))?;
                }
                (Some(ChangeEntry::Removed), Some(Kind::Character)) if self.flavour == Flavour::Whole => {}
                (Some(ChangeEntry::Removed), _) => {
                    dir.remove_tree(&name).map_err(FsError::of("remove", &path))?;
                    if self.flavour == Flavour::Whole {
                        mark_removed(dir, &name, &path)?;
                    }
                }
                // It is as it was below, but what is below does not show.
                (None, kind) if sight == Sight::Hidden && kind != Some(Kind::Socket) => return Ok(Adopted::No),
                (None, _) => dir.remove_tree(&name).map_err(FsError::of("remove", &path))?,
            }
            here.insert(name);
        }
        for (name, entry) in change.entries.iter().filter(|(name, _)| !here.contains(*name)) {
            match entry {
                ChangeEntry::Leaf(metadata, leaf) => self.unpack.leaf(dir, name, &at.join(name), metadata, leaf)?,
                ChangeEntry::Removed if sight == Sight::Hidden => {}
                ChangeEntry::Removed | ChangeEntry::Directory { .. } => return Ok(Adopted::No),
            }
        }
        Ok(Adopted::Yes)
    }

    /// Whether what lies below a directory shows through. Its mark becomes the one that the flavour has.
    fn sight(&self, dir: &Dir, at: &RelPath, above: Sight) -> Result<Sight, UnpackError> {
        if !is_opaque(dir, at)? {
            return Ok(above);
        }
        if self.flavour != Flavour::Whole {
            remove_xattr(dir, OPAQUE).map_err(FsError::of("remove an attribute of", at))?;
        }
        match self.flavour {
            Flavour::Whole => Ok(Sight::Hidden),
            // The layer removes nothing, so nothing was hidden that is not there anew.
            Flavour::Stubs => Ok(above),
            Flavour::Split => self.unpack.mark_opaque(dir, at).map(|()| Sight::Hidden),
        }
    }

    /// Makes a leaf that is there what the change says: its content and metadata are that already.
    fn leaf(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        metadata: &Metadata,
        leaf: &Leaf,
    ) -> Result<(), UnpackError> {
        match leaf {
            Leaf::File { content, size_bytes } if *size_bytes >= OBJECT_BYTES && self.flavour != Flavour::Whole => {
                let file = dir.emptied_file(name).map_err(FsError::of("empty", path))?;
                self.unpack.stub(&file, path, *content, *size_bytes)?;
                // Emptying has taken setuid and capabilities.
                self.unpack.describe(&file, path, metadata)
            }
            _ => Ok(dir.set_mtime(name, metadata.mtime).map_err(FsError::of("set the time of", path))?),
        }
    }
}

fn is_opaque(dir: &Dir, at: &RelPath) -> Result<bool, UnpackError> {
    let mark = crate::fs::get_xattr(dir, OPAQUE).map_err(FsError::of("read an attribute of", at))?;
    Ok(mark.as_deref() == Some(b"y"))
}
