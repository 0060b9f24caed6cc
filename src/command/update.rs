//! `kiln update`

use std::process::ExitCode;

use run::container::restart::RestartPolicy;

use crate::containers;
use crate::context::Context;
use crate::report::Failure;

/// Change when containers are started again by themselves
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// no, `on-failure[:NUMBER]`, always, unless-stopped
    #[arg(long, value_name = "POLICY", required = true)]
    restart: RestartPolicy,
}

/// Changes each.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    containers::each(context, &args.containers, |container| Ok(container.clone().set_restart_policy(args.restart)?))
}
