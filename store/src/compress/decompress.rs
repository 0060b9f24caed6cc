//! Reads compressed layers, whatever they were compressed with.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much memory a stream may ask for to be read: what `xz -9` needs, and twice that.
const MOST_XZ_BYTES: u64 = 128 << 20;
const MAGIC_BYTES: usize = 6;

/// How much more may come out than went in: what keeps a few megabytes from filling the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expansion {
    /// So much may come out of anything.
    pub free_bytes: u64,
    /// And this for each byte that went in.
    pub bytes_per_byte: u64,
}

impl Default for Expansion {
    fn default() -> Self {
        Self { free_bytes: 64 << 20, bytes_per_byte: 200 }
    }
}

/// Reads gzip (of any number of members), zstd (any number of frames, skippable ones too), bzip2 and
/// xz by their first bytes, and everything else as it is.
pub fn decompress<'a>(mut input: impl Read + Send + 'a) -> io::Result<Decompressed<'a>> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    let read_bytes = Arc::new(AtomicU64::new(0));
    let kind = kind(&magic);
    let input = Counted { input: Cursor::new(magic).chain(input), read_bytes: Arc::clone(&read_bytes) };
    let input = BufReader::with_capacity(1 << 16, input);
    let output: Box<dyn Read + Send + 'a> = match kind {
        Kind::Plain => Box::new(input),
        Kind::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Kind::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Kind::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Kind::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MOST_XZ_BYTES, liblzma::stream::CONCATENATED);
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream.map_err(io::Error::other)?))
        }
    };
    Ok(Decompressed { output, read_bytes, written_bytes: 0, limit: None })
}

/// A decompressed stream.
pub struct Decompressed<'a> {
    output: Box<dyn Read + Send + 'a>,
    read_bytes: Arc<AtomicU64>,
    written_bytes: u64,
    limit: Option<Expansion>,
}

impl Decompressed<'_> {
    /// Fails where more comes out than that.
    pub fn limit(mut self, limit: Expansion) -> Self {
        self.limit = Some(limit);
        self
    }

    fn within(&self, limit: Expansion) -> bool {
        let earned = self.read_bytes.load(Ordering::Relaxed).saturating_mul(limit.bytes_per_byte);
        self.written_bytes <= earned.saturating_add(limit.free_bytes)
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(out)?;
        self.written_bytes += count as u64;
        match self.limit {
            Some(limit) if !self.within(limit) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("compressed data expands more than {} times", limit.bytes_per_byte),
            )),
            _ => Ok(count),
        }
    }
}

enum Kind {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

fn kind(magic: &[u8]) -> Kind {
    match magic {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Kind::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Kind::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Kind::Xz,
        _ => Kind::Plain,
    }
}

struct Counted<R> {
    input: R,
    read_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
