//! Layers unpacked as directories that overlayfs can stack.
//!
//! ```text
//!   checkouts/<diff id>[.<chain id>][.stubs]/root    the directory
//!                                           /made    the boot id of whoever made it
//! ```
//!
//! A checkout is derived: it can be dropped at any time that nobody holds it, and made again. One
//! that was made before a power cut and not synced since is dropped when it is looked at. Nearly
//! every layer unpacks to the same directory whatever lies below it. One that names a path without
//! its parent directories does not (they may be links below), nor does one that hides the whole root
//! (overlayfs stacks roots whatever their marks): those are unpacked for one stack of layers.
//!
//! With `.stubs`, large files are stubs for the data-only layer `objects/`; such a checkout can only
//! be the lowest of a stack (see [`sharing`](crate::sharing)).

use std::path::{Path, PathBuf};

use crate::content::Contents;
use crate::fs::Dir;
use crate::layer::{Layer, RootTreeError};
use crate::sharing::Sharing;
use crate::store::{Area, Placed};
use crate::tree::{Change, ChangeDirectory, ChangeEntry, diff};
use crate::unpack::{Unpack, UnpackError};
use crate::{ChainId, DiffId, Name, Presence, Store, StoreError, Temporary};

/// A layer as a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The directory that overlayfs stacks; absolute.
    pub path: PathBuf,
    /// Whether its large files are stubs, so that the stack needs the data-only layer.
    pub(crate) has_stubs: bool,
}

/// Why a layer cannot be checked out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The store does not have it.
    #[error("the store does not have the layer {0}")]
    NoLayer(DiffId),
    /// It cannot be written out.
    #[error("cannot unpack the layer {layer}")]
    Unpack {
        /// Which layer.
        layer: DiffId,
        /// What went wrong.
        source: UnpackError,
    },
    /// The trees below cannot be put together.
    #[error(transparent)]
    RootTree(#[from] RootTreeError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Unpacks the topmost of some layers such that it can be stacked on the others; at once, if that
    /// was done before. `None` if there are no layers.
    pub fn checkout(&self, layers: &[DiffId]) -> Result<Option<Checkout>, CheckoutError> {
        let Some((top, below)) = layers.split_last() else { return Ok(None) };
        let best = self.mechanism()?.sharing;
        let sharing = if below.is_empty() { best } else { best.above_another() };
        let places = Places::of(self, *top, ChainId::of(layers), sharing);
        self.hold(places.all())?;
        for place in places.all() {
            if self.has_checkout(place)? {
                return Ok(Some(Checkout::at(place)));
            }
        }
        let layer = self.layer(*top)?.ok_or(CheckoutError::NoLayer(*top))?;
        let change = layer.change()?;
        let (change, place) = if stands_alone(&change) {
            (change, places.anywhere)
        } else {
            (diff(&*self.root_tree(below)?, &*self.root_tree(layers)?), places.here)
        };
        self.make_checkout(&layer, &change, sharing, &place)?;
        Ok(Some(Checkout::at(&place)))
    }

    fn make_checkout(
        &self,
        layer: &Layer,
        change: &Change,
        sharing: Sharing,
        place: &Path,
    ) -> Result<(), CheckoutError> {
        let failed = |source| CheckoutError::Unpack { layer: layer.diff_id(), source };
        let draft = self.temporary()?;
        let contents = layer.contents()?.merge(Contents::of_objects(self));
        let root = Dir::open(draft.path())
            .and_then(|dir| dir.make_dir(&name(ROOT)))
            .map_err(|errno| StoreError::io("make a directory in", draft.path())(errno.into()))?;
        Unpack::new(self, &contents, sharing).change(&root, change).map_err(failed)?;
        Ok(self.place_checkout(draft, place)?)
    }

    /// Gives a finished checkout its place.
    pub(crate) fn place_checkout(&self, draft: Temporary, place: &Path) -> Result<(), StoreError> {
        let made = draft.path().join(MADE);
        std::fs::write(&made, self.boot().to_string()).map_err(StoreError::io("write", &made))?;
        if self.place_directory(draft, place)? == Placed::Now {
            self.note_unsealed(&place.join(MADE));
        }
        Ok(())
    }

    /// Whether a checkout is there and can be relied on; drops one that a power cut may have damaged.
    pub(crate) fn has_checkout(&self, place: &Path) -> Result<bool, StoreError> {
        let made = place.join(MADE);
        match self.presence(&made)? {
            Presence::Fresh | Presence::Sealed => return Ok(true),
            Presence::Absent if !place.exists() => return Ok(false),
            Presence::Unproven if self.read_file(&made)?.as_deref() == Some(self.boot().to_string().as_bytes()) => {
                return Ok(true);
            }
            Presence::Absent | Presence::Unproven => {}
        }
        let grave = self.temporary()?;
        let _ = std::fs::rename(place, grave.path().join(ROOT));
        Ok(false)
    }

    /// Where the checkout of a layer lies that is the same on every stack.
    pub(crate) fn checkout_place(&self, layer: DiffId) -> PathBuf {
        self.dir(Area::Checkouts).join(layer.hex())
    }
}

impl Checkout {
    fn at(place: &Path) -> Self {
        let has_stubs = place.as_os_str().as_encoded_bytes().ends_with(STUBS.as_bytes());
        Self { path: place.join(ROOT), has_stubs }
    }
}

pub(crate) const ROOT: &str = "root";
const MADE: &str = "made";

const STUBS: &str = ".stubs";

/// Where a checkout may lie.
struct Places {
    /// Whatever is below, and with all files in it.
    whole: PathBuf,
    /// Whatever is below.
    anywhere: PathBuf,
    /// On this stack.
    here: PathBuf,
}

impl Places {
    fn of(store: &Store, top: DiffId, chain: Option<ChainId>, sharing: Sharing) -> Self {
        let flavour = match sharing {
            Sharing::DataOnly => STUBS,
            Sharing::Reflink | Sharing::Copy => "",
        };
        let place = |name: String| store.dir(Area::Checkouts).join(name);
        let chain = chain.map(|chain| format!(".{}", chain.hex())).unwrap_or_default();
        Self {
            whole: store.checkout_place(top),
            anywhere: place(format!("{}{flavour}", top.hex())),
            here: place(format!("{}{chain}{flavour}", top.hex())),
        }
    }

    fn all(&self) -> [&Path; 3] {
        [&self.anywhere, &self.whole, &self.here]
    }
}

/// Whether a change unpacks to the same directory on whatever it lies.
fn stands_alone(change: &Change) -> bool {
    fn described(directory: &ChangeDirectory) -> bool {
        directory.entries.values().all(|entry| match entry {
            ChangeEntry::Directory { metadata, directory } => metadata.is_some() && described(directory),
            ChangeEntry::Removed | ChangeEntry::Leaf(..) => true,
        })
    }
    !change.directory.opaque && described(&change.directory)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap_or_else(|_| unreachable!("{text} is a name"))
}
