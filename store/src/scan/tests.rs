//! What a scan takes and leaves, and what it reads again.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::Store;

const EPOCH: Timestamp = Timestamp::from_secs(315_532_800);
fn all() -> ScanOptions<'static> {
    ScanOptions {
        filter: &|_, _| Verdict::Keep,
        times: Times::Exactly(EPOCH),
        ownership: Ownership::Root,
        attributes: Attributes::Drop,
        cancel: Box::leak(Box::default()),
    }
}

fn context() -> (tempfile::TempDir, Dir) {
    let base = tempfile::tempdir().unwrap();
    let at = |path: &str| base.path().join(path);
    std::fs::create_dir_all(at("src/deep")).unwrap();
    for (path, text) in [("a", "one"), ("src/b", "two"), ("src/deep/c", "three")] {
        std::fs::write(at(path), text).unwrap();
    }
    std::fs::hard_link(at("a"), at("src/same")).unwrap();
    symlink("../../etc/passwd", at("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::fs::set_permissions(at("src/b"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let dir = Dir::open(base.path()).unwrap();
    (base, dir)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

#[test]
fn everything_but_sockets_is_in_the_tree() {
    let (_base, dir) = context();
    let Scan { tree, contents, files_read } = scan(&dir, &all(), None).unwrap();
    assert_eq!(files_read, 4);
    assert_eq!(contents.read(ObjectId::of(b"three"), 5).unwrap(), b"three");
    let setuid = tree.get(&path("src/b")).unwrap();
    assert_eq!(setuid.metadata, Metadata::root_owned(0o4755, EPOCH));
    assert_eq!(setuid.node, Node::Leaf(Leaf::File { content: ObjectId::of(b"two"), size_bytes: 3 }));
    assert_eq!(tree.get(&path("link")).unwrap().node, Node::Leaf(Leaf::Symlink(b"../../etc/passwd"[..].into())));
    assert!(tree.get(&path("socket")).is_none());
    assert_eq!(tree.hard_links(), &HardLinks::new([vec![path("a"), path("src/same")]]));
}

#[test]
fn the_filter_prunes_and_descends() {
    let (_base, dir) = context();
    let filter = |at: &RelPath, kind: Kind| match (at.as_bytes(), kind) {
        (b"src/deep/c", _) => Verdict::Keep,
        (_, Kind::Directory) => Verdict::Descend,
        _ => Verdict::Skip,
    };
    std::fs::create_dir(_base.path().join("empty")).unwrap();
    let tree = scan(&dir, &ScanOptions { filter: &filter, ..all() }, None).unwrap().tree;
    let names: Vec<_> = tree.directory().entries().iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["src"]);
    assert!(tree.get(&path("src/deep/c")).is_some() && tree.get(&path("src/b")).is_none());
}

#[test]
fn times_and_owners_are_as_asked() {
    let (base, dir) = context();
    let on_disk = std::fs::metadata(base.path().join("a")).unwrap();
    for (times, expected) in [
        (Times::Preserve, Timestamp::from_secs(on_disk.mtime())),
        (Times::Clamp(EPOCH), EPOCH),
        (Times::Clamp(Timestamp::from_secs(i64::MAX)), Timestamp::from_secs(on_disk.mtime())),
    ] {
        let options = ScanOptions { times, ownership: Ownership::Keep, ..all() };
        let tree = scan(&dir, &options, None).unwrap().tree;
        let metadata = &tree.get(&path("a")).unwrap().metadata;
        assert_eq!((metadata.mtime, metadata.uid), (expected, on_disk.uid()), "{times:?}");
    }
}

#[test]
fn a_second_scan_reads_only_what_changed() {
    let (base, dir) = context();
    let store_at = tempfile::tempdir().unwrap();
    let store = Store::open(&store_at.path().join("store")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(40));
    let mut cache = StatCache::open(&store, base.path()).unwrap();
    let first = scan(&dir, &all(), Some(&mut cache)).unwrap();
    cache.save(&store).unwrap();
    let mut cache = StatCache::open(&store, base.path()).unwrap();
    let second = scan(&dir, &all(), Some(&mut cache)).unwrap();
    assert_eq!((first.files_read, second.files_read), (4, 0));
    assert_eq!(first.tree, second.tree);
    std::fs::write(base.path().join("src/b"), "TWO").unwrap();
    let third = scan(&dir, &all(), Some(&mut cache)).unwrap();
    assert_eq!(third.files_read, 1);
    assert_ne!(third.tree, second.tree);
}

/// Makes directories in each other and returns the innermost.
fn nest(base: &std::path::Path, depth: usize) {
    let mut dir = Dir::open(base).unwrap();
    for _ in 0..depth {
        dir = dir.make_dir(&Name::new(&b"d"[..]).unwrap()).unwrap();
    }
}

#[test]
fn nesting_has_a_limit_and_needs_no_more_stack_than_there_is() {
    let base = tempfile::tempdir().unwrap();
    nest(base.path(), MOST_COMPONENTS);
    scan(&Dir::open(base.path()).unwrap(), &all(), None).unwrap();
    let base = tempfile::tempdir().unwrap();
    nest(base.path(), MOST_COMPONENTS + 1);
    let error = scan(&Dir::open(base.path()).unwrap(), &all(), None).unwrap_err();
    assert!(matches!(error, ScanError::TooDeep { .. }), "{error}");
}

#[test]
fn a_scan_ends_when_somebody_asks() {
    let base = tempfile::tempdir().unwrap();
    for number in 0..200 {
        std::fs::write(base.path().join(number.to_string()), number.to_string()).unwrap();
    }
    let dir = Dir::open(base.path()).unwrap();
    let store = Store::open(&base.path().join("store")).unwrap();
    let mut cache = StatCache::open(&store, base.path()).unwrap();
    // In the list of names, among the files, and within a file.
    for looks in [0, 100, 300, 500] {
        let cancel = Cancel::after_looks(looks);
        let ended = scan(&dir, &ScanOptions { cancel: &cancel, ..all() }, Some(&mut cache));
        assert!(matches!(ended, Err(ScanError::Cancelled(_))), "{looks}");
    }
    assert!(cache.is_empty());
}
