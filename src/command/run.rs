//! `kiln run`

pub(super) mod flags;

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use run::container::terminal::DetachKeys;
use run::container::{Attachment, Container, ContainerError, Ended, Force, SignalProxy, create};
use store::StoreError;

pub(crate) use flags::{Args, Pull};

use super::wire::image_for;
use crate::context::{Context, note};
use crate::report::{Failure, UsageError, with_causes};
use crate::ui::Style;

/// Makes a container of an image and starts it: attached, or in the background.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    check_terminal(args)?;
    let detach_keys: DetachKeys = args.client.detach_keys.parse()?;
    let store = context.store()?;
    let style = if args.client.quiet { Style::Quiet } else { Style::Auto };
    let image = image_for(&store, &args.image, args.client.platform.as_ref(), args.client.pull, style)?;
    let container = create(&store, &args.options(image)?)?;
    if let Err(failure) = write_cidfile(args, &container) {
        container.remove(Force::No)?;
        return Err(failure);
    }
    if args.client.detach {
        tell(&container.start().map_err(|error| started(&error))?);
        context.print(container.id())?;
        return Ok(ExitCode::SUCCESS);
    }
    attach(args, &container, detach_keys)
}

fn attach(args: &Args, container: &Container, detach_keys: DetachKeys) -> Result<ExitCode, Failure> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let attachment = Attachment {
        stdin: args.is_interactive().then(|| stdin.as_fd()),
        stdout: Some(stdout.as_fd()),
        stderr: Some(stderr.as_fd()),
        detach_keys,
        signals: if args.client.sig_proxy { SignalProxy::Forward } else { SignalProxy::Keep },
    };
    let ended = container.run_noting(&attachment, tell).map_err(|error| started(&error))?;
    match ended {
        Ended::Exited(code) => Ok(ExitCode::from(code)),
        Ended::Detached => {
            note(format!("\ndetached: container {} runs on", container.name()));
            Ok(ExitCode::SUCCESS)
        }
        Ended::Unheeded => {
            let name = container.name();
            note(format!("\nerror: container {name} ignores the signals and runs on: `kiln kill {name}` ends it"));
            Err(Failure::Status(1))
        }
    }
}

fn tell(notices: &[String]) {
    notices.iter().for_each(|notice| note(format!("notice: {notice}")));
}

/// A command that cannot be executed has exit codes of its own.
fn started(error: &ContainerError) -> Failure {
    note(format!("error: {}", with_causes(error)));
    Failure::Status(error.exit_code())
}

fn check_terminal(args: &Args) -> Result<(), Failure> {
    let reads_terminal = args.wants_terminal() && args.is_interactive() && !args.client.detach;
    if reads_terminal && !run::container::terminal::is_terminal(io::stdin()) {
        return Err(UsageError::wrong("the input device is not a TTY"));
    }
    if let Some(file) = args.client.cidfile.as_ref().filter(|file| file.exists()) {
        return Err(UsageError::wrong(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            file.display()
        )));
    }
    Ok(())
}

fn write_cidfile(args: &Args, container: &Container) -> Result<(), Failure> {
    match &args.client.cidfile {
        Some(file) => Ok(std::fs::write(file, container.id().to_string()).map_err(StoreError::io("write", file))?),
        None => Ok(()),
    }
}
