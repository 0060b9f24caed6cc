//! `kiln save`

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use store::archive::{ArchiveFormat, LayerForm, Save, SavedImage};
use store::oci::Annotations;
use store::{Reference, Store};

use super::access::Access;
use super::draft::Draft;
use super::wire::bring;
use crate::context::Context;
use crate::report::{Failure, UsageError};
use crate::ui::Style;

/// Write images to an archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images: names, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive [default: standard output]; with `oci-dir` a directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its form
    #[arg(long, value_enum, value_name = "FORM", default_value = "docker-archive")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// What `docker save` writes
    #[value(alias = "docker")]
    DockerArchive,
    /// An OCI image layout in a tar
    #[value(alias = "oci-archive")]
    Oci,
    /// An OCI image layout as a directory
    OciDir,
}

/// Saves the images with the names that they were asked for by.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let save = Save {
        images: args.images.iter().map(|text| saved(&store, text)).collect::<Result<_, _>>()?,
        format: if args.format == Format::DockerArchive { ArchiveFormat::Docker } else { ArchiveFormat::Oci },
        layers: LayerForm::Plain,
    };
    match (&args.output, args.format) {
        (Some(path), Format::OciDir) => drop(store.save_directory(&save, path)?),
        (None, Format::OciDir) => return Err(UsageError::wrong("--format oci-dir needs a directory: --output")),
        (Some(path), _) => Draft::open(path)?.fill(|file| {
            store.save(&save, file)?;
            Ok(())
        })?,
        (None, _) if io::stdout().is_terminal() => {
            return Err(UsageError::wrong("refusing to write an archive to a terminal: use --output, or redirect"));
        }
        (None, _) => drop(store.save(&save, BufWriter::new(io::stdout().lock()))?),
    }
    Ok(ExitCode::SUCCESS)
}

fn saved(store: &Store, text: &str) -> Result<SavedImage, Failure> {
    let target = store.resolve_target(text)?;
    for image in store.images_of(&target)? {
        bring(store, image, &Access::default(), Style::Auto)?;
    }
    let names = store.tags_of(target.image)?;
    let named = text.parse::<Reference>().ok().map(|name| name.without_digest()).filter(|name| names.contains(name));
    let (tags, annotations) = (named.into_iter().collect(), Annotations::default());
    Ok(SavedImage { image: target.image, document: target.document, tags, annotations })
}
