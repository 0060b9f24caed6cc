//! Images: a config and the layers that it names.
//!
//! An image is known, under its id, from the moment when its last layer is in its place or known to be
//! elsewhere, tagged or not, until a collection. Beside the config a record keeps what the config cannot say: when the
//! store got it, how large it is, and by which manifests the world knows it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::oci::{CONFIG_LIMIT_BYTES, DocumentError, ImageConfig};
use crate::record::{Trust, files_below, hex_of, now};
use crate::reference::PinnedReference;
use crate::root::Thing;
use crate::store::{Area, Store, StoreError};
use crate::{DiffId, Digest, ImageId, Platform};

/// Why an image cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The config names a layer that is not there.
    #[error("image {image} is incomplete: the store has no layer {layer} and knows of no registry that has it")]
    MissingLayer {
        /// The image.
        image: ImageId,
        /// The layer.
        layer: DiffId,
    },
    /// The config cannot be read.
    #[error("the config of image {image} cannot be read")]
    Config {
        /// The image.
        image: ImageId,
        /// Why.
        source: DocumentError,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the store remembers of an image beside its config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Which image.
    pub id: ImageId,
    /// When the store got it, in seconds since 1970.
    pub received_at: i64,
    /// When its config says it was made, as there.
    pub created: Option<String>,
    /// What it runs on.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<DiffId>,
    /// The sizes of its layers together, as uncompressed tars; of layers that are not here, as a registry has them.
    pub size_bytes: u64,
    /// The manifests of this image whose bytes the store has.
    #[serde(default)]
    pub manifests: BTreeSet<Digest>,
    /// Under which pinned names registries have it.
    #[serde(default)]
    pub repo_digests: BTreeSet<PinnedReference>,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its name.
    pub id: ImageId,
    /// What its config says.
    pub config: ImageConfig,
    /// What the store remembers beside.
    pub record: ImageRecord,
}

impl Image {
    /// The layers, lowest first.
    pub fn layers(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }
}

impl Store {
    /// Keeps an image. Each of its layers must be in the store, or known to be elsewhere.
    pub fn put_image(&self, config: &[u8]) -> Result<ImageId, ImageError> {
        let image = ImageId(Digest::of(config));
        let parsed = ImageConfig::parse(config).map_err(|source| ImageError::Config { image, source })?;
        let size_bytes = self.size_of_layers(image, &parsed.rootfs.diff_ids)?;
        self.put_blob(config)?;
        // Of layers that have come since the size is known better.
        self.change_record(image, |record| record.size_bytes = size_bytes)?;
        if self.image_record(image)?.is_none() {
            let record = ImageRecord {
                id: image,
                received_at: now(),
                created: parsed.created.clone(),
                platform: parsed.platform(),
                layers: parsed.rootfs.diff_ids,
                size_bytes,
                manifests: BTreeSet::new(),
                repo_digests: BTreeSet::new(),
            };
            self.write_record(&self.image_path(image), &record)?;
        }
        Ok(image)
    }

    /// Measures an image anew of which layers have come since.
    pub fn remeasure(&self, id: ImageId) -> Result<(), ImageError> {
        let Some(record) = self.image_record(id)? else { return Ok(()) };
        let size_bytes = self.size_of_layers(id, &record.layers)?;
        self.change_record(id, |record| record.size_bytes = size_bytes)
    }

    /// Remembers a manifest of an image, the bytes of which are in the store.
    pub fn note_manifest(&self, image: ImageId, manifest: Digest) -> Result<(), ImageError> {
        self.change_record(image, |record| record.manifests.insert(manifest))
    }

    /// Remembers that a registry has an image under a pinned name.
    pub fn note_repo_digest(&self, image: ImageId, name: &PinnedReference) -> Result<(), ImageError> {
        self.change_record(image, |record| record.repo_digests.insert(name.clone()))
    }

