//! The compressed forms of a layer.
//!
//! A registry names a layer by the digest of its compressed bytes. Which those are, for which encoder,
//! and where they were seen is kept beside the layer as JSON, so that a push can offer the digest
//! before it compresses anything, and compresses a layer once for each encoder.

use std::collections::BTreeSet;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::file::TarReader;
use super::{BLOBS, Layer};
use crate::compress::{Compressor, Encoding};
use crate::{DiffId, Digest, Presence, Store, StoreError};

/// One compressed form of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// The digest of the compressed bytes.
    pub digest: Digest,
    /// How many there are.
    pub size_bytes: u64,
    /// The media type as the manifest had it.
    pub media_type: String,
    /// What made it, if kiln did: see [`Encoding::encoder`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// The repositories that had it, as `host/name`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub seen_in: BTreeSet<String>,
}

impl Store {
    /// The compressed forms of a layer that are known, in the order in which they became known.
    pub fn blobs_of(&self, layer: DiffId) -> Result<Vec<LayerBlob>, StoreError> {
        let path = self.beside_layer(layer, BLOBS);
        let Some(bytes) = self.read_file(&path)? else { return Ok(Vec::new()) };
        match serde_json::from_slice(&bytes) {
            Ok(blobs) => Ok(blobs),
            // Cut by a crash: what is known of blobs only saves work.
            Err(_) if self.presence(&path)? == Presence::Unproven => Ok(Vec::new()),
            Err(error) => Err(StoreError::Damaged { path, reason: error.to_string() }),
        }
    }

    /// Remembers a compressed form of a layer; what is known of the same digest is kept.
    pub fn record_blob(&self, layer: DiffId, blob: LayerBlob) -> Result<(), StoreError> {
        // What is read, added to and written must be one act, or of two at once one is forgotten.
        let _lock = self.lock_named(&format!("{}{BLOBS}", layer.hex()), || ())?;
        let mut blobs = self.blobs_of(layer)?;
        match blobs.iter_mut().find(|known| known.digest == blob.digest) {
            Some(known) => {
                known.encoder = known.encoder.take().or(blob.encoder);
                known.seen_in.extend(blob.seen_in);
            }
            None => blobs.push(blob),
        }
        let path = self.beside_layer(layer, BLOBS);
        match serde_json::to_vec_pretty(&blobs) {
            Ok(bytes) => self.write_file(&path, &bytes),
            Err(error) => Err(StoreError::io("encode", path)(error.into())),
        }
    }

    /// The form of a layer that an encoder gives, if it was compressed before.
    pub fn known_compressed(&self, layer: DiffId, encoding: Encoding) -> Result<Option<LayerBlob>, StoreError> {
        let encoder = encoding.encoder();
        Ok(self.blobs_of(layer)?.into_iter().find(|blob| blob.encoder.as_ref() == Some(&encoder)))
    }

    /// The form of a layer that an encoder gives. If it was never compressed so, that is done now and the
    /// bytes are kept as a blob; from then on only the collector decides about the bytes, and
    /// [`Layer::compress`] gives them again.
    pub fn compressed(&self, layer: &Layer, encoding: Encoding) -> Result<LayerBlob, StoreError> {
        if let Some(known) = self.known_compressed(layer.diff_id(), encoding)? {
            return Ok(known);
        }
        let mut compressed = layer.compress(encoding)?;
        let mut blob = self.blob_writer()?;
        let copied = io::copy(&mut compressed, &mut blob);
        copied.map_err(StoreError::io("compress", self.layer_path(layer.diff_id())))?;
        blob.finish()?;
        compressed.finish()
    }
}

impl Layer {
    /// Reads the layer compressed. Whoever has read to the end calls [`Compressed::finish`].
    pub fn compress(&self, encoding: Encoding) -> Result<Compressed, StoreError> {
        let path = self.store.layer_path(self.diff_id);
        let bytes = encoding.compress(self.read()?).map_err(StoreError::io("compress", path))?;
        Ok(Compressed { layer: self.clone(), encoding, bytes, hasher: Sha256::new(), size_bytes: 0 })
    }
}

/// A layer that is compressed while it is read, in bounded memory.
pub struct Compressed {
    layer: Layer,
    encoding: Encoding,
    bytes: Compressor<TarReader>,
    hasher: Sha256,
    size_bytes: u64,
}

impl Compressed {
    /// Reads what is left, remembers what the bytes are called, and says it.
    pub fn finish(mut self) -> Result<LayerBlob, StoreError> {
        let rest = io::copy(&mut self, &mut io::sink());
        rest.map_err(StoreError::io("compress", self.layer.store.layer_path(self.layer.diff_id)))?;
        let blob = LayerBlob {
            digest: Digest::from_bytes(self.hasher.finalize().into()),
            size_bytes: self.size_bytes,
            media_type: self.encoding.media_type().into(),
            encoder: Some(self.encoding.encoder()),
            seen_in: BTreeSet::new(),
        };
        self.layer.store.record_blob(self.layer.diff_id, blob.clone())?;
        Ok(blob)
    }
}

impl Read for Compressed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(out)?;
        self.hasher.update(&out[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }
}
