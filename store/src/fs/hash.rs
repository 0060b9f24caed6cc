//! Reading a file once to learn its content's name, and noticing if it changed meanwhile.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read};

use rustix::io::Errno;

use super::Stat;
use crate::{Cancel, Cancelled, ObjectId};

/// Why a file's content has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] Errno),
    /// It was written to while it was read.
    #[error("the file changed while it was read")]
    Changed,
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

/// Hashes an open file from where it stands to its end. `before` is what its metadata was when it
/// was opened: another size or time afterwards means that the hash may be of a mixture.
pub fn hash(file: &File, before: &Stat, cancel: &Cancel) -> Result<ObjectId, HashError> {
    let (id, length) = read_all(file, cancel)?;
    let after = Stat::of(file)?;
    let steady = length == before.size_bytes && is_same_state(before, &after);
    if steady { Ok(id) } else { Err(HashError::Changed) }
}

/// Whether nothing was done to a file between two looks at it, as far as a file system tells.
fn is_same_state(before: &Stat, after: &Stat) -> bool {
    (before.size_bytes, before.mtime, before.ctime, before.inode)
        == (after.size_bytes, after.mtime, after.ctime, after.inode)
}

fn read_all(mut file: &File, cancel: &Cancel) -> Result<(ObjectId, u64), HashError> {
    BUFFER.with_borrow_mut(|buffer| {
        let (mut hasher, mut length) = (blake3::Hasher::new(), 0);
        loop {
            cancel.check()?;
            match file.read(buffer) {
                Ok(0) => return Ok((hasher.finalize().into(), length)),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO).into()),
            }
        }
    })
}

/// Large enough that the hash works on many chunks at once, small enough for the cache.
const BUFFER_BYTES: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_change_between_two_looks_is_noticed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        let read_again = || File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        let (before, none) = (Stat::of(&file).unwrap(), Cancel::default());
        assert_eq!(hash(&read_again(), &before, &none), Ok(ObjectId::of(b"before")));
        (&file).write_all(b" and after").unwrap();
        assert_eq!(hash(&read_again(), &before, &none), Err(HashError::Changed));
    }
    #[test]
    fn a_large_file_is_not_read_to_its_end_for_nobody() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let stat = Stat::of(&file).unwrap();
        assert_eq!(hash(&file, &stat, &Cancel::after_looks(3)), Err(Cancelled.into()));
    }
}
