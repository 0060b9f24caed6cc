//! `kiln start`

use std::process::ExitCode;

use run::container::{Container, home_of_joined};

use crate::containers::{self, Client};
use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Start containers that do not run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Stay with its output, pass signals on, and end with its exit code
    #[arg(short, long)]
    attach: bool,
    /// The same, and give it standard input
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave an attached container running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
}

/// Starts each in the background, or one to stay with.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    context.move_beside(|root| home_of_joined(root, &args.containers))?;
    if !args.attach && !args.interactive {
        return containers::each(context, &args.containers, |container| {
            container.start().map(|notices| containers::tell(&notices)).map_err(Into::into)
        });
    }
    let [name] = &args.containers[..] else {
        return Err(UsageError::wrong("only one container can be started and attached to at once"));
    };
    let store = context.store()?;
    let container = Container::find(&store, name)?;
    let process = &container.config().process;
    let gives_input = args.interactive && process.stdin_open;
    if gives_input && process.terminal {
        containers::need_terminal()?;
    }
    let client = Client::new(&args.detach_keys, gives_input)?;
    if container.state()?.is_live() {
        return client.stay(&container, |attachment| container.attach(attachment));
    }
    client.stay(&container, |attachment| container.run_noting(attachment, containers::tell))
}
