//! What a name stands for beside an image: its manifest, or an index of several images by platform.
//!
//! A tag points at an image, the one that runs here, and may point at a document as well: the
//! manifest or index that says what the image's config cannot, which is annotations, the family of
//! media types, and the other platforms. A document that was made here describes layers as they came, and its own
//! as plain tars; a push or an archive writes it anew for the form in which it has the layers. Where the document
//! is lost, the name still stands for its image.

use crate::image::ImageError;
use crate::oci::{
    Annotations, CONFIG_LIMIT_BYTES, Descriptor, Document, DocumentError, Family, Index, MANIFEST_LIMIT_BYTES,
    Manifest, MediaType,
};
use crate::refs::TaggedImage;
use crate::root::Thing;
use crate::store::{Store, StoreError};
use crate::{DiffId, Digest, ImageId, Platform};

/// Why a document cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The store does not have the image.
    #[error("image {0} is not in the store")]
    NoImage(ImageId),
    /// The family has no such type.
    #[error(transparent)]
    Family(#[from] DocumentError),
    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The images of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Them, in the index's order; at least one.
    pub members: Vec<Member>,
    /// The index that lists them; `None` for a single image.
    pub index: Option<Index>,
    /// Whose media types the document has.
    pub family: Family,
    /// The document in the store.
    pub document: Option<Digest>,
}

/// One image of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The image.
    pub image: ImageId,
    /// What the index says of it; `None` for an image without a document.
    pub descriptor: Option<Descriptor>,
    /// What its manifest says about it; `None` if nobody has said that there should be nothing.
    pub annotations: Option<Annotations>,
}

impl Bundle {
    /// A single image of which nothing more is known.
    pub fn of_image(image: ImageId) -> Self {
        let member = Member { image, descriptor: None, annotations: None };
        Self { members: vec![member], index: None, family: Family::AsItCame, document: None }
    }
}

impl Store {
    /// The images of what a tag points at. Of an index those that the store has.
    pub fn bundle(&self, target: &TaggedImage) -> Result<Bundle, BundleError> {
        let Some(digest) = target.document else { return Ok(Bundle::of_image(target.image)) };
        Ok(match self.document(digest)? {
            None => Bundle::of_image(target.image),
            Some(Document::Manifest(manifest)) => {
                let member =
                    Member { image: target.image, descriptor: None, annotations: Some(manifest.annotations.clone()) };
                let family = Family::of(&manifest.media_type);
                Bundle { members: vec![member], index: None, family, document: Some(digest) }
            }
            Some(Document::Index(index)) => {
                let members = self.members(&index)?;
                if members.is_empty() {
                    return Ok(Bundle::of_image(target.image));
                }
                let family = Family::of(&index.media_type);
                Bundle { members, family, index: Some(index), document: Some(digest) }
            }
        })
    }

    /// Of the images of a tag the one that fits a platform best, if any does.
    pub fn image_for(&self, target: &TaggedImage, platform: &Platform) -> Result<Option<ImageId>, BundleError> {
        let mut best = None;
        for Member { image, .. } in self.bundle(target)?.members {
            let distance = self.image_record(image)?.and_then(|record| platform.distance_to(&record.platform));
            best = match (best, distance) {
                (Some((least, _)), Some(distance)) if distance >= least => best,
                (_, Some(distance)) => Some((distance, image)),
                (_, None) => best,
            };
        }
        Ok(best.map(|(_, image)| image))
    }

    /// Writes the manifest of an image that was made here, its layers as plain tars, and describes it.
    pub fn put_manifest(
        &self,
        image: ImageId,
        family: Family,
        annotations: Annotations,
    ) -> Result<Descriptor, BundleError> {
        let manifest = self.manifest_of(image, family, annotations, |id| self.described(id, family))?;
        let platform = self.image_record(image)?.map(|record| record.platform);
        let bytes = manifest.to_bytes();
        self.put_blob(&bytes)?;
        Ok(Descriptor { platform, ..Descriptor::of(manifest.media_type, &bytes) })
    }

    /// Writes an index of manifests.
    pub fn put_index(
        &self,
        family: Family,
        manifests: Vec<Descriptor>,
        annotations: Annotations,
    ) -> Result<Descriptor, BundleError> {
        let index = Index { annotations, ..Index::new(family.of_type(&MediaType::OciIndex)?, manifests) };
        let bytes = index.to_bytes();
        self.put_blob(&bytes)?;
        Ok(Descriptor::of(index.media_type, &bytes))
    }

    /// The manifest of an image whose layers are plain tars.
    pub(crate) fn plain_manifest(
        &self,
        id: ImageId,
        family: Family,
        annotations: Annotations,
    ) -> Result<Manifest, BundleError> {
        self.manifest_of(id, family, annotations, |layer| self.plain(layer, family))
    }

    fn manifest_of(
        &self,
        id: ImageId,
        family: Family,
        annotations: Annotations,
        describe: impl Fn(DiffId) -> Result<Option<Descriptor>, BundleError>,
    ) -> Result<Manifest, BundleError> {
        let image = self.image(id)?.ok_or(BundleError::NoImage(id))?;
        let config = self.read_blob(id.0, CONFIG_LIMIT_BYTES)?.ok_or(BundleError::NoImage(id))?;
        let mut layers = Vec::new();
        for diff_id in image.layers() {
            layers.push(describe(*diff_id)?.ok_or(BundleError::NoImage(id))?);
        }
        let config = Descriptor::of(family.of_type(&MediaType::OciConfig)?, &config);
        Ok(Manifest { annotations, ..Manifest::new(family.of_type(&MediaType::OciManifest)?, config, layers) })
    }

