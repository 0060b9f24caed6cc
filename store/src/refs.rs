//! Tags: the names that people give to images, and how a word on the command line names one.
//!
//! A tag is a file `refs/HOST/PATH/:TAG`; no component of a path starts with a colon. It points at
//! an image that is whole and durable, always: it moves last, after a sync, and by a rename.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::BundleError;
use crate::image::ImageError;
use crate::oci::Document;
use crate::record::{files_below, now};
use crate::reference::{Reference, ReferenceError};
use crate::store::{Area, Store, StoreError};
use crate::{Digest, ImageId};

/// Why a word names no image, or a name cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    /// Nothing has that name.
    #[error("no such image: {0}")]
    NotFound(String),
    /// Several images' ids begin so.
    #[error("{text} is ambiguous: it could be {first} or {second}")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// One of them.
        first: ImageId,
        /// Another.
        second: ImageId,
    },
    /// The image that is to be tagged is not there, or not whole.
    #[error("image {0} is not in the store")]
    MissingImage(ImageId),
    /// A name with a digest names one thing for ever; it cannot be given to another.
    #[error("refusing to create a tag with a digest reference: {0}")]
    Pinned(Reference),
    /// The name breaks the rules.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What the name stands for cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a tag points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedImage {
    /// The image.
    pub image: ImageId,
    /// What a registry had under the name when it was pulled or pushed: a manifest or an index.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// The manifest or index of the store that says more of what the name stands for than the image does:
    /// see [`bundle`](crate::bundle).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// When the tag was set, in seconds since 1970.
    pub tagged_at: i64,
}

impl TaggedImage {
    /// An image that is tagged now and did not come from a registry.
    pub fn now(image: ImageId) -> Self {
        Self { image, manifest: None, document: None, tagged_at: now() }
    }
}

impl Store {
    /// Points a tag at an image, for good: syncs the store first. Nothing happens if it points there already.
    pub fn tag(&self, name: &Reference, target: &TaggedImage) -> Result<(), RefError> {
        if name.digest().is_some() {
            return Err(RefError::Pinned(name.clone()));
        }
        let is_same = |old: &TaggedImage| {
            (old.image, old.manifest, old.document) == (target.image, target.manifest, target.document)
        };
        if self.tagged(name)?.as_ref().is_some_and(is_same) {
            return Ok(self.sync()?);
        }
        if self.image(target.image)?.is_none() {
            return Err(RefError::MissingImage(target.image));
        }
        // Other processes may have written what the image consists of.
        self.sync_always()?;
        Ok(self.write_record_durably(&self.tag_path(name), target)?)
    }

    /// Removes a tag; says what it pointed at.
    pub fn untag(&self, name: &Reference) -> Result<Option<TaggedImage>, StoreError> {
        let target = self.tagged(name)?;
        self.remove_file(&self.tag_path(name))?;
        self.remove_empty_parents(&self.tag_path(name));
        Ok(target)
    }

    /// What a tag points at. A digest in the name is not looked at.
    pub fn tagged(&self, name: &Reference) -> Result<Option<TaggedImage>, StoreError> {
        Ok(self.read_record(&self.tag_path(name))?.map(|(target, _)| target))
    }

    /// All tags, in order of their names.
    pub fn tags(&self) -> Result<Vec<(Reference, TaggedImage)>, StoreError> {
        let mut tags = Vec::new();
        for path in files_below(&self.dir(Area::Refs))? {
            let name = self.tag_at(&path);
            let target = self.read_record::<TaggedImage>(&path)?;
            tags.extend(name.zip(target.map(|(target, _)| target)));
        }
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(tags)
    }

