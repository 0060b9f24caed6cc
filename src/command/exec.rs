//! `kiln exec`

use std::process::ExitCode;

use run::container::terminal::DetachKeys;
use run::container::{Container, ContainerError, ExecOptions};

use super::environment::EnvironmentArgs;
use crate::containers::{self, Client};
use crate::context::{Context, note};
use crate::report::{Failure, with_causes};

/// Run a further command in a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// What runs in it
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Leave the command running in the background
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave the command running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    environment: EnvironmentArgs,
    /// The user: name or id, with group after a colon
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The working directory, which must exist
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Let it do what the container may not
    #[arg(long)]
    privileged: bool,
}

/// Ends with the command's exit code: 127 if there is no such command, 126 if it cannot be executed.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.tty && args.interactive && !args.detach {
        containers::need_terminal()?;
    }
    let options = ExecOptions {
        argv: args.command.clone(),
        environment: args.environment.variables()?,
        user: args.user.clone(),
        working_directory: args.workdir.clone(),
        terminal: args.tty,
        privileged: args.privileged,
    };
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let _checked: DetachKeys = args.detach_keys.parse()?;
    if args.detach {
        container.exec(&options, None).map_err(refused)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::new(&args.detach_keys, args.interactive)?;
    client.stay(&container, |attachment| container.exec(&options, Some(attachment)))
}

/// A command that cannot be executed has exit codes of its own.
fn refused(error: ContainerError) -> Failure {
    let ContainerError::Start { code, .. } = &error else { return error.into() };
    note(format!("error: {}", with_causes(&error)));
    Failure::Status(*code)
}
