//! `kiln registry`

use std::process::ExitCode;

use registry::{Finding, Verdict};
use store::Repository;

use super::wire::{TlsArgs, registry};
use crate::context::Context;
use crate::report::{Failure, UsageError};
use crate::ui::sanitize;

/// `kiln registry …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Check(CheckArgs),
}

/// Ask a registry in seconds whether a push to a repository can succeed
///
/// An upload is opened and cancelled again; nothing is left in the repository. The status is 0 if
/// nothing was found that would make a push fail.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The repository, `HOST/PROJECT/NAME`
    #[arg(value_name = "NAME")]
    name: Repository,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Does what the verb says.
pub(crate) fn run(verb: &Command, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Command::Check(args) => check(args, context),
    }
}

fn check(args: &CheckArgs, context: &Context) -> Result<ExitCode, Failure> {
    let mut printed = Ok(());
    let may_push = registry(args.tls.verify())?.check(&args.name, &|_| {}, &mut |finding| {
        let line = line(&finding);
        printed = std::mem::replace(&mut printed, Ok(())).and_then(|()| context.print(line));
    })?;
    printed?;
    if may_push {
        return Ok(ExitCode::SUCCESS);
    }
    Err(UsageError::wrong(format!("a push to {} would fail", args.name)))
}

/// `ok  push right      an upload was opened, and cancelled`
fn line(finding: &Finding) -> String {
    let aspect = finding.aspect.to_string();
    let (mark, text) = match &finding.verdict {
        Verdict::Good(text) => ("ok", text.clone()),
        Verdict::Lacking(text) => ("--", text.clone()),
        Verdict::Unknown(text) => ("??", text.clone()),
        Verdict::Bad(error) => match error.advice() {
            Some(advice) => ("NO", format!("{error}\n                   {advice}")),
            None => ("NO", error.to_string()),
        },
    };
    sanitize::text(&format!("{mark} {aspect:<15} {text}"))
}
