//! `kiln pause` and `kiln unpause`

use std::process::ExitCode;

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Make all processes of containers stand still
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Let processes that stand still go on
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Pauses each.
pub(crate) fn pause(args: &PauseArgs, context: &Context) -> Result<ExitCode, Failure> {
    containers::each(context, &args.containers, |container| Ok(container.pause()?))
}

/// Unpauses each.
pub(crate) fn unpause(args: &UnpauseArgs, context: &Context) -> Result<ExitCode, Failure> {
    containers::each(context, &args.containers, |container| Ok(container.unpause()?))
}
