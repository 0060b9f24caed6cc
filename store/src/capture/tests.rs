//! Laws of snapshots and captures, on real mounts where they can be had: what a process sees is what
//! the tree says, and what it does is what the change says.

mod stacks;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::fs::set_xattr;
use crate::scan::{Attributes, Ownership, ScanOptions, Verdict, scan};
use crate::sharing::{mount, mount_detached, opened};
use crate::snapshot::{Lower, Stacking};
use crate::tree::{ChangeBuilder, ChangeEntry, Leaf, Metadata, Timestamp};
use crate::{DiffId, Layer, ObjectId, RootDriver, Tree};

const EPOCH: Timestamp = Timestamp::from_secs(315_532_800);
const LARGE: usize = 100_000;

/// A store with one layer below, and the tree of that layer.
struct Bench {
    _base: tempfile::TempDir,
    store: Store,
    layers: Vec<DiffId>,
    tree: Tree,
}

/// Where a process works: a mount that goes with the value, or the copy.
struct Work {
    _mount: Option<Dir>,
    path: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("store")).unwrap();
        let from = base.path().join("from");
        let at = |path: &str| from.join(path);
        for path in ["dir/sub", "gone", "opaque", "same"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["file", "dir/a", "dir/sub/b", "gone/x", "opaque/old", "opaque/kept", "same/c", "linked"] {
            fs::write(at(path), path).unwrap();
        }
        fs::write(at("large"), vec![7; LARGE]).unwrap();
        fs::write(at("large2"), vec![8; LARGE]).unwrap();
        fs::hard_link(at("linked"), at("dir/link")).unwrap();
        symlink("file", at("symlink")).unwrap();
        fs::set_permissions(at("dir/a"), fs::Permissions::from_mode(0o4755)).unwrap();
        let dir = Dir::open(&from).unwrap();
        let scanned = scan(&dir, &whole(Times::Exactly(EPOCH)), None).unwrap();
        let change = crate::tree::diff(&Tree::empty(EPOCH), &scanned.tree);
        let layer = store.write_layer(&change, &scanned.contents).unwrap();
        let layers = vec![layer.diff_id()];
        let tree = (*store.root_tree(&layers).unwrap()).clone();
        Self { _base: base, store, layers, tree }
    }

    fn snapshot(&self) -> Snapshot {
        self.store.snapshot(&self.layers).unwrap()
    }

    /// Runs a "process" in a fresh snapshot and captures what it did, with both drivers.
    fn capture(&self, act: impl Fn(&Path)) -> (Snapshot, Captured) {
        let snapshot = self.snapshot();
        act(&enter(&snapshot).path);
        let captured = self.captured(&snapshot);
        (snapshot, captured)
    }

    fn captured(&self, snapshot: &Snapshot) -> Captured {
        self.store.capture(snapshot, &self.tree, &options(&[])).unwrap()
    }

    fn layer(&self, captured: &Captured) -> Layer {
        self.store.write_layer(&captured.change, &captured.contents).unwrap()
    }
}

fn options(exclude: &[RelPath]) -> CaptureOptions<'_> {
    CaptureOptions { times: Times::Clamp(EPOCH), exclude, source: Source::Spent }
}

fn whole(times: Times) -> ScanOptions<'static> {
    ScanOptions {
        filter: &|_, _| Verdict::Keep,
        times,
        ownership: Ownership::Keep,
        attributes: Attributes::Keep,
        cancel: Box::leak(Box::default()),
    }
}

fn enter(snapshot: &Snapshot) -> Work {
    match snapshot.root() {
        SnapshotRoot::Copy { path } => Work { _mount: None, path: path.clone() },
        SnapshotRoot::Overlay { lowers, data, upper, work } => {
            let open = |path: &Path| Dir::open(path).unwrap();
            let data = || data.iter().map(|data| ("datadir+", open(data)));
            // They are mounts of the stack as long as they are open, which is until it has been mounted.
            let mut nested = Vec::new();
            let mut parts = Vec::new();
            for Lower { path, stacking } in lowers {
                let directory = match stacking {
                    Stacking::Direct => open(path),
                    Stacking::Nested => {
                        let layer: Vec<_> = std::iter::once(("lowerdir+", open(path))).chain(data()).collect();
                        nested.push(mount_detached(&layer, &[]).unwrap());
                        opened(nested.last().unwrap()).unwrap()
                    }
                };
                parts.push(("lowerdir+", directory));
            }
            parts.extend(data());
            parts.extend([("upperdir", open(upper)), ("workdir", open(work))]);
            let inodes: &[_] = if nested.is_empty() { &[] } else { &[("xino", "on")] };
            let root = mount(&parts, inodes).unwrap();
            let path = format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()).into();
            Work { _mount: Some(root), path }
        }
    }
}

