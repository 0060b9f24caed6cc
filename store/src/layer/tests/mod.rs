//! Layers read back byte for byte, mean what unpackers take them to mean, and stay within their root.

mod go;
mod hostile;
mod peers;
mod rows;

use std::io::Read;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::compress::{Encoding, decompress};
use crate::tree::strategy::{change, content};
use crate::tree::{ChangeBuilder, HardLinks, Leaf, Metadata, Node, Timestamp, Tree};
use crate::{ChainId, Digest, ObjectId, RelPath};

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn metadata(mode: u16) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_secs(1))
}

fn file(content: &[u8]) -> Leaf {
    Leaf::File { content: ObjectId::of(content), size_bytes: content.len() as u64 }
}

/// A layer of files that hold these bytes.
fn files(store: &Store, files: &[(&str, &[u8])]) -> Layer {
    let mut builder = ChangeBuilder::new();
    for (name, content) in files {
        builder.put_leaf(&path(name), metadata(0o644), file(content));
    }
    let contents = Contents::of_bytes(files.iter().map(|(_, content)| *content));
    store.write_layer(&builder.build(), &contents).unwrap()
}

fn generated() -> Contents {
    Contents::of_bytes((0u8..16).map(content))
}

#[test]
fn what_is_written_is_what_is_read() {
    let ((_directory, store), (_other_directory, other)) = (store(), self::store());
    let law = |change: Change| {
        let layer = store.write_layer(&change, &generated()).unwrap();
        let tar = all(layer.read().unwrap());
        prop_assert_eq!(Digest::of(&tar), layer.diff_id().0);
        prop_assert_eq!(tar.len() as u64, layer.size_bytes());
        prop_assert!(layer.verify().unwrap());
        let scratch = Tree::empty(Timestamp::default());
        prop_assert_eq!(layer.change().unwrap().apply(&scratch), change.apply(&scratch));

        let imported = other.import_layer(&tar[..], Some(layer.diff_id())).unwrap();
        prop_assert_eq!(imported.change().unwrap(), layer.change().unwrap());
        prop_assert_eq!(all(imported.read().unwrap()), tar);

        // From the imported layer's own contents the same layer can be written again.
        let again = other.write_layer(&imported.change().unwrap(), &imported.contents().unwrap()).unwrap();
        prop_assert_eq!(again.diff_id(), layer.diff_id());
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(200)).run(&change(), law).unwrap();
}

