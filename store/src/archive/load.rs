//! From an archive into the store.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde::Deserialize;
use sha2::Digest as _;

use super::{ArchiveError, DOCKER_FILE, INDEX_FILE, LAYOUT_FILE, NAME_ANNOTATION, REF_ANNOTATION, Source, blob_name};
use crate::compress;
use crate::oci::{
    CONFIG_LIMIT_BYTES, Descriptor, Document, DocumentError, ImageConfig, Index, MANIFEST_LIMIT_BYTES, Manifest,
    MediaType,
};
use crate::refs::TaggedImage;
use crate::store::Store;
use crate::{BlobWriter, DiffId, Digest, ImageId, LayerBlob, Platform, Reference};

/// How deep indexes may be nested.
const DEPTH_LIMIT: usize = 4;

/// What to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Of an image for several platforms, that for this one; `None` for all that are there.
    pub platform: Option<Platform>,
}

/// An image that was in an archive and is now in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image; of several platforms that which suits this machine best.
    pub image: ImageId,
    /// Its manifest, or the index of all its platforms.
    pub document: Option<Digest>,
    /// The tags that it has been given, in the archive's order; none if the archive names none.
    pub tags: Vec<Reference>,
}

impl Store {
    /// Loads all images of an archive and gives them the names that they have in it. When it
    /// returns everything is durable; when it fails no name has moved.
    pub fn load(&self, source: &Source, options: &LoadOptions) -> Result<Vec<Loaded>, ArchiveError> {
        let docker = docker_entries(source)?;
        let loaded = match (source.has(INDEX_FILE)?, docker) {
            (true, docker) => Loader { store: self, source, options }.layout(&docker.unwrap_or_default())?,
            (false, Some(docker)) => Loader { store: self, source, options }.docker(&docker)?,
            (false, None) if source.has("repositories")? => {
                return Err(ArchiveError::Ancient { path: source.path().to_owned() });
            }
            (false, None) => return Err(ArchiveError::Unknown { path: source.path().to_owned() }),
        };
        self.sync()?;
        for Loaded { image, document, tags } in &loaded {
            for tag in tags {
                self.tag(tag, &TaggedImage { document: *document, ..TaggedImage::now(*image) })?;
            }
        }
        Ok(loaded)
    }
}

/// Which image of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutImage {
    /// The one with this tag or name.
    Tagged(String),
    /// The one with this manifest or index.
    Digest(Digest),
}

impl Store {
    /// Loads one image of an OCI layout and gives it no name.
    pub fn load_from_layout(
        &self,
        source: &Source,
        wanted: &LayoutImage,
        options: &LoadOptions,
    ) -> Result<ImageId, ArchiveError> {
        Loader { store: self, source, options }.one_of_layout(wanted)
    }
}

/// An image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl DockerEntry {
    /// The digest that the config's name promises, in the old (`HEX.json`) or the new form (`blobs/sha256/HEX`).
    fn config_digest(&self) -> Option<Digest> {
        let name = self.config.strip_prefix("blobs/sha256/").or_else(|| self.config.strip_suffix(".json"))?;
        format!("sha256:{name}").parse().ok()
    }

    fn tags(&self) -> Vec<Reference> {
        self.repo_tags.iter().flatten().filter_map(|tag| tag.parse().ok()).collect()
    }
}

fn docker_entries(source: &Source) -> Result<Option<Vec<DockerEntry>>, ArchiveError> {
    if !source.has(DOCKER_FILE)? {
        return Ok(None);
    }
    let bytes = source.read_part(DOCKER_FILE, CONFIG_LIMIT_BYTES)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| document(DOCKER_FILE, DocumentError::Malformed { what: "manifest.json", source: error }))
}

struct Loader<'a> {
    store: &'a Store,
    source: &'a Source,
    options: &'a LoadOptions,
}

