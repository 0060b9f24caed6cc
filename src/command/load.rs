//! `kiln load`

use std::path::PathBuf;
use std::process::ExitCode;

use store::archive::{LoadOptions, Source};

use crate::context::Context;
use crate::interrupt::stdin;
use crate::report::Failure;

/// Load images from an archive: docker-archive or OCI layout, compressed or not, or a layout's directory
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive or directory [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Of an image for several platforms, only that for this one
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<store::Platform>,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Loads, and prints what the images are called.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let source = match &args.input {
        Some(path) if path.as_os_str() != "-" => Source::open(&store, path)?,
        _ => Source::read(&store, stdin(store.cancel()))?,
    };
    let options = LoadOptions { platform: args.platform.clone() };
    for loaded in store.load(&source, &options)? {
        if args.quiet {
            continue;
        }
        for tag in &loaded.tags {
            context.print(format!("Loaded image: {}", tag.familiar()))?;
        }
        if loaded.tags.is_empty() {
            context.print(format!("Loaded image ID: {}", loaded.image))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
