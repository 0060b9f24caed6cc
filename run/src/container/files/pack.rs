//! From files to a tar: names in byte order, directories before what is in them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use store::tar::{WriteTarError, Writer};
use store::tree::{DeviceKind, Leaf, MOST_COMPONENTS, Metadata, Timestamp, Xattrs};
use store::{Name, ObjectId, RelPath};

use super::place::Tree;
use super::{FilesError, failed};

/// Writes what is at `path` under `name`; of a directory without a name its contents.
pub(super) fn pack(tree: &Tree, path: &Path, name: &RelPath, output: OwnedFd) -> Result<(), FilesError> {
    let file = tree.open(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed("open", path.display()))?;
    let parent = tree.open(path.parent().unwrap_or(path), OFlags::PATH | OFlags::DIRECTORY);
    let parent = parent.map_err(failed("open", path.display()))?;
    let mut packer = Packer { tar: Writer::new(BufWriter::new(File::from(output))), links: HashMap::new() };
    let own_name = path.file_name().map_or(Path::new("."), Path::new);
    packer.entry(&At { parent: &parent, name: own_name, file }, name)?;
    let mut output = packer.tar.finish().map_err(unwritable)?;
    output.flush().map_err(failed("write", "the archive"))
}

/// A file that was found, and where it can be opened to be read.
struct At<'a> {
    parent: &'a OwnedFd,
    name: &'a Path,
    file: OwnedFd,
}

struct Packer<W> {
    tar: Writer<W>,
    /// Files of several names, by device and inode, with their first.
    links: HashMap<(u64, u64), RelPath>,
}

impl<W: Write> Packer<W> {
    fn entry(&mut self, at: &At<'_>, path: &RelPath) -> Result<(), FilesError> {
        let failing = failed::<Errno>("read", path);
        let status = rustix::fs::fstat(&at.file).map_err(failing)?;
        let metadata = metadata(&status);
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => self.directory(at, path, &metadata),
            // Nobody listens at a copied socket.
            FileType::Socket => Ok(()),
            _ => self.leaf(at, path, &status, &metadata),
        }
    }

    fn directory(&mut self, at: &At<'_>, path: &RelPath, metadata: &Metadata) -> Result<(), FilesError> {
        if path.components().count() > MOST_COMPONENTS {
            return Err(FilesError::TooDeep(path.to_string()));
        }
        if !path.is_root() {
            self.tar.directory(path, metadata).map_err(unwritable)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&at.file, ".", flags, Mode::empty()).map_err(failed("open", path))?;
        for name in names(&directory).map_err(failed("list", path))? {
            let child = path.join(&name);
            let own_name = Path::new(name.as_os_str());
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, own_name, flags, Mode::empty()) {
                Ok(file) => self.entry(&At { parent: &directory, name: own_name, file }, &child)?,
                // It has gone since the directory was listed.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("open", child)(error)),
            }
        }
        Ok(())
    }

    fn leaf(&mut self, at: &At<'_>, path: &RelPath, status: &Stat, metadata: &Metadata) -> Result<(), FilesError> {
        if status.st_nlink > 1 {
            let key = (status.st_dev, status.st_ino);
            if let Some(first) = self.links.get(&key) {
                return self.tar.hard_link(path, metadata, first).map_err(unwritable);
            }
            self.links.insert(key, path.clone());
        }
        if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile {
            return self.file(at, path, status, metadata);
        }
        let leaf = special(&at.file, status).map_err(failed("read", path))?;
        self.tar.leaf(path, metadata, &leaf).map_err(unwritable)
    }

    fn file(&mut self, at: &At<'_>, path: &RelPath, status: &Stat, metadata: &Metadata) -> Result<(), FilesError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(at.parent, at.name, flags, Mode::empty()).map_err(failed("open", path))?;
        let now = rustix::fs::fstat(&opened).map_err(failed("read", path))?;
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino) {
            return Err(failed("read", path)(Errno::STALE));
        }
        let size_bytes = now.st_size.cast_unsigned();
        // The writer looks at the size alone: the bytes follow.
        let leaf = Leaf::File { content: ObjectId::of(b""), size_bytes };
        self.tar.leaf(path, metadata, &leaf).map_err(unwritable)?;
        let mut bytes = File::from(opened).take(size_bytes);
        let copied = io::copy(&mut bytes, self.tar.output()).map_err(failed("copy", path))?;
        // A file that shrinks while it is read ends in zeros, as tar has it.
        let mut missing = io::repeat(0).take(size_bytes - copied);
        io::copy(&mut missing, self.tar.output()).map_err(failed("copy", path))?;
        self.tar.pad(size_bytes).map_err(unwritable)
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<Name>, Errno> {
    let mut names: Vec<Name> = rustix::fs::Dir::read_from(directory)?
        .filter_map(|entry| match entry {
            Ok(entry) => Name::new(entry.file_name().to_bytes()).ok().map(Ok),
            Err(error) => Some(Err(error)),
        })
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}

fn special(file: impl AsFd, status: &Stat) -> Result<Leaf, Errno> {
    let device = |kind| Leaf::Device {
        kind,
        major: rustix::fs::major(status.st_rdev),
        minor: rustix::fs::minor(status.st_rdev),
    };
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Symlink => Leaf::Symlink(rustix::fs::readlinkat(file, "", Vec::new())?.into_bytes().into()),
        FileType::CharacterDevice => device(DeviceKind::Character),
        FileType::BlockDevice => device(DeviceKind::Block),
        _ => Leaf::Fifo,
    })
}

fn metadata(status: &Stat) -> Metadata {
    Metadata {
        mode: (status.st_mode & 0o7777) as u16,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: Timestamp::from_secs(status.st_mtime),
        xattrs: Xattrs::default(),
    }
}

fn unwritable(error: WriteTarError) -> FilesError {
    match error {
        WriteTarError::Write(error) => failed("write", "the archive")(error),
        other => FilesError::Archive(other.to_string()),
    }
}
