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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree::{ChangeBuilder, Leaf, Metadata, Timestamp};
    use crate::{ObjectId, RelPath};

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
