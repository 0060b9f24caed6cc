//! `kiln tag`

use std::process::ExitCode;

use store::Reference;
use store::refs::TaggedImage;

use crate::context::Context;
use crate::report::Failure;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: a name, or the beginning of an id
    source: String,
    /// Its new name, `name[:tag]`
    target: Reference,
}

/// Names an image.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let TaggedImage { image, document, .. } = store.resolve_target(&args.source)?;
    store.tag(&args.target, &TaggedImage { document, ..TaggedImage::now(image) })?;
    Ok(ExitCode::SUCCESS)
}
