//! A change as bytes.
//!
//! ```text
//!   "kiln change 1\n"  change  blake3 of all that (32)
//!
//!   change     0 | 1 metadata                      of the root directory
//!              directory  count  group*
//!   directory  count*2 + opaque  (name  entry)*    names ascending
//!   entry      0                                   removed
//!              1 metadata  size  object id (32)    file
//!              2 metadata  target                  symbolic link
//!              3 | 4 metadata  major  minor        character, block device
//!              5 metadata                          named pipe
//!              6 metadata  directory               directory
//!              7 directory                         directory that the layer does not describe
//!   metadata   mode  uid  gid  seconds  nanoseconds  count  (name  value)*
//!   group      count  path*                        paths ascending, groups ascending
//! ```
//!
//! Numbers are LEB128; seconds are folded (0, -1, 1, -2 ...) first; names, values, targets and paths
//! have their length before them. What does not decode to exactly one change is refused.

use std::io::{self, Write};

use super::{Change, ChangeDirectory, ChangeEntry, DeviceKind, HardLinks, Leaf, MOST_COMPONENTS, Metadata, Timestamp};
use crate::{Name, ObjectId, RelPath};

const MAGIC: &[u8] = b"kiln change 1\n";
const HASH_BYTES: usize = 32;

/// Why bytes are no change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeChangeError {
    /// They do not start with the format's name and version.
    #[error("not a change in the format of this version")]
    Format,
    /// The bytes are not those that were written.
    #[error("the bytes of a change do not match their checksum")]
    Checksum,
    /// They match their checksum and still make no sense.
    #[error("a change is malformed at byte {0}")]
    Malformed(usize),
}

impl Change {
    /// The change as bytes, the same for equal changes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes).unwrap_or_else(|_| unreachable!("memory takes every byte"));
        bytes
    }

    /// Writes the change as bytes, without holding them all in memory.
    pub fn encode_into(&self, output: impl Write) -> io::Result<()> {
        let mut encoder = Encoder { output, hasher: blake3::Hasher::new(), bytes: MAGIC.to_vec() };
        match &self.root {
            None => encoder.bytes.push(0),
            Some(metadata) => {
                encoder.bytes.push(1);
                put_metadata(&mut encoder.bytes, metadata);
            }
        }
        encoder.directory(&self.directory)?;
        put_number(&mut encoder.bytes, self.hard_links.groups().len() as u64);
        for group in self.hard_links.groups() {
            put_number(&mut encoder.bytes, group.len() as u64);
            group.iter().for_each(|path| put_bytes(&mut encoder.bytes, path.as_bytes()));
        }
        encoder.finish()
    }

    /// Reads what [`Change::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeChangeError> {
        if !bytes.starts_with(MAGIC) {
            return Err(DecodeChangeError::Format);
        }
        let split = bytes.len().checked_sub(HASH_BYTES).filter(|split| *split >= MAGIC.len());
        let (body, hash) = bytes.split_at(split.ok_or(DecodeChangeError::Checksum)?);
        if blake3::hash(body).as_bytes() != hash {
            return Err(DecodeChangeError::Checksum);
        }
        let mut decoder = Decoder { rest: &body[MAGIC.len()..] };
        decoder.change().ok_or(DecodeChangeError::Malformed(body.len() - decoder.rest.len()))
    }
}

/// Passes bytes on in large parts, and hashes them.
struct Encoder<W> {
    output: W,
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    fn directory(&mut self, directory: &ChangeDirectory) -> io::Result<()> {
        put_number(&mut self.bytes, (directory.entries.len() as u64) << 1 | u64::from(directory.opaque));
        for (name, entry) in &directory.entries {
            put_bytes(&mut self.bytes, name);
            self.entry(entry)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &ChangeEntry) -> io::Result<()> {
        let below = match entry {
            ChangeEntry::Removed => {
                self.bytes.push(0);
                None
            }
            ChangeEntry::Leaf(metadata, leaf) => {
                put_leaf(&mut self.bytes, metadata, leaf);
                None
            }
            ChangeEntry::Directory { metadata: Some(metadata), directory } => {
                self.bytes.push(6);
                put_metadata(&mut self.bytes, metadata);
                Some(directory)
            }
            ChangeEntry::Directory { metadata: None, directory } => {
                self.bytes.push(7);
                Some(directory)
            }
        };
        if self.bytes.len() > PART_BYTES {
            self.flush()?;
        }
        below.map_or(Ok(()), |directory| self.directory(directory))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.bytes);
        self.output.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.output.write_all(self.hasher.finalize().as_bytes())
    }
}