#[test]
fn a_layer_is_the_same_on_any_number_of_threads() {
    let mut builder = ChangeBuilder::new();
    let contents: Vec<Vec<u8>> = (0..700u32).map(|number| number.to_le_bytes().repeat(number as usize * 7)).collect();
    for (number, content) in contents.iter().enumerate() {
        builder.put_leaf(&path(&format!("d{}/{number}", number % 7)), metadata(0o644), file(content));
    }
    let (change, contents) = (builder.build(), Contents::of_bytes(contents));
    let ids = [1, 2, 5].map(|threads| {
        let (_directory, store) = store();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| store.write_layer(&change, &contents).unwrap().diff_id())
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn large_contents_are_objects_and_small_ones_are_not() {
    let (_directory, store) = store();
    let (small, large) = (vec![1; 16 * 1024 - 1], vec![2; 16 * 1024]);
    let layer = files(&store, &[("large", &large), ("same", &large), ("small", &small)]);
    let large_id = ObjectId::of(&large);
    assert_eq!(layer.objects().unwrap(), [(large_id, 16 * 1024), (large_id, 16 * 1024)]);
    assert!(store.object(large_id).unwrap().is_some());
    assert!(store.object(ObjectId::of(&small)).unwrap().is_none());
    for content in [&small, &large, &Vec::new()] {
        let contents = layer.contents().unwrap();
        assert!(all(contents.open(ObjectId::of(content)).unwrap()) == *content);
    }
    let missing = ObjectId::of(b"nowhere");
    assert!(
        matches!(layer.contents().unwrap().open(missing), Err(crate::content::ContentError::Missing(id)) if id == missing)
    );
}

#[test]
fn a_context_that_changes_is_noticed() {
    let (_directory, store) = store();
    for size in [100, 100_000] {
        let context = tempfile::tempdir().unwrap();
        std::fs::write(context.path().join("f"), vec![b'a'; size]).unwrap();
        let directory = std::sync::Arc::new(std::os::fd::OwnedFd::from(File::open(context.path()).unwrap()));
        let leaf = file(&vec![b'a'; size]);
        let contents = Contents::of_files(directory, [(ObjectId::of(&vec![b'a'; size]), path("f"))]);
        let mut builder = ChangeBuilder::new();
        builder.put_leaf(&path("app/f"), metadata(0o644), leaf);
        let change = builder.build();
        for new in [vec![b'b'; size], vec![b'a'; size - 1], vec![b'a'; size + 1]] {
            std::fs::write(context.path().join("f"), new).unwrap();
            let error = store.write_layer(&change, &contents).unwrap_err();
            assert_eq!(error.to_string(), "/f has changed since it was hashed");
        }
        std::fs::remove_file(context.path().join("f")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", context.path().join("f")).unwrap();
        let error = store.write_layer(&change, &contents).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /f");
    }
    let left: Vec<_> = walk_files(&store.dir(crate::Area::Objects));
    assert!(left.is_empty(), "{left:?}");
}

fn walk_files(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk_files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_a_layer_cannot_hold_is_refused_by_name() {
    let (_directory, store) = store();
    for (name, expected) in [
        ("d/.wh.x".to_owned(), "/d/.wh.x cannot be in a layer: names that start with `.wh.` mean deletions there"),
        ("d/".repeat(512) + "f", "more than 512 directories deep"),
    ] {
        let mut builder = ChangeBuilder::new();
        builder.put_leaf(&path(&name), metadata(0o644), Leaf::Fifo);
        let error = store.write_layer(&builder.build(), &Contents::default()).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn damage_is_found() {
    let (_directory, store) = store();
    let layer = files(&store, &[("a", b"small"), ("b", &[7; 50_000])]);
    assert!(layer.verify().unwrap());
    let object = store.object_path(ObjectId::of(&[7; 50_000]));
    for damaged in [layer.store.layer_path(layer.diff_id()), store.beside_layer(layer.diff_id(), CHANGE), object] {
        let good = std::fs::read(&damaged).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for bytes in [bad, good[..good.len() / 2].to_vec(), Vec::new()] {
            std::fs::write(&damaged, bytes).unwrap();
            assert!(!layer.verify().unwrap(), "{}", damaged.display());
        }
        std::fs::write(&damaged, &good).unwrap();
        assert!(layer.verify().unwrap());
    }
}

#[test]
fn a_layer_of_another_boot_is_looked_at_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let id = files(&Store::open(&path).unwrap(), &[("a", b"small"), ("b", &[7; 50_000])]).diff_id();
    let again = Store::open(&path).unwrap();
    assert!(again.layer(id).unwrap().is_some());
    std::fs::write(again.beside_layer(id, CHANGE), b"").unwrap();
    assert!(Store::open(&path).unwrap().layer(id).unwrap().is_none());
    // What is not proven is replaced by who has it.
    let rewritten = Store::open(&path).unwrap();
    files(&rewritten, &[("a", b"small"), ("b", &[7; 50_000])]);
    assert!(Store::open(&path).unwrap().layer(id).unwrap().is_some());
    assert!(again.layer(DiffId(Digest::of(b""))).unwrap().is_none());
}

#[test]
fn a_wrong_diff_id_leaves_no_layer() {
    let (_directory, store) = store();
    let tar = vec![0; 1024];
    let (expected, actual) = (DiffId(Digest::of(b"other")), DiffId(Digest::of(&tar)));
    let error = store.import_layer(&tar[..], Some(expected)).unwrap_err();
    assert!(matches!(error, ImportError::Mismatch { expected: e, actual: a } if e == expected && a == actual));
    assert!(store.layer(actual).unwrap().is_none());
    assert!(store.layer(expected).unwrap().is_none());
}

#[test]
fn roots_are_remembered_by_their_chain() {
    let (_directory, store) = store();
    let lower = files(&store, &[("a", b"lower"), ("d/x", b"x")]).diff_id();
    let upper = files(&store, &[("a", b"upper")]).diff_id();
    let tree = store.root_tree(&[lower, upper]).unwrap();
    assert_eq!(tree.get(&path("a")).unwrap().node, Node::Leaf(file(b"upper")));
    assert_eq!(store.root_tree_id(&[lower, upper]).unwrap(), tree.id());
    assert_ne!(store.root_tree_id(&[upper, lower]).unwrap(), tree.id());
    let chain = ChainId::of(&[lower, upper]).unwrap();
    assert!(
        store.read_file(&store.beside_layer(upper, ROOTS)).unwrap().unwrap().starts_with(chain.to_string().as_bytes())
    );
    let unknown = DiffId(Digest::of(b""));
    assert!(matches!(store.root_tree(&[lower, unknown]), Err(RootTreeError::Missing(id)) if id == unknown));
    assert_eq!(store.root_tree(&[]).unwrap().hard_links(), &HardLinks::default());
}

#[test]
fn a_layer_is_compressed_once_for_each_encoder() {
    let (_directory, store) = store();
    let layer = files(&store, &[("a", &[b'a'; 100_000]), ("b", b"b")]);
    for encoding in [Encoding::Plain, Encoding::Gzip(6), Encoding::Gzip(1), Encoding::Zstd(3)] {
        assert_eq!(store.known_compressed(layer.diff_id(), encoding).unwrap(), None);
        let blob = store.compressed(&layer, encoding).unwrap();
        let bytes = store.read_blob(blob.digest, 1 << 20).unwrap().unwrap();
        assert_eq!(bytes.len() as u64, blob.size_bytes);
        assert_eq!(Digest::of(&all(decompress(&bytes[..]).unwrap())), layer.diff_id().0);
        store.remove_blob(blob.digest).unwrap();
        assert_eq!(store.compressed(&layer, encoding).unwrap(), blob);
        assert_eq!(layer.compress(encoding).unwrap().finish().unwrap(), blob);
    }
    let pulled = LayerBlob {
        digest: Digest::of(b"pulled"),
        size_bytes: 7,
        media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
        encoder: None,
        seen_in: ["host/a".to_owned()].into(),
    };
    store.record_blob(layer.diff_id(), pulled.clone()).unwrap();
    store.record_blob(layer.diff_id(), LayerBlob { seen_in: ["host/b".to_owned()].into(), ..pulled.clone() }).unwrap();
    let known = store.blobs_of(layer.diff_id()).unwrap();
    assert_eq!(known.len(), 5);
    assert_eq!(known[4].seen_in, ["host/a".to_owned(), "host/b".to_owned()].into());
}

#[test]
fn a_links_own_header_describes_the_file_under_all_its_names() {
    use crate::tar::fixture::{archive, edited, entry};
    let mode = |mode: &'static [u8; 7]| move |header: &mut [u8]| header[100..107].copy_from_slice(mode);
    let (_directory, store) = store();
    let tar = archive(&[
        edited(b"f", b'0', b"", b"x", mode(b"0004755")),
        edited(b"g", b'1', b"f", b"", mode(b"0004755")),
        edited(b"h", b'1', b"g", b"", mode(b"0000600")),
        entry(b"", b'0', b"", b""),
    ]);
    let change = store.import_layer(&tar[..], None).unwrap().change().unwrap();
    for name in ["f", "g", "h"] {
        let Some(crate::tree::ChangeEntry::Leaf(metadata, _)) = change.get(&path(name)) else { panic!("{name}") };
        assert_eq!(metadata.mode, 0o600, "{name}");
    }
    assert_eq!(change.hard_links.groups().len(), 1);
}

#[test]
fn two_that_learn_of_a_blob_at_once_are_both_heard() {
    let (_directory, store) = store();
    let layer = store.import_layer(&*vec![0; 1024], None).unwrap().diff_id();
    let seen = |host: usize| LayerBlob {
        digest: Digest::of(b"compressed"),
        size_bytes: 10,
        media_type: "type".into(),
        encoder: None,
        seen_in: [format!("host/{host}")].into(),
    };
    std::thread::scope(|scope| {
        for host in 0..16 {
            let (store, seen) = (&store, &seen);
            scope.spawn(move || store.record_blob(layer, seen(host)).unwrap());
        }
    });
    assert_eq!(store.blobs_of(layer).unwrap()[0].seen_in.len(), 16);
}
