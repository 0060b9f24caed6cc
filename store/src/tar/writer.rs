//! Writes the one tar that kiln makes of a change.
//!
//! The encoding is version 1 of the layer format and pinned by golden bytes; a changed byte gives
//! every built image a new digest. The rules, where the formats leave a choice:
//!
//! - ustar headers; owners by number, names of owners empty; times in whole seconds.
//! - What does not fit goes into a PAX header before the entry, records in the order of their keys;
//!   the field in the ustar header is then 0, or the text's ASCII cut to its length.
//! - Text that is not ASCII is such a case (as in Go). Text that is not UTF-8 cannot be in PAX: it
//!   stands raw in the header where it fits, and else in GNU's long name entries.
//! - Directories end in `/`; a link's mode is 0777; two zero blocks end the archive and nothing follows.

use std::io::{self, Write};

use super::{BLOCK_BYTES, padding, pax};
use crate::RelPath;
use crate::tree::{DeviceKind, Leaf, Metadata};

/// An entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteTarError {
    /// The bytes could not be written.
    #[error("cannot write the tar")]
    Write(#[from] io::Error),
    /// In a layer the name would mean a deletion (image-spec, layer.md, "Whiteouts").
    #[error("{0} cannot be in a layer: names that start with `.wh.` mean deletions there")]
    ReservedName(RelPath),
    /// PAX cannot tell where the attribute's name ends.
    #[error("{path} has an extended attribute whose name a tar cannot hold: {}", crate::path::display(name))]
    AttributeName {
        /// The file.
        path: RelPath,
        /// The attribute.
        name: Box<[u8]>,
    },
}

/// Writes entries in the order in which they are given; the order is the caller's business.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(output: W) -> Self {
        Self { output, block: Vec::with_capacity(4 * BLOCK_BYTES) }
    }

    /// Writes a directory; the root's is `./`.
    pub fn directory(&mut self, path: &RelPath, metadata: &Metadata) -> Result<(), WriteTarError> {
        let name = if path.is_root() { b"./".to_vec() } else { [path.as_bytes(), b"/"].concat() };
        self.header(path, &Header { kind: b'5', ..Header::new(&name, metadata) })
    }

    /// Writes a leaf. Of a file that is the header: its bytes are to be written with
    /// [`Writer::output`], and then [`Writer::pad`] called.
    pub fn leaf(&mut self, path: &RelPath, metadata: &Metadata, leaf: &Leaf) -> Result<(), WriteTarError> {
        let header = Header::new(path.as_bytes(), metadata);
        let header = match leaf {
            Leaf::File { size_bytes, .. } => Header { size_bytes: *size_bytes, ..header },
            Leaf::Symlink(target) => Header { kind: b'2', mode: 0o777, link: target, ..header },
            Leaf::Device { kind: DeviceKind::Character, major, minor } => {
                Header { kind: b'3', device: (*major, *minor), ..header }
            }
            Leaf::Device { kind: DeviceKind::Block, major, minor } => {
                Header { kind: b'4', device: (*major, *minor), ..header }
            }
            Leaf::Fifo => Header { kind: b'6', ..header },
        };
        self.header(path, &header)
    }

    /// Writes another name of a leaf that was written before.
    pub fn hard_link(&mut self, path: &RelPath, metadata: &Metadata, first: &RelPath) -> Result<(), WriteTarError> {
        let link = first.as_bytes();
        self.header(path, &Header { kind: b'1', link, ..Header::new(path.as_bytes(), metadata) })
    }

    /// Writes that a name goes, with everything under it.
    pub fn whiteout(&mut self, path: &RelPath) -> Result<(), WriteTarError> {
        let (parent, name) = (path.parent().unwrap_or_default(), path.components().next_back().unwrap_or_default());
        self.marker(path, &parent, &[b".wh.", name].concat())
    }

    /// Writes that everything goes that a directory of the tree below holds.
    pub fn opaque(&mut self, path: &RelPath) -> Result<(), WriteTarError> {
        self.marker(path, path, b".wh..wh..opq")
    }

    /// Where a file's bytes go.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }

    /// Fills the last block of a file of that size.
    pub fn pad(&mut self, size_bytes: u64) -> Result<(), WriteTarError> {
        Ok(self.output.write_all(&[0; BLOCK_BYTES][..padding(size_bytes)])?)
    }

    /// Ends the archive and gives back what it was written to.
    pub fn finish(mut self) -> Result<W, WriteTarError> {
        self.output.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.output)
    }

    fn marker(&mut self, of: &RelPath, directory: &RelPath, name: &[u8]) -> Result<(), WriteTarError> {
        let path = if directory.is_root() { name.to_vec() } else { [directory.as_bytes(), b"/", name].concat() };
        reserved(of)?;
        self.block.clear();
        encode(&mut self.block, of, &Header::new(&path, &Metadata::root_owned(0, Default::default())))?;
        Ok(self.output.write_all(&self.block)?)
    }

    fn header(&mut self, path: &RelPath, header: &Header<'_>) -> Result<(), WriteTarError> {
        reserved(path)?;
        self.block.clear();
        encode(&mut self.block, path, header)?;
        Ok(self.output.write_all(&self.block)?)
    }
}

