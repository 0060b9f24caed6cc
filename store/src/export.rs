//! A tree for people who want the files and no image: as a directory, or as one tar.
//!
//! What is written into a directory belongs to whoever runs kiln, as `buildx` has it: owners, setuid and
//! setgid bits and extended attributes are an image's and not a user's, and nobody else can use a device. Nothing is written through a
//! link that was there before: each entry is made new, by the descriptor of a directory on whose path
//! no link may be. The tar has everything, owners too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::content::ContentError;
use crate::fs::{Dir, FsError, Kind};
use crate::layer::walk::{Item, items};
use crate::tar::{WriteTarError, Writer};
use crate::tree::{DeviceKind, IMPLIED_MTIME, Leaf, Metadata, Timestamp, diff};
use crate::{Cancel, Cancelled, Contents, Name, ObjectId, RelPath, Tree};

/// Why a tree cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory cannot be made or opened.
    #[error("cannot export to {}", path.display())]
    Destination {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be made.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The bytes of a file cannot be had.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The tar cannot be written.
    #[error(transparent)]
    Tar(#[from] WriteTarError),
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

/// What becomes of files in a directory that the tree does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Others {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Remove,
}

/// A tree on its way out.
#[derive(Debug)]
pub struct Export<'a> {
    /// What to write.
    pub tree: &'a Tree,
    /// Where the bytes of its files are.
    pub contents: &'a Contents,
    /// The time of every file, if they should all have one.
    pub time: Option<Timestamp>,
    /// What ends it.
    pub cancel: &'a Cancel,
}

impl Export<'_> {
    /// Writes the tree as a tar; owners and attributes are in it.
    pub fn to_tar(&self, output: impl Write) -> Result<(), ExportError> {
        let change = diff(&Tree::empty(IMPLIED_MTIME), self.tree);
        let mut tar = Writer::new(output);
        for item in items(&change).filter(|item| !item.path().is_root()) {
            self.cancel.check()?;
            match item {
                Item::Directory(path, metadata) => tar.directory(&path, &self.timed(metadata))?,
                Item::HardLink(path, metadata, first) => tar.hard_link(&path, &self.timed(metadata), first)?,
                Item::Leaf(path, metadata, leaf) => {
                    tar.leaf(&path, &self.timed(metadata), leaf)?;
                    if let Leaf::File { content, size_bytes } = leaf {
                        self.copy(*content, *size_bytes, tar.output()).map_err(|error| match error {
                            CopyError::Content(error) => ExportError::Content(error),
                            CopyError::Write(error) => WriteTarError::Write(error).into(),
                        })?;
                        tar.pad(*size_bytes)?;
                    }
                }
                // A tree on nothing takes nothing away.
                Item::Whiteout(_) | Item::Opaque(_) => {}
            }
        }
        Ok(tar.finish()?.flush().map_err(WriteTarError::Write)?)
    }

    /// Writes the tree into a directory, which is made. Says which devices could not be made there: an
    /// ordinary user makes none.
    pub fn to_directory(&self, path: &Path, others: Others) -> Result<Vec<RelPath>, ExportError> {
        let destination = |source| ExportError::Destination { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(destination)?;
        let root = Dir::open(path).map_err(io::Error::from).map_err(destination)?;
        let change = diff(&Tree::empty(IMPLIED_MTIME), self.tree);
        let mut writing = Writing { export: self, root, directories: BTreeMap::new(), skipped: Vec::new(), others };
        if others == Others::Remove {
            writing.remove_others(&RelPath::root())?;
        }
        for item in items(&change).filter(|item| !item.path().is_root()) {
            self.cancel.check()?;
            writing.item(&item)?;
        }
        writing.finish()
    }

    fn timed(&self, metadata: &Metadata) -> Metadata {
        Metadata { mtime: self.time.unwrap_or(metadata.mtime), ..metadata.clone() }
    }

    fn copy(&self, id: ObjectId, size_bytes: u64, output: &mut impl Write) -> Result<(), CopyError> {
        let mut content = self.contents.open(id).map_err(CopyError::Content)?;
        let copied = self.cancel.copy(&mut (&mut content).take(size_bytes), output).map_err(CopyError::Write)?;
        if copied == size_bytes { Ok(()) } else { Err(CopyError::Content(content.changed(id))) }
    }
}

enum CopyError {
    Content(ContentError),
    Write(io::Error),
}

/// A directory that is being filled.
struct Writing<'a> {
    export: &'a Export<'a>,
    root: Dir,
    /// Directories get their modes and times when nothing more is put into them.
    directories: BTreeMap<RelPath, Metadata>,
    skipped: Vec<RelPath>,
    others: Others,
}

