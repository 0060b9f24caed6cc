//! Files that a build writes for its user: opened before the build, so that what cannot be written is
//! said at once, and given their names when they are whole.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use store::StoreError;

use crate::report::Failure;

/// A file in the making. Dropped before it is filled it leaves what was there.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    /// Where it is written until it is whole; `None` for a pipe or device, which takes it as it comes.
    draft: Option<PathBuf>,
    file: Option<BufWriter<File>>,
}

impl Draft {
    /// Opens a file for writing, beside its place.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let draft = (!is_special).then(|| PathBuf::from(beside));
        if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            return Err(StoreError::io("write", path)(std::io::ErrorKind::IsADirectory.into()).into());
        }
        let opened = match &draft {
            Some(draft) => File::create(draft),
            None => File::options().write(true).open(path),
        };
        let file = opened.map_err(StoreError::io("write", path))?;
        Ok(Self { path: path.to_owned(), draft, file: Some(BufWriter::new(file)) })
    }

    /// Writes it with a function and gives it its name.
    pub(super) fn fill(
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
