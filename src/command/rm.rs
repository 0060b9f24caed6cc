//! `kiln rm`

use std::process::ExitCode;

use run::container::{AnonymousVolumes, Container, Force};

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Remove containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Kill those that run; what is not there is no failure
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes, too, unless another container has them
    #[arg(short, long)]
    volumes: bool,
}

/// Removes all of them.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let force = if args.force { Force::Kill } else { Force::No };
    let volumes = if args.volumes { AnonymousVolumes::Remove } else { AnonymousVolumes::Keep };
    let remove = |container: &Container| Ok(container.remove(force, volumes)?);
    containers::each_or(context, &args.containers, remove, |error| match force {
        Force::Kill => Ok(()),
        Force::No => Err(error.into()),
    })
}
