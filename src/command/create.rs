//! `kiln create`

use std::process::ExitCode;

use super::run;
use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Make a container of an image, to be started later
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    container: run::Args,
}

/// Prints the container's id.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.container.client.detach {
        return Err(UsageError::wrong("a container that is not started has nothing to be detached from"));
    }
    let container = run::make(&args.container, context)?;
    context.print(container.id())?;
    Ok(ExitCode::SUCCESS)
}