impl Writing<'_> {
    fn item(&mut self, item: &Item<'_>) -> Result<(), ExportError> {
        let path = item.path();
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        let into = self.root.exact_dir(&parent).map_err(FsError::of("open the directory of", path))?;
        match item {
            Item::Directory(_, metadata) => self.directory(&into, &name, path, metadata),
            Item::HardLink(_, _, first) => self.hard_link(&into, &name, path, first),
            Item::Leaf(_, metadata, leaf) => self.leaf(&into, &name, path, metadata, leaf),
            Item::Whiteout(_) | Item::Opaque(_) => Ok(()),
        }
    }

    fn directory(&mut self, into: &Dir, name: &Name, path: &RelPath, metadata: &Metadata) -> Result<(), ExportError> {
        let is_there = matches!(into.examine(name), Ok(found) if found.kind == Kind::Directory);
        if !is_there {
            clear(into, name, path)?;
            into.make_dir(name).map_err(FsError::of("make", path))?;
        }
        self.directories.insert(path.clone(), self.export.timed(metadata));
        if is_there {
            // It may deny its owner to write into it.
            crate::fs::set_mode(into.child(name).map_err(FsError::of("open", path))?, 0o700)
                .map_err(FsError::of("set the mode of", path))?;
        }
        if is_there && self.others == Others::Remove {
            self.remove_others(path)?;
        }
        Ok(())
    }

    /// Removes from a directory what the tree does not have there.
    fn remove_others(&self, path: &RelPath) -> Result<(), ExportError> {
        let directory = self.root.exact_dir(path).map_err(FsError::of("open", path))?;
        for (name, _) in directory.entries().map_err(FsError::of("list", path))? {
            if self.export.tree.get(&path.join(&name)).is_none() {
                clear(&directory, &name, &path.join(&name))?;
            }
        }
        Ok(())
    }

    fn hard_link(&self, into: &Dir, name: &Name, path: &RelPath, first: &RelPath) -> Result<(), ExportError> {
        let Some((parent, first_name)) = first.parent().zip(first.file_name()) else { return Ok(()) };
        let from = self.root.exact_dir(&parent).map_err(FsError::of("open the directory of", first))?;
        clear(into, name, path)?;
        Ok(from.link(&first_name, into, name).map_err(FsError::of("link", path))?)
    }

    fn leaf(
        &mut self,
        into: &Dir,
        name: &Name,
        path: &RelPath,
        metadata: &Metadata,
        leaf: &Leaf,
    ) -> Result<(), ExportError> {
        clear(into, name, path)?;
        let mode = metadata.mode & 0o777;
        match leaf {
            Leaf::File { content, size_bytes } => {
                let mut file = into.make_file(name).map_err(FsError::of("make", path))?;
                self.export.copy(*content, *size_bytes, &mut file).map_err(|error| match error {
                    CopyError::Content(error) => ExportError::Content(error),
                    CopyError::Write(source) => FsError { doing: "write", path: path.clone(), source }.into(),
                })?;
                crate::fs::set_mode(&file, mode).map_err(FsError::of("set the mode of", path))?;
            }
            Leaf::Symlink(target) => into.make_link(name, target).map_err(FsError::of("make", path))?,
            Leaf::Fifo => self.node(into, name, path, Kind::Fifo, ((0, 0), mode))?,
            Leaf::Device { kind, major, minor } => {
                let kind = match kind {
                    DeviceKind::Character => Kind::Character,
                    DeviceKind::Block => Kind::Block,
                };
                self.node(into, name, path, kind, ((*major, *minor), mode))?;
            }
        }
        if self.skipped.last() == Some(path) {
            return Ok(());
        }
        Ok(into.set_mtime(name, self.export.timed(metadata).mtime).map_err(FsError::of("set the time of", path))?)
    }

    fn node(
        &mut self,
        into: &Dir,
        name: &Name,
        path: &RelPath,
        kind: Kind,
        (device, mode): ((u32, u32), u16),
    ) -> Result<(), ExportError> {
        match into.make_node(name, kind, device) {
            Err(Errno::PERM) => {
                self.skipped.push(path.clone());
                Ok(())
            }
            // A device of an image would be a way to the hardware for everybody here.
            made if kind != Kind::Fifo => {
                Ok(made.and_then(|()| into.set_mode(name, mode & 0o600)).map_err(FsError::of("make", path))?)
            }
            made => Ok(made.and_then(|()| into.set_mode(name, mode)).map_err(FsError::of("make", path))?),
        }
    }

    /// Gives directories their modes and times, the innermost first.
    fn finish(self) -> Result<Vec<RelPath>, ExportError> {
        for (path, metadata) in self.directories.iter().rev() {
            let directory = self.root.exact_dir(path).map_err(FsError::of("open", path))?;
            let mode = Mode::from_raw_mode(u32::from(metadata.mode & 0o1777));
            rustix::fs::fchmod(&directory, mode).map_err(FsError::of("set the mode of", path))?;
            crate::fs::set_mtime(&directory, metadata.mtime).map_err(FsError::of("set the time of", path))?;
        }
        Ok(self.skipped)
    }
}

