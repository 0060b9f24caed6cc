//! Reads a tar entry by entry, without losing a byte of it.
//!
//! `tar-core` decides what the headers mean; this module feeds it, and refuses what it lets pass
//! although other readers see something else there: numbers that overflow, records that are cut, a
//! lone zero block. Every byte that was read is handed out once, as header or as body, so that whoever reads can
//! keep the archive as it was.

use std::io::{self, Read};

use tar_core::EntryType;
use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};

use super::{BLOCK_BYTES, Entry, Kind, SparseMap, padding, pax};
use crate::path::display;
use crate::tree::{DeviceKind, Metadata, Timestamp};

/// What no reader has to hold: the headers of one entry, its sparse map aside.
const MOST_METADATA_BYTES: u32 = 4 << 20;
const MOST_SPARSE_PARTS: usize = 100_000;
const READ_BYTES: usize = 64 << 10;

/// The bytes are no tar, or one that readers do not agree on.
#[derive(Debug, thiserror::Error)]
pub enum ReadTarError {
    /// The bytes could not be read.
    #[error("cannot read the tar")]
    Read(#[from] io::Error),
    /// A header is malformed.
    #[error("malformed header at byte {at} of the tar")]
    Header {
        /// Where it starts.
        at: u64,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The archive ends within an entry.
    #[error("the tar ends at byte {at}, within an entry")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// One block of zeros stands between entries: GNU tar ends there, others do not.
    #[error("a single zero block at byte {at} of the tar")]
    LoneZeroBlock {
        /// Where.
        at: u64,
    },
    /// A field or record of an entry's header has no one meaning.
    #[error("tar entry {}: {field} is invalid", clipped(path))]
    Field {
        /// The entry's path, verbatim.
        path: Box<[u8]>,
        /// Which field.
        field: &'static str,
    },
    /// The entry is of a kind that layers do not have.
    #[error("tar entry {}: type {:?} is not supported", clipped(path), char::from(*kind))]
    Kind {
        /// The entry's path, verbatim.
        path: Box<[u8]>,
        /// The type flag.
        kind: u8,
    },
}

/// A path for an error message: printable, and not longer than a line or two.
pub(crate) fn clipped(path: &[u8]) -> String {
    const MOST: usize = 200;
    let shown = display(&path[..path.len().min(MOST)]).to_string();
    if path.len() > MOST { format!("{shown}... ({} bytes)", path.len()) } else { shown }
}

/// Reads tars of every common kind.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    parser: Parser,
    buffer: Vec<u8>,
    /// What of the buffer has been handed out.
    taken: usize,
    position: u64,
    body_left: u64,
    padding_left: usize,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from the archive's first byte.
    pub fn new(input: R) -> Self {
        let limits = Limits {
            max_metadata_size: MOST_METADATA_BYTES,
            max_path_len: None,
            max_pending_entries: 8,
            max_sparse_entries: MOST_SPARSE_PARTS,
        };
        let mut parser = Parser::new(limits);
        // It cannot hold negative times; `guard` refuses everything else that this would ignore.
        parser.set_ignore_pax_errors(true);
        // An entry without a name is the root's; whoever reads decides what it may be.
        parser.set_allow_empty_path(true);
        Self { input, parser, buffer: Vec::new(), taken: 0, position: 0, body_left: 0, padding_left: 0, ended: false }
    }

    /// The next entry; `None` at the end of the archive, with or without the zero blocks that mark it.
    ///
    /// Appends to `raw` all bytes between the body bytes read so far and the new entry's body:
    /// what is left of the body before, padding, headers; at the end, the end blocks.
    pub fn next_entry(&mut self, raw: &mut Vec<u8>) -> Result<Option<Entry>, ReadTarError> {
        self.finish_entry(raw)?;
        loop {
            if self.ended {
                return Ok(None);
            }
            let at = self.position;
            let event = self.parser.parse(&self.buffer[self.taken..]);
            let (consumed, entry) = match event.map_err(|source| ReadTarError::Header { at, source })? {
                ParseEvent::NeedData { min_bytes } => {
                    self.fill(min_bytes, raw)?;
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                ParseEvent::End { consumed } => {
                    self.ended = true;
                    (consumed, None)
                }
                ParseEvent::Entry { consumed, entry } => {
                    let headers = &self.buffer[self.taken..][..consumed];
                    (consumed, Some(guard(headers, at, &entry).and_then(|()| plain(&entry))?))
                }
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    let headers = &self.buffer[self.taken..][..consumed];
                    let parts = sparse_map.iter().map(|part| (part.offset, part.length)).collect();
                    (consumed, Some(guard(headers, at, &entry).and_then(|()| sparse(&entry, parts, real_size))?))
                }
            };
            raw.extend_from_slice(&self.buffer[self.taken..][..consumed]);
            self.advance(consumed);
            if let Some(entry) = entry {
                self.body_left = entry.body_bytes;
                self.padding_left = padding(entry.body_bytes);
                return Ok(Some(entry));
            }
        }
    }

    /// The next bytes of the current entry's body; 0 at its end.
    pub fn read_body(&mut self, out: &mut [u8]) -> Result<usize, ReadTarError> {
        let most = usize::try_from(self.body_left).map_or(out.len(), |left| left.min(out.len()));
        let count = self.take(&mut out[..most])?;
        if count == 0 && most > 0 {
            return Err(ReadTarError::Truncated { at: self.position });
        }
        self.body_left -= count as u64;
        Ok(count)
    }

    /// What follows the archive's end in the same stream: GNU tar fills its last record, and the
    /// digest of a layer covers that, too. Only after [`Reader::next_entry`] gave `None`.
    pub fn read_trailing(&mut self, out: &mut [u8]) -> Result<usize, ReadTarError> {
        Ok(self.take(out)?)
    }

    fn finish_entry(&mut self, raw: &mut Vec<u8>) -> Result<(), ReadTarError> {
        let (body, padding) = (self.body_left, self.padding_left as u64);
        (self.body_left, self.padding_left) = (0, 0);
        if self.drain(body, raw)? < body {
            return Err(ReadTarError::Truncated { at: self.position });
        }
        self.drain(padding, raw)?; // nobody misses the padding of the last body
        Ok(())
    }

    /// Moves bytes to `raw`, fewer than asked for only at the end of the input.
    fn drain(&mut self, count: u64, raw: &mut Vec<u8>) -> Result<u64, ReadTarError> {
        let mut left = count;
        let mut chunk = [0; BLOCK_BYTES];
        while left > 0 {
            let most = left.min(BLOCK_BYTES as u64) as usize;
            let taken = self.take(&mut chunk[..most])?;
            if taken == 0 {
                break;
            }
            raw.extend_from_slice(&chunk[..taken]);
            left -= taken as u64;
        }
        Ok(count - left)
    }

    fn take(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let buffered = &self.buffer[self.taken..];
        if buffered.is_empty() {
            let count = read_some(&mut self.input, out)?;
            self.position += count as u64;
            return Ok(count);
        }
        let count = buffered.len().min(out.len());
        out[..count].copy_from_slice(&buffered[..count]);
        self.advance(count);
        Ok(count)
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        self.position += count as u64;
    }

    /// Makes at least that many bytes available, or finds that the archive has ended.
    fn fill(&mut self, wanted: usize, raw: &mut Vec<u8>) -> Result<(), ReadTarError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        // Doubling keeps the work linear although the parser starts over each time.
        let wanted = wanted.max(self.buffer.len() * 2).max(READ_BYTES);
        let before = self.buffer.len();
        self.buffer.resize(wanted, 0);
        let read = read_some(&mut self.input, &mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        if read? > 0 {
            return Ok(());
        }
        if self.buffer.iter().any(|byte| *byte != 0) {
            return Err(ReadTarError::Truncated { at: self.position + self.buffer.len() as u64 });
        }
        raw.append(&mut self.buffer);
        self.ended = true;
        Ok(())
    }
}

fn read_some(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Refuses what the parser reads in one way and others in another.
fn guard(headers: &[u8], at: u64, entry: &ParsedEntry<'_>) -> Result<(), ReadTarError> {
    let field = |field| ReadTarError::Field { path: (*entry.path).into(), field };
    if headers[..BLOCK_BYTES].iter().all(|byte| *byte == 0) {
        return Err(ReadTarError::LoneZeroBlock { at });
    }
    let main = main_header(headers).ok_or_else(|| field("size"))?;
    let header = &headers[main..];
    for (name, bytes) in [("uid", &header[108..116]), ("gid", &header[116..124])] {
        (!overflows(bytes)).then_some(()).ok_or_else(|| field(name))?;
    }
    let records = pax::records(entry.pax.unwrap_or_default()).ok_or_else(|| field("extended header"))?;
    for (key, value) in records {
        match key {
            b"uid" | b"gid" | b"size" if pax::decimal(value).is_none() => return Err(field("number")),
            b"mtime" if pax::time(value).is_none() => return Err(field("mtime")),
            // The parser forgets that the sparse map is part of the size.
            b"size" if headers.len() > main + BLOCK_BYTES => return Err(field("size of a sparse file")),
            _ => {}
        }
    }
    Ok(())
}

/// Where the entry's own header starts, behind those that extend it; `None` if a size overflows.
fn main_header(headers: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = tar_core::Header::from_bytes(headers.get(at..at + BLOCK_BYTES)?.try_into().ok()?);
        if overflows(&headers[at + 124..at + 136]) {
            return None;
        }
        if !matches!(header.entry_type(), EntryType::XHeader | EntryType::GnuLongName | EntryType::GnuLongLink)
            || !(header.is_gnu() || header.is_ustar())
        {
            return Some(at);
        }
        let size = header.entry_size().ok()?;
        at += BLOCK_BYTES + usize::try_from(size).ok()? + padding(size);
    }
}

/// Whether a number in base 256 is negative or does not fit 56 bits.
fn overflows(field: &[u8]) -> bool {
    let (high, _) = field.split_at(field.len() - 7);
    high[0] & 0x80 != 0 && (high[0] != 0x80 || high[1..].iter().any(|byte| *byte != 0))
}

fn plain(entry: &ParsedEntry<'_>) -> Result<Entry, ReadTarError> {
    let target = || entry.link_target.as_deref().unwrap_or_default().into();
    let device = |kind| {
        let (major, minor) = (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0));
        Kind::Device { kind, major, minor }
    };
    let (kind, body_bytes) = match entry.entry_type {
        // Before POSIX, a directory was a file whose name ends in a slash.
        EntryType::Regular if entry.header.as_bytes()[156] == 0 && entry.path.ends_with(b"/") => (Kind::Directory, 0),
        EntryType::Regular | EntryType::Continuous => (Kind::File, entry.size),
        // What has no body has none, whatever its size says; Go, GNU tar and Python agree.
        EntryType::Link => (Kind::HardLink(target()), 0),
        EntryType::Symlink => (Kind::Symlink(target()), 0),
        EntryType::Char => (device(DeviceKind::Character), 0),
        EntryType::Block => (device(DeviceKind::Block), 0),
        EntryType::Directory => (Kind::Directory, 0),
        EntryType::Fifo => (Kind::Fifo, 0),
        other => return Err(ReadTarError::Kind { path: (*entry.path).into(), kind: other.to_byte() }),
    };
    Ok(Entry { path: (*entry.path).into(), metadata: metadata(entry)?, kind, body_bytes })
}