/// The tree that a process sees. An ordinary user's files are all his own on disk.
fn seen(work: &Work) -> Tree {
    let ownership = if rustix::process::geteuid().is_root() { Ownership::Keep } else { Ownership::Root };
    let options = ScanOptions { ownership, ..whole(Times::Preserve) };
    scan(&Dir::open(&work.path).unwrap(), &options, None).unwrap().tree
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn touched(captured: &Captured) -> Vec<String> {
    fn list(directory: &crate::tree::ChangeDirectory, at: &RelPath, into: &mut Vec<String>) {
        for (name, entry) in &directory.entries {
            let path = at.join(name);
            match entry {
                ChangeEntry::Removed => into.push(format!("-{path}")),
                ChangeEntry::Leaf(..) => into.push(format!("+{path}")),
                ChangeEntry::Directory { directory, .. } => {
                    into.push(format!("={path}"));
                    list(directory, &path, into);
                }
            }
        }
    }
    let mut all = Vec::new();
    list(&captured.change.directory, &RelPath::root(), &mut all);
    all
}

/// Captures an act with an overlay and with a copy, and expects the same of both.
fn check(act: impl Fn(&Path), expected: &[&str]) {
    let bench = Bench::new();
    let (_snapshot, captured) = bench.capture(&act);
    assert_eq!(touched(&captured), expected, "{}", bench.store.mechanism().unwrap().name());
    let bench = Bench::new();
    crate::sharing::tests::pretend(&bench.store, "copy copy");
    let (_copy, copied) = bench.capture(&act);
    assert!(matches!(bench.snapshot().root(), SnapshotRoot::Copy { .. }));
    assert_eq!(touched(&copied), expected, "copied");
    assert_eq!(captured.change, copied.change);
}

#[test]
fn a_process_sees_what_the_tree_says() {
    for mechanism in [None, Some("overlay copy"), Some("copy copy")] {
        let bench = Bench::new();
        if bench.store.mechanism().unwrap().root == RootDriver::Copy && mechanism == Some("overlay copy") {
            eprintln!("skipped: overlayfs does not mount here");
            continue;
        }
        mechanism.inspect(|name| crate::sharing::tests::pretend(&bench.store, name));
        let snapshot = bench.snapshot();
        let work = enter(&snapshot);
        assert_eq!(seen(&work), bench.tree, "{mechanism:?}");
        assert_eq!(fs::metadata(work.path.join("large")).unwrap().nlink(), 1);
        assert_eq!(fs::read(work.path.join("large")).unwrap(), vec![7; LARGE]);
    }
}

/// E005, E006, E007, E009: what is new, changed, removed, or of another kind; one removal for a whole directory.
#[test]
fn changes_are_what_was_done_and_nothing_else() {
    check(|_| {}, &[]);
    check(|at| fs::write(at.join("new"), "new").unwrap(), &["+/new"]);
    check(|at| fs::remove_file(at.join("file")).unwrap(), &["-/file"]);
    check(|at| fs::remove_dir_all(at.join("gone")).unwrap(), &["-/gone"]);
    check(
        |at| {
            fs::remove_dir_all(at.join("opaque")).unwrap();
            fs::create_dir(at.join("opaque")).unwrap();
            fs::write(at.join("opaque/new"), "").unwrap();
        },
        &["=/opaque", "-/opaque/kept", "+/opaque/new", "-/opaque/old"],
    );
    check(|at| fs::rename(at.join("file"), at.join("dir/moved")).unwrap(), &["=/dir", "+/dir/moved", "-/file"]);
    check(
        |at| {
            fs::remove_file(at.join("file")).unwrap();
            fs::create_dir(at.join("file")).unwrap();
            fs::remove_dir_all(at.join("gone")).unwrap();
            fs::write(at.join("gone"), "").unwrap();
        },
        &["=/file", "+/gone"],
    );
    check(|at| fs::set_permissions(at.join("large"), fs::Permissions::from_mode(0o600)).unwrap(), &["+/large"]);
    check(|at| fs::set_permissions(at.join("same"), fs::Permissions::from_mode(0o700)).unwrap(), &["=/same"]);
}

/// E004: a directory of which only the time moved is no change.
#[test]
fn what_is_as_it_was_is_no_change() {
    let mode =
        |at: &Path, path: &str, mode| fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).unwrap();
    check(
        |at| {
            for path in ["file", "large", "same/c"] {
                let before = fs::metadata(at.join(path)).unwrap().mode();
                mode(at, path, 0o600);
                mode(at, path, before);
            }
            fs::write(at.join("same/passing"), "").unwrap();
            fs::remove_file(at.join("same/passing")).unwrap();
            std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
        },
        &[],
    );
}

