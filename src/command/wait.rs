//! `kiln wait`

use std::process::ExitCode;

use run::container::Container;

use crate::context::Context;
use crate::report::Failure;

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Waits for each in turn.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    for name in &args.containers {
        context.print(Container::find(&store, name)?.wait()?)?;
    }
    Ok(ExitCode::SUCCESS)
}
