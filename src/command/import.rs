//! `kiln import`

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use store::archive::{ArchiveError, Import};
use store::oci::ContainerConfig;
use store::refs::TaggedImage;
use store::{Platform, Reference, StoreError};

use crate::context::Context;
use crate::interrupt::stdin;
use crate::report::{Failure, UsageError};

/// Make an image of a root filesystem in a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive, compressed or not; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the image is called
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,
    /// What the history says
    #[arg(short, long, default_value = "")]
    message: String,
    /// What the image runs on [default: this machine]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

/// Which file it was, since an archive does not know its name.
#[derive(Debug, thiserror::Error)]
#[error("cannot import {}", file.display())]
struct CannotImport {
    file: PathBuf,
    source: ArchiveError,
}

/// Imports and prints the image's id.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let archive: Box<dyn Read + Send> = if args.file.as_os_str() == "-" {
        Box::new(stdin(store.cancel()))
    } else {
        let file = File::open(&args.file).map_err(StoreError::io("open", &args.file))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let directory = args.file.display();
            return Err(UsageError::wrong(format!(
                "{directory} is a directory: `tar -C {directory} -c . | kiln import -`"
            )));
        }
        Box::new(file)
    };
    let import = Import {
        config: ContainerConfig::default(),
        platform: args.platform.clone().unwrap_or_else(Platform::host),
        created: EPOCH.to_owned(),
        comment: args.message.clone(),
    };
    let image = store.import(archive, &import).map_err(|source| CannotImport { file: args.file.clone(), source })?;
    store.sync()?;
    if let Some(name) = &args.name {
        store.tag(name, &TaggedImage::now(image))?;
    }
    context.print(image)?;
    Ok(ExitCode::SUCCESS)
}

/// The same file makes the same image whenever it is imported, so its clock is the build's.
const EPOCH: &str = "1980-01-01T00:00:00Z";
