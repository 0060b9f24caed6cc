//! Layers of somebody who means no good: confined, or refused with an error that names the entry.

use proptest::test_runner::TestRunner;

use super::*;
use crate::layer::ImportLimits;
use crate::tar::fixture::{archive, edited, entry, pax};

/// What importing the entries and applying them to `lower` makes: paths, symbolic links with targets.
fn outcome(lower: &Tree, entries: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let (_directory, store) = store();
    let layer = store.import_layer(&archive(entries)[..], None).map_err(|error| error.to_string())?;
    assert_eq!(all(layer.read().unwrap()), archive(entries));
    let tree = layer.change().unwrap().apply(lower).map_err(|error| error.to_string())?;
    let show = |(path, entry): (RelPath, &crate::tree::Entry)| match &entry.node {
        Node::Directory(_) => format!("{path}/"),
        Node::Leaf(Leaf::Symlink(target)) => format!("{path} -> {}", display(target)),
        Node::Leaf(_) => path.to_string(),
    };
    Ok(tree.walk().map(show).collect())
}

fn scratch() -> Tree {
    Tree::empty(Timestamp::default())
}

fn regular(path: &str) -> Vec<u8> {
    entry(path.as_bytes(), b'0', b"", b"OWNED")
}

fn symlink(path: &str, target: &str) -> Vec<u8> {
    entry(path.as_bytes(), b'2', target.as_bytes(), b"")
}

fn hard_link(path: &str, target: &str) -> Vec<u8> {
    entry(path.as_bytes(), b'1', target.as_bytes(), b"")
}

fn directory(path: &str) -> Vec<u8> {
    entry(path.as_bytes(), b'5', b"", b"")
}

/// E033, E034, E035, E037, E038, E040: links and dots stay inside, missing parents are made, the last entry of a name counts.
#[test]
fn names_stay_within_the_root() {
    for (what, entries, expected) in [
        ("t01 dots", vec![regular("../../../V/pwn01")], vec!["/V/", "/V/pwn01"]),
        ("t02 absolute", vec![regular("/V/pwn02")], vec!["/V/", "/V/pwn02"]),
        ("t03 absolute link", vec![symlink("esc", "/V"), regular("esc/pwn03")], vec!["/V/", "/V/pwn03", "/esc -> /V"]),
        (
            "t04 relative link",
            vec![symlink("esc", "../../../V"), regular("esc/pwn04")],
            vec!["/V/", "/V/pwn04", "/esc -> ../../../V"],
        ),
        (
            "t07 hard link to a link, replaced",
            vec![symlink("sl", "/V/secret"), hard_link("hl", "sl"), regular("hl")],
            vec!["/hl", "/sl -> /V/secret"],
        ),
        ("t17 directory over a link", vec![symlink("esc", "/V"), directory("esc")], vec!["/esc/"]),
        ("t18 file over a link", vec![symlink("f", "/V/secret"), regular("f")], vec!["/f"]),
        (
            "t19 link over a directory",
            vec![directory("d"), regular("d/a"), symlink("d", "/V"), regular("d/pwn19")],
            vec!["/V/", "/V/pwn19", "/d -> /V"],
        ),
        (
            "links through links",
            vec![directory("a"), symlink("a/b", "../c"), symlink("c", "/d/e"), regular("a/b/x")],
            vec!["/a/", "/a/b -> ../c", "/c -> /d/e", "/d/", "/d/e/", "/d/e/x"],
        ),
        ("the root as `/` and `./`", vec![directory("/"), directory("./"), regular("./x")], vec!["/x"]),
        ("of two the last", vec![directory("x"), regular("x/y"), regular("x")], vec!["/x"]),
        ("old directories", vec![entry(b"old/", 0, b"", b"")], vec!["/old/"]),
        ("names that differ in case", vec![regular("A"), regular("a")], vec!["/A", "/a"]),
        ("aufs", vec![directory(".wh..wh.plnk"), regular(".wh..wh.plnk/1.2"), regular(".wh..wh.aufs")], vec![]),
    ] {
        assert_eq!(outcome(&scratch(), &entries).unwrap(), expected, "{what}");
    }
}

