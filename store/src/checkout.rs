//! Layers unpacked as directories that overlayfs can stack.
//!
//! ```text
//!   checkouts/<diff id>[.<chain id>][.stubs|.split]/root     the directory
//!                                                  /removed  in a split one: its removals
//!                                                  /made     the boot id of whoever made it
//! ```
//!
//! A checkout is derived: it can be dropped at any time that nobody holds it, and made again. One
//! that was made before a power cut and not synced since is dropped when it is looked at. Nearly
//! every layer unpacks to the same directory whatever lies below it. One that names a path without
//! its parent directories does not (they may be links below), nor does one that hides the whole root
//! (overlayfs stacks roots whatever their marks): those are unpacked for one stack of layers.
//!
//! With `.stubs`, large files are stubs for the data-only layer `objects/` (see [`sharing`](crate::sharing)):
//! such a checkout can be the lowest of a stack, or be mounted by itself further up. A layer that has
//! removals as well is `.split`: overlayfs can read the removals only where they are not mounted so.

use std::path::{Path, PathBuf};

use crate::content::Contents;
use crate::fs::Dir;
use crate::layer::{Layer, RootTreeError};
use crate::object::OBJECT_BYTES;
use crate::sharing::Sharing;
use crate::store::{Area, Placed};
use crate::tree::{Change, ChangeDirectory, ChangeEntry, Leaf, diff};
use crate::unpack::{self, Unpack, UnpackError};
use crate::{ChainId, DiffId, Name, Presence, RelPath, Store, StoreError, Temporary};

/// A layer as a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The directory that overlayfs stacks; absolute.
    pub path: PathBuf,
    /// What overlayfs stacks just below it: names of lower layers that are gone.
    pub(crate) removed: Option<PathBuf>,
    /// What is in it.
    pub(crate) flavour: Flavour,
}

/// What a checkout is made of, and so where overlayfs can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Whole files: anywhere.
    Whole,
    /// Stubs for large files: as the lowest layer, or mounted by itself.
    Stubs,
    /// Stubs, mounted by itself, and a directory of removals for whatever is below.
    Split,
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
        let sharing = self.mechanism()?.sharing;
        let places = Places { store: self, top: *top, chain: ChainId::of(layers) };
        let candidates = places.all(sharing);
        self.hold(candidates.iter().map(|(path, _)| path.as_path()))?;
        for (place, flavour) in candidates {
            if self.has_checkout(&place)? {
                return Ok(Some(Checkout::at(&place, flavour)));
            }
        }
        let layer = self.layer(*top)?.ok_or(CheckoutError::NoLayer(*top))?;
        let change = layer.change()?;
        let (change, scope) = if stands_alone(&change) {
            (change, Scope::Anywhere)
        } else {
            (diff(&*self.root_tree(below)?, &*self.root_tree(layers)?), Scope::Here)
        };
        let flavour = Flavour::of(&change, sharing);
        let place = places.at(scope, flavour);
        self.make_checkout(&layer, &change, (flavour, flavour.sharing(sharing)), &place)?;
        Ok(Some(Checkout::at(&place, flavour)))
    }

    fn make_checkout(
        &self,
        layer: &Layer,
        change: &Change,
        (flavour, sharing): (Flavour, Sharing),
        place: &Path,
    ) -> Result<(), CheckoutError> {
        let failed = |source| CheckoutError::Unpack { layer: layer.diff_id(), source };
        let draft = self.temporary()?;
        let contents = layer.contents()?.merge(Contents::of_objects(self));
        let root = Dir::open(draft.path())
            .and_then(|dir| dir.make_dir(&name(ROOT)))
            .map_err(|errno| StoreError::io("make a directory in", draft.path())(errno.into()))?;
        Unpack::new(self, &contents, sharing).change(&root, change).map_err(failed)?;
        if flavour == Flavour::Split {
            self.write_removals(&draft, change).map_err(failed)?;
        }
        Ok(self.place_checkout(draft, place)?)
    }

    /// Writes what a change removes into the draft of a split checkout.
    pub(crate) fn write_removals(&self, draft: &Temporary, change: &Change) -> Result<(), UnpackError> {
        let made = Dir::open(draft.path()).and_then(|dir| dir.make_dir(&name(REMOVED)));
        let removed = made.map_err(|errno| StoreError::io("make a directory in", draft.path())(errno.into()))?;
        unpack::removals(&removed, &RelPath::root(), &change.directory)
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
    pub(crate) fn checkout_place(&self, layer: DiffId, flavour: Flavour) -> PathBuf {
        Places { store: self, top: layer, chain: None }.at(Scope::Anywhere, flavour)
    }
}