    /// Reads an image; `None` if the store does not have it, or lost it in a power cut. What is
    /// returned stays while this process lives.
    pub fn image(&self, id: ImageId) -> Result<Option<Image>, ImageError> {
        let Some(record) = self.image_record(id)? else { return Ok(None) };
        self.hold_things(&record.layers.iter().copied().map(Thing::Layer).collect::<Vec<Thing>>())?;
        let Some(config) = self.read_blob(id.0, CONFIG_LIMIT_BYTES)? else { return Ok(None) };
        let config = ImageConfig::parse(&config).map_err(|source| ImageError::Config { image: id, source })?;
        for layer in &config.rootfs.diff_ids {
            if !self.knows_layer(*layer)? {
                return Ok(None);
            }
        }
        Ok(Some(Image { id, config, record }))
    }

    /// Reads what is remembered of an image beside its config; cheaper than all of it.
    pub fn image_record(&self, id: ImageId) -> Result<Option<ImageRecord>, ImageError> {
        let path = self.image_path(id);
        self.hold([path.as_path()])?;
        // A collector may have set it aside in this very moment: holding it once more puts it back.
        let read = || self.read_record::<ImageRecord>(&path);
        let found = match read()? {
            None => self.hold([path.as_path()]).and_then(|()| read())?,
            found => found,
        };
        match found {
            Some((record, Trust::Proven)) => Ok(Some(record)),
            Some((record, Trust::Unproven)) => self.prove_image(record),
            None => Ok(None),
        }
    }

    /// The ids of all images, tagged or not, in order.
    pub fn image_ids(&self) -> Result<Vec<ImageId>, StoreError> {
        let directory = self.dir(Area::Images);
        let hexes = files_below(&directory)?.into_iter().filter_map(|path| hex_of(&directory, &path));
        Ok(hexes.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    /// All images, tagged or not, as far as they are remembered.
    pub fn images(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let ids = self.image_ids()?;
        ids.into_iter().filter_map(|id| self.image_record(id).transpose()).collect()
    }

    /// Forgets an image; its bytes go with the next collection, unless something else needs them.
    pub fn forget_image(&self, id: ImageId) -> Result<bool, StoreError> {
        self.remove_file(&self.image_path(id))
    }

    pub(crate) fn image_path(&self, id: ImageId) -> PathBuf {
        self.sharded(Area::Images, &id.hex())
    }

    fn change_record<T>(&self, image: ImageId, change: impl FnOnce(&mut ImageRecord) -> T) -> Result<(), ImageError> {
        let Some(before) = self.image_record(image)? else { return Ok(()) };
        let mut after = before.clone();
        change(&mut after);
        if after != before {
            self.write_record(&self.image_path(image), &after)?;
        }
        Ok(())
    }

    fn size_of_layers(&self, image: ImageId, layers: &[DiffId]) -> Result<u64, ImageError> {
        self.hold_things(&layers.iter().copied().map(Thing::Layer).collect::<Vec<Thing>>())?;
        let size = |layer: &DiffId| match self.layer(*layer)? {
            Some(found) => Ok(found.size_bytes()),
            None => {
                let elsewhere = self.blobs_elsewhere(*layer)?;
                let size_bytes = elsewhere.first().map(|blob| blob.size_bytes);
                size_bytes.ok_or(ImageError::MissingLayer { image, layer: *layer })
            }
        };
        layers.iter().map(size).sum()
    }

    /// Looks at an image from before a power cut: each of its layers must read back to its digest, or be known to
    /// be elsewhere.
    fn prove_image(&self, record: ImageRecord) -> Result<Option<ImageRecord>, ImageError> {
        for layer in &record.layers {
            if !self.prove_layer(*layer)? && self.blobs_elsewhere(*layer)?.is_empty() {
                self.forget_image(record.id)?;
                return Ok(None);
            }
        }
        self.note_unsealed(&self.image_path(record.id));
        Ok(Some(record))
    }
}
