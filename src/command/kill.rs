//! `kiln kill`

use std::process::ExitCode;

use run::container::Signal;

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: Signal,
}

/// Signals each in turn.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    containers::each(context, &args.containers, |container| Ok(container.kill(args.signal)?))
}
