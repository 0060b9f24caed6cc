//! `kiln wait`

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use run::container::{Container, ContainerError};

use crate::context::{Context, note};
use crate::report::{Failure, with_causes};

/// Wait until containers end, and print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// What to wait for: not-running, next-exit, removed
    #[arg(long, value_name = "CONDITION", default_value = "not-running")]
    condition: Condition,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Condition {
    /// It does not run.
    NotRunning,
    /// It ends, if it must be after another start.
    NextExit,
    /// It is gone.
    Removed,
}

impl Condition {
    fn wait(self, container: &Container) -> Result<u8, ContainerError> {
        if self == Self::NextExit {
            while !container.state()?.is_live() {
                sleep(GLANCE);
            }
        }
        let code = container.wait()?;
        while self == Self::Removed && container.state().is_ok() {
            sleep(GLANCE);
        }
        Ok(code)
    }
}

/// How often to look whether a container is there, or runs, of which nobody tells.
const GLANCE: Duration = Duration::from_millis(20);

/// Waits for all, and prints the exit codes in the order of the names. After a failure the status is 1.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut failed = false;
    for name in &args.containers {
        match Container::find(&store, name).and_then(|container| args.condition.wait(&container)) {
            Ok(code) => context.print(code)?,
            Err(error) => {
                failed = true;
                note(format!("error: {}", with_causes(&error)));
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}
