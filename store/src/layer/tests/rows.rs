//! The rules of docs/dockerfile.md about layers, as a reader of the tar sees them.

use super::*;
use crate::tar::fixture::{archive, entry, pax};
use crate::tree::{TreeBuilder, diff};

/// What a foreign reader sees: type, name, link target and whole time of each entry.
fn entries(layer: &Layer) -> Vec<String> {
    let tar = all(layer.read().unwrap());
    let mut archive = ::tar::Archive::new(&tar[..]);
    let describe = |entry: ::tar::Entry<'_, &[u8]>| {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link =
            entry.link_name_bytes().map_or_else(String::new, |to| format!(" = {}", String::from_utf8_lossy(&to)));
        let kind = match entry.header().entry_type() {
            ::tar::EntryType::Directory => "directory",
            ::tar::EntryType::Link => "link",
            _ => "file",
        };
        format!("{kind} {name}{link} {}", entry.header().mtime().unwrap())
    };
    archive.entries().unwrap().map(|entry| describe(entry.unwrap())).collect()
}

fn at(secs: i64) -> Metadata {
    Metadata::root_owned(0o755, Timestamp::from_secs(secs))
}

fn below() -> Tree {
    let mut builder = TreeBuilder::new(at(1));
    for name in ["z", "d/e/f", "gone/a", "gone/b/c", "again/old", "one/a", "two/b"] {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        for end in parent.match_indices('/').map(|(end, _)| end).chain([parent.len()]).filter(|end| *end > 0) {
            builder.put_directory(&path(&name[..end]), at(2));
        }
        builder.put_leaf(&path(name), at(3), file(b"old"));
    }
    builder.link(vec![path("one/a"), path("two/b")]);
    builder.build()
}

/// E001, E003, E006, E007, E008, E012: sorted, parents first and described, one removal for a whole directory, no opaque ones,
/// and all names of a linked file if one of them changes, the later ones as links to the first.
#[test]
fn a_change_of_everything_is_listed_in_order() {
    let (_directory, store) = store();
    let lower = below();
    let mut upper = TreeBuilder::from_tree(&lower);
    upper.put_leaf(&path("d/e/new"), at(9), file(b"new"));
    upper.remove(&path("gone"));
    upper.remove(&path("again"));
    upper.put_directory(&path("again"), at(9));
    upper.put_leaf(&path("again/young"), at(9), file(b"new"));
    for name in ["one/a", "two/b"] {
        upper.put_leaf(&path(name), at(8), file(b"changed"));
    }
    upper.link(vec![path("one/a"), path("two/b")]);
    let change = diff(&lower, &upper.build());
    let layer = store.write_layer(&change, &Contents::of_bytes([&b"new"[..], b"changed"])).unwrap();
    let expected = [
        "file .wh.gone 0",
        "directory again/ 9",
        "file again/.wh.old 0",
        "file again/young 9",
        "directory d/ 2",
        "directory d/e/ 2",
        "file d/e/new 9",
        "directory one/ 2",
        "file one/a 8",
        "directory two/ 2",
        "link two/b = one/a 8",
    ];
    assert_eq!(entries(&layer), expected);
}

/// E008: what other writers say with opaque directories is understood.
#[test]
fn an_opaque_directory_hides_what_is_below() {
    let (_directory, store) = store();
    let tar = archive(&[
        entry(b"d/", b'5', b"", b""),
        entry(b"d/.wh..wh..opq", b'0', b"", b""),
        entry(b"d/x", b'0', b"", b""),
    ]);
    let root = store.import_layer(&tar[..], None).unwrap().change().unwrap().apply(&below()).unwrap();
    assert!(root.get(&path("d/e")).is_none() && root.get(&path("d/x")).is_some() && root.get(&path("z")).is_some());
}

/// E021: times are whole seconds, in the header alone, however fine the tree has them.
#[test]
fn times_are_whole_seconds() {
    let (_directory, store) = store();
    let layer = |nanos| {
        let mut builder = ChangeBuilder::new();
        let mtime = Timestamp { secs: 1_500_000_000, nanos };
        builder.put_leaf(&path("f"), Metadata::root_owned(0o644, mtime), file(b"x"));
        store.write_layer(&builder.build(), &Contents::of_bytes([*b"x"])).unwrap()
    };
    assert_eq!(layer(999_999_999).diff_id(), layer(0).diff_id());
    assert_eq!(entries(&layer(5)), ["file f 1500000000"]);
}

/// E030: a global header, as git's archives have it, says nothing of files.
#[test]
fn a_global_header_is_passed_over() {
    let (_directory, store) = store();
    let comment = b"52 comment=0123456789012345678901234567890123456789\n";
    let path_for_all = b"11 path=b\n\n";
    for global in [&comment[..], path_for_all] {
        let tar = archive(&[entry(b"pax_global_header", b'g', b"", global), entry(b"a", b'0', b"", b"content")]);
        let layer = store.import_layer(&tar[..], None).unwrap();
        assert_eq!(all(layer.read().unwrap()), tar);
        let change = layer.change().unwrap();
        assert!(change.get(&path("a")).is_some());
        assert_eq!(change.directory.entries.len(), 1);
    }
}

/// E036: what comes into a directory afterwards does not change its time.
#[test]
fn a_directory_on_disk_has_the_time_that_its_header_says() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, store) = store();
    let old = |time: i64, path: &'static [u8], kind| {
        [pax(&[("mtime", time.to_string().as_bytes())]), entry(path, kind, b"", b"")].concat()
    };
    let tar = archive(&[old(77, b"d/", b'5'), old(78, b"d/e/", b'5'), old(79, b"d/e/f", b'0'), old(80, b"d/g", b'0')]);
    let layer = store.import_layer(&tar[..], None).unwrap();
    let snapshot = store.snapshot(&[layer.diff_id()]).unwrap();
    let on_disk = match snapshot.root() {
        crate::SnapshotRoot::Copy { path } => path.clone(),
        crate::SnapshotRoot::Overlay { lowers, .. } => lowers[0].path.clone(),
    };
    for (name, time) in [("d", 77), ("d/e", 78), ("d/e/f", 79), ("d/g", 80)] {
        assert_eq!(std::fs::metadata(on_disk.join(name)).unwrap().mtime(), time, "{name}");
    }
}

/// E045: what lazy readers add to a layer is files like any others, E044: and no flags of the disk are among them.
#[test]
fn a_table_of_contents_is_a_file() {
    let (_directory, store) = store();
    let names = [&b".prefetch.landmark"[..], b"a", b"stargz.index.json"];
    let tar = archive(&names.map(|name| entry(name, b'0', b"", b"\x0f")));
    let member = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let estargz: Vec<u8> = tar.chunks(512).flat_map(member).collect();
    let layer = store.import_layer(decompress(&estargz[..]).unwrap(), None).unwrap();
    assert_eq!(Digest::of(&tar), layer.diff_id().0);
    assert_eq!(layer.change().unwrap().directory.entries.len(), 3);
}
