//! `kiln diff`

use std::process::ExitCode;

use run::container::Container;

use crate::context::Context;
use crate::report::Failure;

/// List what a container has changed: A added, C changed, D deleted
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
}

/// One path a line.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    for difference in Container::find(&store, &args.container)?.differences()? {
        context.print(format!("{} {}", difference.kind, difference.path))?;
    }
    Ok(ExitCode::SUCCESS)
}