/// E017, E018, E019: owner, all mode bits and attributes of what a process wrote.
#[test]
fn metadata_arrives() {
    let bench = Bench::new();
    let snapshot = bench.snapshot();
    let path_of = enter(&snapshot);
    fs::write(path_of.path.join("capable"), "x").unwrap();
    let file = fs::File::open(path_of.path.join("capable")).unwrap();
    if std::os::unix::fs::fchown(&file, Some(33), Some(44)).is_err() {
        eprintln!("skipped: no other id to give a file to");
        return;
    }
    fs::set_permissions(path_of.path.join("capable"), fs::Permissions::from_mode(0o4711)).unwrap();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&file, b"security.capability", &capability).unwrap();
    set_xattr(&file, b"user.note", b"hello").unwrap();
    set_xattr(&file, b"user.overlay.mine", b"hello").unwrap();
    let captured = bench.captured(&snapshot);
    let Some(ChangeEntry::Leaf(metadata, _)) = captured.change.get(&path("capable")) else { panic!("no leaf") };
    assert_eq!((metadata.mode, metadata.uid, metadata.gid, metadata.mtime), (0o4711, 33, 44, EPOCH));
    let attributes: Vec<_> = metadata.xattrs.iter().collect();
    assert_eq!(attributes, [(&b"security.capability"[..], &capability[..]), (b"user.note", b"hello")]);
}

/// Where ids cannot be given away the disk forgets them, but the tree does not.
///
/// E043, for owners that the disk cannot hold.
#[test]
fn owners_survive_a_change_of_mode() {
    let mut bench = Bench::new();
    let metadata = Metadata { uid: 33, gid: 44, ..Metadata::root_owned(0o644, EPOCH) };
    let mut change = ChangeBuilder::new();
    change.put_leaf(&path("owned"), metadata, Leaf::File { content: ObjectId::of(b"x"), size_bytes: 1 });
    let layer = bench.store.write_layer(&change.build(), &Contents::of_bytes([*b"x"])).unwrap();
    bench.layers.push(layer.diff_id());
    bench.tree = (*bench.store.root_tree(&bench.layers).unwrap()).clone();
    let (_snapshot, captured) =
        bench.capture(|at| fs::set_permissions(at.join("owned"), fs::Permissions::from_mode(0o600)).unwrap());
    let Some(ChangeEntry::Leaf(metadata, _)) = captured.change.get(&path("owned")) else { panic!("no leaf") };
    assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o600, 33, 44));
}

#[test]
fn hard_links_stay_together() {
    let bench = Bench::new();
    let (_snapshot, captured) = bench.capture(|at| {
        fs::write(at.join("dir/new"), "x").unwrap();
        fs::hard_link(at.join("dir/new"), at.join("again")).unwrap();
        fs::hard_link(at.join("file"), at.join("file2")).unwrap();
        fs::write(at.join("large-a"), vec![1; LARGE]).unwrap();
        fs::hard_link(at.join("large-a"), at.join("large-b")).unwrap();
    });
    let groups: Vec<Vec<_>> = captured
        .change
        .hard_links
        .groups()
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(groups, [["/again", "/dir/new"], ["/file", "/file2"], ["/large-a", "/large-b"]]);
    let layer = bench.layer(&captured);
    assert_eq!(layer.change().unwrap(), captured.change);
}

/// E042: places that were made for mounts go, unless something else came into them.
#[test]
fn mounts_are_not_content() {
    let bench = Bench::new();
    let snapshot = bench.snapshot();
    let work = enter(&snapshot);
    for path in ["var/cache/apt", "dir/mount", "kept/mount"] {
        fs::create_dir_all(work.path.join(path)).unwrap();
    }
    fs::write(work.path.join("hosts"), "").unwrap();
    fs::write(work.path.join("kept/file"), "").unwrap();
    drop(work);
    let exclude = ["var", "var/cache", "var/cache/apt", "dir/mount", "kept", "kept/mount", "hosts"].map(path);
    let captured = bench.store.capture(&snapshot, &bench.tree, &options(&exclude)).unwrap();
    assert_eq!(touched(&captured), ["=/kept", "+/kept/file"]);
}