/// E039: a removal is of what lies below the layer, never of what the layer brings.
#[test]
fn whiteouts_stay_within_the_root() {
    let mut lower = ChangeBuilder::new();
    for name in ["V/secret", "V/keep", "d/a"] {
        lower.put_leaf(&path(name), metadata(0o644), file(b""));
    }
    lower.put_leaf(&path("link"), metadata(0o777), Leaf::Symlink(b"V"[..].into()));
    let lower = lower.build().apply(&scratch()).unwrap();
    for (what, entries, expected) in [
        (
            "t14 through a link of the layer",
            vec![symlink("esc", "/V"), regular("esc/.wh.secret")],
            vec!["/V/", "/V/keep", "/d/", "/d/a", "/esc -> /V", "/link -> V"],
        ),
        (
            "t15 opaque through a link below",
            vec![regular("link/.wh..wh..opq")],
            vec!["/V/", "/d/", "/d/a", "/link -> V"],
        ),
        (
            "t16 with dots",
            vec![regular("a/../../../V/.wh.secret")],
            vec!["/V/", "/V/keep", "/d/", "/d/a", "/link -> V"],
        ),
        ("of the link itself", vec![regular(".wh.link")], vec!["/V/", "/V/keep", "/V/secret", "/d/", "/d/a"]),
        (
            "after what replaces it",
            vec![directory("d"), regular("d/new"), regular(".wh.d")],
            vec!["/V/", "/V/keep", "/V/secret", "/d/", "/d/new", "/link -> V"],
        ),
        (
            "of what is not there",
            vec![regular("no/.wh.x"), regular("d/a/.wh.x")],
            vec!["/V/", "/V/keep", "/V/secret", "/d/", "/d/a", "/link -> V"],
        ),
    ] {
        assert_eq!(outcome(&lower, &entries).unwrap(), expected, "{what}");
    }
}

#[test]
fn what_cannot_be_confined_is_refused_by_name() {
    let device = |major: &[u8], minor: &[u8], kind| {
        edited(b"etc/passwd", kind, b"", b"", |header| {
            header[329..337].copy_from_slice(major);
            header[337..345].copy_from_slice(minor);
        })
    };
    let long = |name: &[u8]| [pax(&[("path", name)]), regular("x")].concat();
    for (entries, expected) in [
        (
            vec![hard_link("hl", "../../V/secret")],
            "layer entry hl: hard link to ../../V/secret, which is no file of this layer",
        ),
        (vec![hard_link("hl", "/V/secret")], "layer entry hl: hard link to /V/secret, which is no file of this layer"),
        (
            vec![symlink("esc", "/V"), hard_link("hl", "esc/secret")],
            "layer entry hl: hard link to esc/secret, which is no file of this layer",
        ),
        (vec![directory("d"), hard_link("hl", "d")], "layer entry hl: hard link to d, which is no file of this layer"),
        (vec![regular("keep/.wh...")], "layer entry keep/.wh...: invalid whiteout name"),
        (vec![regular("keep/.wh..")], "layer entry keep/.wh..: invalid whiteout name"),
        (vec![regular("keep/.wh.")], "layer entry keep/.wh.: invalid whiteout name"),
        (vec![regular(".wh.d/x")], "layer entry .wh.d/x: invalid whiteout name"),
        (vec![regular("/")], "layer entry /: puts something other than a directory at the root"),
        (vec![symlink("../..", "/V")], "layer entry ../..: puts something other than a directory at the root"),
        (vec![symlink("l", "l"), regular("l/x")], "layer entry below l: too many levels of symbolic links"),
        (vec![symlink("l", "")], "layer entry l: invalid target of a symbolic link"),
        (
            vec![[pax(&[("linkpath", b"a\0b")]), symlink("l", "x")].concat()],
            "layer entry l: invalid target of a symbolic link",
        ),
        (vec![long(b"a\0b")], "layer entry a\\u{0}b: not a path"),
        (
            vec![device(b"0000000\0", b"0000000\0", b'3')],
            "layer entry etc/passwd: the character device 0:0 means a deletion to overlayfs",
        ),
        (vec![device(b"0010000\0", b"0000000\0", b'4')], "layer entry etc/passwd: device number out of range"),
    ] {
        assert_eq!(outcome(&scratch(), &entries).unwrap_err(), expected);
    }
    for name in [vec![b'n'; 300], b"deep/".repeat(513), [&b"x".repeat(200)[..], b"/"].concat().repeat(50)] {
        let error = outcome(&scratch(), &[long(&name)]).unwrap_err();
        assert!(error.ends_with("the name is too long or too deep") && error.len() < 400, "{error}");
    }
}

#[test]
fn a_deep_layer_does_not_overflow_a_small_stack() {
    let name = [b"d/".repeat(511), b"f".to_vec()].concat();
    let deep = std::thread::Builder::new().stack_size(2 << 20);
    let names = deep.spawn(move || outcome(&scratch(), &[[pax(&[("path", &name)]), regular("x")].concat()])).unwrap();
    assert_eq!(names.join().unwrap().unwrap().len(), 512);
}

