//! Compression, read side and write side, as streams.
//!
//! What kiln compresses comes out the same for the same input, whatever the machine and however many
//! cores it has: a compressed layer is named by its digest. [`Encoding::encoder`] names the
//! algorithm with all that decides about its bytes.

mod decompress;
mod gzip;
#[cfg(test)]
mod tests;

use std::io::{self, BufReader, Read};

pub use decompress::{Decompressed, Expansion, decompress};
pub use gzip::Gzip;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Not at all.
    Plain,
    /// As every registry and runtime reads it; levels 1 to 9, 6 if nobody says.
    Gzip(u32),
    /// Smaller and faster, and read by everything of the last years; levels 1 to 22, 3 if nobody says.
    Zstd(i32),
}

impl Default for Encoding {
    fn default() -> Self {
        Self::Gzip(6)
    }
}

impl Encoding {
    /// The algorithm, its level, and the version of the library whose bytes these are.
    pub fn encoder(self) -> String {
        match self {
            Self::Plain => "plain".into(),
            Self::Gzip(level) => format!("gzip-{level} blocks-1 zlib-rs-0.6"),
            Self::Zstd(level) => format!("zstd-{level} mt zstd-{}", zstd::zstd_safe::version_string()),
        }
    }

    /// The media type of a layer so compressed (image-spec, layer.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Reads the input's compressed form.
    pub fn compress<R: Read>(self, input: R) -> io::Result<Compressor<R>> {
        match self {
            Self::Plain => Ok(Compressor::Plain(input)),
            Self::Gzip(level) => Ok(Compressor::Gzip(Box::new(Gzip::new(input, level)))),
            Self::Zstd(level) => {
                let mut encoder = zstd::stream::read::Encoder::new(input, level)?;
                // One worker gives the bytes that many give; none gives others.
                let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
                encoder.multithread(workers)?;
                encoder.include_checksum(true)?;
                Ok(Compressor::Zstd(Box::new(encoder)))
            }
        }
    }
}

/// A stream that is compressed while it is read.
pub enum Compressor<R> {
    /// Not at all.
    Plain(R),
    /// Block by block, on all cores.
    Gzip(Box<Gzip<R>>),
    /// By zstd's own threads.
    Zstd(Box<zstd::stream::read::Encoder<'static, BufReader<R>>>),
}

impl<R: Read> Read for Compressor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(out),
            Self::Gzip(gzip) => gzip.read(out),
            Self::Zstd(encoder) => encoder.read(out),
        }
    }
}
