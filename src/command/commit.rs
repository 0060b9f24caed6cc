//! `kiln commit`

use std::process::ExitCode;

use run::container::changes::Commit;
use run::container::{Container, ContainerError};
use store::refs::TaggedImage;
use store::{Platform, Reference};

use crate::context::{Context, note};
use crate::report::{Failure, UsageError, with_causes};

/// Make an image of what a container has changed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// What the image is called
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,
    /// Who made it
    #[arg(short, long, default_value = "")]
    author: String,
    /// What the history says
    #[arg(short, long, default_value = "")]
    message: String,
    /// Let its processes stand still meanwhile, if it runs
    #[arg(short, long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pause: bool,
    /// Change how the image starts, as a Dockerfile would: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
}

/// Commits and prints the image's id.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let config = amended(&container, &args.changes)?;
    let commit = Commit { author: args.author.clone(), comment: args.message.clone(), config };
    let image =
        if args.pause { while_paused(&container, || container.commit(&commit))? } else { container.commit(&commit)? };
    store.sync()?;
    if let Some(name) = &args.name {
        store.tag(name, &TaggedImage::now(image))?;
    }
    context.print(image)?;
    Ok(ExitCode::SUCCESS)
}

/// Does something while a running container stands still; where that cannot be, it is said and done nevertheless.
fn while_paused<T>(container: &Container, act: impl FnOnce() -> Result<T, ContainerError>) -> Result<T, Failure> {
    let state = container.state()?;
    let moves = state.running().is_some_and(|running| !running.paused);
    let paused = match moves.then(|| container.pause()) {
        Some(Err(error @ ContainerError::Refused { .. })) => {
            note(format!("notice: committed while it runs: {}", with_causes(&error)));
            false
        }
        // One that has ended since stands still.
        Some(Err(_)) | None => false,
        Some(Ok(())) => true,
    };
    let done = act();
    if paused {
        // It may have been killed meanwhile.
        let _ended = container.unpause();
    }
    Ok(done?)
}

fn amended(container: &Container, changes: &[String]) -> Result<store::oci::ContainerConfig, Failure> {
    let image = container.image_config()?;
    if changes.is_empty() {
        return Ok(image.config);
    }
    let platform: Platform = image.platform();
    builder::plan::amend(image, &platform, changes)
        .map(|image| image.config)
        .map_err(|error| UsageError::wrong(format!("--change: {error}")))
}
