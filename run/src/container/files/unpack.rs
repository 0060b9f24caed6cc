//! From a tar to files. No name in it is believed: each is looked up below the destination.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use store::RelPath;
use store::tar::{Entry, Kind, Reader};
use store::tree::{DeviceKind, Metadata};

use super::place::{Below, Tree, open_below};
use super::{FilesError, Owner, failed};

/// Unpacks what comes from `input` into the directory `to`.
pub(super) fn unpack(tree: &Tree, to: &Path, input: OwnedFd, owner: Owner) -> Result<(), FilesError> {
    let base = tree.open(to, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed("open", to.display()))?;
    let reader = Reader::new(BufReader::new(File::from(input)));
    Unpacker { tree, to, base, reader, owner, directories: Vec::new() }.run()
}

struct Unpacker<'a> {
    tree: &'a Tree,
    to: &'a Path,
    base: OwnedFd,
    reader: Reader<BufReader<File>>,
    owner: Owner,
    /// Directories that were written, which get their look when all is in them.
    directories: Vec<(RelPath, Metadata)>,
}

impl Unpacker<'_> {
    fn run(mut self) -> Result<(), FilesError> {
        let mut skipped = Vec::new();
        loop {
            skipped.clear();
            let entry = self.reader.next_entry(&mut skipped).map_err(unreadable)?;
            let Some(entry) = entry else { break };
            let path = RelPath::clean(&entry.path).map_err(|error| FilesError::Archive(error.to_string()))?;
            if !path.is_root() {
                self.entry(&entry, &path)?;
            }
        }
        // The deepest first: the time of a directory changes with what is done in it.
        for (path, metadata) in std::mem::take(&mut self.directories).into_iter().rev() {
            let opened = self.directory_at(&path).map_err(failed("open", &path))?;
            self.dress(&opened, &path, &metadata)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, path: &RelPath) -> Result<(), FilesError> {
        let parent = self.parent_of(path)?;
        let name = path.file_name().expect("not the root");
        let name = Path::new(name.as_os_str());
        let there = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            other => Some(FileType::from_raw_mode(other.map_err(failed("examine", path))?.st_mode)),
        };
        if entry.kind == Kind::Directory {
            match there {
                Some(FileType::Directory) => {}
                Some(_) => return Err(FilesError::FileInTheWay(path.to_string())),
                None => {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(failed("make", path))?;
                }
            }
            self.directories.push((path.clone(), entry.metadata.clone()));
            return Ok(());
        }
        let in_place = match there {
            Some(FileType::Directory) => return Err(FilesError::DirectoryInTheWay(path.to_string())),
            Some(_) => match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
                // Something is mounted there: it is written into.
                Err(Errno::BUSY) => true,
                other => other.map(|()| false).map_err(failed("replace", path))?,
            },
            None => false,
        };
        self.leaf(entry, path, (&parent, name), if in_place { OFlags::TRUNC } else { OFlags::EXCL })
    }

    fn leaf(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        (parent, name): (&OwnedFd, &Path),
        how: OFlags,
    ) -> Result<(), FilesError> {
        match &entry.kind {
            Kind::Directory => return Ok(()),
            Kind::File | Kind::SparseFile(_) => return self.file(entry, path, (parent, name), how),
            Kind::HardLink(first) => return self.hard_link(first, path, (parent, name)),
            Kind::Symlink(target) => rustix::fs::symlinkat(&**target, parent, name),
            Kind::Device { kind, major, minor } => {
                let kind = match kind {
                    DeviceKind::Character => FileType::CharacterDevice,
                    DeviceKind::Block => FileType::BlockDevice,
                };
                let device = rustix::fs::makedev(*major, *minor);
                rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
            }
            Kind::Fifo => rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0),
        }
        .map_err(failed("make", path))?;
        self.dress_by_name((parent, name), path, entry)
    }

    fn file(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        (parent, name): (&OwnedFd, &Path),
        how: OFlags,
    ) -> Result<(), FilesError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(failed("make", path))?);
        match &entry.kind {
            Kind::SparseFile(map) => {
                for (offset, length) in map.parts().to_vec() {
                    file.seek(SeekFrom::Start(offset)).map_err(failed("write", path))?;
                    self.body(&mut file, length, path)?;
                }
                file.set_len(map.size_bytes()).map_err(failed("write", path))?;
            }
            _ => self.body(&mut file, entry.body_bytes, path)?,
        }
        self.dress(&file.into(), path, &entry.metadata)
    }

    fn body(&mut self, file: &mut File, mut left: u64, path: &RelPath) -> Result<(), FilesError> {
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = self.reader.read_body(&mut buffer[..most]).map_err(unreadable)?;
            file.write_all(&buffer[..count]).map_err(failed::<io::Error>("write", path))?;
            left -= count as u64;
        }
        Ok(())
    }

    fn hard_link(&self, first: &[u8], path: &RelPath, (parent, name): (&OwnedFd, &Path)) -> Result<(), FilesError> {
        let first = RelPath::clean(first).map_err(|error| FilesError::Archive(error.to_string()))?;
        let from = self.directory_at(&first.parent().unwrap_or_default()).map_err(failed("open", &first))?;
        let own_name = first.file_name().ok_or_else(|| FilesError::Archive("a link to nothing".to_owned()))?;
        rustix::fs::linkat(&from, own_name.as_os_str(), parent, name, AtFlags::empty()).map_err(failed("link", path))
    }

    /// The directory that an entry is in; what is missing of it is made.
    fn parent_of(&self, path: &RelPath) -> Result<OwnedFd, FilesError> {
        let parent = path.parent().unwrap_or_default();
        match self.directory_at(&parent) {
            Err(Errno::NOENT) if !parent.is_root() => {
                let above = self.parent_of(&parent)?;
                let name = parent.file_name().expect("not the root");
                match rustix::fs::mkdirat(&above, name.as_os_str(), Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(failed("make", &parent)(error)),
                }
                self.directory_at(&parent).map_err(failed("open", &parent))
            }
            other => other.map_err(failed("open", &parent)),
        }
    }

    fn directory_at(&self, path: &RelPath) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.tree.below() {
            Below::Refused => open_below(&self.base, Path::new(path.as_os_str()), flags),
            Below::Followed => {
                let mut whole = PathBuf::from(self.to);
                whole.push(path.as_os_str());
                self.tree.open(&whole, flags)
            }
        }
    }

    fn dress(&self, file: &OwnedFd, path: &RelPath, metadata: &Metadata) -> Result<(), FilesError> {
        if self.owner == Owner::Archive {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(failed("give away", path))?;
        }
        rustix::fs::fchmod(file, self.mode(metadata)).map_err(failed("set the mode of", path))?;
        rustix::fs::futimens(file, &times(metadata)).map_err(failed("set the time of", path))
    }

    fn dress_by_name(
        &self,
        (parent, name): (&OwnedFd, &Path),
        path: &RelPath,
        entry: &Entry,
    ) -> Result<(), FilesError> {
        let metadata = &entry.metadata;
        if self.owner == Owner::Archive {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("give away", path))?;
        }
        let mode = match entry.kind {
            // On this machine a container's device is a way to the hardware for whoever may open it.
            Kind::Device { .. } if self.tree.below() == Below::Refused => {
                self.mode(metadata) & Mode::from_raw_mode(0o600)
            }
            _ => self.mode(metadata),
        };
        if !matches!(entry.kind, Kind::Symlink(_)) {
            self.set_mode((parent, name), mode).map_err(failed("set the mode of", path))?;
        }
        rustix::fs::utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", path))
    }

    /// By name, but never that of what a link leads to which somebody has put there meanwhile: a container has
    /// nothing but its own to lose by that.
    fn set_mode(&self, (parent, name): (&OwnedFd, &Path), mode: Mode) -> Result<(), Errno> {
        if self.tree.below() == Below::Followed {
            return rustix::fs::chmodat(parent, name, mode, AtFlags::empty());
        }
        let node = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode) {
            FileType::Symlink => Err(Errno::LOOP),
            _ => rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), mode),
        }
    }

    fn mode(&self, metadata: &Metadata) -> Mode {
        const WITHOUT_SET_ID: u32 = 0o1777;
        let mode = u32::from(metadata.mode);
        Mode::from_raw_mode(if self.owner == Owner::Archive { mode } else { mode & WITHOUT_SET_ID })
    }
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime.secs, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn unreadable(error: store::tar::ReadTarError) -> FilesError {
    FilesError::Archive(error.to_string())
}
