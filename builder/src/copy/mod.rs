//! COPY and ADD as algebra on trees.
//!
//! ```text
//!   source tree --select--> Picked ---.
//!   base tree, destination ------------> Merge --> Change (the layer) + Facts (for the key)
//!   archive --> Change ---------------'
//! ```
//!
//! Nothing here touches a disk: a source is data, the destination is resolved in data, and what
//! comes out is the change that becomes the layer. The rules are BuildKit's (docs/dockerfile.md, A090-A129),
//! with its accidents left out: several files copied to one name, and names that start with
//! `.wh.`, are errors.

pub mod archive;
pub mod links;
pub mod merge;
pub mod mode;
pub mod owner;
pub mod select;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use store::tree::{HardLinks, Leaf, Metadata, Node, Timestamp};
use store::{Change, RelPath, Tree, TreeId};

pub use merge::Fact;
pub use mode::ModeChange;
pub use owner::{Accounts, Owner, OwnerSpec};
pub use select::Picked;

use links::LinkLoop;
use merge::{Arrival, Merge, NewDirectory, Seen};
use mode::FileKind;

/// Why a COPY or ADD cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A source without wildcards names nothing.
    #[error("{0:?}: not found")]
    NotFound(String),
    /// A source or an exclusion is a malformed pattern.
    #[error("{0}")]
    BadPattern(String),
    /// Links lead in a circle.
    #[error(transparent)]
    Links(#[from] LinkLoop),
    /// Something on the way to the destination is a file.
    #[error("cannot copy below {0}: not a directory")]
    NotADirectory(RelPath),
    /// An archive has files below something that is a link to no directory.
    #[error("cannot unpack below {0}: a link to no directory of the destination")]
    LinkToNothing(RelPath),
    /// A file would replace a directory.
    #[error("cannot replace directory {0} with a file")]
    FileOverDirectory(RelPath),
    /// A directory would replace a file or a link.
    #[error("cannot copy a directory to non-directory {0}")]
    DirectoryOverFile(RelPath),
    /// Each file would replace the one before.
    #[error(
        "several files cannot be copied to the one name {0}: end the destination with a slash to make it a directory"
    )]
    SeveralToOne(RelPath),
    /// A layer cannot hold such a name.
    #[error(
        "{0}: names that start with `.wh.` mean a removed file in a layer and cannot be copied: rename it, or exclude it in .dockerignore"
    )]
    Whiteout(RelPath),
}

impl CopyError {
    fn not_found(source: &str) -> Self {
        Self::NotFound(if source.starts_with('/') { source.to_owned() } else { format!("/{source}") })
    }
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The path, links not yet resolved.
    pub path: RelPath,
    /// Whether it was written as a directory.
    pub form: Form,
}

/// How a destination was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// With a slash at its end, or as `.`: it is a directory, and made if it is missing.
    Directory,
    /// Otherwise: what it is depends on what is there.
    Name,
}

/// The times of what a copy places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Times {
    /// Every copied entry gets this time.
    pub exactly: Option<Timestamp>,
    /// No time is later than this.
    pub ceiling: Option<Timestamp>,
    /// What directories get that the copy makes by itself.
    pub new: Timestamp,
}

impl Times {
    /// The time of a copied entry.
    pub fn of(&self, mtime: Timestamp) -> Timestamp {
        let mtime = self.exactly.unwrap_or(mtime);
        self.ceiling.map_or(mtime, |ceiling| mtime.min(ceiling))
    }
}

/// All rules of one COPY or ADD but its sources.
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    /// Where it goes.
    pub destination: &'a Destination,
    /// `--chown`, resolved; without it owners are kept.
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub mode: Option<&'a ModeChange>,
    /// What becomes of times.
    pub times: Times,
}

/// One thing to copy.
#[derive(Debug, Clone)]
pub enum Item {
    /// A file or directory of a tree.
    Picked(Picked),
    /// An unpacked archive: its entries go into the destination.
    Archive(Change),
}

/// What a copy does.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The change to the base.
    pub change: Change,
    /// What of the base it depends on.
    pub facts: BTreeMap<RelPath, Fact>,
}

/// Copies items onto a base, one after the other.
pub fn copy(base: &Tree, items: &[Item], rules: &Rules<'_>) -> Result<Copied, CopyError> {
    let mut merge = Merge::new(base);
    let mut placing = Placing { rules, within: RelPath::root(), groups: HashMap::new(), links: BTreeMap::new() };
    refuse_several_to_one(&mut merge, items, rules)?;
    for item in items {
        match item {
            Item::Picked(picked) => copy_one(&mut merge, picked, &mut placing)?,
            Item::Archive(change) => archive::unpack(&mut merge, change, &mut placing)?,
        }
    }
    let (mut change, facts) = merge.finish();
    change.hard_links = placing.hard_links();
    refuse_whiteouts(&change)?;
    Ok(Copied { change, facts })
}

