//! Blobs: bytes as a registry holds them, named by their sha256.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::Digest as _;

use crate::Digest;
use crate::session::TemporaryFile;
use crate::store::{Area, Presence, Store, StoreError, found};

impl Store {
    /// Where a blob lies, whether or not it is there: `blobs/sha256/ab/cdef..`.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir(Area::Blobs).join("sha256").join(&hex[..2]).join(&hex[2..])
    }

    /// Keeps bytes that are all in memory.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(StoreError::io("write", writer.file.path()))?;
        writer.finish()
    }

    /// Starts a blob that comes piece by piece.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter { store: self.clone(), file: self.temporary_file()?, hasher: sha2::Sha256::new(), size_bytes: 0 })
    }

    /// Opens a blob; `None` if the store has not got it, or has it from before a crash and it is damaged.
    pub fn blob(&self, digest: Digest) -> Result<Option<File>, StoreError> {
        let path = self.blob_path(digest);
        self.hold([path.as_path()])?;
        if self.presence(&path)? == Presence::Unproven && !self.prove_blob(digest)? {
            return Ok(None);
        }
        self.open_held(&path)
    }

    /// Reads a blob of at most that many bytes.
    pub fn read_blob(&self, digest: Digest, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.blob(digest)? else { return Ok(None) };
        let path = self.blob_path(digest);
        let size_bytes = file.metadata().map_err(StoreError::io("examine", &path))?.len();
        if size_bytes > limit_bytes {
            return Err(StoreError::TooLarge { digest, size_bytes, limit_bytes });
        }
        let mut bytes = Vec::new();
        file.take(limit_bytes).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(StoreError::Damaged { path, reason: format!("its bytes are {actual}") });
        }
        Ok(Some(bytes))
    }

    /// Removes a blob; says whether it was there.
    pub fn remove_blob(&self, digest: Digest) -> Result<bool, StoreError> {
        self.remove_file(&self.blob_path(digest))
    }

    /// Re-hashes a blob that no sync has sealed; removes it if its bytes were lost.
    fn prove_blob(&self, digest: Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        let Some(file) = found(File::open(&path)).map_err(StoreError::io("open", &path))? else { return Ok(false) };
        let is_whole = digest_of(self.cancel().reader(file)).map_err(StoreError::io("read", &path))? == digest;
        if is_whole {
            self.note_unsealed(&path);
        } else {
            self.remove_file(&path)?;
        }
        Ok(is_whole)
    }
}

/// A blob on its way into the store. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: TemporaryFile,
    hasher: sha2::Sha256,
    size_bytes: u64,
}

impl BlobWriter {
    /// How much has come so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Keeps what has come, whatever it is.
    pub fn finish(self) -> Result<Digest, StoreError> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let path = self.store.blob_path(digest);
        self.store.place(self.file, &path)?;
        Ok(digest)
    }

    /// Keeps what has come if it is what was announced.
    pub fn finish_as(self, expected: Digest, size_bytes: u64) -> Result<(), StoreError> {
        if self.size_bytes != size_bytes {
            return Err(StoreError::WrongSize { expected_bytes: size_bytes, actual_bytes: self.size_bytes });
        }
        let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
        if actual != expected {
            return Err(StoreError::Mismatch { expected, actual });
        }
        self.finish().map(drop)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.cancel().check()?;
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sha256 of all that a reader gives.
pub(crate) fn digest_of(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
