//! `kiln logout`

use std::process::ExitCode;

use registry::{Erased, Host};

use super::wire::registry;
use crate::context::Context;
use crate::report::Failure;

/// Forget the credentials for a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry's host [default: Docker Hub]
    #[arg(default_value = "docker.io", value_parser = Host::new)]
    host: Host,
}

/// Erases what `login` kept.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let erased = registry(registry::TlsVerify::Always)?.logout(&args.host)?;
    context.print(match erased {
        Erased::Credentials => format!("Removing login credentials for {}", args.host),
        Erased::Nothing => format!("Not logged in to {}", args.host),
    })?;
    Ok(ExitCode::SUCCESS)
}
