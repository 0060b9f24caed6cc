//! What turns one tree into another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, ChangeDirectory, ChangeEntry, Directory, Entry, HardLinks, Node, Tree};
use crate::{Name, RelPath};

/// The smallest change that turns `lower` into `upper` exactly, times of directories included.
///
/// Equal subtrees are skipped by their ids. Parents of what changes carry their metadata (features,
/// E003), deletions are explicit whiteouts (E008), and if one name of a hard-linked file is put, all
/// its names are, so that they stay one file (E012).
pub fn diff(lower: &Tree, upper: &Tree) -> Change {
    let mut change = Change {
        root: (lower.metadata() != upper.metadata()).then(|| upper.metadata().clone()),
        directory: directories(lower.directory(), upper.directory()),
        hard_links: HardLinks::default(),
    };
    let torn = torn_links(&change, lower, upper);
    for path in &torn {
        put_again(&mut change, upper, path);
    }
    let put = |group: &[RelPath]| group.iter().all(|path| is_put(&change, path)).then(|| group.to_vec());
    let groups: Vec<_> = upper.hard_links().groups().iter().filter_map(|group| put(group)).collect();
    change.hard_links = HardLinks::new(groups);
    change
}

fn directories(lower: &Directory, upper: &Directory) -> ChangeDirectory {
    let mut changed = ChangeDirectory::default();
    if lower.id() == upper.id() {
        return changed;
    }
    let mut above = upper.entries().iter().peekable();
    for (name, before) in lower.entries() {
        while let Some((other, entry)) = above.next_if(|(other, _)| other < name) {
            changed.entries.insert(other.clone(), added(entry));
        }
        let entry = match above.next_if(|(other, _)| other == name) {
            Some((_, after)) => entries(before, after),
            None => Some(ChangeEntry::Removed),
        };
        changed.entries.extend(entry.map(|entry| (name.clone(), entry)));
    }
    changed.entries.extend(above.map(|(name, entry)| (name.clone(), added(entry))));
    changed
}

fn entries(before: &Entry, after: &Entry) -> Option<ChangeEntry> {
    let (Node::Directory(lower), Node::Directory(upper)) = (&before.node, &after.node) else {
        return (before != after).then(|| added(after));
    };
    let directory = directories(lower, upper);
    let same = directory.entries.is_empty() && before.metadata == after.metadata;
    (!same).then(|| ChangeEntry::Directory { metadata: Some(after.metadata.clone()), directory })
}

fn added(entry: &Entry) -> ChangeEntry {
    match &entry.node {
        Node::Leaf(leaf) => ChangeEntry::Leaf(entry.metadata.clone(), leaf.clone()),
        Node::Directory(directory) => {
            let entries = directory.entries().iter().map(|(name, entry)| (name.clone(), added(entry))).collect();
            let directory = ChangeDirectory { opaque: false, entries };
            ChangeEntry::Directory { metadata: Some(entry.metadata.clone()), directory }
        }
    }
}

/// The paths that must be put although they are the same, because they are one file with others now
/// and were not, or were and are not.
fn torn_links(change: &Change, lower: &Tree, upper: &Tree) -> BTreeSet<RelPath> {
    let mut torn = BTreeSet::new();
    if lower.hard_links() == upper.hard_links() && change.directory.entries.is_empty() {
        return torn;
    }
    let below = group_of(lower.hard_links());
    let above = group_of(upper.hard_links());
    for group in upper.hard_links().groups() {
        let file = below.get(&group[0]);
        if group.iter().any(|path| is_put(change, path) || file.is_none() || below.get(path) != file) {
            torn.extend(group.iter().cloned());
        }
    }
    for group in lower.hard_links().groups() {
        let left = |path: &&RelPath| !torn.contains(*path) && !is_put(change, path) && upper.get(path).is_some();
        let left: Vec<&RelPath> = group.iter().filter(left).collect();
        let Some(first) = left.first() else { continue };
        let stays = above.get(first);
        let apart: Vec<RelPath> = left[1..]
            .iter()
            .filter(|path| stays.is_none() || above.get(**path) != stays)
            .map(|path| (*path).clone())
            .collect();
        torn.extend(apart);
    }
    torn
}

fn group_of(links: &HardLinks) -> BTreeMap<&RelPath, usize> {
    let paths =
        links.groups().iter().enumerate().flat_map(|(index, group)| group.iter().map(move |path| (path, index)));
    paths.collect()
}

fn is_put(change: &Change, path: &RelPath) -> bool {
    matches!(change.get(path), Some(ChangeEntry::Leaf(..)))
}

/// Puts a leaf as `upper` has it, with its parents.
fn put_again(change: &mut Change, upper: &Tree, path: &RelPath) {
    let (Some(entry), Some(name), Some(parent)) = (upper.get(path), path.file_name(), path.parent()) else { return };
    let mut directory = &mut change.directory;
    let mut at = RelPath::root();
    for above in parent.components().map(Name::of_component) {
        at = at.join(&above);
        let metadata = || upper.directory_metadata(&at).cloned();
        let made = || ChangeEntry::Directory { metadata: metadata(), directory: ChangeDirectory::default() };
        match directory.entries.entry(above).or_insert_with(made) {
            ChangeEntry::Directory { directory: below, .. } => directory = below,
            ChangeEntry::Removed | ChangeEntry::Leaf(..) => return,
        }
    }
    directory.entries.insert(name, added(entry));
}
