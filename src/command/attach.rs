//! `kiln attach`

use std::process::ExitCode;

use run::container::{Container, SignalProxy};

use crate::containers::{self, Client};
use crate::context::Context;
use crate::report::Failure;

/// Stay with a running container's input and output
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// The keys that leave it running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Give it no input
    #[arg(long)]
    no_stdin: bool,
    /// Pass the signals that this command gets on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
}

/// Ends with the container's exit code.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let process = &container.config().process;
    let gives_input = process.stdin_open && !args.no_stdin;
    if gives_input && process.terminal {
        containers::need_terminal()?;
    }
    let mut client = Client::new(&args.detach_keys, gives_input)?;
    if !args.sig_proxy {
        client.signals = SignalProxy::Keep;
    }
    client.stay(&container, |attachment| container.attach(attachment))
}
