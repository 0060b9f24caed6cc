//! Root filesystems to run in.
//!
//! A snapshot is data: which directories to stack, or which directory it is. The sandbox mounts it,
//! inside its own namespaces and, as root, through idmapped mounts (the data directory too); the
//! options are `userxattr`, `index=off`, `xino=off` (but `on` with nested layers), `metacopy=off`,
//! `volatile` and never `redirect_dir=off`, which `userxattr` refuses because it implies `nofollow`.
//! Mount it `nodev`: device nodes of images are data.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkout::{Checkout, CheckoutError, Flavour, name};
use crate::content::Contents;
use crate::fs::Dir;
use crate::layer::RootTreeError;
use crate::sharing::{RootDriver, Sharing};
use crate::store::{Area, Placed};
use crate::tree::{Timestamp, Tree, diff};
use crate::unpack::{Unpack, UnpackError};
use crate::{DiffId, RelPath, Store, StoreError, Temporary};

/// What a root filesystem is made of. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotRoot {
    /// Directories for overlayfs to stack.
    Overlay {
        /// The layers, topmost first; at least one.
        lowers: Vec<Lower>,
        /// The data-only layer (`datadir+`) where their stubs point: of the whole stack, and of every
        /// nested layer.
        data: Option<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// Overlayfs's own.
        work: PathBuf,
    },
    /// A directory that holds everything.
    Copy {
        /// The root itself.
        path: PathBuf,
    },
}

/// A layer of a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lower {
    /// The directory.
    pub path: PathBuf,
    /// How it gets into the stack.
    pub stacking: Stacking,
}

/// How a directory gets into a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacking {
    /// As it is.
    Direct,
    /// As a read-only overlay of its own, over the data-only layer. A stack with such a layer in it
    /// wants `xino=on`.
    Nested,
}

impl SnapshotRoot {
    /// The same with another home.
    fn moved(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or_else(|_| path.clone());
        match self {
            Self::Copy { path } => Self::Copy { path: moved(path) },
            Self::Overlay { lowers, data, upper, work } => Self::Overlay {
                lowers: lowers.into_iter().map(|lower| Lower { path: moved(lower.path), ..lower }).collect(),
                data,
                upper: moved(upper),
                work: moved(work),
            },
        }
    }
}

/// A root filesystem to run in; gone when dropped, unless it was made in a directory of its user's.
#[derive(Debug)]
pub struct Snapshot {
    root: SnapshotRoot,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Temporary(Temporary),
    Given(PathBuf),
}

/// Why there is no root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// The layers' trees cannot be put together.
    #[error(transparent)]
    RootTree(#[from] RootTreeError),
    /// The root filesystem cannot be written.
    #[error("cannot make a root filesystem")]
    Unpack(#[from] UnpackError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Snapshot {
    /// What to mount.
    pub fn root(&self) -> &SnapshotRoot {
        &self.root
    }

    /// The directory that all of it but the layers is in.
    pub fn home(&self) -> &Path {
        match &self.home {
            Home::Temporary(temporary) => temporary.path(),
            Home::Given(path) => path,
        }
    }

    /// Keeps it beyond this process, in a directory of the store that is not there yet (or empty);
    /// [`Store::snapshot_in`] takes it up again.
    pub fn keep_in(self, store: &Store, directory: &Path) -> Result<Self, StoreError> {
        let Home::Temporary(temporary) = self.home else { return Ok(self) };
        let from = temporary.path().to_owned();
        if store.place_directory(temporary, directory)? == Placed::Already {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(StoreError::io("keep a root filesystem in", directory)(taken));
        }
        Ok(Self { root: self.root.moved(&from, directory), home: Home::Given(directory.to_owned()) })
    }

    /// Whether it goes when it is dropped.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.home, Home::Temporary(_))
    }

    /// The directory in which changes show: the upper one, or the copy.
    pub fn changes(&self) -> &Path {
        match &self.root {
            SnapshotRoot::Overlay { upper, .. } => upper,
            SnapshotRoot::Copy { path } => path,
        }
    }
}

impl Store {
    /// Makes a fresh root filesystem of layers, lowest first; it goes when the value does.
    pub fn snapshot(&self, layers: &[DiffId]) -> Result<Snapshot, SnapshotError> {
        let temporary = self.temporary()?;
        let root = self.root_in(layers, temporary.path())?;
        Ok(Snapshot { root, home: Home::Temporary(temporary) })
    }

    /// Makes a root filesystem in a directory, or takes up the one that was made there of the same
    /// layers: what was changed in it is still there. It stays.
    pub fn snapshot_in(&self, layers: &[DiffId], directory: &Path) -> Result<Snapshot, SnapshotError> {
        let root = self.root_in(layers, directory)?;
        Ok(Snapshot { root, home: Home::Given(directory.to_owned()) })
    }