/// Copies one pick, as the field does: the parents first, then what the destination turns out to be.
fn copy_one(merge: &mut Merge<'_>, picked: &Picked, placing: &mut Placing<'_>) -> Result<(), CopyError> {
    let rules = placing.rules;
    let new = rules.new_directory();
    let ensured = match rules.destination.form {
        Form::Directory => rules.destination.path.clone(),
        Form::Name => rules.destination.path.parent().unwrap_or_default(),
    };
    let ensured = merge.resolve(&ensured)?;
    merge.make_directories(&ensured, &new)?;
    let destination = merge.resolve(&rules.destination.path)?;
    placing.begin(picked);
    match &picked.node {
        Node::Directory(source) => {
            merge.make_directories(&destination, &new)?;
            merge.put_contents(&destination, source, &picked.path, placing)?;
            if let Seen::Directory(metadata) = merge.look(&destination) {
                merge
                    .put_directory(&destination, Metadata { mtime: rules.times.of(picked.metadata.mtime), ..metadata });
            }
            Ok(())
        }
        Node::Leaf(leaf) => put_file(merge, picked, leaf, destination, placing),
    }
}

fn put_file(
    merge: &mut Merge<'_>,
    picked: &Picked,
    leaf: &Leaf,
    destination: RelPath,
    placing: &mut Placing<'_>,
) -> Result<(), CopyError> {
    let target = match (merge.look(&destination), &picked.name) {
        (Seen::Directory(_), Some(name)) => destination.join(name),
        _ => destination,
    };
    merge.make_directories(&target.parent().unwrap_or_default(), &placing.rules.new_directory())?;
    let metadata = placing.metadata(&picked.metadata, &picked.node);
    merge.put_leaf(&target, metadata, leaf.clone())?;
    placing.placed(&picked.path, &target);
    Ok(())
}

fn refuse_several_to_one(merge: &mut Merge<'_>, items: &[Item], rules: &Rules<'_>) -> Result<(), CopyError> {
    let is_file = |item: &&Item| matches!(item, Item::Picked(Picked { node: Node::Leaf(_), .. }));
    if rules.destination.form == Form::Directory || items.iter().filter(is_file).count() < 2 {
        return Ok(());
    }
    let destination = merge.resolve(&rules.destination.path)?;
    match merge.look(&destination) {
        Seen::Directory(_) => Ok(()),
        _ => Err(CopyError::SeveralToOne(rules.destination.path.clone())),
    }
}

fn refuse_whiteouts(change: &Change) -> Result<(), CopyError> {
    fn search(directory: &store::tree::ChangeDirectory, at: &RelPath) -> Result<(), CopyError> {
        for (name, entry) in &directory.entries {
            if name.starts_with(b".wh.") {
                return Err(CopyError::Whiteout(at.join(name)));
            }
            if let store::tree::ChangeEntry::Directory { directory, .. } = entry {
                search(directory, &at.join(name))?;
            }
        }
        Ok(())
    }
    search(&change.directory, &RelPath::root())
}

impl Rules<'_> {
    fn new_directory(&self) -> NewDirectory {
        NewDirectory {
            mode: ModeChange::of_new_parent(self.mode),
            owner: self.owner.unwrap_or_default(),
            mtime: self.times.of(self.times.new),
        }
    }
}

/// What becomes of entries on their way, and which of the placed files are one file.
#[derive(Debug)]
pub struct Placing<'a> {
    rules: &'a Rules<'a>,
    /// Where an archive is unpacked, links resolved.
    within: RelPath,
    /// The group of each linked path of the tree that is being copied from.
    groups: HashMap<RelPath, Group>,
    /// Which group each placed path belongs to.
    links: BTreeMap<RelPath, Group>,
}

/// A hard-link group of a source tree: the tree, and the place among its groups.
type Group = (TreeId, usize);

impl Placing<'_> {
    fn begin(&mut self, picked: &Picked) {
        let groups = picked.hard_links.groups().iter().enumerate();
        self.groups = groups
            .flat_map(|(index, group)| group.iter().map(move |path| (path.clone(), (picked.tree, index))))
            .collect();
    }

    fn hard_links(self) -> HardLinks {
        let mut groups: HashMap<Group, Vec<RelPath>> = HashMap::new();
        for (path, group) in self.links {
            groups.entry(group).or_default().push(path);
        }
        HardLinks::new(groups.into_values())
    }
}

impl Arrival for Placing<'_> {
    fn metadata(&self, metadata: &Metadata, node: &Node) -> Metadata {
        let owner = self.rules.owner.unwrap_or(Owner { uid: metadata.uid, gid: metadata.gid });
        let mode = match (self.rules.mode, node) {
            (None, _) | (_, Node::Leaf(Leaf::Symlink(_))) => metadata.mode,
            (Some(change), Node::Directory(_)) => change.apply(metadata.mode, FileKind::Directory),
            (Some(change), Node::Leaf(_)) => change.apply(metadata.mode, FileKind::Other),
        };
        let mtime = self.rules.times.of(metadata.mtime);
        Metadata { mode, uid: owner.uid, gid: owner.gid, mtime, xattrs: metadata.xattrs.clone() }
    }

    fn placed(&mut self, from: &RelPath, to: &RelPath) {
        if self.groups.is_empty() && self.links.is_empty() {
            return;
        }
        match self.groups.get(from) {
            Some(group) => drop(self.links.insert(to.clone(), *group)),
            None => drop(self.links.remove(to)),
        }
    }
}
