//! One layer on its way from a repository into the store.
//!
//! It is decompressed and unpacked while it streams, and is visible only when its compressed digest, its
//! size and its `DiffId` are all what they should be. What came damaged is fetched once more.

use std::io::{self, Read};
use std::time::Duration;

use store::layer::ImportError;
use store::oci::Descriptor;
use store::tar::ReadTarError;
use store::{DiffId, Store};

use crate::blob::{BlobError, BlobReader};
use crate::event::{BlobState, Event};
use crate::parallel::Crew;
use crate::session::Session;

/// Why a layer did not arrive.
#[derive(Debug)]
pub(crate) enum LayerError {
    /// Its bytes could not be had.
    Blob(BlobError),
    /// They came as announced but are not that layer, or no layer at all.
    Unpack(ImportError),
}

/// A layer that the store is to have.
pub(crate) struct Arrival<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) store: &'a Store,
    /// Who fetches; a failure of one ends the others.
    pub(crate) crew: &'a Crew,
    pub(crate) diff_id: DiffId,
    pub(crate) descriptor: &'a Descriptor,
}

impl Arrival<'_> {
    /// Fetches the layer; one that came damaged once more, over another connection.
    pub(crate) fn download(&self) -> Result<(), LayerError> {
        self.tell(BlobState::Downloading);
        match self.attempt() {
            Err(LayerError::Blob(error)) if error.is_damage() => {
                let doing = format!("pull blob {} from {}", self.descriptor.digest.short(), self.session.name());
                let (because, wait) = (error.to_string(), Duration::ZERO);
                (self.session.progress)(Event::Retrying { doing, because, wait });
                self.attempt()?;
            }
            other => other?,
        }
        self.tell(BlobState::Unpacked);
        Ok(())
    }

    fn attempt(&self) -> Result<(), LayerError> {
        let mut reader = BlobReader::new(self.session, self.descriptor);
        let compressed = Stoppable { reader: &mut reader, crew: self.crew };
        let imported = store::compress::decompress(compressed)
            .map_err(|error| ImportError::Tar(ReadTarError::Read(error)))
            .and_then(|tar| self.store.import_layer(tar, Some(self.diff_id)));
        if let Some(failure) = reader.take_failure() {
            return Err(LayerError::Blob(failure));
        }
        if self.crew.is_stopped() && imported.is_err() {
            return imported.map(drop).map_err(LayerError::Unpack);
        }
        // What cannot be unpacked may be damaged: the digest of the whole tells. What could be
        // unpacked may have something behind it, and its digest is to be recorded.
        reader.finish().map_err(LayerError::Blob)?;
        imported.map(drop).map_err(LayerError::Unpack)
    }

    fn tell(&self, state: BlobState) {
        let (digest, size_bytes) = (self.descriptor.digest, self.descriptor.size_bytes);
        (self.session.progress)(Event::Blob { digest, size_bytes, state });
    }
}

/// A reader that ends with an error when another layer has failed.
struct Stoppable<'a, R> {
    reader: R,
    crew: &'a Crew,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.crew.is_stopped() {
            return Err(io::Error::other("another layer failed"));
        }
        self.reader.read(buffer)
    }
}