impl Loader<'_> {
    fn docker(&self, entries: &[DockerEntry]) -> Result<Vec<Loaded>, ArchiveError> {
        let load =
            |entry: &DockerEntry| Ok(Loaded { image: self.docker_image(entry)?, document: None, tags: entry.tags() });
        entries.iter().map(load).collect()
    }

    fn docker_image(&self, entry: &DockerEntry) -> Result<ImageId, ArchiveError> {
        let bytes = self.source.read_part(&entry.config, CONFIG_LIMIT_BYTES)?;
        let image = ImageId(Digest::of(&bytes));
        if let Some(expected) = entry.config_digest().filter(|expected| *expected != image.0) {
            return Err(ArchiveError::WrongBlob { expected, actual: image.0 });
        }
        let config = ImageConfig::parse(&bytes).map_err(|source| document(&entry.config, source))?;
        let layers = entry.layers.as_deref().unwrap_or_default();
        let diff_ids = checked_layers(image, &config, layers.len())?;
        for (name, diff_id) in layers.iter().zip(diff_ids) {
            self.docker_layer(image, name, *diff_id)?;
        }
        Ok(self.store.put_image(&bytes)?)
    }

    fn docker_layer(&self, image: ImageId, name: &str, layer: DiffId) -> Result<(), ArchiveError> {
        if self.store.layer(layer)?.is_some() {
            return Ok(());
        }
        let part = self.source.part(name)?.ok_or_else(|| ArchiveError::Missing(name.to_owned()))?;
        let plain = compress::decompress(part)
            .map_err(|source| ArchiveError::Read { what: format!("{name} in the archive"), source })?;
        let imported = self.store.import_layer(plain, Some(layer));
        imported.map(drop).map_err(|source| ArchiveError::Layer { image, layer, source: Box::new(source) })
    }

    fn layout(&self, docker: &[DockerEntry]) -> Result<Vec<Loaded>, ArchiveError> {
        self.check_layout_version()?;
        let bytes = self.source.read_part(INDEX_FILE, CONFIG_LIMIT_BYTES)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| document(INDEX_FILE, DocumentError::Malformed { what: "index", source }))?;
        let mut loaded: Vec<Loaded> = Vec::new();
        for descriptor in self.wanted(&index)? {
            let (image, document) = self.image(descriptor, 0)?;
            let more = docker.iter().filter(|entry| entry.config_digest() == Some(image.0)).flat_map(DockerEntry::tags);
            add(&mut loaded, (image, document), tags_of(descriptor).into_iter().chain(more));
        }
        Ok(loaded)
    }

    fn one_of_layout(&self, wanted: &LayoutImage) -> Result<ImageId, ArchiveError> {
        self.check_layout_version()?;
        let bytes = self.source.read_part(INDEX_FILE, CONFIG_LIMIT_BYTES)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| document(INDEX_FILE, DocumentError::Malformed { what: "index", source }))?;
        let found = index.manifests.iter().find(|descriptor| match wanted {
            LayoutImage::Digest(digest) => descriptor.digest == *digest,
            LayoutImage::Tagged(tag) => is_tagged(descriptor, tag),
        });
        match found {
            Some(descriptor) => self.image(descriptor, 0).map(|(image, _)| image),
            None => Err(ArchiveError::Missing(match wanted {
                LayoutImage::Digest(digest) => digest.to_string(),
                LayoutImage::Tagged(tag) => format!("tag {tag}"),
            })),
        }
    }

    fn check_layout_version(&self) -> Result<(), ArchiveError> {
        #[derive(Deserialize)]
        struct Layout {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        let bytes = self.source.read_part(LAYOUT_FILE, MANIFEST_LIMIT_BYTES)?;
        let malformed = |source| document(LAYOUT_FILE, DocumentError::Malformed { what: "layout", source });
        let Layout { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version.starts_with("1.") {
            return Ok(());
        }
        Err(document(LAYOUT_FILE, DocumentError::Unsupported { what: "imageLayoutVersion", found: version }))
    }

    /// The images of the outermost index: each that has a name, and of those without one that have
    /// a platform the one that fits.
    fn wanted<'a>(&self, index: &'a Index) -> Result<Vec<&'a Descriptor>, ArchiveError> {
        let images = index.manifests.iter().filter(|descriptor| !descriptor.is_attestation());
        let (mut wanted, by_platform): (Vec<_>, Vec<_>) =
            images.partition(|descriptor| descriptor.platform.is_none() || !tags_of(descriptor).is_empty());
        match &by_platform[..] {
            [] => {}
            [only] => wanted.push(only),
            several => {
                let several = Index::new(MediaType::OciIndex, several.iter().map(|one| (*one).clone()).collect());
                let chosen = self.fitting(&several)?;
                wanted.extend(by_platform.into_iter().find(|one| **one == chosen));
            }
        }
        Ok(wanted)
    }

    /// Of an index the manifest that is in the archive and fits the platform best.
    fn fitting(&self, index: &Index) -> Result<Descriptor, ArchiveError> {
        let mut present = index.clone();
        let mut error = None;
        present
            .manifests
            .retain(|one| self.source.has(&blob_name(one.digest)).unwrap_or_else(|why| error.replace(why).is_some()));
        if let Some(error) = error {
            return Err(error);
        }
        let platform = self.options.platform.clone().unwrap_or_else(Platform::host);
        present.select(&platform).cloned().ok_or_else(|| {
            let offered: Vec<String> = present.platforms().map(Platform::to_string).collect();
            ArchiveError::NoPlatform { platform: platform.to_string(), offered: offered.join(", ") }
        })
    }

    /// Loads an image, or those of an index; says which is the main one, and by which document they are known.
    fn image(&self, descriptor: &Descriptor, depth: usize) -> Result<(ImageId, Digest), ArchiveError> {
        if depth > DEPTH_LIMIT {
            return Err(ArchiveError::TooDeep(DEPTH_LIMIT));
        }
        let bytes = self.blob(descriptor, MANIFEST_LIMIT_BYTES)?;
        let parsed = Document::parse(&bytes, Some(&descriptor.media_type));
        match parsed.map_err(|source| document(&blob_name(descriptor.digest), source))? {
            Document::Index(index) if self.options.platform.is_none() && is_flat(&index) => {
                self.platforms(&index, &bytes)
            }
            Document::Index(index) => self.image(&self.fitting(&index)?, depth + 1),
            Document::Manifest(manifest) => {
                let image = self.manifest(descriptor.digest, &manifest)?;
                let digest = self.store.put_blob(&bytes)?;
                self.store.note_manifest(image, digest)?;
                Ok((image, digest))
            }
        }
    }

    /// Loads the images of an index that are in the archive. Where some are not, the rest is an index of its own.
    fn platforms(&self, index: &Index, bytes: &[u8]) -> Result<(ImageId, Digest), ArchiveError> {
        let (mut here, mut present, mut absent) = (Vec::new(), Vec::new(), 0_usize);
        for descriptor in &index.manifests {
            match self.source.has(&blob_name(descriptor.digest))? {
                true if descriptor.is_attestation() => absent += 1,
                true => {
                    present.push(self.image(descriptor, DEPTH_LIMIT)?);
                    here.push(descriptor.clone());
                }
                false => absent += 1,
            }
        }
        let main = Index { manifests: here.clone(), ..index.clone() };
        let main = main.select(&Platform::host()).or(here.first()).map(|main| main.digest);
        let main = present.iter().find(|(_, digest)| Some(*digest) == main);
        match (main, absent, &present[..]) {
            (None, ..) => self.fitting(index).and_then(|one| self.image(&one, DEPTH_LIMIT)),
            (Some(only), 1.., [_]) => Ok(*only),
            (Some((image, _)), 0, _) => Ok((*image, self.store.put_blob(bytes)?)),
            (Some((image, _)), 1.., _) => {
                let present = Index { manifests: here, ..index.clone() };
                Ok((*image, self.store.put_blob(&present.to_bytes())?))
            }
        }
    }

    fn manifest(&self, digest: Digest, manifest: &Manifest) -> Result<ImageId, ArchiveError> {
        if !manifest.config.media_type.is_config() {
            let kind = manifest.artifact_type.clone().unwrap_or_else(|| manifest.config.media_type.to_string());
            return Err(ArchiveError::Artifact { digest, kind });
        }
        let bytes = self.blob(&manifest.config, CONFIG_LIMIT_BYTES)?;
        let image = ImageId(manifest.config.digest);
        let config = ImageConfig::parse(&bytes).map_err(|source| document(&blob_name(image.0), source))?;
        let diff_ids = checked_layers(image, &config, manifest.layers.len())?;
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            self.layer(image, descriptor, *diff_id)?;
        }
        Ok(self.store.put_image(&bytes)?)
    }

    /// Reads a blob whole and checks it.
    fn blob(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let bytes = self.source.read_part(&blob_name(descriptor.digest), limit_bytes)?;
        check(descriptor, bytes.len() as u64, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Imports a layer from its blob. The blob, if compressed, is kept: nobody else may have these bytes.
    fn layer(&self, image: ImageId, descriptor: &Descriptor, layer: DiffId) -> Result<(), ArchiveError> {
        let known = self.store.layer(layer)?.is_some();
        if known && self.store.blobs_of(layer)?.iter().any(|blob| blob.digest == descriptor.digest) {
            return Ok(());
        }
        let name = blob_name(descriptor.digest);
        let cannot_read = |source| ArchiveError::Read { what: format!("{name} in the archive"), source };
        let part = self.source.part(&name)?.ok_or_else(|| ArchiveError::Missing(name.clone()))?;
        let mut copied = Copied { reader: part, writer: self.store.blob_writer()?, hasher: sha2::Sha256::new() };
        let imported = compress::decompress(&mut copied)
            .map_err(cannot_read)
            .map(|plain| self.store.import_layer(plain, Some(layer)));
        // A wrong digest explains what went wrong with the layer, so it is told first.
        io::copy(&mut copied, &mut io::sink()).map_err(cannot_read)?;
        check(descriptor, copied.writer.size_bytes(), Digest::from_bytes(copied.hasher.finalize().into()))?;
        imported?.map_err(|source| ArchiveError::Layer { image, layer, source: Box::new(source) })?;
        if descriptor.digest != layer.0 {
            copied.writer.finish()?;
            let Descriptor { digest, size_bytes, media_type, .. } = descriptor;
            let (media_type, encoder, seen_in) = (media_type.to_string(), None, BTreeSet::new());
            self.store.record_blob(
                layer,
                LayerBlob { digest: *digest, size_bytes: *size_bytes, media_type, encoder, seen_in },
            )?;
        }
        Ok(())
    }
}

/// Whether an index lists images only, and no other indexes.
fn is_flat(index: &Index) -> bool {
    !index.manifests.iter().any(|descriptor| descriptor.media_type.is_index())
}

/// Passes bytes on and keeps a copy.
struct Copied<R> {
    reader: R,
    writer: BlobWriter,
    hasher: sha2::Sha256,
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

fn check(descriptor: &Descriptor, actual_bytes: u64, actual: Digest) -> Result<(), ArchiveError> {
    let Descriptor { digest: expected, size_bytes: expected_bytes, .. } = *descriptor;
    if actual != expected {
        return Err(ArchiveError::WrongBlob { expected, actual });
    }
    if actual_bytes != expected_bytes {
        return Err(ArchiveError::WrongSize { digest: expected, expected_bytes, actual_bytes });
    }
    Ok(())
}

fn checked_layers(image: ImageId, config: &ImageConfig, manifest: usize) -> Result<&[DiffId], ArchiveError> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() == manifest {
        Ok(diff_ids)
    } else {
        Err(ArchiveError::LayerCount { image, config: diff_ids.len(), manifest })
    }
}

/// A tag may stand alone, or at the end of a name.
fn is_tagged(descriptor: &Descriptor, tag: &str) -> bool {
    let alone = descriptor.annotations.get(REF_ANNOTATION).is_some_and(|name| name == tag);
    alone || tags_of(descriptor).iter().any(|name| name.tag().unwrap_or("latest") == tag)
}

/// The names of a descriptor. A mere tag, as some tools write, is no name.
fn tags_of(descriptor: &Descriptor) -> Vec<Reference> {
    let annotation = |name: &str| descriptor.annotations.get(name).map(String::as_str);
    let whole = annotation(REF_ANNOTATION).filter(|name| name.contains([':', '/']));
    let names = annotation(NAME_ANNOTATION).or(whole);
    names.into_iter().filter_map(|name| name.parse().ok()).collect()
}

fn add(loaded: &mut Vec<Loaded>, (image, document): (ImageId, Digest), tags: impl Iterator<Item = Reference>) {
    let is_it = |other: &Loaded| (other.image, other.document) == (image, Some(document));
    let at = loaded.iter().position(is_it).unwrap_or_else(|| {
        loaded.push(Loaded { image, document: Some(document), tags: Vec::new() });
        loaded.len() - 1
    });
    for tag in tags {
        if !loaded[at].tags.contains(&tag) {
            loaded[at].tags.push(tag);
        }
    }
}

fn document(name: &str, source: DocumentError) -> ArchiveError {
    ArchiveError::Document { name: name.to_owned(), source }
}
