//! Looking at what is there, byte by byte.
//!
//! Every object is hashed, every layer read back to its DiffId, every blob hashed, every record
//! read, and every name followed to what it names.

use rayon::prelude::*;

use crate::blob::digest_of;
use crate::image::ImageError;
use crate::inventory::Inventory;
use crate::reference::Reference;
use crate::store::{Store, StoreError, found};
use crate::{ActionKey, DiffId, Digest, ImageId, ObjectId};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The content of a file is not what its name says.
    #[error("object {0} is damaged")]
    Object(ObjectId),
    /// A layer needs a content that is not there.
    #[error("layer {layer} needs object {object}, which is missing")]
    MissingObject {
        /// The layer.
        layer: DiffId,
        /// The content.
        object: ObjectId,
    },
    /// A layer does not read back to what its name says.
    #[error("layer {0} is damaged")]
    Layer(DiffId),
    /// A blob is not what its name says.
    #[error("blob {0} is damaged")]
    Blob(Digest),
    /// An image's config is missing, damaged, or names a layer that is not there.
    #[error("image {image} is incomplete: {reason}")]
    Image {
        /// The image.
        image: ImageId,
        /// What is wrong.
        reason: String,
    },
    /// A tag points at an image that is not there, or cannot be read.
    #[error("tag {tag} points at {image}, which is not in the store")]
    Tag {
        /// The tag.
        tag: Reference,
        /// What it points at.
        image: ImageId,
    },
    /// The manifest or index that a tag points at is not there.
    #[error("tag {tag} points at the document {document}, which is not in the store")]
    Document {
        /// The tag.
        tag: Reference,
        /// The manifest or index.
        document: Digest,
    },
    /// An action's record cannot be read.
    #[error("the record of action {0} is damaged")]
    Action(ActionKey),
    /// An action's result is not there, and no collection took it.
    #[error("the result of action {action}, layer {layer}, is missing")]
    MissingResult {
        /// The action.
        action: ActionKey,
        /// The layer.
        layer: DiffId,
    },
}

/// What a verification looked at, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many things were looked at.
    pub checked: usize,
    /// How many bytes they have.
    pub checked_bytes: u64,
    /// What is wrong, in a fixed order: contents, layers, blobs, images, tags, actions.
    pub faults: Vec<Fault>,
}

impl Store {
    /// Reads everything and says what is not as it should be. Changes nothing.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        // With a lease of its own: to look at a thing is not to need it.
        let store = self.reopened();
        let inventory = Inventory::take(&store)?;
        let mut faults = store.verify_objects(&inventory)?;
        faults.extend(store.verify_layers(&inventory)?);
        faults.extend(store.verify_blobs(&inventory)?);
        faults.extend(store.verify_images()?);
        faults.extend(store.verify_tags(&inventory)?);
        faults.extend(store.verify_actions(&inventory)?);
        let Inventory { layers, objects, blobs, images, actions, .. } = &inventory;
        let checked = layers.len() + objects.len() + blobs.len() + images.len() + actions.len();
        Ok(Verified { checked, checked_bytes: inventory.bytes(), faults })
    }

    /// Whether a layer from before a restart can be relied on; reads it if no sync has sealed it.
    pub(crate) fn prove_layer(&self, id: DiffId) -> Result<bool, StoreError> {
        Ok(self.layer(id)?.is_some())
    }

    fn verify_objects(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let ids: Vec<ObjectId> = inventory.objects.keys().copied().collect();
        let fault = |id: ObjectId| Ok(if self.verify_object(id)? { None } else { Some(Fault::Object(id)) });
        collect(ids.into_par_iter().map(fault))
    }

    fn verify_layers(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        for (layer, item) in &inventory.layers {
            let missing = item.objects.iter().filter(|object| !inventory.objects.contains_key(object));
            faults.extend(missing.map(|object| Fault::MissingObject { layer: *layer, object: *object }));
        }
        // Of a layer that is elsewhere there is nothing to read; the images that need it are looked at.
        let ids: Vec<DiffId> = inventory.layers.keys().copied().filter(|id| self.layer_path(*id).exists()).collect();
        faults.extend(collect(ids.into_par_iter().map(|id| self.verify_layer(id)))?);
        Ok(faults)
    }

    fn verify_layer(&self, id: DiffId) -> Result<Option<Fault>, StoreError> {
        let is_whole = match self.layer(id) {
            Ok(Some(layer)) => layer.verify(),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        match is_whole {
            Ok(true) => Ok(None),
            Ok(false) | Err(StoreError::Damaged { .. }) => Ok(Some(Fault::Layer(id))),
            Err(error) => Err(error),
        }
    }

    fn verify_blobs(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let digests: Vec<Digest> = inventory.blobs.keys().copied().collect();
        collect(digests.into_par_iter().map(|digest| {
            let path = self.blob_path(digest);
            let file = found(std::fs::File::open(&path)).map_err(StoreError::io("open", &path))?;
            let actual = file.map(digest_of).transpose().map_err(StoreError::io("read", &path))?;
            // One that a collection took meanwhile is no fault.
            Ok(actual.filter(|actual| *actual != digest).map(|_| Fault::Blob(digest)))
        }))
    }

    fn verify_images(&self) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        for image in self.image_ids()? {
            let reason = match self.image(image) {
                Ok(Some(_)) => continue,
                Ok(None) => "its config or a layer is missing".to_owned(),
                Err(ImageError::Store(error @ StoreError::Io { .. })) => return Err(error),
                Err(error) => error.to_string(),
            };
            faults.push(Fault::Image { image, reason });
        }
        Ok(faults)
    }

    fn verify_tags(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        for (tag, target) in self.tags()? {
            if !inventory.images.contains_key(&target.image) {
                faults.push(Fault::Tag { tag: tag.clone(), image: target.image });
            }
            let missing = target.document.filter(|document| !inventory.blobs.contains_key(document));
            faults.extend(missing.map(|document| Fault::Document { tag, document }));
        }
        Ok(faults)
    }

    fn verify_actions(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let keys = self.action_keys()?;
        let unread = keys.iter().filter(|key| !inventory.actions.contains_key(key)).map(|key| Fault::Action(*key));
        let mut faults: Vec<Fault> = unread.collect();
        for (action, stored) in inventory.actions.iter().filter(|(_, stored)| stored.collected_at.is_none()) {
            let missing = stored.result.layer.filter(|layer| !inventory.layers.contains_key(layer));
            faults.extend(missing.map(|layer| Fault::MissingResult { action: *action, layer }));
        }
        Ok(faults)
    }
}

fn collect(faults: impl ParallelIterator<Item = Result<Option<Fault>, StoreError>>) -> Result<Vec<Fault>, StoreError> {
    let faults: Result<Vec<Option<Fault>>, StoreError> = faults.collect();
    Ok(faults?.into_iter().flatten().collect())
}
