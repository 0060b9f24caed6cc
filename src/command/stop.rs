//! `kiln stop`

use std::process::ExitCode;
use std::time::Duration;

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Stop containers: with their stop signal, then by force
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Seconds from the signal to SIGKILL [default: the container's, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
}

/// Stops each in turn.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let time = args.time.map(Duration::from_secs);
    containers::each(context, &args.containers, |container| Ok(container.stop(time)?))
}
