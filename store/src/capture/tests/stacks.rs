//! Laws of stacks of layers: whatever the mechanism, a process sees the tree; and with the best one a
//! large content is there once, whichever layer it is in.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::inventory::disk_bytes;
use crate::sharing::tests::pretend;
use crate::{Area, Mechanism, Sharing};

/// Something that a step does; what cannot be done is left undone, everywhere alike.
#[derive(Debug, Clone)]
enum Act {
    Write { path: &'static str, byte: u8, length: usize },
    Append { path: &'static str },
    Mode { path: &'static str, mode: u32 },
    Remove { path: &'static str },
    Remake { path: &'static str },
    Link { from: &'static str, to: &'static str },
}

const PATHS: [&str; 8] = ["a", "b", "d/a", "d/b", "d/e/a", "d/e", "d", "f/a"];

impl Act {
    fn perform(&self, root: &Path) {
        let _undone = match self {
            Self::Write { path, byte, length } => {
                let at = root.join(path);
                let _there_or_impossible = fs::create_dir_all(at.parent().unwrap());
                fs::write(at, vec![*byte; *length])
            }
            Self::Append { path } => fs::OpenOptions::new().append(true).open(root.join(path)).and_then(|mut file| {
                use std::io::Write;
                file.write_all(b"more")
            }),
            Self::Mode { path, mode } => fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode)),
            Self::Remove { path } => remove(&root.join(path)),
            Self::Remake { path } => remove(&root.join(path)).and_then(|()| fs::create_dir(root.join(path))),
            Self::Link { from, to } => fs::hard_link(root.join(from), root.join(to)),
        };
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn act() -> impl Strategy<Value = Act> {
    let path = || prop::sample::select(&PATHS[..]);
    let length = prop::sample::select(&[5, LARGE, LARGE + 1][..]);
    prop_oneof![
        4 => (path(), 0..4_u8, length).prop_map(|(path, byte, length)| Act::Write { path, byte, length }),
        1 => path().prop_map(|path| Act::Append { path }),
        1 => (path(), prop::sample::select(&[0o700, 0o755, 0o4755][..])).prop_map(|(path, mode)| Act::Mode { path, mode }),
        2 => path().prop_map(|path| Act::Remove { path }),
        1 => path().prop_map(|path| Act::Remake { path }),
        1 => (path(), path()).prop_map(|(from, to)| Act::Link { from, to }),
    ]
}

/// Whether the layers that steps make are unpacked from what was written, or are what the step left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ways {
    Unpacked,
    Adopted,
}

/// Makes a layer of each step's acts, and looks at the stack.
fn tree_of(steps: &[Vec<Act>], mechanism: &str, ways: Ways) -> Tree {
    let base = tempfile::tempdir().unwrap();
    let store = Store::open(&base.path().join("store")).unwrap();
    pretend(&store, mechanism);
    let layers = build(&store, steps, ways);
    let tree = (*store.root_tree(&layers).unwrap()).clone();
    let snapshot = store.snapshot(&layers).unwrap();
    let work = enter(&snapshot);
    assert_eq!(seen(&work), tree, "{mechanism} {ways:?}");
    one_device(&work.path);
    tree
}

fn build(store: &Store, steps: &[Vec<Act>], ways: Ways) -> Vec<DiffId> {
    let (mut layers, mut tree) = (Vec::new(), Tree::empty(EPOCH));
    for acts in steps {
        let snapshot = store.snapshot(&layers).unwrap();
        let work = enter(&snapshot);
        acts.iter().for_each(|act| act.perform(&work.path));
        drop(work);
        let captured = store.capture(&snapshot, &tree, &options(&[])).unwrap();
        let layer = store.write_layer(&captured.change, &captured.contents).unwrap();
        tree = captured.change.apply(&tree).unwrap();
        if ways == Ways::Adopted {
            store.adopt(snapshot, &captured, &layer).unwrap();
        }
        layers.push(layer.diff_id());
    }
    layers
}

/// Files and directories of one root file system say that they are in one (`du -x`, `cp -x`).
fn one_device(root: &Path) {
    fn devices(at: &Path, into: &mut BTreeSet<u64>) {
        let metadata = fs::symlink_metadata(at).unwrap();
        into.insert(metadata.dev());
        if metadata.is_dir() {
            fs::read_dir(at).unwrap().for_each(|entry| devices(&entry.unwrap().path(), into));
        }
    }
    let mut found = BTreeSet::new();
    fs::read_dir(root).unwrap().for_each(|entry| devices(&entry.unwrap().path(), &mut found));
    assert!(found.len() <= 1, "{found:?}");
}

/// What the machine can do, and everything that is worse.
fn mechanisms() -> Vec<&'static str> {
    let base = tempfile::tempdir().unwrap();
    let found: Mechanism = Store::open(&base.path().join("store")).unwrap().mechanism().unwrap();
    match (found.root, found.sharing) {
        (RootDriver::Overlay, Sharing::Stubs) => vec!["overlay copy", "overlay stubs"],
        (RootDriver::Overlay, _) => vec!["overlay copy"],
        (RootDriver::Copy, _) => Vec::new(),
    }
}

fn write(path: &'static str, byte: u8) -> Act {
    Act::Write { path, byte, length: LARGE }
}

#[test]
fn a_stack_looks_the_same_through_every_mechanism() {
    let steps = [
        vec![write("a", 1), write("d/a", 2), write("d/e/a", 3), write("f/a", 4), Act::Link { from: "a", to: "b" }],
        vec![
            write("d/a", 5),
            Act::Remove { path: "f/a" },
            Act::Remake { path: "d/e" },
            write("d/e/b", 6),
            Act::Link { from: "d/e/b", to: "d/b" },
        ],
        vec![
            Act::Mode { path: "a", mode: 0o4755 },
            Act::Remove { path: "d/e" },
            write("g", 7),
            Act::Append { path: "d/a" },
        ],
        vec![write("d/e/a", 8), Act::Mode { path: "d/b", mode: 0o600 }],
    ];
    for ways in [Ways::Unpacked, Ways::Adopted] {
        let trees: Vec<Tree> = mechanisms().into_iter().map(|mechanism| tree_of(&steps, mechanism, ways)).collect();
        assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "{ways:?}");
    }
    tree_of(&steps, "copy copy", Ways::Unpacked);
}

/// What `rm -r` does to what a layer with large files has emptied.
#[test]
fn a_directory_that_a_layer_has_emptied_can_be_removed() {
    let steps = [
        vec![Act::Write { path: "d/e/a", byte: 0, length: 5 }, Act::Write { path: "d/b", byte: 0, length: 5 }],
        vec![write("a", 1), Act::Remove { path: "d/e/a" }, Act::Remove { path: "d/b" }],
        vec![Act::Remove { path: "d" }],
    ];
    for ways in [Ways::Unpacked, Ways::Adopted] {
        for mechanism in mechanisms() {
            let tree = tree_of(&steps, mechanism, ways);
            assert!(tree.get(&path("d")).is_none() && tree.get(&path("a")).is_some(), "{mechanism} {ways:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stack_looks_the_same_through_every_mechanism(
        steps in prop::collection::vec(prop::collection::vec(act(), 1..8), 1..5),
        adopted in any::<bool>(),
    ) {
        let ways = if adopted { Ways::Adopted } else { Ways::Unpacked };
        let trees: Vec<Tree> = mechanisms().into_iter().map(|mechanism| tree_of(&steps, mechanism, ways)).collect();
        prop_assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// Three layers with large files, among them one that changes a mode, one with a removal, and two
/// names of one file.
fn heavy() -> Vec<Vec<Act>> {
    const HEAVY: usize = 1 << 20;
    let write = |path, byte| Act::Write { path, byte, length: HEAVY };
    vec![
        vec![write("a", 1), write("d/a", 2), write("f/a", 3)],
        vec![write("b", 4), Act::Link { from: "b", to: "d/b" }, Act::Remove { path: "f/a" }],
        vec![write("f/b", 5), Act::Mode { path: "a", mode: 0o700 }, write("d/a", 4)],
    ]
}

const FIVE_CONTENTS: u64 = 5 << 20;

fn bytes_of(store: &Store, area: Area) -> u64 {
    disk_bytes(&store.dir(area), &mut BTreeSet::new()).unwrap()
}

#[test]
fn a_large_content_is_there_once() {
    if !mechanisms().contains(&"overlay stubs") {
        eprintln!("skipped: no stubs here");
        return;
    }
    for ways in [Ways::Unpacked, Ways::Adopted] {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("store")).unwrap();
        let layers = build(&store, &heavy(), ways);
        let _checkouts = store.snapshot(&layers).unwrap();
        let objects = bytes_of(&store, Area::Objects);
        assert!((FIVE_CONTENTS..FIVE_CONTENTS + (1 << 18)).contains(&objects), "{ways:?}: {objects} bytes of objects");
        let checkouts = bytes_of(&store, Area::Checkouts);
        assert!(checkouts < 1 << 18, "{ways:?}: {checkouts} bytes of checkouts");
        assert_eq!(store.usage().unwrap().copied_bytes, 0);
    }
}

#[test]
fn what_is_there_twice_is_counted() {
    if mechanisms().is_empty() {
        eprintln!("skipped: overlayfs does not mount here");
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let store = Store::open(&base.path().join("store")).unwrap();
    pretend(&store, "overlay copy");
    let layers = build(&store, &heavy(), Ways::Unpacked);
    let _checkouts = store.snapshot(&layers).unwrap();
    // Seven files of a mebibyte, of which two are one.
    assert_eq!(store.usage().unwrap().copied_bytes >> 20, 7);
}