    /// Writes what layers, lowest first, have in the directory at `path` into an empty directory, the
    /// look of the directory itself included: a volume begins so. Links in the path stay inside the
    /// root. Says whether there is such a directory.
    pub fn write_out(&self, layers: &[DiffId], path: &RelPath, directory: &Path) -> Result<bool, SnapshotError> {
        let tree = self.root_tree(layers)?;
        let Some(part) = tree.resolve(path).ok().and_then(|found| tree.subtree(&found.path())) else {
            return Ok(false);
        };
        let to = Dir::open(directory).map_err(|errno| StoreError::io("open", directory)(errno.into()))?;
        let sharing = match self.mechanism()?.sharing {
            Sharing::Reflink => Sharing::Reflink,
            // A stub has its content only where overlayfs stacks it.
            Sharing::Stubs | Sharing::Copy => Sharing::Copy,
        };
        self.write_tree(layers, &part, &to, sharing)?;
        Ok(true)
    }

    fn root_in(&self, layers: &[DiffId], directory: &Path) -> Result<SnapshotRoot, SnapshotError> {
        let mechanism = self.mechanism()?;
        let copy = directory.join(COPY);
        if mechanism.root == RootDriver::Copy || copy.exists() {
            if !copy.exists() {
                self.copy_root(layers, directory, mechanism.sharing)?;
            }
            return Ok(SnapshotRoot::Copy { path: copy });
        }
        let mut checkouts: Vec<Checkout> = Vec::with_capacity(layers.len());
        for count in (1..=layers.len()).rev() {
            let Some(checkout) = self.checkout(&layers[..count])? else { continue };
            // Overlayfs takes a directory once, and a layer hides all that it put further down.
            if !checkouts.contains(&checkout) {
                checkouts.push(checkout);
            }
        }
        let has_stubs = checkouts.iter().any(|checkout| checkout.flavour != Flavour::Whole);
        let data = has_stubs.then(|| self.dir(Area::Objects));
        let mut lowers = stack(checkouts);
        if lowers.is_empty() {
            lowers.push(Lower { path: ensure(directory, EMPTY)?, stacking: Stacking::Direct });
        }
        let (upper, work) = (directory.join(UPPER), ensure(directory, WORK)?);
        if !upper.exists() {
            let tree = self.root_tree(layers)?;
            self.make_upper(directory, &tree)?;
        }
        Ok(SnapshotRoot::Overlay { lowers, data, upper, work })
    }

    /// Makes the upper directory. It is the root that processes see, so it looks like the tree's.
    fn make_upper(&self, directory: &Path, tree: &Tree) -> Result<(), SnapshotError> {
        let upper = make(directory, UPPER)?;
        let nothing = Contents::default();
        Ok(Unpack::new(self, &nothing, Sharing::Copy).describe(&upper, &RelPath::root(), tree.metadata())?)
    }

    /// Writes all files out. The copy gets its name when it is whole.
    fn copy_root(&self, layers: &[DiffId], directory: &Path, sharing: Sharing) -> Result<(), SnapshotError> {
        let tree = self.root_tree(layers)?;
        let draft = make(directory, DRAFT)?;
        self.write_tree(layers, &tree, &draft, sharing)?;
        let copy = directory.join(COPY);
        Ok(std::fs::rename(directory.join(DRAFT), &copy).map_err(StoreError::io("rename to", copy))?)
    }

    /// Writes a tree, the contents of which are some layers', into an empty directory.
    fn write_tree(&self, layers: &[DiffId], tree: &Tree, to: &Dir, sharing: Sharing) -> Result<(), SnapshotError> {
        let mut contents = Contents::of_objects(self);
        for id in layers {
            let layer = self.layer(*id)?.ok_or(CheckoutError::NoLayer(*id))?;
            contents = contents.merge(layer.contents()?);
        }
        let mut whole = diff(&Tree::empty(Timestamp::default()), tree);
        whole.root = Some(tree.metadata().clone());
        Ok(Unpack::new(self, &contents, sharing).change(to, &whole)?)
    }
}

/// The layers, topmost first, each the cheapest way that works where it is.
fn stack(checkouts: Vec<Checkout>) -> Vec<Lower> {
    let lowest = checkouts.len().saturating_sub(1);
    let lowers = |(index, checkout): (usize, Checkout)| {
        let stacking = match checkout.flavour {
            Flavour::Whole => Stacking::Direct,
            Flavour::Stubs if index == lowest => Stacking::Direct,
            Flavour::Stubs | Flavour::Split => Stacking::Nested,
        };
        let removed = checkout.removed.map(|path| Lower { path, stacking: Stacking::Direct });
        [Lower { path: checkout.path, stacking }].into_iter().chain(removed)
    };
    checkouts.into_iter().enumerate().flat_map(lowers).collect()
}

const UPPER: &str = "upper";
const WORK: &str = "work";
const EMPTY: &str = "empty";
const COPY: &str = "root";
const DRAFT: &str = "draft";

fn ensure(directory: &Path, part: &str) -> Result<PathBuf, StoreError> {
    let path = directory.join(part);
    if !path.exists() {
        make(directory, part)?;
    }
    Ok(path)
}

fn make(directory: &Path, part: &str) -> Result<Dir, StoreError> {
    let made = Dir::open(directory).and_then(|dir| dir.make_dir(&name(part)));
    made.map_err(|errno| StoreError::io("make", directory.join(part))(errno.into()))
}
