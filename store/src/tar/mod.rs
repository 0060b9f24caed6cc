//! Tar as layers use it.
//!
//! [`Reader`] reads what anybody wrote: ustar, PAX, GNU, old V7, sparse files of every kind; strict
//! where two readers could see different entries in the same bytes. [`Writer`] writes one canonical
//! form, pinned by golden bytes. Neither knows what a layer does with an entry, nor the disk.

mod entry;
#[cfg(test)]
pub(crate) mod fixture;
mod pax;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Entry, Kind, SparseMap};
pub(crate) use reader::clipped;
pub use reader::{ReadTarError, Reader};
pub use writer::{WriteTarError, Writer};

/// Tar is made of blocks of this size.
pub const BLOCK_BYTES: usize = 512;

/// The bytes that fill the last block of a body.
pub(crate) fn padding(size_bytes: u64) -> usize {
    (size_bytes.wrapping_neg() % BLOCK_BYTES as u64) as usize
}
