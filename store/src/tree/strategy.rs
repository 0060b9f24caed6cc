//! Trees and changes for property tests: few names, so that they collide; every kind of entry.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{ChangeBuilder, DeviceKind, Leaf, Metadata, Timestamp, Tree, TreeBuilder, Xattrs};
use crate::{Change, ObjectId, RelPath};

/// Contents that generated files hold, by number.
pub(crate) fn content(number: u8) -> Vec<u8> {
    let size = [0, 1, 511, 512, 513, 16 * 1024 - 1, 16 * 1024, 40_000][usize::from(number % 8)];
    vec![number; size]
}

/// One step of making a tree or a change.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Leaf(RelPath, Metadata, Leaf),
    Directory(RelPath, Metadata),
    Remove(RelPath),
    Opaque(RelPath),
    Link(RelPath, RelPath),
}

pub(crate) fn path() -> impl Strategy<Value = RelPath> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c.d"), Just("\u{e9}"), Just("z")];
    vec(name, 1..4).prop_map(|names| RelPath::new(names.join("/").into_bytes()).unwrap())
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    let name = prop_oneof![Just("user.a"), Just("security.capability")];
    vec((name, vec(any::<u8>(), 0..4)), 0..2)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.as_bytes().into(), value.into())).collect())
}

pub(crate) fn metadata() -> impl Strategy<Value = Metadata> {
    let secs = prop_oneof![Just(0), Just(315_532_800), Just(-5), Just(1i64 << 40)];
    let id = prop_oneof![Just(0u32), Just(1000), Just(3_000_000)];
    (prop_oneof![Just(0o644u16), Just(0o4755)], id, secs, xattrs()).prop_map(|(mode, uid, secs, xattrs)| Metadata {
        mode,
        uid,
        gid: uid,
        mtime: Timestamp::from_secs(secs),
        xattrs,
    })
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let file = |number: u8| {
        let content = content(number);
        Leaf::File { content: ObjectId::of(&content), size_bytes: content.len() as u64 }
    };
    let target = prop_oneof![Just("a"), Just("/b"), Just("../c.d"), Just("./z/../a"), Just("nowhere/../b")];
    let kind = prop_oneof![Just(DeviceKind::Character), Just(DeviceKind::Block)];
    prop_oneof![
        4 => (0u8..16).prop_map(file),
        2 => target.prop_map(|target| Leaf::Symlink(target.as_bytes().into())),
        1 => (kind, 1u32..3, 0u32..2).prop_map(|(kind, major, minor)| Leaf::Device { kind, major, minor }),
        1 => Just(Leaf::Fifo),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let put = |(path, mut metadata, leaf): (_, Metadata, _)| {
        if matches!(leaf, Leaf::Symlink(_)) {
            metadata.mode = 0o777; // the only mode that Linux gives them
        }
        Step::Leaf(path, metadata, leaf)
    };
    prop_oneof![
        5 => (path(), metadata(), leaf()).prop_map(put),
        2 => (path(), metadata()).prop_map(|(path, metadata)| Step::Directory(path, metadata)),
        1 => path().prop_map(Step::Remove),
        1 => path().prop_map(Step::Opaque),
        2 => (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
    ]
}

fn make(builder: &mut TreeBuilder, step: Step) {
    match step {
        Step::Leaf(path, metadata, leaf) => builder.put_leaf(&path, metadata, leaf),
        Step::Directory(path, metadata) => builder.put_directory(&path, metadata),
        Step::Remove(path) | Step::Opaque(path) => builder.remove(&path),
        Step::Link(a, b) => {
            let tree = builder.clone().build();
            let Some(entry) = tree.get(&a) else { return };
            if let super::Node::Leaf(leaf) = &entry.node
                && b.strip_prefix(&a).is_none()
            {
                builder.put_leaf(&b, entry.metadata.clone(), leaf.clone());
                builder.link(vec![a, b]);
            }
        }
    }
}

/// Any tree.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    (metadata(), vec(step(), 0..24)).prop_map(|(root, steps)| {
        let mut builder = TreeBuilder::new(root);
        steps.into_iter().for_each(|step| make(&mut builder, step));
        builder.build()
    })
}

/// Two trees, the second often made from the first.
pub(crate) fn trees() -> impl Strategy<Value = (Tree, Tree)> {
    let edited = (tree(), vec(step(), 0..8)).prop_map(|(lower, steps)| {
        let mut builder = TreeBuilder::from_tree(&lower);
        steps.into_iter().for_each(|step| make(&mut builder, step));
        let upper = builder.build();
        (lower, upper)
    });
    prop_oneof![edited, (tree(), tree())]
}

/// Any change, as a layer may hold it.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    vec(step(), 0..24).prop_map(|steps| {
        let mut builder = ChangeBuilder::new();
        for step in steps {
            match step {
                Step::Leaf(path, metadata, leaf) => builder.put_leaf(&path, metadata, leaf),
                Step::Directory(path, metadata) => builder.put_directory(&path, metadata),
                Step::Remove(path) => builder.remove(&path),
                Step::Opaque(path) => builder.make_opaque(&path),
                Step::Link(a, b) => {
                    let Some(super::ChangeEntry::Leaf(metadata, leaf)) = builder.get(&a).cloned() else { continue };
                    if b.strip_prefix(&a).is_none() {
                        builder.put_leaf(&b, metadata, leaf);
                        builder.link(vec![a, b]);
                    }
                }
            }
        }
        builder.build()
    })
}