    /// The tags of one image, in order; also those of an index that it is in.
    pub fn tags_of(&self, image: ImageId) -> Result<Vec<Reference>, StoreError> {
        let mut names = Vec::new();
        for (name, target) in self.tags()? {
            if self.images_of(&target)?.contains(&image) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The images that a tag points at: the one that runs here first, then the others of its index.
    pub fn images_of(&self, target: &TaggedImage) -> Result<Vec<ImageId>, StoreError> {
        let mut images = vec![target.image];
        if let Some(Document::Index(index)) = target.document.map(|digest| self.document(digest)).transpose()?.flatten()
        {
            let others = self.members(&index)?.into_iter().map(|member| member.image);
            images.extend(others.filter(|other| *other != target.image));
        }
        Ok(images)
    }

    /// Finds the image that a word means, as Docker does: a whole id, else a tag or a pinned name,
    /// else the beginning of an id.
    pub fn resolve(&self, text: &str) -> Result<ImageId, RefError> {
        Ok(self.resolve_target(text)?.image)
    }

    /// Finds what a word means: of a tag all that it points at, of an id the image alone.
    pub fn resolve_target(&self, text: &str) -> Result<TaggedImage, RefError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let whole_id = format!("sha256:{digits}").parse::<ImageId>().ok();
        if let Some(id) = whole_id {
            let is_there = self.image_record(id)?.is_some();
            return is_there.then(|| TaggedImage::now(id)).ok_or_else(|| RefError::NotFound(text.to_owned()));
        }
        let by_prefix = || Ok::<_, RefError>(self.resolve_prefix(text, digits)?.map(TaggedImage::now));
        match text.parse::<Reference>() {
            Ok(name) => match self.target_of(&name)? {
                Some(target) => Ok(target),
                None => by_prefix()?.ok_or_else(|| RefError::NotFound(name.familiar())),
            },
            Err(error) => by_prefix()?.ok_or(error.into()),
        }
    }

    /// Finds what a name means: of its tag all that it points at, of its digest the image alone.
    pub fn target_of(&self, name: &Reference) -> Result<Option<TaggedImage>, RefError> {
        match name.digest() {
            Some(_) => Ok(self.resolve_name(name)?.map(TaggedImage::now)),
            None => Ok(self.tagged(name)?),
        }
    }

    /// Finds the image that a name means: by its digest if it has one, else by its tag.
    pub fn resolve_name(&self, name: &Reference) -> Result<Option<ImageId>, RefError> {
        let Some(pinned) = name.pinned() else {
            return Ok(self.tagged(name)?.map(|target| target.image));
        };
        let is_it =
            |record: &crate::image::ImageRecord| record.repo_digests.contains(&pinned) || record.id.0 == pinned.digest;
        Ok(self.images()?.into_iter().find(is_it).map(|record| record.id))
    }

    fn resolve_prefix(&self, text: &str, digits: &str) -> Result<Option<ImageId>, RefError> {
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Ok(None);
        }
        let mut fitting = self.image_ids()?.into_iter().filter(|id| id.hex().starts_with(digits));
        match (fitting.next(), fitting.next()) {
            (Some(first), Some(second)) => Err(RefError::Ambiguous { text: text.to_owned(), first, second }),
            (only, _) => Ok(only),
        }
    }

    fn tag_path(&self, name: &Reference) -> PathBuf {
        let repository = name.repository();
        let tag = name.tag().unwrap_or("latest");
        self.dir(Area::Refs).join(repository.host()).join(repository.path()).join(format!(":{tag}"))
    }

    fn tag_at(&self, path: &Path) -> Option<Reference> {
        let text = path.strip_prefix(self.dir(Area::Refs)).ok()?.to_str()?;
        let (repository, tag) = text.rsplit_once("/:")?;
        format!("{repository}:{tag}").parse().ok()
    }

