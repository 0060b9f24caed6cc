//! The layer file: a layer's own tar with every large content lifted out.
//!
//! ```text
//!   "kiln layer 1\n"
//!   1  length u32  bytes          part of the tar, as it is
//!   2  object id (32)  size u64   part of the tar that is the object's content
//!   3  object id (32)  size u64   no part of the tar: a sparse file as it is with its holes
//!   0  size u64                   the end: how long the tar is
//! ```
//!
//! Numbers are little-endian. Small contents lie whole within one part, so that they can be read in
//! place. The file's name is the sha256 of the tar, which is all the checksum that it needs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use crate::{Cancel, DiffId, Digest, ObjectId, Store, StoreError, TemporaryFile};

const MAGIC: &[u8] = b"kiln layer 1\n";
const END: u8 = 0;
const LITERAL: u8 = 1;
const OBJECT: u8 = 2;
const WHOLE: u8 = 3;
const LITERAL_BYTES: usize = 64 << 10;

/// Writes a layer file while it hashes the tar.
pub(super) struct LayerFileWriter {
    file: BufWriter<TemporaryFile>,
    cancel: Cancel,
    tar: Sha256,
    tar_bytes: u64,
    written: u64,
    literal: Vec<u8>,
}

impl LayerFileWriter {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        let file = BufWriter::with_capacity(1 << 17, store.temporary_file()?);
        let literal = Vec::with_capacity(2 * LITERAL_BYTES);
        let cancel = store.cancel().clone();
        let mut writer = Self { file, cancel, tar: Sha256::new(), tar_bytes: 0, written: 0, literal };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Appends bytes of the tar that are kept in place.
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for part in bytes.chunks(LITERAL_BYTES) {
            self.keep(part)?;
        }
        Ok(())
    }

    /// Appends a small content and says where in the layer file it lies.
    pub(super) fn inline(&mut self, content: &[u8]) -> Result<u64, StoreError> {
        self.keep(content)?;
        Ok(self.written + 5 + (self.literal.len() - content.len()) as u64)
    }

    /// Counts bytes of the tar whose place an object takes; [`LayerFileWriter::object`] comes after them.
    pub(super) fn lifted(&mut self, bytes: &[u8]) {
        self.tar.update(bytes);
        self.tar_bytes += bytes.len() as u64;
    }

    /// Puts an object in the place of the bytes lifted since.
    pub(super) fn object(&mut self, id: ObjectId, size_bytes: u64) -> Result<(), StoreError> {
        self.reference(OBJECT, id, size_bytes)
    }

    /// Names an object that the layer needs although its tar does not hold it in one piece.
    pub(super) fn whole(&mut self, id: ObjectId, size_bytes: u64) -> Result<(), StoreError> {
        self.reference(WHOLE, id, size_bytes)
    }

    fn reference(&mut self, kind: u8, id: ObjectId, size_bytes: u64) -> Result<(), StoreError> {
        self.flush_literal()?;
        self.put(&[kind])?;
        self.put(id.as_bytes())?;
        self.put(&size_bytes.to_le_bytes())
    }

    /// Ends the tar; the file still has to be given its place.
    pub(super) fn finish(mut self) -> Result<Finished, StoreError> {
        self.flush_literal()?;
        self.put(&[END])?;
        self.put(&self.tar_bytes.to_le_bytes())?;
        let path = self.file.get_ref().path().to_owned();
        let file = self.file.into_inner().map_err(|error| StoreError::io("write", path)(error.into_error()))?;
        let diff_id = DiffId(Digest::from_bytes(self.tar.finalize().into()));
        Ok(Finished { diff_id, size_bytes: self.tar_bytes, file })
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.literal.len() + bytes.len() > LITERAL_BYTES {
            self.flush_literal()?;
        }
        self.tar.update(bytes);
        self.tar_bytes += bytes.len() as u64;
        self.literal.extend_from_slice(bytes);
        Ok(())
    }

    fn flush_literal(&mut self) -> Result<(), StoreError> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let literal = std::mem::take(&mut self.literal);
        self.put(&[LITERAL])?;
        self.put(&(literal.len() as u32).to_le_bytes())?;
        self.put(&literal)?;
        self.literal = literal;
        self.literal.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.cancel.check()?;
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(StoreError::io("write", self.file.get_ref().path()))
    }
}

