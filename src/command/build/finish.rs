//! What is made of a finished build: names, files, archives, pushes, and what scripts are told.
//!
//! Whatever cannot be written is found out before the build ([`Deliveries::prepare`]); afterwards
//! everything is done in the order in which it was asked for, and the id is told last.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use builder::build::Built;
use builder::request::Timestamps;
use registry::{Family, PushOptions, Reuse};
use store::archive::{ArchiveFormat, LayerForm, ReceivedLayers, Save, SavedImage};
use store::export::{Export, Others};
use store::oci::Descriptor;
use store::tree::{Metadata, Timestamp, Tree, TreeBuilder};
use store::{Contents, Encoding, Platform, Reference, RelPath, Store, TaggedImage};

use super::annotation::{Annotation, Level, said};
use super::output::{Archive, Created, Form, Output, Push, Sink, Split};
use super::times::agree;
use super::told::Told;
use crate::command::access::Access;
use crate::command::draft::Draft;
use crate::command::wire::bring;
use crate::context::{Context, note};
use crate::report::{Failure, UsageError};
use crate::ui::Style;

/// Where a manifest says when its image was made (image-spec, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";

/// All that a build was asked for, every file of it opened.
pub(super) struct Deliveries {
    outputs: Vec<(Output, Option<Draft>)>,
    iidfile: Option<Draft>,
    metadata: Option<Draft>,
    access: Access,
    style: Style,
}

/// What the flags say beside `--output`.
pub(super) struct Wishes<'a> {
    pub(super) outputs: &'a [String],
    pub(super) tags: &'a [Reference],
    pub(super) push: bool,
    pub(super) load: bool,
    pub(super) family: Option<Family>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) created: Created,
    pub(super) timestamps: Timestamps,
    pub(super) encoding: Option<Encoding>,
    pub(super) reuse: Option<Reuse>,
    pub(super) platforms: usize,
    pub(super) iidfile: Option<&'a Path>,
    pub(super) metadata: Option<&'a Path>,
    pub(super) access: Access,
    pub(super) style: Style,
}

/// What was made, for one platform or several.
pub(super) struct Made<'a> {
    pub(super) store: &'a Store,
    pub(super) built: &'a [Built],
    /// `SOURCE_DATE_EPOCH`, if somebody gave it: the time of every exported file.
    pub(super) epoch: Option<Timestamp>,
}

impl Deliveries {
    /// Decides what to deliver, and opens what will be written.
    pub(super) fn prepare(wishes: &Wishes<'_>) -> Result<Self, Failure> {
        let mut outputs = wanted(wishes)?;
        for output in &mut outputs {
            complete(output, wishes)?;
        }
        let to_stdout = outputs.iter().filter(|output| writes_stdout(output)).count();
        if to_stdout > 1 || (to_stdout == 1 && wishes.style == Style::Quiet) {
            return Err(UsageError::wrong("only one thing can be written to standard output, --quiet among them"));
        }
        if to_stdout == 1 && io::stdout().is_terminal() {
            return Err(UsageError::wrong("refusing to write an archive to a terminal: use dest=, or redirect"));
        }
        let open = |path: Option<&Path>| path.map(Draft::open).transpose();
        let (iidfile, metadata) = (open(wishes.iidfile)?, open(wishes.metadata)?);
        let outputs = outputs.into_iter().map(opened).collect::<Result<_, _>>()?;
        Ok(Self { outputs, iidfile, metadata, access: wishes.access.clone(), style: wishes.style })
    }

    /// Delivers everything, and prints what scripts wait for.
    pub(super) fn deliver(self, made: &Made<'_>, context: &Context) -> Result<(), Failure> {
        let mut told = Told::of(made)?;
        for (output, place) in self.outputs {
            if !matches!(output, Output::Image { .. }) {
                // Files are wanted, and a base that no step has read is not here yet.
                made.built.iter().try_for_each(|built| bring(made.store, built.image, &self.access, self.style))?;
            }
            match output {
                Output::Local { dest, split, others } => made.local(&dest, split, others)?,
                Output::Tar { split, .. } => written(place, |out| made.tar(split, out))?,
                Output::Archive { kind, dest, names, form } => {
                    let save = made.save(kind, &names, &form, made.document(&form)?);
                    let mut saved = Vec::new();
                    match dest {
                        Sink::Directory(path) => saved = made.store.save_directory(&save, &path)?,
                        _ => written(place, |out| {
                            saved = made.store.save(&save, out)?;
                            Ok(())
                        })?,
                    }
                    saved.into_iter().for_each(|descriptor| told.exported(descriptor, &names));
                }
                Output::Image { names, push, form } => {
                    let descriptor = made.document(&form)?;
                    let target =
                        TaggedImage { document: Some(descriptor.digest), ..TaggedImage::now(made.main().image) };
                    names.iter().try_for_each(|name| made.store.tag(name, &target))?;
                    told.exported(descriptor, &names);
                    if push != Push::No {
                        let is_checked = push != Push::Insecurely;
                        let access = if is_checked { self.access.clone() } else { self.access.insecurely() };
                        let registry = access.registry()?;
                        let options = PushOptions { family: form.family, encoding: form.encoding, reuse: form.reuse };
                        for name in &names {
                            let pushed = crate::command::push::push(made.store, &registry, name, &options, self.style)?;
                            told.pushed(name, &pushed, self.style);
                        }
                    }
                }
            }
        }
        made.store.sync()?;
        told.finish(self.iidfile, self.metadata, self.style, context)
    }
}