/// Removes what has a name, if anything has.
fn clear(into: &Dir, name: &Name, path: &RelPath) -> Result<(), FsError> {
    match into.remove_tree(name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(FsError::of("replace", path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::tree::TreeBuilder;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    /// A tree with a setuid file, a link, a hard link and a directory that denies its owner.
    fn tree() -> (Tree, Contents) {
        let metadata = |mode| Metadata { uid: 7, gid: 8, ..Metadata::root_owned(mode, Timestamp::from_secs(1000)) };
        let file = |text: &str| Leaf::File { content: ObjectId::of(text.as_bytes()), size_bytes: text.len() as u64 };
        let mut builder = TreeBuilder::new(metadata(0o755));
        builder.put_directory(&path("dir"), metadata(0o555));
        builder.put_leaf(&path("dir/suid"), metadata(0o4755), file("suid"));
        builder.put_leaf(&path("dir/same"), metadata(0o4755), file("suid"));
        builder.link(vec![path("dir/same"), path("dir/suid")]);
        builder.put_leaf(&path("link"), metadata(0o777), Leaf::Symlink((*b"/etc").into()));
        builder.put_leaf(&path("pipe"), metadata(0o644), Leaf::Fifo);
        (builder.build(), Contents::of_bytes([&b"suid"[..]]))
    }

    #[test]
    fn files_belong_to_whoever_exports_them_and_a_second_export_replaces_the_first() {
        let place = tempfile::tempdir().unwrap();
        let (tree, contents) = tree();
        let export = Export { tree: &tree, contents: &contents, time: None, cancel: &Cancel::default() };
        for _ in 0..2 {
            assert_eq!(export.to_directory(&place.path().join("out"), Others::Keep).unwrap(), []);
            let out = |name: &str| std::fs::symlink_metadata(place.path().join("out").join(name)).unwrap();
            assert_eq!(out("dir/suid").permissions().mode() & 0o7777, 0o755);
            assert_eq!((out("dir/suid").ino(), out("dir/suid").nlink()), (out("dir/same").ino(), 2));
            assert_eq!(out("dir/suid").uid(), rustix::process::geteuid().as_raw());
            assert_eq!((out("dir").mode() & 0o7777, out("dir").mtime(), out("link").mtime()), (0o555, 1000, 1000));
        }
    }

    #[test]
    fn nothing_is_written_through_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let (out, victim) = (place.path().join("out"), place.path().join("victim"));
        std::fs::create_dir_all(&victim).unwrap();
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(victim.join("suid"), "mine").unwrap();
        symlink(&victim, out.join("dir")).unwrap();
        std::fs::write(out.join("other"), "stays").unwrap();
        let (tree, contents) = tree();
        let export = Export {
            tree: &tree,
            contents: &contents,
            time: Some(Timestamp::from_secs(5)),
            cancel: &Cancel::default(),
        };
        export.to_directory(&out, Others::Keep).unwrap();
        assert_eq!(std::fs::read_to_string(victim.join("suid")).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(out.join("dir/suid")).unwrap(), "suid");
        assert_eq!(std::fs::metadata(out.join("dir/suid")).unwrap().mtime(), 5);
        assert!(out.join("other").exists());
        export.to_directory(&out, Others::Remove).unwrap();
        assert!(!out.join("other").exists());
    }

    /// threats.md A12: a device of an image is nobody's way to the hardware, and its tar has it all the same.
    #[test]
    fn a_device_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut builder = TreeBuilder::new(Metadata::root_owned(0o755, Timestamp::from_secs(1)));
        let device = Leaf::Device { kind: DeviceKind::Block, major: 254, minor: 0 };
        builder.put_leaf(&path("disk"), Metadata::root_owned(0o666, Timestamp::from_secs(1)), device);
        let (tree, contents) = (builder.build(), Contents::default());
        let export = Export { tree: &tree, contents: &contents, time: None, cancel: &Cancel::default() };
        let skipped = export.to_directory(place.path(), Others::Keep).unwrap();
        match std::fs::symlink_metadata(place.path().join("disk")) {
            Ok(made) => assert_eq!(made.mode() & 0o7777, 0o600),
            Err(_) => assert_eq!(skipped, [path("disk")], "only root can make it"),
        }
    }

    #[test]
    fn the_tar_has_owners_and_modes() {
        let (tree, contents) = tree();
        let mut bytes = Vec::new();
        Export { tree: &tree, contents: &contents, time: None, cancel: &Cancel::default() }.to_tar(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&*bytes);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()));
        }
        let expected = [("dir/", 0o555), ("dir/same", 0o4755), ("dir/suid", 0o4755), ("link", 0o777), ("pipe", 0o644)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode, 7, 1000)));
    }
}
