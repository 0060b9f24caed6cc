//! `kiln run`

pub(super) mod flags;
mod health;
mod namespaces;

use std::process::ExitCode;

use run::container::{AnonymousVolumes, Container, ContainerError, Force, create, home_of};
use store::StoreError;

pub(crate) use flags::{Args, ChangeableArgs, Pull};

use super::wire::{image_for, wanted_platform};
use crate::containers::{need_terminal, tell};
use crate::context::{Context, note};
use crate::report::{Failure, UsageError, with_causes};
use crate::ui::Style;

/// Makes a container of an image and starts it: attached, or in the background.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let client = args.client()?;
    check_terminal(args)?;
    let container = make(args, context)?;
    if args.client.detach {
        tell(&container.start().map_err(|error| started(&error))?);
        context.print(container.id())?;
        return Ok(ExitCode::SUCCESS);
    }
    client.stay(&container, |attachment| container.run_noting(attachment, tell))
}

/// Makes the container that the flags ask for.
pub(super) fn make(args: &Args, context: &Context) -> Result<Container, Failure> {
    check_cidfile(args)?;
    let joined = args.joined();
    context.move_beside(|root| home_of(root, &joined))?;
    let store = context.store()?;
    let style = if args.client.quiet { Style::Quiet } else { Style::Auto };
    let image = image_for(
        &store,
        &args.image,
        wanted_platform(args.client.platform.as_ref())?.as_ref(),
        args.client.pull,
        style,
    )?;
    let container = create(&store, &args.options(image)?)?;
    if let Err(failure) = write_cidfile(args, &container) {
        container.remove(Force::No, AnonymousVolumes::Remove)?;
        return Err(failure);
    }
    Ok(container)
}

/// A command that cannot be executed has exit codes of its own.
fn started(error: &ContainerError) -> Failure {
    note(format!("error: {}", with_causes(error)));
    Failure::Status(error.exit_code())
}

fn check_terminal(args: &Args) -> Result<(), Failure> {
    let reads_terminal = args.wants_terminal() && args.is_interactive() && !args.client.detach;
    if reads_terminal { need_terminal() } else { Ok(()) }
}

fn check_cidfile(args: &Args) -> Result<(), Failure> {
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
