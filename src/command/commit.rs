//! `kiln commit`

use std::process::ExitCode;

use run::container::Container;
use run::container::changes::Commit;
use store::refs::TaggedImage;
use store::{Platform, Reference};

use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Make an image of what a container has changed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// What the image is called
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,
    /// Who made it
    #[arg(short, long, default_value = "")]
    author: String,
    /// What the history says
    #[arg(short, long, default_value = "")]
    message: String,
    /// Change how the image starts, as a Dockerfile would: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
}

/// Commits and prints the image's id.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let config = amended(&container, &args.changes)?;
    let commit = Commit { author: args.author.clone(), comment: args.message.clone(), config };
    let image = container.commit(&commit)?;
    store.sync()?;
    if let Some(name) = &args.name {
        store.tag(name, &TaggedImage::now(image))?;
    }
    context.print(image)?;
    Ok(ExitCode::SUCCESS)
}

fn amended(container: &Container, changes: &[String]) -> Result<store::oci::ContainerConfig, Failure> {
    let image = container.image_config()?;
    if changes.is_empty() {
        return Ok(image.config);
    }
    let platform: Platform = image.platform();
    builder::plan::amend(image, &platform, changes)
        .map(|image| image.config)
        .map_err(|error| UsageError::wrong(format!("--change: {error}")))
}
