//! `kiln wait`

use std::process::ExitCode;

use run::container::Container;

use crate::context::{Context, note};
use crate::report::{Failure, with_causes};

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Waits for all, and prints the exit codes in the order of the names. After a failure the status is 1.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut failed = false;
    for name in &args.containers {
        match Container::find(&store, name).and_then(|container| container.wait()) {
            Ok(code) => context.print(code)?,
            Err(error) => {
                failed = true;
                note(format!("error: {}", with_causes(&error)));
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}