impl Checkout {
    fn at(place: &Path, flavour: Flavour) -> Self {
        let removed = (flavour == Flavour::Split).then(|| place.join(REMOVED));
        Self { path: place.join(ROOT), removed, flavour }
    }
}

impl Flavour {
    /// The one that a change unpacks to.
    pub(crate) fn of(change: &Change, sharing: Sharing) -> Self {
        if sharing != Sharing::Stubs || !has_large_files(&change.directory) {
            Self::Whole
        } else if change.directory.hides() {
            Self::Split
        } else {
            Self::Stubs
        }
    }

    /// How its large files come about where the machine can do this.
    pub(crate) fn sharing(self, best: Sharing) -> Sharing {
        match (self, best) {
            (Self::Whole, Sharing::Stubs) => Sharing::Copy,
            (_, best) => best,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Stubs => ".stubs",
            Self::Split => ".split",
        }
    }
}

pub(crate) const ROOT: &str = "root";
const REMOVED: &str = "removed";
const MADE: &str = "made";

/// On which stacks a checkout is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Whatever is below.
    Anywhere,
    /// On the one that it was made for.
    Here,
}

/// Where the checkouts of a layer may lie.
struct Places<'a> {
    store: &'a Store,
    top: DiffId,
    /// Of the stack that it tops.
    chain: Option<ChainId>,
}

impl Places<'_> {
    fn at(&self, scope: Scope, flavour: Flavour) -> PathBuf {
        let chain = self.chain.filter(|_| scope == Scope::Here);
        let chain = chain.map(|chain| format!(".{}", chain.hex())).unwrap_or_default();
        self.store.dir(Area::Checkouts).join(format!("{}{chain}{}", self.top.hex(), flavour.suffix()))
    }

    /// All that serve, the best first.
    fn all(&self, sharing: Sharing) -> Vec<(PathBuf, Flavour)> {
        let flavours: &[Flavour] = match sharing {
            Sharing::Stubs => &[Flavour::Stubs, Flavour::Split, Flavour::Whole],
            Sharing::Reflink | Sharing::Copy => &[Flavour::Whole],
        };
        let in_scope = |scope| flavours.iter().map(move |flavour| (self.at(scope, *flavour), *flavour));
        in_scope(Scope::Anywhere).chain(in_scope(Scope::Here)).collect()
    }
}

