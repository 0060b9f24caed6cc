//! A layout as a directory: read and written below one descriptor, whatever links somebody left in it.
//!
//! A layout may come from anybody. Its links lead nowhere but into it, so that what is loaded cannot be a file of this
//! machine; and nothing is written through one, so that saving into it changes nothing elsewhere. A file gets its name
//! when it is whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::fs::Dir;
use crate::{Name, RelPath};

/// An open layout.
#[derive(Debug)]
pub(super) struct Directory(Dir);

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Dir::open(path)?))
    }

    /// The same, made if it is not there.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a file with its size; `None` for what is not there or is no file.
    pub(super) fn file(&self, path: &RelPath) -> io::Result<Option<(File, u64)>> {
        let file = match self.0.resolve_file(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other?,
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata.len())))
    }

    /// Writes a file, with the directories above it.
    pub(super) fn put(&self, path: &RelPath, size_bytes: u64, reader: &mut dyn Read) -> io::Result<()> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
        let into = self.directory(&parent)?;
        let beside = Name::new([name.as_bytes(), b".part"].concat()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let written = write(&into, &beside, size_bytes, reader).and_then(|()| Ok(into.rename(&beside, &name)?));
        if written.is_err() {
            let _ = into.remove_tree(&beside);
        }
        written
    }

    fn directory(&self, path: &RelPath) -> io::Result<Dir> {
        let mut at = self.0.try_clone()?;
        for component in path.components() {
            let name = Name::new(component).map_err(|_| io::ErrorKind::InvalidInput)?;
            at = match at.child(&name) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, name.as_os_str(), Mode::from_raw_mode(0o777))?;
                    at.child(&name)?
                }
                other => other?,
            };
        }
        Ok(at)
    }
}

fn write(into: &Dir, name: &Name, size_bytes: u64, reader: &mut dyn Read) -> io::Result<()> {
    match into.remove_tree(name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    // As the user's umask has it: a layout is for others, too.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(into, name.as_os_str(), flags, Mode::from_raw_mode(0o666))?;
    let copied = io::copy(&mut reader.take(size_bytes), &mut File::from(file))?;
    if copied == size_bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
