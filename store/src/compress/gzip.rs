//! Gzip on all cores, with the same bytes on any number of them.
//!
//! The scheme is pigz's: the input is cut into blocks of a fixed size, each is deflated by itself with
//! the 32 KiB before it as dictionary and ends on a byte; together they are one gzip member.
//! Only as many blocks are in memory as the cores work on.

use std::io::{self, Read};

use flate2::{Compress, Compression, Crc, FlushCompress};
use rayon::prelude::*;

const BLOCK_BYTES: usize = 256 << 10;
const DICTIONARY_BYTES: usize = 32 << 10;
const BLOCKS_A_CORE: usize = 4;

/// No name, no time, unknown system (RFC 1952, 2.3.1): nothing that differs between machines.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty last block with fixed codes (RFC 1951, 3.2.6).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// A stream that is compressed while it is read.
pub struct Gzip<R> {
    input: R,
    level: Compression,
    crc: Crc,
    /// The end of what has been compressed: the next block's dictionary.
    before: Vec<u8>,
    out: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: Read> Gzip<R> {
    /// Compresses at a level from 1 to 9.
    pub fn new(input: R, level: u32) -> Self {
        let level = Compression::new(level.clamp(1, 9));
        Self { input, level, crc: Crc::new(), before: Vec::new(), out: HEADER.into(), taken: 0, ended: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut blocks = Vec::new();
        while blocks.len() < BLOCKS_A_CORE * rayon::current_num_threads() && !self.ended {
            let block = read_block(&mut self.input)?;
            self.ended = block.len() < BLOCK_BYTES;
            blocks.extend(Some(block).filter(|block| !block.is_empty()));
        }
        let level = self.level;
        let before = std::mem::take(&mut self.before);
        let dictionary = |at: usize| at.checked_sub(1).map_or(&before[..], |at| tail(&blocks[at]));
        let compressed: Vec<(Vec<u8>, Crc)> = (0..blocks.len())
            .into_par_iter()
            .map(|at| deflate(&blocks[at], dictionary(at), level))
            .collect::<io::Result<_>>()?;
        self.before = blocks.last().map_or(Vec::new(), |block| tail(block).to_vec());
        self.out.clear();
        self.taken = 0;
        for (bytes, crc) in compressed {
            self.out.extend_from_slice(&bytes);
            self.crc.combine(&crc);
        }
        if self.ended {
            self.out.extend_from_slice(&LAST_BLOCK);
            self.out.extend_from_slice(&self.crc.sum().to_le_bytes());
            self.out.extend_from_slice(&self.crc.amount().to_le_bytes());
        }
        Ok(())
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.out.len() && !self.ended {
            self.refill()?;
        }
        let count = out.len().min(self.out.len() - self.taken);
        out[..count].copy_from_slice(&self.out[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}

/// A whole block, or what is left of the input.
fn read_block(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    input.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn tail(block: &[u8]) -> &[u8] {
    &block[block.len().saturating_sub(DICTIONARY_BYTES)..]
}

fn deflate(block: &[u8], dictionary: &[u8], level: Compression) -> io::Result<(Vec<u8>, Crc)> {
    let mut crc = Crc::new();
    crc.update(block);
    let mut compress = Compress::new(level, false);
    if !dictionary.is_empty() {
        compress.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let consumed = compress.total_in() as usize;
        compress.compress_vec(&block[consumed..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        // The flush is complete once there was room left after it.
        if compress.total_in() as usize == block.len() && out.len() < out.capacity() {
            return Ok((out, crc));
        }
        out.reserve(block.len() / 4 + 1024);
    }
}
