//! The parts of an archive, by name, from a tar or a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::directory::Directory;
use crate::compress;
use crate::path::RelPath;
use crate::session::TemporaryFile;
use crate::store::{Store, StoreError};

/// How many links a name may go through: Docker wrote a layer that occurs twice as a link.
const LINK_LIMIT: usize = 8;

/// An archive whose parts can be read in any order.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory(Directory),
    Tar { file: File, members: BTreeMap<RelPath, Member>, _spool: Option<TemporaryFile> },
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size_bytes: u64 },
    Link(RelPath),
}

impl Source {
    /// Opens an archive: a directory, or a tar of any compression.
    pub fn open(store: &Store, path: &Path) -> Result<Self, ArchiveError> {
        let cannot_read = |source| ArchiveError::Read { what: path.display().to_string(), source };
        let mut file = File::open(path).map_err(cannot_read)?;
        if file.metadata().map_err(cannot_read)?.is_dir() {
            let directory = Directory::open(path).map_err(cannot_read)?;
            return Ok(Self { path: path.to_owned(), kind: Kind::Directory(directory) });
        }
        let is_plain =
            file.metadata().map_err(cannot_read)?.is_file() && is_plain_tar(&mut file).map_err(cannot_read)?;
        if is_plain { Self::of_tar(path, file, None) } else { Self::spool(store, path, file) }
    }

    /// Takes an archive from a pipe. It is kept in the store's `tmp/` while it is read.
    pub fn read(store: &Store, reader: impl Read + Send) -> Result<Self, ArchiveError> {
        Self::spool(store, Path::new("standard input"), reader)
    }

    /// Where the archive is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a part; `None` if there is none of that name.
    pub(super) fn part(&self, name: &str) -> Result<Option<Part<'_>>, ArchiveError> {
        let Ok(path) = RelPath::clean(name.as_bytes()) else { return Ok(None) };
        match &self.kind {
            Kind::Directory(directory) => {
                let opened = directory.file(&path);
                let failed = |source| ArchiveError::Read {
                    what: self.path.join(path.as_os_str()).display().to_string(),
                    source,
                };
                let part = |(file, size_bytes)| Part { bytes: Bytes::File(file), size_bytes };
                Ok(opened.map_err(failed)?.map(part))
            }
            Kind::Tar { file, members, .. } => Ok(find(members, path).map(|(offset, size_bytes)| Part {
                bytes: Bytes::Range { file, offset, end: offset + size_bytes },
                size_bytes,
            })),
        }
    }

    /// Whether there is a part of that name.
    pub(super) fn has(&self, name: &str) -> Result<bool, ArchiveError> {
        Ok(self.part(name)?.is_some())
    }

    /// Reads a part that must be there, whole.
    pub(super) fn read_part(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let part = self.part(name)?.ok_or_else(|| ArchiveError::Missing(name.to_owned()))?;
        let size_bytes = part.size_bytes;
        if size_bytes > limit_bytes {
            return Err(ArchiveError::TooLarge { name: name.to_owned(), size_bytes, limit_bytes });
        }
        let mut bytes = Vec::new();
        let read = part.take(limit_bytes).read_to_end(&mut bytes);
        read.map_err(|source| ArchiveError::Read { what: format!("{name} in the archive"), source })?;
        Ok(bytes)
    }

    fn spool(store: &Store, path: &Path, reader: impl Read + Send) -> Result<Self, ArchiveError> {
        let cannot_read = |source| ArchiveError::Read { what: path.display().to_string(), source };
        let mut spool = store.temporary_file()?;
        let mut plain = compress::decompress(store.cancel().reader(reader)).map_err(cannot_read)?;
        copy(&mut plain, &mut spool, path)?;
        let file = spool.file().try_clone().map_err(StoreError::io("open", spool.path()))?;
        Self::of_tar(path, file, Some(spool))
    }

    fn of_tar(path: &Path, mut file: File, spool: Option<TemporaryFile>) -> Result<Self, ArchiveError> {
        let is_none = |source| ArchiveError::NoTar { path: path.to_owned(), source };
        let members = file.rewind().and_then(|()| index(&file)).map_err(is_none)?;
        Ok(Self { path: path.to_owned(), kind: Kind::Tar { file, members, _spool: spool } })
    }
}

/// One part of an archive, read from its start.
#[derive(Debug)]
pub(super) struct Part<'a> {
    bytes: Bytes<'a>,
    size_bytes: u64,
}

#[derive(Debug)]
enum Bytes<'a> {
    File(File),
    Range { file: &'a File, offset: u64, end: u64 },
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Bytes::File(file) => file.read(buffer),
            Bytes::Range { file, offset, end } => {
                let rest = usize::try_from(*end - *offset).unwrap_or(usize::MAX);
                let most = buffer.len().min(rest);
                let count = file.read_at(&mut buffer[..most], *offset)?;
                if count == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *offset += count as u64;
                Ok(count)
            }
        }
    }
}

/// Whether a file is a tar as it is, by the magic in its first header.
fn is_plain_tar(file: &mut File) -> io::Result<bool> {
    let mut magic = [0; 5];
    match file.read_exact_at(&mut magic, 257) {
        Ok(()) => Ok(&magic == b"ustar"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where in a tar its members are. Of several of one name the last one counts.
fn index(file: &File) -> io::Result<BTreeMap<RelPath, Member>> {
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let Ok(name) = RelPath::clean(&entry.path_bytes()) else { continue };
        let kind = entry.header().entry_type();
        let target = || entry.link_name_bytes().unwrap_or_default();
        let link = match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let member = Member::File { offset: entry.raw_file_position(), size_bytes: entry.size() };
                members.insert(name, member);
                continue;
            }
            tar::EntryType::Link => RelPath::clean(&target()),
            tar::EntryType::Symlink => {
                let parent = name.parent().unwrap_or_default();
                RelPath::clean(&[parent.as_bytes(), b"/", &*target()].concat())
            }
            _ => continue,
        };
        members.extend(link.ok().map(|link| (name, Member::Link(link))));
    }
    Ok(members)
}

fn find(members: &BTreeMap<RelPath, Member>, mut path: RelPath) -> Option<(u64, u64)> {
    for _ in 0..LINK_LIMIT {
        match members.get(&path)? {
            Member::File { offset, size_bytes } => return Some((*offset, *size_bytes)),
            Member::Link(target) => path = target.clone(),
        }
    }
    None
}

fn copy(reader: &mut impl Read, spool: &mut TemporaryFile, path: &Path) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = reader.read(&mut buffer);
        let count = count.map_err(|source| ArchiveError::Read { what: path.display().to_string(), source })?;
        if count == 0 {
            return Ok(());
        }
        spool.write_all(&buffer[..count]).map_err(StoreError::io("write", spool.path()))?;
    }
}