/// What one header says.
struct Header<'a> {
    name: &'a [u8],
    kind: u8,
    mode: u16,
    metadata: &'a Metadata,
    size_bytes: u64,
    link: &'a [u8],
    device: (u32, u32),
}

impl<'a> Header<'a> {
    fn new(name: &'a [u8], metadata: &'a Metadata) -> Self {
        Self { name, kind: b'0', mode: metadata.mode, metadata, size_bytes: 0, link: b"", device: (0, 0) }
    }
}

/// An unpacker takes any such name for a deletion, so every component is looked at; those above
/// have been, when they were written, unless the change does not describe them.
fn reserved(path: &RelPath) -> Result<(), WriteTarError> {
    match path.components().any(|name| name.starts_with(b".wh.")) {
        true => Err(WriteTarError::ReservedName(path.clone())),
        false => Ok(()),
    }
}

/// Appends an entry's header with everything that has to come before it.
fn encode(out: &mut Vec<u8>, path: &RelPath, header: &Header<'_>) -> Result<(), WriteTarError> {
    let name = place_name(header.name);
    let link = place_link(header.link);
    let records = records(path, header, &name, &link)?;
    if !records.is_empty() {
        let last = path.components().next_back().unwrap_or(b".");
        let pax_name = [b"PaxHeaders/", &ascii(last)[..]].concat();
        extension(out, *b"ustar\x0000", b'x', &pax_name, &records);
    }
    for (place, kind, text) in [(&link, b'K', header.link), (&name, b'L', header.name)] {
        if let Place::Gnu = place {
            extension(out, *b"ustar  \0", kind, b"././@LongLink", &[text, b"\0"].concat());
        }
    }
    out.extend_from_slice(&ustar(header, &name, &link));
    Ok(())
}

/// Where a text stands.
enum Place {
    /// In the header: as prefix and name, or whole.
    Header { prefix: Vec<u8>, name: Vec<u8> },
    /// In a PAX record; the header has what an old reader can make of it.
    Pax { cut: Vec<u8> },
    /// In an entry of GNU's before it; the header has its beginning.
    Gnu,
}

const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

fn place_name(name: &[u8]) -> Place {
    if name.is_ascii() || std::str::from_utf8(name).is_err() {
        if name.len() <= NAME_BYTES {
            return Place::Header { prefix: Vec::new(), name: name.to_vec() };
        }
        if let Some((prefix, name)) = split(name) {
            return Place::Header { prefix: prefix.to_vec(), name: name.to_vec() };
        }
    }
    long(name)
}

fn place_link(link: &[u8]) -> Place {
    let raw = link.is_ascii() || std::str::from_utf8(link).is_err();
    match raw && link.len() <= NAME_BYTES {
        true => Place::Header { prefix: Vec::new(), name: link.to_vec() },
        false => long(link),
    }
}

fn long(text: &[u8]) -> Place {
    if std::str::from_utf8(text).is_err() {
        return Place::Gnu;
    }
    let mut cut = ascii(text);
    cut.truncate(NAME_BYTES);
    Place::Pax { cut }
}

/// Splits at the first slash that leaves a name short enough, as GNU tar and Go do at some slash.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let from = name.len().checked_sub(NAME_BYTES + 1)?;
    let at = from + name[from..name.len() - 1].iter().position(|byte| *byte == b'/')?;
    (at > 0 && at <= PREFIX_BYTES).then(|| (&name[..at], &name[at + 1..]))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).take(NAME_BYTES - b"PaxHeaders/".len()).collect()
}

