//! From the store into an archive.
//!
//! The same images give the same bytes: members in a fixed order, times zero, owners root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::directory::Directory;
use super::{ArchiveError, DOCKER_FILE, INDEX_FILE, LAYOUT_FILE, NAME_ANNOTATION, REF_ANNOTATION, blob_name};
use crate::bundle::{Bundle, Member};
use crate::image::Image;
use crate::oci::{
    Annotations, CONFIG_LIMIT_BYTES, Descriptor, Document, Family, Index, MANIFEST_LIMIT_BYTES, Manifest, MediaType,
};
use crate::refs::TaggedImage;
use crate::store::Store;
use crate::{DiffId, Digest, Encoding, ImageId, LayerBlob, Reference, RelPath};

/// Which form to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Docker's: an OCI layout with a `manifest.json`, as Docker itself writes since version 25;
    /// layers are not compressed. Older ones and podman read it too.
    Docker,
    /// An OCI image layout.
    Oci,
}

/// How layers stand in an OCI layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// As plain tars: the same image is the same archive, whatever else the store has seen.
    Plain,
    /// As they were received, with their manifest, if the store still has all of it; else as plain tars.
    Received,
    /// Compressed.
    Encoded {
        /// How.
        encoding: Encoding,
        /// What is done with layers that came compressed otherwise.
        received: ReceivedLayers,
    },
}

/// What becomes of layers that came compressed, with a base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedLayers {
    /// They stay as they came, where the store has the bytes.
    AsTheyCame,
    /// They are compressed like the others.
    Anew,
}

/// What to save, and how.
#[derive(Debug, Clone)]
pub struct Save {
    /// The images.
    pub images: Vec<SavedImage>,
    /// In which form.
    pub format: ArchiveFormat,
    /// How layers stand in it.
    pub layers: LayerForm,
}

/// An image and the names under which it is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedImage {
    /// The image.
    pub image: ImageId,
    /// The document that its names stand for, if they do for more than the image.
    pub document: Option<Digest>,
    /// Its names; with none it can only be found by its id.
    pub tags: Vec<Reference>,
    /// What an OCI layout's index says about it, beside its names.
    pub annotations: Annotations,
}

impl Store {
    /// Writes images as a tar; says what each is in it.
    pub fn save(&self, save: &Save, writer: impl Write) -> Result<Vec<Descriptor>, ArchiveError> {
        let mut builder = tar::Builder::new(writer);
        builder.mode(tar::HeaderMode::Deterministic);
        let saved = self.save_to(save, &mut builder)?;
        let finished = builder.into_inner().and_then(|mut writer| writer.flush());
        finished.map_err(|source| ArchiveError::Write { what: "the archive".to_owned(), source })?;
        Ok(saved)
    }

    /// Writes images as a directory, which is made; says what each is in it. Of a layout that is there
    /// already the other images stay; a name that both have is the new image's.
    pub fn save_directory(&self, save: &Save, path: &Path) -> Result<Vec<Descriptor>, ArchiveError> {
        let failed = |source| ArchiveError::Write { what: path.display().to_string(), source };
        let sink = &mut Directory::make(path).map_err(failed)?;
        let (mut plan, saved) = self.plan(save)?;
        plan.keep(indexed(sink, path)?);
        // The index comes last: it may name what is there only.
        self.put_blobs(&plan, sink)?;
        put_documents(&plan, save.format, sink)?;
        Ok(saved)
    }

    fn save_to(&self, save: &Save, sink: &mut impl Sink) -> Result<Vec<Descriptor>, ArchiveError> {
        let (plan, saved) = self.plan(save)?;
        put_documents(&plan, save.format, sink)?;
        self.put_blobs(&plan, sink)?;
        Ok(saved)
    }

    fn plan(&self, save: &Save) -> Result<(Plan, Vec<Descriptor>), ArchiveError> {
        let (mut plan, mut saved) = (Plan::default(), Vec::new());
        for SavedImage { image, document, tags, annotations } in &save.images {
            let main = self.image(*image)?.ok_or(ArchiveError::NoImage(*image))?;
            let bundle = self.bundle(&TaggedImage { document: *document, ..TaggedImage::now(*image) })?;
            let mut planning = self.saved_bundle(&bundle, save)?;
            planning.descriptor.annotations.extend(annotations.clone());
            saved.push(planning.descriptor.clone());
            plan.add(planning, &main, tags);
        }
        Ok((plan, saved))
    }

