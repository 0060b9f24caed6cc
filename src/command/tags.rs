//! `kiln tags`

use std::process::ExitCode;

use store::Repository;

use super::wire::{TlsArgs, registry};
use crate::context::Context;
use crate::report::Failure;

/// List the tags of a repository at its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository, `[HOST/]name`
    #[arg(value_name = "NAME")]
    name: Repository,
    /// `json`: all tags as one array
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How the list is printed, if not a tag a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Json,
}

/// Prints a tag a line, sorted.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let tags = registry(args.tls.verify())?.tags(&args.name, &|_| {})?;
    match args.format {
        Some(Format::Json) => context.print(serde_json::to_string(&tags)?)?,
        None => tags.iter().try_for_each(|tag| context.print(tag))?,
    }
    Ok(ExitCode::SUCCESS)
}