/// E018, E019, E020: which extended attributes there are.
#[test]
fn attributes_that_steer_the_kernel_are_dropped() {
    let (_directory, store) = store();
    let attributes: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../.."),
        ("SCHILY.xattr.user.kept", b"a=b\n"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
    ];
    let tar = archive(&[[pax(&attributes), regular("f")].concat()]);
    let layer = store.import_layer(&tar[..], None).unwrap();
    let change = layer.change().unwrap();
    let Some(crate::tree::ChangeEntry::Leaf(metadata, _)) = change.get(&path("f")) else { panic!() };
    let kept: Vec<_> = metadata.xattrs.iter().collect();
    assert_eq!(kept, [(&b"security.capability"[..], &b"\x01\0\0\x02"[..]), (b"user.kept", b"a=b\n")]);
}

/// E029, E046: holes are zeros, within proportion.
#[test]
fn a_sparse_file_is_read_within_its_budget() {
    let sparse = |size: &str, map: &str, body: &[u8]| {
        let keys =
            [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.name", b"f"), ("GNU.sparse.size", size.as_bytes())];
        archive(&[[pax(&keys), entry(b"GNUSparseFile.0/f", b'0', b"", body)].concat()])
    };
    let (_directory, store) = store();
    let layer = store.import_layer(&sparse("100000", "10,3,50000,2", b"abcde")[..], None).unwrap();
    let mut expected = vec![0; 100_000];
    expected[10..13].copy_from_slice(b"abc");
    expected[50_000..50_002].copy_from_slice(b"de");
    assert!(all(layer.contents().unwrap().open(ObjectId::of(&expected)).unwrap()) == expected);
    assert_eq!(all(layer.read().unwrap()), sparse("100000", "10,3,50000,2", b"abcde"));
    assert_eq!(layer.objects().unwrap().len(), 2);
    assert!(layer.verify().unwrap());

    let error = store.import_layer(&sparse("8796093022208", "0,3", b"abc")[..], None).unwrap_err();
    let expected = "layer entry f: a sparse file of 8796093022208 bytes, out of proportion to the layer";
    assert_eq!(error.to_string(), expected);
    for map in ["0,3,2,2", "5,3,0,2", "0,5", "0,3,99999,2", "0,18446744073709551615"] {
        let error = store.import_layer(&sparse("100000", map, if map == "0,5" { b"abc" } else { b"abcde" })[..], None);
        assert_eq!(error.unwrap_err().to_string(), "tar entry f: sparse map is invalid", "{map}");
    }
}

#[test]
fn entries_are_counted() {
    let (_directory, store) = store();
    let limits = ImportLimits { entries: 2, ..ImportLimits::default() };
    let tar = archive(&[regular("a"), regular("a"), regular("b")]);
    let error = store.import_layer_within(&tar[..], None, &limits).unwrap_err();
    assert_eq!(error.to_string(), "the layer has more than 2 entries, at b");
}

/// Any entry that a header can hold, of names that collide and links that cross.
fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let name = || {
        let part = prop_oneof![
            Just("a"),
            Just("b"),
            Just("/"),
            Just(".."),
            Just("."),
            Just(".wh.a"),
            Just(".wh..wh..opq"),
            Just("")
        ];
        proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
    };
    let kind = prop_oneof![3 => Just(b'0'), 1 => Just(b'1'), 3 => Just(b'2'), 3 => Just(b'5'), 1 => Just(b'6'), 1 => Just(0u8), 1 => Just(b'3')];
    (name(), kind, name(), 0usize..20_000).prop_map(|(path, kind, link, size)| {
        let body = if kind == b'0' { vec![b'x'; size] } else { Vec::new() };
        entry(path.as_bytes(), kind, link.as_bytes(), &body)
    })
}

#[test]
fn whatever_comes_is_kept_as_it_is_or_refused() {
    let (_directory, store) = store();
    let strategy = (proptest::collection::vec(any_entry(), 0..12), crate::tree::strategy::tree());
    let law = |(entries, lower): (Vec<Vec<u8>>, Tree)| {
        let tar = archive(&entries);
        if let Ok(layer) = store.import_layer(&tar[..], None) {
            prop_assert!(all(layer.read().unwrap()) == tar);
            prop_assert!(layer.verify().unwrap());
            let change = layer.change().unwrap();
            // What was taken in can be written again, in our own form, and does the same.
            let ours = store.write_layer(&change, &layer.contents().unwrap()).unwrap();
            prop_assert_eq!(ours.change().unwrap().apply(&lower), change.apply(&lower));
        }
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(300)).run(&strategy, law).unwrap();
}