/// Whether there is a content in it that is an object.
fn has_large_files(directory: &ChangeDirectory) -> bool {
    directory.entries.values().any(|entry| match entry {
        ChangeEntry::Leaf(_, Leaf::File { size_bytes, .. }) => *size_bytes >= OBJECT_BYTES,
        ChangeEntry::Directory { directory, .. } => has_large_files(directory),
        ChangeEntry::Leaf(..) | ChangeEntry::Removed => false,
    })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ObjectId;
    use crate::tree::{ChangeBuilder, Metadata, Timestamp};

    const EPOCH: Timestamp = Timestamp::from_secs(315_532_800);

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("store")).unwrap();
        (base, store)
    }

    /// Writes a layer of files that hold their own paths, and of symbolic links (`name -> target`).
    fn layer(store: &Store, directories: &[&str], leaves: &[&str]) -> DiffId {
        let mut change = ChangeBuilder::new();
        for directory in directories {
            change.put_directory(&path(directory), Metadata::root_owned(0o700, EPOCH));
        }
        for text in leaves {
            let (at, leaf) = match text.split_once(" -> ") {
                Some((at, target)) => (at, Leaf::Symlink(target.as_bytes().into())),
                None => (*text, Leaf::File { content: ObjectId::of(text.as_bytes()), size_bytes: text.len() as u64 }),
            };
            change.put_leaf(&path(at), Metadata::root_owned(0o644, EPOCH), leaf);
        }
        let contents = Contents::of_bytes(leaves.iter().map(|text| text.as_bytes()));
        store.write_layer(&change.build(), &contents).unwrap().diff_id()
    }

    #[test]
    fn a_layer_without_its_parents_is_unpacked_for_its_stack() {
        let (_base, store) = store();
        let plain = layer(&store, &["run", "var"], &["run/old"]);
        let linked = layer(&store, &["run", "var"], &["var/run -> ../run"]);
        let bare = layer(&store, &[], &["var/run/new"]);
        let on_plain = store.checkout(&[plain, bare]).unwrap().unwrap();
        let on_linked = store.checkout(&[linked, bare]).unwrap().unwrap();
        assert!(on_plain.path.join("var/run/new").exists());
        assert!(on_linked.path.join("run/new").exists() && !on_linked.path.join("var/run").exists());
        let mode = |path: PathBuf| std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o777;
        assert_eq!(mode(on_linked.path.join("run")), 0o700, "what is below keeps its mode");
        assert_eq!(store.checkout(&[plain, bare]).unwrap().unwrap(), on_plain);
    }

    #[test]
    fn a_layer_with_its_parents_is_unpacked_once() {
        let (_base, store) = store();
        let (first, second) = (layer(&store, &[], &["one"]), layer(&store, &[], &["two"]));
        let shared = layer(&store, &["dir"], &["dir/file"]);
        let paths = [first, second].map(|below| store.checkout(&[below, shared]).unwrap().unwrap().path);
        assert_eq!(paths[0], paths[1]);
        assert_eq!(fs::read(paths[0].join("dir/file")).unwrap(), b"dir/file");
    }

    #[test]
    fn two_at_once_end_with_the_same() {
        let (_base, store) = store();
        let id = layer(&store, &["dir"], &["dir/a", "dir/b", "c"]);
        let other = Store::open(store.path()).unwrap();
        let both = std::thread::scope(|scope| {
            let tasks = [&store, &other].map(|store| scope.spawn(move || store.checkout(&[id]).unwrap().unwrap()));
            tasks.map(|task| task.join().unwrap())
        });
        assert_eq!(both[0], both[1]);
        assert_eq!(fs::read(both[0].path.join("dir/a")).unwrap(), b"dir/a");
    }

    #[test]
    fn what_a_power_cut_may_have_damaged_is_made_again() {
        let (_base, store) = store();
        let id = layer(&store, &[], &["file"]);
        let made = store.checkout(&[id]).unwrap().unwrap();
        let damage = || fs::write(made.path.join("file"), "").unwrap();
        let open = |boot: &str| Store::open_in_boot(store.path(), boot.parse().unwrap()).unwrap();
        let read = |store: &Store| {
            store.checkout(&[id]).unwrap();
            fs::read(made.path.join("file")).unwrap()
        };
        damage();
        let next = open("00000000000000000000000000000002");
        assert_eq!(read(&next), b"file", "made again after another start");
        next.sync().unwrap();
        let third = open("00000000000000000000000000000003");
        damage();
        assert_eq!(read(&third), b"", "a synced one is relied on");
    }

    #[test]
    fn what_the_store_lacks_is_an_error() {
        let (_base, store) = store();
        let absent = DiffId(crate::Digest::of(b"absent"));
        assert!(matches!(store.checkout(&[absent]), Err(CheckoutError::NoLayer(id)) if id == absent));
        assert_eq!(store.checkout(&[]).unwrap(), None);
    }
}