fn records(path: &RelPath, header: &Header<'_>, name: &Place, link: &Place) -> Result<Vec<u8>, WriteTarError> {
    let Metadata { uid, gid, mtime, xattrs, .. } = header.metadata;
    let mut records = Vec::new();
    for (attribute, value) in xattrs.iter() {
        if attribute.contains(&b'=') || attribute.contains(&0) || std::str::from_utf8(attribute).is_err() {
            return Err(WriteTarError::AttributeName { path: path.clone(), name: attribute.into() });
        }
        pax::put_record(&mut records, &[b"SCHILY.xattr.", attribute].concat(), value);
    }
    let number = |key: &'static str, value: i128, most: i128| {
        (!(0..=most).contains(&value)).then(|| (key, value.to_string().into_bytes()))
    };
    let text = |key: &'static str, place: &Place, text: &[u8]| {
        matches!(place, Place::Pax { .. }).then(|| (key, text.to_vec()))
    };
    let fields = [
        number("gid", (*gid).into(), MOST_7),
        text("linkpath", link, header.link),
        number("mtime", mtime.secs.into(), MOST_11),
        text("path", name, header.name),
        number("size", header.size_bytes.into(), MOST_11),
        number("uid", (*uid).into(), MOST_7),
    ];
    for (key, value) in fields.into_iter().flatten() {
        pax::put_record(&mut records, key.as_bytes(), &value);
    }
    Ok(records)
}

/// What seven and eleven octal digits hold.
const MOST_7: i128 = 0o777_7777;
const MOST_11: i128 = 0o777_7777_7777;

fn ustar(header: &Header<'_>, name: &Place, link: &Place) -> [u8; BLOCK_BYTES] {
    let mut block = Block::new(header.kind, *b"ustar\x0000");
    match name {
        Place::Header { prefix, name } => {
            block.text(0, name);
            block.text(345, prefix);
        }
        Place::Pax { cut } => block.text(0, cut),
        Place::Gnu => block.text(0, &header.name[..NAME_BYTES]),
    }
    match link {
        Place::Header { name, .. } => block.text(157, name),
        Place::Pax { cut } => block.text(157, cut),
        Place::Gnu => block.text(157, &header.link[..NAME_BYTES]),
    }
    let Metadata { uid, gid, mtime, .. } = header.metadata;
    block.number::<8>(100, header.mode.into());
    block.number::<8>(108, (*uid).into());
    block.number::<8>(116, (*gid).into());
    block.number::<12>(124, header.size_bytes.into());
    block.number::<12>(136, mtime.secs.into());
    block.number::<8>(329, header.device.0.into());
    block.number::<8>(337, header.device.1.into());
    block.finish()
}

fn extension(out: &mut Vec<u8>, magic: [u8; 8], kind: u8, name: &[u8], body: &[u8]) {
    let mut block = Block::new(kind, magic);
    block.text(0, name);
    for at in [100, 108, 116] {
        block.number::<8>(at, 0);
    }
    block.number::<12>(124, body.len() as i128);
    block.number::<12>(136, 0);
    out.extend_from_slice(&block.finish());
    out.extend_from_slice(body);
    out.resize(out.len() + padding(body.len() as u64), 0);
}

/// A header block being filled.
struct Block([u8; BLOCK_BYTES]);

impl Block {
    fn new(kind: u8, magic: [u8; 8]) -> Self {
        let mut block = Self([0; BLOCK_BYTES]);
        block.0[156] = kind;
        block.0[257..265].copy_from_slice(&magic);
        block
    }

    fn text(&mut self, at: usize, text: &[u8]) {
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    /// Octal digits and a NUL; 0 for what does not fit and stands in a record.
    fn number<const BYTES: usize>(&mut self, at: usize, value: i128) {
        let most = (1i128 << (3 * (BYTES - 1))) - 1;
        let mut left = if (0..=most).contains(&value) { value } else { 0 };
        for digit in self.0[at..at + BYTES - 1].iter_mut().rev() {
            *digit = b'0' + (left & 7) as u8;
            left >>= 3;
        }
    }

    fn finish(mut self) -> [u8; BLOCK_BYTES] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
