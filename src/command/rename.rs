//! `kiln rename`

use std::process::ExitCode;

use run::container::Container;

use crate::context::Context;
use crate::report::Failure;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// What it is called from now on
    name: String,
}

/// Says nothing if all is well.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    Container::find(&store, &args.container)?.rename(args.name.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