/// The outputs that the flags ask for; without any the image is kept.
fn wanted(wishes: &Wishes<'_>) -> Result<Vec<Output>, Failure> {
    let mut outputs: Vec<Output> = wishes.outputs.iter().map(|text| Output::parse(text)).collect::<Result<_, _>>()?;
    if outputs.is_empty() || wishes.push || wishes.load {
        let push = if wishes.push { Push::Yes } else { Push::No };
        outputs.push(Output::Image { names: Vec::new(), push, form: Form::default() });
    }
    Ok(outputs)
}

/// Adds to an output what other flags say about it, and checks that it can be done.
fn complete(output: &mut Output, wishes: &Wishes<'_>) -> Result<(), Failure> {
    let (names, form, push) = match output {
        Output::Local { dest, others: Others::Remove, .. } => return refuse_to_empty(dest),
        Output::Tar { split: Split::Never, .. } if wishes.platforms > 1 => {
            return Err(UsageError::wrong("a tar of several platforms needs platform-split"));
        }
        Output::Local { .. } | Output::Tar { .. } => return Ok(()),
        Output::Archive { kind: Archive::Docker, .. } if wishes.platforms > 1 => {
            return Err(UsageError::wrong(
                "a Docker archive holds one platform: use type=oci, or give each platform a build of its own",
            ));
        }
        Output::Archive { names, form, .. } => (names, form, Push::No),
        Output::Image { names, form, push } => (names, form, *push),
    };
    names.extend(wishes.tags.iter().filter(|tag| !names.contains(tag)).cloned().collect::<Vec<_>>());
    form.annotations.splice(0..0, wishes.annotations.iter().cloned());
    form.family = wishes.family.unwrap_or(form.family);
    form.created = wishes.created;
    form.encoding = wishes.encoding.unwrap_or(form.encoding);
    form.reuse = wishes.reuse.unwrap_or(form.reuse);
    if let Some(rewriting) = form.rewriting {
        agree("--output rewrite-timestamp", rewriting, wishes.timestamps)?;
    }
    if push != Push::No && names.is_empty() {
        return Err(UsageError::wrong("a push needs a name: -t, or name="));
    }
    if form.family == Family::Docker && (!form.annotations.is_empty() || form.created == Created::Said) {
        return Err(UsageError::wrong("Docker's media types have no annotations; use OCI's"));
    }
    if form.family == Family::Docker && matches!(form.encoding, Encoding::Zstd(_)) {
        return Err(UsageError::wrong("Docker's media types have none for zstd; use OCI's"));
    }
    if wishes.platforms < 2 && form.annotations.iter().any(Annotation::needs_index) {
        return Err(UsageError::wrong(
            "an index is made of several platforms: annotate the manifest, or its manifest-descriptor",
        ));
    }
    Ok(())
}

/// Mirroring into a directory removes what else is in it: never where somebody works.
fn refuse_to_empty(dest: &Path) -> Result<(), Failure> {
    let here = std::env::current_dir()?;
    match dest.canonicalize() {
        Ok(dest) if here.starts_with(&dest) => {
            let dest = dest.display();
            Err(UsageError::wrong(format!(
                "mode=delete would remove what is in {dest}, which the current directory is in"
            )))
        }
        _ => Ok(()),
    }
}

fn sink(output: &Output) -> Option<&Sink> {
    match output {
        Output::Tar { dest, .. } | Output::Archive { dest, .. } => Some(dest),
        Output::Local { .. } | Output::Image { .. } => None,
    }
}

fn writes_stdout(output: &Output) -> bool {
    sink(output) == Some(&Sink::Stdout)
}

fn opened(output: Output) -> Result<(Output, Option<Draft>), Failure> {
    let place = match (&output, sink(&output)) {
        (_, Some(Sink::File(path))) => Some(Draft::open(path)?),
        (Output::Local { dest, .. }, _) | (Output::Archive { dest: Sink::Directory(dest), .. }, _) => {
            std::fs::create_dir_all(dest).map_err(store::StoreError::io("make the directory", dest))?;
            None
        }
        _ => None,
    };
    Ok((output, place))
}