    fn put_blobs(&self, plan: &Plan, sink: &mut impl Sink) -> Result<(), ArchiveError> {
        plan.blobs.iter().try_for_each(|(digest, blob)| self.put_planned(sink, *digest, blob))
    }

    /// A manifest, or an index with the manifests that it lists.
    fn saved_bundle(&self, bundle: &Bundle, save: &Save) -> Result<Planning, ArchiveError> {
        let Some(index) = &bundle.index else {
            return self.manifest_for(&bundle.members[0], bundle.family, save);
        };
        let (mut blobs, mut manifests) = (BTreeMap::new(), Vec::new());
        for member in &bundle.members {
            let planned = self.manifest_for(member, bundle.family, save)?;
            let before = member.descriptor.clone();
            let annotations = before.as_ref().map(|before| before.annotations.clone()).unwrap_or_default();
            let platform = before.and_then(|before| before.platform);
            manifests.push(Descriptor { annotations, platform, ..planned.descriptor });
            blobs.extend(planned.blobs);
        }
        let now = Index { manifests, ..index.clone() };
        let before = bundle.document.filter(|_| now == *index);
        let before = before.map(|digest| self.read_blob(digest, MANIFEST_LIMIT_BYTES)).transpose()?.flatten();
        let bytes = before.unwrap_or_else(|| now.to_bytes());
        let descriptor = Descriptor::of(now.media_type, &bytes);
        blobs.insert(descriptor.digest, Planned::Bytes(bytes));
        Ok(Planning { descriptor, blobs })
    }

    fn put_planned(&self, sink: &mut impl Sink, digest: Digest, blob: &Planned) -> Result<(), ArchiveError> {
        let name = blob_name(digest);
        match blob {
            Planned::Bytes(bytes) => put(sink, &name, bytes.len() as u64, &**bytes),
            Planned::Layer(id) => {
                let missing = || ArchiveError::Missing(format!("layer {id}"));
                let layer = self.layer(*id)?.ok_or_else(missing)?;
                put(sink, &name, layer.size_bytes(), layer.read()?)
            }
            Planned::Blob { size_bytes, layer, encoding } => match self.blob(digest)? {
                Some(file) => put(sink, &name, *size_bytes, file),
                None => {
                    let layer = self.layer(*layer)?.ok_or_else(|| ArchiveError::Missing(name.clone()))?;
                    put(sink, &name, *size_bytes, layer.compress(*encoding)?)
                }
            },
        }
    }

    /// The manifest to save an image with, and what each of its blobs is.
    fn manifest_for(&self, member: &Member, family: Family, save: &Save) -> Result<Planning, ArchiveError> {
        let image = self.image(member.image)?.ok_or(ArchiveError::NoImage(member.image))?;
        if (save.format, save.layers) == (ArchiveFormat::Oci, LayerForm::Received)
            && let Some(received) = self.received_manifest(&image)?
        {
            return Ok(received);
        }
        let annotations = member.annotations.clone().unwrap_or_default();
        let mut manifest = self.plain_manifest(image.id, family, annotations)?;
        let mut blobs = BTreeMap::new();
        for (diff_id, descriptor) in image.layers().iter().zip(&mut manifest.layers) {
            let planned = match save.layers {
                LayerForm::Encoded { encoding, received } if encoding != Encoding::Plain => {
                    let blob = self.encoded(*diff_id, encoding, received)?;
                    let media_type = MediaType::from(&*blob.media_type);
                    let media_type = family.of_type(&media_type).map_err(ArchiveError::Family)?;
                    *descriptor = Descriptor::new(media_type, blob.digest, blob.size_bytes);
                    Planned::Blob { size_bytes: blob.size_bytes, layer: *diff_id, encoding }
                }
                _ => Planned::Layer(*diff_id),
            };
            blobs.insert(descriptor.digest, planned);
        }
        blobs.insert(image.id.0, Planned::Bytes(self.config_bytes(&image)?));
        let bytes = manifest.to_bytes();
        Ok(Planning::of(&image, manifest.media_type, bytes, blobs))
    }

