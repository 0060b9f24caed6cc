//! `kiln update`

use std::process::ExitCode;

use run::container::restart::RestartPolicy;

use super::run::ChangeableArgs;
use crate::containers;
use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Change what containers may use up, and when they are started again by themselves
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// no, `on-failure[:NUMBER]`, always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    #[command(flatten)]
    limits: ChangeableArgs,
}

/// Changes each.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.restart.is_none() && args.limits.is_empty() {
        return Err(UsageError::wrong("there is nothing to change: name a limit, or --restart"));
    }
    containers::each(context, &args.containers, |container| {
        let mut container = container.clone();
        let mut limits = container.config().limits.clone();
        args.limits.change(&mut limits)?;
        container.set_limits(limits)?;
        Ok(args.restart.map_or(Ok(()), |policy| container.set_restart_policy(policy))?)
    })
}