/// Writes to a file, or to standard output where there is none.
fn written(place: Option<Draft>, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    match place {
        Some(place) => place.fill(|file| write(file)),
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

impl Made<'_> {
    /// The image that runs here, else the first.
    fn main(&self) -> &Built {
        let host = Platform::host();
        let distance = |built: &&Built| host.distance_to(&built.config.platform());
        let fitting = self.built.iter().filter(|built| distance(built).is_some()).min_by_key(distance);
        fitting.unwrap_or(&self.built[0])
    }

    /// Writes the manifest, or the index of several.
    pub(super) fn document(&self, form: &Form) -> Result<Descriptor, Failure> {
        let annotations = &form.annotations;
        let mut manifests = Vec::new();
        for built in self.built {
            let platform = built.config.platform();
            let mut about = said(annotations, Level::Manifest, Some(&platform));
            if let (Created::Said, Some(created)) = (form.created, &built.config.created) {
                about.entry(CREATED.to_owned()).or_insert_with(|| created.clone());
            }
            let mut descriptor = self.store.put_manifest(built.image, form.family, about)?;
            descriptor.annotations = said(annotations, Level::ManifestDescriptor, Some(&platform));
            manifests.push(descriptor);
        }
        match <[Descriptor; 1]>::try_from(manifests) {
            Ok([only]) => Ok(only),
            Err(several) => {
                let index = self.store.put_index(form.family, several, said(annotations, Level::Index, None))?;
                Ok(Descriptor { annotations: said(annotations, Level::IndexDescriptor, None), ..index })
            }
        }
    }

    fn save(&self, kind: Archive, names: &[Reference], form: &Form, document: Descriptor) -> Save {
        let received = match form.reuse {
            Reuse::Received => ReceivedLayers::AsTheyCame,
            Reuse::OwnOnly => ReceivedLayers::Anew,
        };
        let (format, layers) = match (kind, form.encoding) {
            (Archive::Docker, _) => (ArchiveFormat::Docker, LayerForm::Plain),
            (Archive::Oci, Encoding::Plain) => (ArchiveFormat::Oci, LayerForm::Plain),
            (Archive::Oci, encoding) => (ArchiveFormat::Oci, LayerForm::Encoded { encoding, received }),
        };
        let (image, tags) = (self.main().image, names.to_vec());
        let (document, annotations) = (Some(document.digest), document.annotations);
        Save { images: vec![SavedImage { image, document, tags, annotations }], format, layers }
    }

    fn local(&self, dest: &Path, split: Split, others: Others) -> Result<(), Failure> {
        for built in self.built {
            let below = self.directory_of(built, split).map_or(dest.to_owned(), |name| dest.join(name));
            let (tree, contents) = self.files(built)?;
            let export = Export { tree: &tree, contents: &contents, time: self.epoch, cancel: self.store.cancel() };
            let skipped = export.to_directory(&below, others)?;
            if let Some(first) = skipped.first() {
                note(format!("warning: {} devices were left out, as only root can make them: {first}", skipped.len()));
            }
        }
        Ok(())
    }

    fn tar(&self, split: Split, out: &mut dyn Write) -> Result<(), Failure> {
        let (mut all, mut contents) = (Vec::new(), Contents::of_objects(self.store));
        for built in self.built {
            let (tree, more) = self.files(built)?;
            contents = contents.merge(more);
            all.push((self.directory_of(built, split), tree));
        }
        let tree = match &all[..] {
            [(None, tree)] => tree.clone(),
            several => {
                let time = self.epoch.unwrap_or(store::tree::IMPLIED_MTIME);
                let mut together = TreeBuilder::new(Metadata::root_owned(0o755, time));
                for (name, tree) in several {
                    let name = RelPath::clean(name.clone().unwrap_or_default().as_bytes())?;
                    together.put_tree(&name, tree);
                }
                together.build()
            }
        };
        Ok(Export { tree: &tree, contents: &contents, time: self.epoch, cancel: self.store.cancel() }.to_tar(out)?)
    }

    fn files(&self, built: &Built) -> Result<(Tree, Contents), Failure> {
        let tree = self.store.root_tree(&built.layers)?;
        Ok((Tree::clone(&tree), Contents::of_layers(self.store, &built.layers)?))
    }

    /// The directory of a platform: `linux_arm_v7`.
    fn directory_of(&self, built: &Built, split: Split) -> Option<String> {
        let is_split = match split {
            Split::IfSeveral => self.built.len() > 1,
            Split::Always => true,
            Split::Never => false,
        };
        is_split.then(|| built.config.platform().to_string().replace('/', "_"))
    }
}