    /// The compressed form of a layer: the one that it came in, or the encoding's.
    fn encoded(&self, id: DiffId, encoding: Encoding, received: ReceivedLayers) -> Result<LayerBlob, ArchiveError> {
        if received == ReceivedLayers::AsTheyCame {
            for blob in self.blobs_of(id)?.into_iter().filter(|blob| blob.encoder.is_none()) {
                if self.blob(blob.digest)?.is_some() {
                    return Ok(blob);
                }
            }
        }
        let layer = self.layer(id)?.ok_or_else(|| ArchiveError::Missing(format!("layer {id}")))?;
        Ok(self.compressed(&layer, encoding)?)
    }

    /// The first manifest of an image of which the store has every blob, or can make it.
    fn received_manifest(&self, image: &Image) -> Result<Option<Planning>, ArchiveError> {
        for digest in &image.record.manifests {
            let Some(bytes) = self.read_blob(*digest, MANIFEST_LIMIT_BYTES)? else { continue };
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
            if let Some(mut blobs) = self.blobs_of_manifest(image, &manifest)? {
                blobs.insert(image.id.0, Planned::Bytes(self.config_bytes(image)?));
                return Ok(Some(Planning::of(image, manifest.media_type, bytes, blobs)));
            }
        }
        Ok(None)
    }

    fn blobs_of_manifest(
        &self,
        image: &Image,
        manifest: &Manifest,
    ) -> Result<Option<BTreeMap<Digest, Planned>>, ArchiveError> {
        let mut blobs = BTreeMap::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(image.layers()) {
            let planned = if descriptor.digest == diff_id.0 {
                Planned::Layer(*diff_id)
            } else if self.blob(descriptor.digest)?.is_some() {
                let encoding = Encoding::default();
                Planned::Blob { size_bytes: descriptor.size_bytes, layer: *diff_id, encoding }
            } else {
                return Ok(None);
            };
            blobs.insert(descriptor.digest, planned);
        }
        Ok(Some(blobs))
    }

    fn config_bytes(&self, image: &Image) -> Result<Vec<u8>, ArchiveError> {
        self.read_blob(image.id.0, CONFIG_LIMIT_BYTES)?.ok_or(ArchiveError::NoImage(image.id))
    }
}

/// A manifest or index with what it needs, itself among it.
struct Planning {
    descriptor: Descriptor,
    blobs: BTreeMap<Digest, Planned>,
}

impl Planning {
    fn of(image: &Image, media_type: MediaType, bytes: Vec<u8>, mut blobs: BTreeMap<Digest, Planned>) -> Self {
        let described = Descriptor::of(media_type, &bytes);
        let descriptor = Descriptor { platform: Some(image.config.platform()), ..described };
        blobs.insert(descriptor.digest, Planned::Bytes(bytes));
        Self { descriptor, blobs }
    }
}

/// Where the bytes of a blob come from.
enum Planned {
    Bytes(Vec<u8>),
    Layer(DiffId),
    /// Kept, or to be compressed once more.
    Blob {
        size_bytes: u64,
        layer: DiffId,
        encoding: Encoding,
    },
}

/// An image of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Everything that will be in the archive.
#[derive(Default)]
struct Plan {
    manifests: Vec<Descriptor>,
    docker: Vec<DockerEntry>,
    blobs: BTreeMap<Digest, Planned>,
}

impl Plan {
    fn add(&mut self, planning: Planning, image: &Image, tags: &[Reference]) {
        let Planning { descriptor, blobs } = planning;
        self.blobs.extend(blobs);
        let names: BTreeSet<String> = tags.iter().map(|tag| tag.without_digest().to_string()).collect();
        let named = names.iter().map(|name| {
            let mut named = descriptor.clone();
            named.annotations.extend([NAME_ANNOTATION, REF_ANNOTATION].map(|key| (key.to_owned(), name.clone())));
            named
        });
        self.manifests.extend(named);
        if names.is_empty() {
            self.manifests.push(descriptor);
        }
        self.docker.push(DockerEntry {
            config: blob_name(image.id.0),
            repo_tags: tags.iter().map(|tag| tag.without_digest().familiar()).collect(),
            layers: image.layers().iter().map(|layer| blob_name(layer.0)).collect(),
        });
    }