    /// A layer as it came from a registry, so that the document is the same whether it was unpacked here or not;
    /// else as a plain tar.
    fn described(&self, id: DiffId, family: Family) -> Result<Option<Descriptor>, BundleError> {
        let came = self.blobs_elsewhere(id)?.into_iter().find(|blob| blob.encoder.is_none());
        let described = came.map(|blob| -> Result<Descriptor, DocumentError> {
            let media_type = family.of_type(&MediaType::from(&*blob.media_type))?;
            Ok(Descriptor::new(media_type, blob.digest, blob.size_bytes))
        });
        match described.transpose() {
            Ok(Some(descriptor)) => Ok(Some(descriptor)),
            // A family without a name for that form may have one for the tar.
            Err(error) => self.plain(id, family)?.map(Some).ok_or(error.into()),
            Ok(None) => self.plain(id, family),
        }
    }

    fn plain(&self, id: DiffId, family: Family) -> Result<Option<Descriptor>, BundleError> {
        let Some(layer) = self.layer(id)? else { return Ok(None) };
        Ok(Some(Descriptor::new(family.of_type(&MediaType::OciLayer)?, id.0, layer.size_bytes())))
    }

    /// The images of an index of the store: those that are there.
    pub(crate) fn members(&self, index: &Index) -> Result<Vec<Member>, StoreError> {
        let mut members = Vec::new();
        for descriptor in index.manifests.iter().filter(|descriptor| !descriptor.is_attestation()) {
            let Some(Document::Manifest(manifest)) = self.document(descriptor.digest)? else { continue };
            let image = ImageId(manifest.config.digest);
            if self.image_path(image).exists() {
                let annotations = Some(manifest.annotations);
                members.push(Member { image, descriptor: Some(descriptor.clone()), annotations });
            }
        }
        Ok(members)
    }

    /// Reads a manifest or index; `None` if it is not there, or is something else.
    pub(crate) fn document(&self, digest: Digest) -> Result<Option<Document>, StoreError> {
        self.hold_things(&[Thing::Blob(digest)])?;
        let bytes = self.read_blob(digest, MANIFEST_LIMIT_BYTES)?;
        Ok(bytes.and_then(|bytes| Document::parse(&bytes, None).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;
    use crate::gc::{GcMode, GcOptions};
    use crate::oci::ImageConfig;

    /// An image for a platform.
    fn image(store: &Store, platform: &str) -> ImageId {
        store.put_image(&ImageConfig::empty(&platform.parse().unwrap()).to_bytes()).unwrap()
    }

    /// A name for two platforms, annotated at every level.
    fn tagged(store: &Store) -> (Reference, TaggedImage) {
        let said = |text: &str| Annotations::from([("said".to_owned(), text.to_owned())]);
        let manifests: Vec<Descriptor> = ["linux/amd64", "linux/arm/v7"]
            .map(|platform| store.put_manifest(image(store, platform), Family::Oci, said(platform)).unwrap())
            .into();
        let index = store.put_index(Family::Oci, manifests, said("all")).unwrap();
        let target = TaggedImage { document: Some(index.digest), ..TaggedImage::now(image(store, "linux/amd64")) };
        let name: Reference = "several".parse().unwrap();
        store.tag(&name, &target).unwrap();
        (name, target)
    }

    #[test]
    fn a_name_stands_for_the_image_of_the_platform_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (_, target) = tagged(&store);
        for (asked, expected) in [
            ("linux/amd64", Some("linux/amd64")),
            ("linux/amd64/v3", Some("linux/amd64")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm/v8", Some("linux/arm/v7")),
            ("linux/arm/v6", None),
            ("linux/s390x", None),
        ] {
            let found = store.image_for(&target, &asked.parse().unwrap()).unwrap();
            assert_eq!(found, expected.map(|platform| image(&store, platform)), "{asked}");
        }
        let bundle = store.bundle(&target).unwrap();
        let said: Vec<_> =
            bundle.members.iter().map(|member| member.annotations.as_ref().unwrap()["said"].as_str()).collect();
        assert_eq!(said, ["linux/amd64", "linux/arm/v7"]);
        assert_eq!(bundle.index.unwrap().annotations["said"], "all");
    }

    #[test]
    fn a_collection_keeps_all_that_a_name_stands_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (name, target) = tagged(&store);
        drop(store);
        let collect = || {
            let store = Store::open(directory.path()).unwrap();
            store.gc(GcOptions { max_size_bytes: None, mode: GcMode::Collect }).unwrap();
            store
        };
        let store = collect();
        assert_eq!(store.bundle(&target).unwrap().members.len(), 2);
        assert_eq!(store.verify().unwrap().faults, []);
        assert_eq!(store.tags_of(image(&store, "linux/arm/v7")).unwrap(), std::slice::from_ref(&name));
        store.untag(&name).unwrap();
        drop(store);
        assert_eq!(collect().image_ids().unwrap(), []);
    }

    #[test]
    fn a_lost_document_is_told_and_costs_no_image() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (name, target) = tagged(&store);
        store.remove_blob(target.document.unwrap()).unwrap();
        assert_eq!(store.bundle(&target).unwrap(), Bundle::of_image(target.image));
        let faults: Vec<String> = store.verify().unwrap().faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(&name.familiar()), "{faults:?}");
    }
}
