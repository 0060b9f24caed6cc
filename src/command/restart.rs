//! `kiln restart`

use std::process::ExitCode;

use run::container::{Signal, home_of_joined};

use crate::containers::{self, patience};
use crate::context::Context;
use crate::report::Failure;

/// Stop containers, if they run, and start them again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Seconds from the signal to SIGKILL, -1 for no end [default: the container's, else 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    time: Option<i64>,
    /// The signal that stops them [default: the container's]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<Signal>,
}

/// Restarts each.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    context.move_beside(|root| home_of_joined(root, &args.containers))?;
    containers::each(context, &args.containers, |container| {
        container.stop_with(args.signal, args.time.map(patience))?;
        containers::tell(&container.start()?);
        Ok(())
    })
}
