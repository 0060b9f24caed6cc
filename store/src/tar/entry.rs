//! One entry of a tar, as its headers describe it.

use crate::tree::{DeviceKind, Metadata};

/// An entry with all extensions applied. The path is as written: it may be absolute, hold `..`, or
/// mean a whiteout; whoever uses it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path, verbatim.
    pub path: Box<[u8]>,
    /// Owner, mode, time, attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: Kind,
    /// How many bytes of body follow in the tar; of a sparse file only the parts that are stored.
    pub body_bytes: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, whose content is the body.
    File,
    /// A regular file with holes: the body holds only what lies between them.
    SparseFile(SparseMap),
    /// Another name of an earlier entry; the path verbatim.
    HardLink(Box<[u8]>),
    /// A symbolic link; the target verbatim.
    Symlink(Box<[u8]>),
    /// A directory.
    Directory,
    /// A device node.
    Device {
        /// Character or block.
        kind: DeviceKind,
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where the stored parts of a sparse file lie in it: ascending, apart, inside it, and as long
/// together as the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    parts: Vec<(u64, u64)>,
    size_bytes: u64,
}

impl SparseMap {
    /// Checks `(offset, length)` parts against the file's size and the body's; `None` if they do not fit.
    pub fn new(parts: Vec<(u64, u64)>, size_bytes: u64, body_bytes: u64) -> Option<Self> {
        let mut end = 0u64;
        let mut stored = 0u64;
        for (offset, length) in &parts {
            if *offset < end {
                return None;
            }
            end = offset.checked_add(*length)?;
            stored += length;
        }
        (end <= size_bytes && stored == body_bytes).then_some(Self { parts, size_bytes })
    }

    /// The stored parts: offset in the file, and length.
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.parts
    }

    /// The size of the file with its holes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}
