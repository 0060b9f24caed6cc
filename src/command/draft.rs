//! Files that a verb writes for its user: opened before the work, so that what cannot be written is said at once, and
//! given their names when they are whole. Others may write into the directory: a link that waits there is not followed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use store::StoreError;

use crate::report::Failure;

/// A file in the making. Dropped before it is filled it leaves what was there.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    /// Where it is written until it is whole; `None` for a pipe or device, which takes it as it comes.
    draft: Option<PathBuf>,
    file: Option<BufWriter<File>>,
}

impl Draft {
    /// Opens a file for writing, beside its place.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            return Err(StoreError::io("write", path)(std::io::ErrorKind::IsADirectory.into()).into());
        }
        let opened = match is_special {
            true => File::options().write(true).open(path).map(|file| (file, None)),
            false => beside(path).map(|(file, draft)| (file, Some(draft))),
        };
        let (file, draft) = opened.map_err(StoreError::io("write", path))?;
        Ok(Self { path: path.to_owned(), draft, file: Some(BufWriter::new(file)) })
    }

    /// Writes it with a function and gives it its name.
    pub(crate) fn fill(
        mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        write(&mut file)?;
        file.flush().map_err(StoreError::io("write", &self.path))?;
        if let Some(draft) = self.draft.take() {
            fs::rename(&draft, &self.path).map_err(StoreError::io("write", &self.path))?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            let _ = fs::remove_file(draft);
        }
    }
}

/// A new file beside a path.
fn beside(path: &Path) -> io::Result<(File, PathBuf)> {
    for number in 0.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}-{number}.part", std::process::id()));
        match File::options().write(true).create_new(true).open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, name.into())),
        }
    }
    unreachable!("there are numbers enough")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// threats.md A40: where a file is written beside its place, somebody else may have left a link.
    #[test]
    fn nothing_is_written_through_a_link_that_waits() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "SECRET").unwrap();
        let waiting = at(&format!("out.{}-0.part", std::process::id()));
        std::os::unix::fs::symlink(at("victim"), &waiting).unwrap();
        std::os::unix::fs::symlink(at("victim"), at("out")).unwrap();
        Draft::open(&at("out")).unwrap().fill(|file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "SECRET");
        assert_eq!(fs::read_to_string(at("out")).unwrap(), "new");
        assert!(waiting.is_symlink(), "it is not this one's to remove");
        drop(Draft::open(&at("gone")).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