fn sparse(entry: &ParsedEntry<'_>, parts: Vec<(u64, u64)>, size_bytes: u64) -> Result<Entry, ReadTarError> {
    let path = (*entry.path).into();
    let regular = matches!(entry.entry_type, EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse);
    match SparseMap::new(parts, size_bytes, entry.size).filter(|_| regular) {
        None => Err(ReadTarError::Field { path, field: "sparse map" }),
        Some(map) => {
            let (metadata, kind) = (metadata(entry)?, Kind::SparseFile(map));
            Ok(Entry { path, metadata, kind, body_bytes: entry.size })
        }
    }
}

fn metadata(entry: &ParsedEntry<'_>) -> Result<Metadata, ReadTarError> {
    let id = |id: u64, field| id.try_into().map_err(|_| ReadTarError::Field { path: (*entry.path).into(), field });
    // Negative times in base 256 come out as the low 64 bits of their two's complement.
    let mut mtime = Timestamp::from_secs(entry.mtime.cast_signed());
    for (key, value) in pax::records(entry.pax.unwrap_or_default()).unwrap_or_default() {
        if let (b"mtime", Some(time)) = (key, pax::time(value)) {
            mtime = time;
        }
    }
    Ok(Metadata {
        mode: (entry.mode & 0o7777) as u16,
        uid: id(entry.uid, "uid")?,
        gid: id(entry.gid, "gid")?,
        mtime,
        xattrs: entry.xattrs.iter().map(|(name, value)| ((**name).into(), (**value).into())).collect(),
    })
}