    /// Removes the directories of a repository that has no tags left.
    fn remove_empty_parents(&self, path: &Path) {
        let refs = self.dir(Area::Refs);
        let below = |parent: &&Path| parent.starts_with(&refs) && *parent != refs;
        for parent in path.ancestors().skip(1).take_while(below) {
            if std::fs::remove_dir(parent).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiffId;
    use crate::oci::ImageConfig;
    use crate::platform::Platform;

    /// A store with an image whose config says who its author is.
    fn image(store: &Store, author: &str, layers: Vec<DiffId>) -> Result<ImageId, ImageError> {
        let mut config = ImageConfig::empty(&Platform::host());
        config.author = author.to_owned();
        config.rootfs.diff_ids = layers;
        store.put_image(&config.to_bytes())
    }

    fn layer(store: &Store) -> DiffId {
        store.import_layer(&[0; 1024][..], None).unwrap().diff_id()
    }

    fn name(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn tags_are_set_found_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (first, second) = (image(&store, "1", vec![]).unwrap(), image(&store, "2", vec![layer(&store)]).unwrap());
        for (text, image) in [("a", first), ("a/b", first), ("a:2", second), ("localhost:5000/a", second)] {
            store.tag(&name(text), &TaggedImage::now(image)).unwrap();
        }
        let names: Vec<_> = store.tags().unwrap().into_iter().map(|(name, _)| name.familiar()).collect();
        assert_eq!(names, ["a/b:latest", "a:2", "a:latest", "localhost:5000/a:latest"]);
        store.tag(&name("a"), &TaggedImage::now(second)).unwrap();
        assert_eq!(store.tags_of(second).unwrap().len(), 3);
        assert_eq!(store.untag(&name("a/b")).unwrap().unwrap().image, first);
        assert_eq!(store.untag(&name("a/b")).unwrap(), None);
        assert_eq!(store.tags().unwrap().len(), 3);
        assert!(store.image(first).unwrap().is_some(), "an image outlives its tags");
    }

    #[test]
    fn a_word_names_what_docker_would_take_it_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let ids: Vec<ImageId> = (0..40).map(|n| image(&store, &n.to_string(), vec![]).unwrap()).collect();
        let prefix = &ids[0].hex()[..12];
        assert_eq!(store.resolve(prefix).unwrap(), ids[0]);
        assert_eq!(store.resolve(&format!("sha256:{prefix}")).unwrap(), ids[0]);
        assert_eq!(store.resolve(&ids[1].to_string()).unwrap(), ids[1]);
        assert_eq!(store.resolve(&ids[1].hex()).unwrap(), ids[1]);
        store.tag(&name(prefix), &TaggedImage::now(ids[2])).unwrap();
        assert_eq!(store.resolve(prefix).unwrap(), ids[2], "a tag comes before the beginning of an id");
        let pinned = format!("docker.io/library/x@{}", Digest::of(b"manifest"));
        store.note_repo_digest(ids[3], &pinned.parse().unwrap()).unwrap();
        assert_eq!(store.resolve(&pinned).unwrap(), ids[3]);
        let shared = (0..16)
            .map(|digit| format!("{digit:x}"))
            .find(|digit| ids.iter().filter(|id| id.hex().starts_with(digit)).count() > 1);
        assert!(matches!(store.resolve(&shared.unwrap()), Err(RefError::Ambiguous { .. })));
        for text in ["nothing", "ffffffffffffffffffff", "x:y:z", "A", &Digest::of(b"").to_string()] {
            assert!(store.resolve(text).is_err(), "{text}");
        }
        assert_eq!(store.resolve("x/nothing").unwrap_err().to_string(), "no such image: x/nothing:latest");
    }

    #[test]
    fn nothing_incomplete_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let missing = DiffId(Digest::of(b"missing"));
        assert!(
            matches!(image(&store, "1", vec![missing]), Err(ImageError::MissingLayer { layer, .. }) if layer == missing)
        );
        let absent = ImageId(Digest::of(b"absent"));
        assert!(
            matches!(store.tag(&name("a"), &TaggedImage::now(absent)), Err(RefError::MissingImage(id)) if id == absent)
        );
        let whole = image(&store, "1", vec![layer(&store)]).unwrap();
        let pinned = name(&format!("a@{absent}"));
        assert!(matches!(store.tag(&pinned, &TaggedImage::now(whole)), Err(RefError::Pinned(_))));
        assert_eq!(store.tags().unwrap(), []);
    }
}
