//! Leases: how a process keeps what it relies on from the collector.
//!
//! Before relying on a thing that was there already, append it to the lease and look (again): what
//! is there then stays. The collector reads the leases, renames a candidate into `tmp/`, reads the
//! leases once more, and puts back what has been leased since. Neither waits for the other. In the
//! moment between, whoever holds a lease on a missing thing puts it back itself.

use std::fs::{self, File};
use std::path::Path;

use crate::session::{self, TRASH};
use crate::store::{Area, Store, StoreError, found};

impl Store {
    /// Appends files of the store to this process's lease. Look at them after, not before.
    pub fn hold<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), StoreError> {
        let session = match self.session() {
            Ok(session) => session,
            // On a store that cannot be written nothing can be collected.
            Err(StoreError::Io { source, .. }) if is_read_only(&source) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut missing = Vec::new();
        let leased = paths.into_iter().inspect(|path| missing.push(*path));
        session.lease(self.path(), leased)?;
        missing.retain(|path| !path.exists());
        missing.into_iter().for_each(|path| self.take_back(path));
        Ok(())
    }

    /// Opens a file that this process relies on, also in the moment when a collector has set it aside.
    pub(crate) fn open_held(&self, path: &Path) -> Result<Option<File>, StoreError> {
        let open = || found(File::open(path)).map_err(StoreError::io("open", path));
        if let Some(file) = open()? {
            return Ok(Some(file));
        }
        self.hold([path])?;
        open()
    }

    /// Looks for a missing thing among what collectors have set aside, and puts it back. What belongs
    /// to it (its name and a suffix) comes after: whoever moves the thing itself has all of it.
    fn take_back(&self, path: &Path) {
        let Ok(relative) = path.strip_prefix(self.path()) else { return };
        let name = session::trash_name(relative);
        for session in fs::read_dir(self.dir(Area::Temporary)).into_iter().flatten().filter_map(Result::ok) {
            let trash = session.path().join(TRASH);
            if session::rename_back(&trash.join(&name), path).is_ok() {
                session::rename_back_what_belongs_to(&name, &trash, self.path());
            }
        }
    }
}

fn is_read_only(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied)
}
