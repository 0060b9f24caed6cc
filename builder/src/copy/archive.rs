//! ADD of an archive: its entries applied inside the destination.
//!
//! Directories merge and take the archive's metadata, everything else replaces what is there, and
//! a directory that the archive only implies may be a link of the base. It is followed within the
//! destination, which is the root of what is unpacked; a link to nothing there is an error. The
//! archive's own root entry changes nothing (docs/dockerfile.md, A121).

use store::tree::{ChangeDirectory, ChangeEntry, Directory, Metadata, Node};
use store::{Change, RelPath};

use super::merge::{Arrival, Merge, NewDirectory, Seen};
use super::{CopyError, Owner, Placing};

/// Unpacks an archive that was read into a change.
pub(super) fn unpack(merge: &mut Merge<'_>, archive: &Change, placing: &mut Placing<'_>) -> Result<(), CopyError> {
    let destination = merge.resolve(&placing.rules.destination.path)?;
    let owner = placing.rules.owner.unwrap_or_default();
    merge.make_directories(&destination, &new_directory(owner, placing))?;
    placing.within = destination.clone();
    let groups = archive.hard_links.groups().iter().enumerate();
    let tree = store::Tree::empty(store::tree::Timestamp::default()).id();
    placing.groups =
        groups.flat_map(|(index, group)| group.iter().map(move |path| (path.clone(), (tree, index)))).collect();
    unpack_directory(merge, &archive.directory, &RelPath::root(), &destination, placing)
}

fn unpack_directory(
    merge: &mut Merge<'_>,
    archive: &ChangeDirectory,
    from: &RelPath,
    to: &RelPath,
    placing: &mut Placing<'_>,
) -> Result<(), CopyError> {
    if archive.opaque {
        return Err(CopyError::Whiteout(to.clone()));
    }
    for (name, entry) in &archive.entries {
        let (from, to) = (from.join(name), to.join(name));
        match entry {
            ChangeEntry::Removed => return Err(CopyError::Whiteout(to)),
            ChangeEntry::Leaf(metadata, leaf) => {
                let metadata = owned(metadata, &Node::Leaf(leaf.clone()), placing);
                merge.replace_with_leaf(&to, metadata, leaf.clone());
                placing.placed(&from, &to);
            }
            ChangeEntry::Directory { metadata: Some(metadata), directory } => {
                let empty = Node::Directory(std::sync::Arc::new(Directory::new(Vec::new())));
                let metadata = owned(metadata, &empty, placing);
                merge.put_directory(&to, metadata);
                unpack_directory(merge, directory, &from, &to, placing)?;
            }
            ChangeEntry::Directory { metadata: None, directory } => {
                let to = implied(merge, &to, placing)?;
                unpack_directory(merge, directory, &from, &to, placing)?;
            }
        }
    }
    Ok(())
}

/// The directory that an archive implies, as it stands or newly made.
fn implied(merge: &mut Merge<'_>, path: &RelPath, placing: &Placing<'_>) -> Result<RelPath, CopyError> {
    match merge.look(path) {
        Seen::Directory(_) => Ok(path.clone()),
        Seen::Absent => {
            merge.make_directories(path, &new_directory(Owner::default(), placing))?;
            Ok(path.clone())
        }
        Seen::File => Err(CopyError::NotADirectory(path.clone())),
        Seen::Link(_) => {
            let to = merge.resolve_within(&placing.within, path)?;
            match merge.look(&to) {
                Seen::Directory(_) => Ok(to),
                _ => Err(CopyError::LinkToNothing(path.clone())),
            }
        }
    }
}

/// Directories that unpacking makes have no mode of anybody's choice, and only the destination has
/// an owner of somebody's (BuildKit's behaviour).
fn new_directory(owner: Owner, placing: &Placing<'_>) -> NewDirectory {
    let times = placing.rules.times;
    NewDirectory { mode: 0o755, owner, mtime: times.of(times.new) }
}

/// `--chown` holds for entries of archives, `--chmod` does not (docs/dockerfile.md, A121).
fn owned(metadata: &Metadata, node: &Node, placing: &Placing<'_>) -> Metadata {
    Metadata { mode: metadata.mode, ..placing.metadata(metadata, node) }
}
