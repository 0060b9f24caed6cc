//! Contents of large files: one immutable file each, named by what it holds.
//!
//! An object knows nothing of the files that hold it: no name, no mode, no time.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::store::found;
use crate::{Area, ObjectId, Presence, Store, StoreError, TemporaryFile};

/// From this size on a content is an object of its own; below it stays within its layer file, where
/// it costs no inode.
pub const OBJECT_BYTES: u64 = 16 << 10;

impl Store {
    /// Where an object lies, if the store has it.
    pub fn object_path(&self, id: ObjectId) -> PathBuf {
        self.sharded(Area::Objects, &id.hex())
    }

    /// Opens an object; `None` if the store does not have it, or has a file there that a power cut
    /// may have emptied and that turns out not to be it.
    pub fn object(&self, id: ObjectId) -> Result<Option<File>, StoreError> {
        let path = self.object_path(id);
        match self.presence(&path)? {
            Presence::Absent | Presence::Fresh | Presence::Sealed => {}
            Presence::Unproven if self.verify_object(id)? => self.note_unsealed(&path),
            Presence::Unproven => return Ok(None),
        }
        self.open_held(&path)
    }

    /// Whether an object is there and holds what its name promises; reads all of it.
    pub fn verify_object(&self, id: ObjectId) -> Result<bool, StoreError> {
        let path = self.object_path(id);
        let Some(file) = found(File::open(&path)).map_err(StoreError::io("open", &path))? else { return Ok(false) };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(self.cancel().reader(file)).map_err(StoreError::io("read", path))?;
        Ok(ObjectId::from(hasher.finalize()) == id)
    }

    /// Stores a content and says what it is called and how large it is.
    pub fn put_object(&self, mut content: impl Read) -> Result<(ObjectId, u64), StoreError> {
        let mut writer = self.object_writer()?;
        let mut chunk = vec![0; 1 << 18];
        loop {
            match content.read(&mut chunk) {
                Ok(0) => return writer.finish(),
                Ok(count) => writer.append(&chunk[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read for", writer.path())(error)),
            }
        }
    }

    /// Starts an object whose content is not known as a whole yet.
    pub fn object_writer(&self) -> Result<ObjectWriter, StoreError> {
        let file = BufWriter::with_capacity(1 << 16, self.temporary_file()?);
        Ok(ObjectWriter { store: self.clone(), file, hasher: blake3::Hasher::new(), size_bytes: 0 })
    }
}

/// An object being written; it has no name until it is finished, and leaves nothing if it never is.
pub struct ObjectWriter {
    store: Store,
    file: BufWriter<TemporaryFile>,
    hasher: blake3::Hasher,
    size_bytes: u64,
}

impl ObjectWriter {
    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.go_on()?;
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(StoreError::io("write", self.file.get_ref().path()))
    }

    /// Appends zeros, as a hole where the file system has them.
    pub fn append_zeros(&mut self, count: u64) -> Result<(), StoreError> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let mut left = count;
        while left > 0 {
            self.store.go_on()?;
            let most = left.min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..most as usize]);
            left -= most;
        }
        self.size_bytes += count;
        let path = self.path();
        self.file.flush().map_err(StoreError::io("write", &path))?;
        let mut file = self.file.get_ref().file();
        file.set_len(self.size_bytes).map_err(StoreError::io("extend", &path))?;
        file.seek(SeekFrom::Start(self.size_bytes)).map_err(StoreError::io("seek in", path))?;
        Ok(())
    }

    /// Gives the object its name and place; says the name and the size.
    pub fn finish(self) -> Result<(ObjectId, u64), StoreError> {
        let id = ObjectId::from(self.hasher.finalize());
        let path = self.path();
        let file = self.file.into_inner().map_err(|error| StoreError::io("write", path)(error.into_error()))?;
        self.store.place(file, &self.store.object_path(id))?;
        Ok((id, self.size_bytes))
    }

    /// Gives the object its place if it is the one that was expected; says whether it is.
    pub fn finish_as(self, expected: ObjectId) -> Result<bool, StoreError> {
        let same = ObjectId::from(self.hasher.finalize()) == expected;
        if same {
            self.finish()?;
        }
        Ok(same)
    }

    fn path(&self) -> PathBuf {
        self.file.get_ref().path().to_owned()
    }
}