const PART_BYTES: usize = 64 << 10;

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    put_number(out, u64::from(*mode));
    put_number(out, u64::from(*uid));
    put_number(out, u64::from(*gid));
    put_number(out, (mtime.secs << 1 ^ mtime.secs >> 63).cast_unsigned());
    put_number(out, u64::from(mtime.nanos));
    put_number(out, xattrs.len() as u64);
    for (name, value) in xattrs.iter() {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

fn put_leaf(out: &mut Vec<u8>, metadata: &Metadata, leaf: &Leaf) {
    out.push(match leaf {
        Leaf::File { .. } => 1,
        Leaf::Symlink(_) => 2,
        Leaf::Device { kind: DeviceKind::Character, .. } => 3,
        Leaf::Device { kind: DeviceKind::Block, .. } => 4,
        Leaf::Fifo => 5,
    });
    put_metadata(out, metadata);
    match leaf {
        Leaf::File { content, size_bytes } => {
            put_number(out, *size_bytes);
            out.extend_from_slice(content.as_bytes());
        }
        Leaf::Symlink(target) => put_bytes(out, target),
        Leaf::Device { major, minor, .. } => {
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        Leaf::Fifo => {}
    }
}

/// Reads from the front; every method gives `None` where the bytes make no sense.
struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn change(&mut self) -> Option<Change> {
        let root = match self.byte()? {
            0 => None,
            1 => Some(self.metadata()?),
            _ => return None,
        };
        let directory = self.directory(0)?;
        let groups = (0..self.number()?).map(|_| self.group()).collect::<Option<Vec<_>>>()?;
        let hard_links = HardLinks::new(groups.clone());
        let sorted = hard_links.groups().iter().map(|group| &group[..]).eq(groups.iter().map(|group| &group[..]));
        (sorted && self.rest.is_empty()).then_some(Change { root, directory, hard_links })
    }

    fn group(&mut self) -> Option<Vec<RelPath>> {
        (0..self.number()?).map(|_| RelPath::new(self.bytes()?).ok()).collect()
    }

    fn directory(&mut self, depth: usize) -> Option<ChangeDirectory> {
        let head = self.number()?;
        let mut entries = Vec::with_capacity(self.at_most(head >> 1)?);
        for _ in 0..head >> 1 {
            let name = Name::new(self.bytes()?).ok()?;
            if entries.last().is_some_and(|(before, _)| *before >= name) || depth == MOST_COMPONENTS {
                return None;
            }
            entries.push((name, self.entry(depth)?));
        }
        Some(ChangeDirectory { opaque: head & 1 == 1, entries: entries.into_iter().collect() })
    }

    fn entry(&mut self, depth: usize) -> Option<ChangeEntry> {
        let kind = self.byte()?;
        let metadata = if matches!(kind, 1..=6) { Some(self.metadata()?) } else { None };
        let leaf = match kind {
            0 => return Some(ChangeEntry::Removed),
            1 => {
                let size_bytes = self.number()?;
                Leaf::File { content: ObjectId::from_bytes(self.take(32)?.try_into().ok()?), size_bytes }
            }
            2 => Leaf::Symlink(Some(self.bytes()?).filter(|target| !target.is_empty() && !target.contains(&0))?.into()),
            3 => self.device(DeviceKind::Character)?,
            4 => self.device(DeviceKind::Block)?,
            5 => Leaf::Fifo,
            6 | 7 => return Some(ChangeEntry::Directory { metadata, directory: self.directory(depth + 1)? }),
            _ => return None,
        };
        Some(ChangeEntry::Leaf(metadata?, leaf))
    }

    fn device(&mut self, kind: DeviceKind) -> Option<Leaf> {
        Some(Leaf::Device { kind, major: self.small()?, minor: self.small()? })
    }

    fn metadata(&mut self) -> Option<Metadata> {
        let mode = self.small().filter(|mode| *mode <= 0o7777)? as u16;
        let (uid, gid) = (self.small()?, self.small()?);
        let folded = self.number()?;
        let secs = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        let nanos = self.small().filter(|nanos| *nanos < 1_000_000_000)?;
        let count = self.number()?;
        let mut pairs = Vec::with_capacity(self.at_most(count)?);
        for _ in 0..count {
            pairs.push((self.bytes()?, self.bytes()?));
        }
        let ascending = pairs.is_sorted_by(|(before, _), (after, _)| before < after);
        let xattrs = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        ascending.then_some(Metadata { mode, uid, gid, mtime: Timestamp { secs, nanos }, xattrs })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// A count of things that take a byte each at least, so that no claim makes memory.
    fn at_most(&self, count: u64) -> Option<usize> {
        usize::try_from(count).ok().filter(|count| *count <= self.rest.len())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(self.at_most(length)?)
    }
}
