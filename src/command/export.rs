//! `kiln export`

use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use run::container::Container;
use store::StoreError;

use crate::context::{Context, stdout};
use crate::report::{Failure, UsageError};

/// Write a container's root file system as a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the archive.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(UsageError::wrong("the archive would go to a terminal: redirect it, or use --output FILE"));
    }
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    match &args.output {
        Some(path) => {
            let file = File::create(path).map_err(StoreError::io("make", path))?;
            container.export(BufWriter::new(file))?;
        }
        None => container.export(BufWriter::new(stdout()))?,
    }
    Ok(ExitCode::SUCCESS)
}