    /// Keeps what a layout held before, but for names that are given anew.
    fn keep(&mut self, before: Vec<Descriptor>) {
        let name = |descriptor: &Descriptor| {
            [REF_ANNOTATION, NAME_ANNOTATION].into_iter().find_map(|key| descriptor.annotations.get(key).cloned())
        };
        let is_replaced = |old: &Descriptor| {
            self.manifests.iter().any(|new| match name(old) {
                Some(old) => name(new) == Some(old),
                None => new.digest == old.digest,
            })
        };
        let mut kept: Vec<Descriptor> = before.into_iter().filter(|old| !is_replaced(old)).collect();
        kept.append(&mut self.manifests);
        self.manifests = kept;
    }

    /// The documents at the archive's top, in their order.
    fn documents(&self, format: ArchiveFormat) -> Vec<(String, Vec<u8>)> {
        let index = Index::new(MediaType::OciIndex, self.manifests.clone()).to_bytes();
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        let mut documents = vec![(LAYOUT_FILE.to_owned(), layout), (INDEX_FILE.to_owned(), index)];
        if format == ArchiveFormat::Docker {
            let docker = serde_json::to_vec(&self.docker).expect("strings are always written");
            documents.push((DOCKER_FILE.to_owned(), docker));
        }
        documents
    }
}

/// Where an archive is written: a tar or a directory.
trait Sink {
    fn put(&mut self, name: &str, size_bytes: u64, reader: &mut dyn Read) -> io::Result<()>;
}

impl<W: Write> Sink for tar::Builder<W> {
    fn put(&mut self, name: &str, size_bytes: u64, reader: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size_bytes);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.append_data(&mut header, name, reader.take(size_bytes))
    }
}

impl Sink for Directory {
    fn put(&mut self, name: &str, size_bytes: u64, reader: &mut dyn Read) -> io::Result<()> {
        let path = RelPath::clean(name.as_bytes()).map_err(io::Error::other)?;
        Self::put(self, &path, size_bytes, reader)
    }
}

/// What the index of a layout names; nothing, if there is no layout.
fn indexed(layout: &Directory, path: &Path) -> Result<Vec<Descriptor>, ArchiveError> {
    let failed = |source| ArchiveError::Read { what: path.join(INDEX_FILE).display().to_string(), source };
    let index = RelPath::clean(INDEX_FILE.as_bytes()).unwrap_or_default();
    let Some((file, size_bytes)) = layout.file(&index).map_err(failed)? else { return Ok(Vec::new()) };
    if size_bytes > CONFIG_LIMIT_BYTES {
        let (name, limit_bytes) = (INDEX_FILE.to_owned(), CONFIG_LIMIT_BYTES);
        return Err(ArchiveError::TooLarge { name, size_bytes, limit_bytes });
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_LIMIT_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let document = Document::parse(&bytes, Some(&MediaType::OciIndex));
    match document.map_err(|source| ArchiveError::Document { name: INDEX_FILE.to_owned(), source })? {
        Document::Index(index) => Ok(index.manifests),
        Document::Manifest(_) => Err(ArchiveError::Unknown { path: path.to_owned() }),
    }
}

fn put_documents(plan: &Plan, format: ArchiveFormat, sink: &mut impl Sink) -> Result<(), ArchiveError> {
    plan.documents(format).iter().try_for_each(|(name, bytes)| put(sink, name, bytes.len() as u64, &**bytes))
}

fn put(sink: &mut impl Sink, name: &str, size_bytes: u64, mut reader: impl Read) -> Result<(), ArchiveError> {
    sink.put(name, size_bytes, &mut reader).map_err(|source| ArchiveError::Write { what: name.to_owned(), source })
}
