//! Locks of steps: two builds that need the same step at once do it once.
//!
//! A lock is a flocked file in `locks/`, so it ends with its holder, however that ends.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::ActionKey;
use crate::store::{Area, Store, StoreError, found};

/// The right to work on a step; given up when dropped.
#[derive(Debug)]
pub struct StepLock {
    _file: File,
    path: PathBuf,
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // Whoever waits for the file sees that its name is gone and makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Waits for the lock of a name that is a file name, and takes it.
    pub fn lock_named(&self, name: &str, waiting: impl FnOnce()) -> Result<StepLock, StoreError> {
        let path = self.dir(Area::Locks).join(name);
        let mut waiting = Some(waiting);
        loop {
            let file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    waiting.take().into_iter().for_each(|tell| tell());
                    lock(&file, FlockOperation::LockExclusive, &path)?;
                }
                result => result.map_err(std::io::Error::from).map_err(StoreError::io("lock", &path))?,
            }
            if is_named(&file, &path)? {
                return Ok(StepLock { _file: file, path });
            }
        }
    }

    /// Locks a step if nobody works on it. Look up the step's result again afterwards: whoever worked
    /// on it may have left one.
    pub fn try_step_lock(&self, key: ActionKey) -> Result<Option<StepLock>, StoreError> {
        self.try_lock_named(&key.hex())
    }

    /// Takes the lock of a name if nobody has it.
    pub fn try_lock_named(&self, name: &str) -> Result<Option<StepLock>, StoreError> {
        let path = self.dir(Area::Locks).join(name);
        loop {
            let file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                result => result.map_err(std::io::Error::from).map_err(StoreError::io("lock", &path))?,
            }
            if is_named(&file, &path)? {
                return Ok(Some(StepLock { _file: file, path }));
            }
        }
    }
}

/// Removes the locks that killed processes left behind. They lock nothing; they only take up a name.
///
/// Best effort, like all clearing of litter.
pub(crate) fn clear_litter(store: &Path) {
    let entries = fs::read_dir(store.join(Area::Locks.name())).into_iter().flatten();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let Ok(file) = File::open(&path) else { continue };
        let is_free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_free && is_named(&file, &path).unwrap_or(false) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let options = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    options.map_err(StoreError::io("open the lock", path))
}

fn lock(file: &File, operation: FlockOperation, path: &Path) -> Result<(), StoreError> {
    loop {
        match flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result.map_err(std::io::Error::from).map_err(StoreError::io("lock", path)),
        }
    }
}

/// Whether the locked file is still the one of its name: a holder removes it before letting go.
fn is_named(file: &File, path: &Path) -> Result<bool, StoreError> {
    let here = file.metadata().map_err(StoreError::io("examine", path))?;
    let there = found(fs::metadata(path)).map_err(StoreError::io("examine", path))?;
    Ok(there.is_some_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_works_and_the_others_wait() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (inside, most, waited) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let work = || {
            let _lock = store.lock_named("step", || _ = waited.fetch_add(1, Ordering::Relaxed)).unwrap();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first has it until somebody waits for it.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while waited.load(Ordering::Relaxed) == 0 && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(most.into_inner(), 1);
        assert!(waited.into_inner() > 0);
        assert_eq!(fs::read_dir(store.dir(Area::Locks)).unwrap().count(), 0);
    }

    #[test]
    fn what_the_dead_locked_is_cleared_and_what_the_living_lock_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let _held = store.try_lock_named("held").unwrap().unwrap();
        fs::write(store.dir(Area::Locks).join("left"), "").unwrap();
        let again = Store::open(directory.path()).unwrap();
        assert_eq!(again.try_lock_named("held").unwrap().map(|_| ()), None);
        assert!(!store.dir(Area::Locks).join("left").exists());
    }

    #[test]
    fn a_taken_lock_is_not_had_by_trying() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let lock = store.try_lock_named("x").unwrap().unwrap();
        assert!(store.try_lock_named("x").unwrap().is_none());
        drop(lock);
        assert!(store.try_lock_named("x").unwrap().is_some());
    }
}
