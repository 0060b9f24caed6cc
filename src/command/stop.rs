//! `kiln stop`

use std::process::ExitCode;

use run::container::Signal;

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Stop containers: with their stop signal, then by force
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Seconds from the signal to SIGKILL, -1 for no end [default: the container's, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    time: Option<i64>,
    /// The signal [default: the container's]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<Signal>,
}

/// Stops each in turn.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let patience = args.time.map(containers::patience);
    containers::each(context, &args.containers, |container| Ok(container.stop_with(args.signal, patience)?))
}