#[test]
fn names_that_mean_removals_are_refused() {
    let bench = Bench::new();
    let snapshot = bench.snapshot();
    fs::write(enter(&snapshot).path.join("dir/.wh.a"), "").unwrap();
    let error = bench.store.capture(&snapshot, &bench.tree, &options(&[])).unwrap_err();
    assert!(matches!(&error, CaptureError::WhiteoutName { path } if path.to_string() == "/dir/.wh.a"));
}

#[test]
fn large_files_become_objects_once() {
    for source in [Source::Spent, Source::Kept] {
        let bench = Bench::new();
        let snapshot = bench.snapshot();
        fs::write(enter(&snapshot).path.join("big"), vec![3; LARGE]).unwrap();
        let options = CaptureOptions { source, ..options(&[]) };
        let captured = bench.store.capture(&snapshot, &bench.tree, &options).unwrap();
        assert!(bench.store.object(ObjectId::of(&vec![3; LARGE])).unwrap().is_some());
        assert_eq!(snapshot.changes().join("big").exists(), source == Source::Kept);
        bench.layer(&captured);
    }
}

/// The law that the rest hangs on: the layer that was captured, on top of what was below, is what
/// the process saw; adopted or unpacked.
#[test]
fn a_captured_layer_shows_what_the_process_saw() {
    let act = |at: &Path| {
        fs::remove_dir_all(at.join("opaque")).unwrap();
        fs::create_dir(at.join("opaque")).unwrap();
        fs::write(at.join("opaque/new"), "new").unwrap();
        fs::remove_file(at.join("dir/a")).unwrap();
        fs::remove_dir_all(at.join("gone")).unwrap();
        symlink("nowhere", at.join("dir/symlink")).unwrap();
        fs::write(at.join("dir/sub/big"), vec![5; LARGE]).unwrap();
        fs::set_permissions(at.join("dir/sub/big"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(at.join("large2"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(at.join("dir/sub/big"), at.join("big-too")).unwrap();
        std::os::unix::net::UnixListener::bind(at.join("same/socket")).unwrap();
        let before = fs::metadata(at.join("file")).unwrap().mode();
        fs::set_permissions(at.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(at.join("file"), fs::Permissions::from_mode(before)).unwrap();
    };
    for adopt in [true, false] {
        let bench = Bench::new();
        let snapshot = bench.snapshot();
        act(&enter(&snapshot).path);
        let captured = bench.captured(&snapshot);
        let layer = bench.layer(&captured);
        let tree = captured.change.apply(&bench.tree).unwrap();
        if adopt && bench.store.mechanism().unwrap().root == RootDriver::Overlay {
            assert_eq!(bench.store.adopt(snapshot, &captured, &layer).unwrap(), Adopted::Yes);
        }
        let layers = [bench.layers[0], layer.diff_id()];
        assert_eq!(*bench.store.root_tree(&layers).unwrap(), tree);
        let next = bench.store.snapshot(&layers).unwrap();
        let work = enter(&next);
        let sight = seen(&work);
        for (path, entry) in tree.walk() {
            assert_eq!(sight.get(&path).map(|entry| &entry.metadata), Some(&entry.metadata), "{path} adopt {adopt}");
        }
        assert_eq!(sight, tree, "adopt {adopt}");
        assert!(bench.store.capture(&next, &tree, &options(&[])).unwrap().change.is_empty());
        drop(work);
    }
}

#[test]
fn whiteouts_in_an_upper_directory_are_devices() {
    let bench = Bench::new();
    let snapshot = bench.snapshot();
    fs::remove_file(enter(&snapshot).path.join("file")).unwrap();
    if let SnapshotRoot::Overlay { upper, .. } = snapshot.root() {
        assert!(fs::symlink_metadata(upper.join("file")).unwrap().file_type().is_char_device());
    }
}

#[test]
fn a_kept_snapshot_is_taken_up_again() {
    let bench = Bench::new();
    let snapshot = bench.snapshot();
    fs::write(enter(&snapshot).path.join("left"), "behind").unwrap();
    let place = bench.store.dir(crate::Area::Containers).join("one");
    let kept = snapshot.keep_in(&bench.store, &place).unwrap();
    assert_eq!(fs::read(enter(&kept).path.join("left")).unwrap(), b"behind");
    drop(kept);
    let again = bench.store.snapshot_in(&bench.layers, &place).unwrap();
    assert_eq!(fs::read(enter(&again).path.join("left")).unwrap(), b"behind");
    assert_eq!(touched(&bench.captured(&again)), ["+/left"]);
    assert!(bench.snapshot().keep_in(&bench.store, &place).is_err(), "the place is taken");
}