/// A whole layer file without a place.
pub(super) struct Finished {
    pub(super) diff_id: DiffId,
    pub(super) size_bytes: u64,
    pub(super) file: TemporaryFile,
}

impl Write for LayerFileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.literal(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a layer's tar: exactly the bytes that went in.
#[derive(Debug)]
pub struct TarReader {
    store: Store,
    file: BufReader<File>,
    part: Part,
    read: u64,
}

#[derive(Debug)]
enum Part {
    None,
    Literal { left: u64 },
    Object { file: File, left: u64 },
    End,
}

impl TarReader {
    pub(super) fn new(store: Store, file: File) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 17, file);
        if take::<{ MAGIC.len() }>(&mut file)? != *MAGIC {
            return Err(malformed("is not in the format of this version"));
        }
        Ok(Self { store, file, part: Part::None, read: 0 })
    }

    fn next_part(&mut self) -> io::Result<Part> {
        let [kind] = take::<1>(&mut self.file)?;
        match kind {
            LITERAL => Ok(Part::Literal { left: u32::from_le_bytes(take(&mut self.file)?).into() }),
            OBJECT => {
                let id = ObjectId::from_bytes(take(&mut self.file)?);
                let left = u64::from_le_bytes(take(&mut self.file)?);
                let file = self.store.object(id).map_err(io::Error::other)?;
                Ok(Part::Object { file: file.ok_or_else(|| missing(id))?, left })
            }
            WHOLE => {
                take::<40>(&mut self.file)?;
                Ok(Part::None)
            }
            END if u64::from_le_bytes(take(&mut self.file)?) == self.read => Ok(Part::End),
            _ => Err(malformed("is malformed")),
        }
    }
}

impl Read for TarReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.store.cancel().check()?;
        loop {
            let mut nothing = 0;
            let (count, left) = match &mut self.part {
                Part::End => return Ok(0),
                Part::None => (0, &mut nothing),
                Part::Literal { left } => (self.file.by_ref().take(*left).read(out)?, left),
                Part::Object { file, left } => (file.take(*left).read(out)?, left),
            };
            *left -= count as u64;
            self.read += count as u64;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            if *left > 0 {
                return Err(malformed("or an object of it is cut short"));
            }
            self.part = self.next_part()?;
        }
    }
}

/// The size of the tar, from the end of the layer file.
pub(super) fn tar_bytes(file: &File) -> io::Result<u64> {
    let end = file.metadata()?.len().checked_sub(9).ok_or_else(|| malformed("is cut short"))?;
    let mut tail = [0; 9];
    file.read_exact_at(&mut tail, end)?;
    match tail {
        [END, size @ ..] => Ok(u64::from_le_bytes(size)),
        _ => Err(malformed("is cut short")),
    }
}

/// The objects that a layer file refers to, in their order.
pub(super) fn objects(file: File) -> io::Result<Vec<(ObjectId, u64)>> {
    let mut file = BufReader::new(file);
    take::<{ MAGIC.len() }>(&mut file)?;
    let mut objects = Vec::new();
    loop {
        match take::<1>(&mut file)? {
            [LITERAL] => {
                let length = u32::from_le_bytes(take(&mut file)?);
                file.seek_relative(length.into())?;
            }
            [OBJECT | WHOLE] => {
                objects.push((ObjectId::from_bytes(take(&mut file)?), u64::from_le_bytes(take(&mut file)?)));
            }
            [END] => return Ok(objects),
            _ => return Err(malformed("is malformed")),
        }
    }
}

fn take<const BYTES: usize>(file: &mut impl Read) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn malformed(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the layer file {reason}"))
}

fn missing(id: ObjectId) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the object {id} of the layer is missing"))
}
