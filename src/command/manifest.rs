//! `kiln manifest`

use std::process::ExitCode;

use store::Reference;

use super::wire::{TlsArgs, registry};
use crate::context::{Context, stdout};
use crate::report::Failure;

/// `kiln manifest …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Inspect(InspectArgs),
}

/// Show a manifest or an index as the registry has it
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Its name, `[HOST/]name[:tag|@digest]`
    #[arg(value_name = "NAME")]
    name: Reference,
    /// Print the bytes as they are, which the digest is of
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Does what the verb says.
pub(crate) fn run(verb: &Command, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Command::Inspect(args) => inspect(args, context),
    }
}

fn inspect(args: &InspectArgs, context: &Context) -> Result<ExitCode, Failure> {
    let document = registry(args.tls.verify())?.document(&args.name, &|_| {})?;
    if args.raw {
        std::io::Write::write_all(&mut stdout(), &document.bytes)?;
        return Ok(ExitCode::SUCCESS);
    }
    let value: serde_json::Value = serde_json::from_slice(&document.bytes)?;
    context.print(serde_json::to_string_pretty(&value)?)?;
    Ok(ExitCode::SUCCESS)
}
