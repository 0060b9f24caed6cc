//! The laws of trees and changes.

use proptest::prelude::*;

use super::strategy::{change, tree, trees};
use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn metadata(mode: u16) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_secs(1))
}

fn file(content: &str) -> Leaf {
    Leaf::File { content: ObjectId::of(content.as_bytes()), size_bytes: content.len() as u64 }
}

fn symlink(target: &str) -> Leaf {
    Leaf::Symlink(target.as_bytes().into())
}

/// A tree of files that hold their own path, directories (`a/`) and symbolic links (`a -> b`).
fn plant(lines: &[&str]) -> Tree {
    let mut builder = TreeBuilder::new(metadata(0o755));
    for line in lines {
        if let Some((name, target)) = line.split_once(" -> ") {
            builder.put_leaf(&path(name), metadata(0o777), symlink(target));
        } else if let Some(name) = line.strip_suffix('/') {
            builder.put_directory(&path(name), metadata(0o700));
        } else {
            builder.put_leaf(&path(line), metadata(0o644), file(line));
        }
    }
    builder.build()
}

fn names(tree: &Tree) -> Vec<String> {
    tree.walk().map(|(path, _)| path.to_string()).collect()
}

fn put(paths: &[&str]) -> Change {
    let mut builder = ChangeBuilder::new();
    paths.iter().for_each(|name| builder.put_leaf(&path(name), metadata(0o644), file(name)));
    builder.build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_difference_leads_from_the_one_to_the_other((lower, upper) in trees()) {
        let change = diff(&lower, &upper);
        let applied = change.apply(&lower).unwrap();
        prop_assert_eq!(applied.hard_links(), upper.hard_links());
        prop_assert_eq!(&applied, &upper);
        prop_assert_eq!(change.is_empty(), lower == upper);
        prop_assert!(change.stands_alone());
    }

    #[test]
    fn what_a_layer_does_to_a_tree_is_a_difference(lower in tree(), change in change()) {
        if let Ok(upper) = change.apply(&lower) {
            prop_assert_eq!(diff(&lower, &upper).apply(&lower).unwrap(), upper);
        }
    }

    #[test]
    fn a_change_survives_its_encoding(change in change()) {
        prop_assert_eq!(Change::decode(&change.encode()), Ok(change));
    }

    #[test]
    fn bad_bytes_are_no_change(change in change(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut bytes = change.encode();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(Change::decode(&bytes).is_err());
        // With the checksum put right the decoder itself has to cope; it must not panic.
        if bytes.len() > 46 {
            let body = bytes.len() - 32;
            let hash = blake3::hash(&bytes[..body]);
            bytes[body..].copy_from_slice(hash.as_bytes());
            let _ = Change::decode(&bytes);
        }
    }

    #[test]
    fn editing_nothing_keeps_the_id(tree in tree()) {
        prop_assert_eq!(TreeBuilder::from_tree(&tree).build().id(), tree.id());
        let mut rebuilt = TreeBuilder::new(tree.metadata().clone());
        for (path, entry) in tree.walk() {
            match &entry.node {
                Node::Leaf(leaf) => rebuilt.put_leaf(&path, entry.metadata.clone(), leaf.clone()),
                Node::Directory(_) => rebuilt.put_directory(&path, entry.metadata.clone()),
            }
        }
        tree.hard_links().groups().iter().for_each(|group| rebuilt.link(group.to_vec()));
        prop_assert_eq!(rebuilt.build().id(), tree.id());
    }
}

#[test]
fn symbolic_links_are_followed_within_the_root() {
    let tree =
        plant(&["usr/lib/x", "lib -> usr/lib", "abs -> /lib", "up -> ../../lib/../bin", "usr/bin/", "loop -> loop"]);
    let real = |text| tree.resolve(&path(text)).map(|found| found.path().to_string());
    for (asked, leads_to) in [
        ("lib", "/usr/lib"),
        ("lib/x", "/usr/lib/x"),
        ("abs/x", "/usr/lib/x"),
        ("up", "/usr/bin"),
        ("lib/y/z", "/usr/lib/y/z"),
        ("nothing", "/nothing"),
    ] {
        assert_eq!(real(asked).as_deref(), Ok(leads_to), "{asked}");
    }
    assert_eq!(real("loop/a"), Err(ResolveError::TooManyLinks(path("loop/a"))));
    assert_eq!(real("lib/x/y"), Err(ResolveError::NotADirectory(path("usr/lib/x"))));
    assert_eq!(tree.resolve(&RelPath::root()), Ok(Resolved::Root));
}

#[test]
fn a_layer_writes_through_the_links_below_it() {
    for (links, written, expected) in [
        (&["run/", "var/run -> /run"][..], "var/run/lock", &["/run", "/run/lock", "/var", "/var/run"][..]),
        (&["esc -> ../../../V"], "esc/pwn", &["/V", "/V/pwn", "/esc"]),
        (&["a -> b", "b -> c/d", "c/d/"], "a/x", &["/a", "/b", "/c", "/c/d", "/c/d/x"]),
        (&["a -> no/../b", "b -> c"], "a/x", &["/a", "/b", "/c", "/c/x"]),
        (&["a -> b", "b/", "b/x -> /y", "y/"], "a/x/z", &["/a", "/b", "/b/x", "/y", "/y/z"]),
    ] {
        let tree = put(&[written]).apply(&plant(links)).unwrap();
        assert_eq!(names(&tree), expected, "{written} over {links:?}");
    }
    let looped = put(&["loop/x"]).apply(&plant(&["loop -> loop"])).unwrap_err();
    assert!(matches!(looped, ApplyError::Parent { path: link, .. } if link == path("loop")));
}

#[test]
fn a_described_directory_replaces_a_link() {
    let mut builder = ChangeBuilder::new();
    builder.put_directory(&path("var/run"), metadata(0o755));
    builder.put_leaf(&path("var/run/x"), metadata(0o644), file("x"));
    let tree = builder.build().apply(&plant(&["run/", "var/run -> /run"])).unwrap();
    assert_eq!(names(&tree), ["/run", "/var", "/var/run", "/var/run/x"]);
}

#[test]
fn hard_links_behind_a_link_stay_together() {
    let mut builder = ChangeBuilder::new();
    for name in ["a", "esc/b"] {
        builder.put_leaf(&path(name), metadata(0o644), file("x"));
    }
    builder.link(vec![path("a"), path("esc/b")]);
    let tree = builder.build().apply(&plant(&["esc -> d", "d/"])).unwrap();
    assert_eq!(tree.hard_links().groups(), [[path("a"), path("d/b")].into()]);
}

#[test]
fn whiteouts_touch_only_what_was_below() {
    let mut builder = ChangeBuilder::new();
    builder.put_leaf(&path("d/new"), metadata(0o644), file("new"));
    builder.remove(&path("d"));
    builder.remove(&path("d/new"));
    builder.remove(&path("absent/x"));
    let tree = builder.build().apply(&plant(&["d/old", "keep"])).unwrap();
    assert_eq!(names(&tree), ["/d", "/d/new", "/keep"]);
    assert_eq!(tree.directory_metadata(&path("d")), Some(&Metadata::implied()));
}

#[test]
fn one_changed_name_of_a_file_brings_the_others() {
    let mut builder = TreeBuilder::from_tree(&plant(&["d/a", "z"]));
    builder.put_leaf(&path("b"), metadata(0o644), file("d/a"));
    builder.link(vec![path("d/a"), path("b")]);
    let lower = builder.clone().build();
    builder.put_leaf(&path("c"), metadata(0o644), file("d/a"));
    builder.link(vec![path("b"), path("c")]);
    let change = diff(&lower, &builder.build());
    assert_eq!(change.hard_links.groups(), [[path("b"), path("c"), path("d/a")].into()]);
    assert!(matches!(change.get(&path("d")), Some(ChangeEntry::Directory { metadata: Some(_), .. })));
}

#[test]
fn a_subtree_keeps_the_links_in_it() {
    let mut builder = TreeBuilder::from_tree(&plant(&["d/a"]));
    for name in ["d/b", "c"] {
        builder.put_leaf(&path(name), metadata(0o644), file("d/a"));
    }
    builder.link(vec![path("d/a"), path("d/b"), path("c")]);
    let subtree = builder.build().subtree(&path("d")).unwrap();
    assert_eq!(subtree.hard_links().groups(), [[path("a"), path("b")].into()]);
    let mut grafted = TreeBuilder::new(metadata(0o755));
    grafted.put_tree(&path("x"), &subtree);
    assert_eq!(grafted.build().hard_links().groups(), [[path("x/a"), path("x/b")].into()]);
}

#[test]
fn parents_get_the_metadata_of_the_tree_below() {
    let lower = plant(&["a/", "a/b/"]);
    let mut builder = ChangeBuilder::new();
    builder.put_leaf(&path("a/b/a"), metadata(0o644), file("a/b/a"));
    builder.describe_parents(&path("a/b/a"), &lower);
    assert_eq!(builder.build(), diff(&lower, &plant(&["a/", "a/b/", "a/b/a"])));
}
