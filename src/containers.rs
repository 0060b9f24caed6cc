//! What several verbs ask about containers.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use run::container::list::{Condition, Filter};
use run::container::terminal::{DetachKeys, is_terminal};
use run::container::{Attachment, Container, ContainerError, ContainerName, Ended, Patience, SignalProxy};
use store::{ImageId, Store};

use crate::context::{Context, note};
use crate::report::{Failure, UsageError, with_causes};

/// The name of a container that is made of an image, if there is one.
pub(crate) fn using(store: &Store, image: ImageId) -> Result<Option<ContainerName>, Failure> {
    let filter = Filter { all: true, conditions: vec![Condition::Ancestor(image.to_string())] };
    Ok(run::container::list(store, &filter)?.first().map(|found| found.container.name().clone()))
}

/// Does something to each of the containers named, all at once; prints the name of each, in their order,
/// when it is done. After a failure the status is 1.
pub(crate) fn each(
    context: &Context,
    names: &[String],
    act: impl Fn(&Container) -> Result<(), Failure> + Sync,
) -> Result<ExitCode, Failure> {
    each_or(context, names, act, |error| Err(error.into()))
}

/// The same, where a name that no container has need not be a failure.
pub(crate) fn each_or(
    context: &Context,
    names: &[String],
    act: impl Fn(&Container) -> Result<(), Failure> + Sync,
    missing: impl Fn(ContainerError) -> Result<(), Failure> + Sync,
) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let one = |name: &str| match Container::find(&store, name) {
        Ok(container) => act(&container),
        Err(error @ ContainerError::NoSuchContainer(_)) => missing(error),
        Err(error) => Err(error.into()),
    };
    let mut failed = false;
    std::thread::scope(|scope| {
        let running: Vec<_> = names.iter().map(|name| (name, scope.spawn(|| one(name)))).collect();
        for (name, done) in running {
            match done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(()) => context.print(name)?,
                Err(Failure::Error(error)) => {
                    failed = true;
                    note(format!("error: {}", with_causes(error.as_ref())));
                }
                Err(status) => return Err(status),
            }
        }
        Ok(ExitCode::from(u8::from(failed)))
    })
}

/// Seconds as typed, of which a negative number is no end.
pub(crate) fn patience(seconds: i64) -> Patience {
    u64::try_from(seconds).map_or(Patience::Endless, |seconds| Patience::Limited(Duration::from_secs(seconds)))
}

/// Says what a container does not have although it was asked for.
pub(crate) fn tell(notices: &[String]) {
    notices.iter().for_each(|notice| note(format!("notice: {notice}")));
}

/// Refuses to give a terminal to what gets its keys from elsewhere.
pub(crate) fn need_terminal() -> Result<(), Failure> {
    if is_terminal(io::stdin()) { Ok(()) } else { Err(UsageError::wrong("the input device is not a TTY")) }
}

/// How this command stays with a container.
pub(crate) struct Client {
    /// Which of standard input, output and error it brings.
    pub(crate) streams: [bool; 3],
    pub(crate) detach_keys: DetachKeys,
    pub(crate) signals: SignalProxy,
}

impl Client {
    /// One that shows output, passes signals on, and perhaps input.
    pub(crate) fn new(detach_keys: &str, gives_input: bool) -> Result<Self, Failure> {
        let detach_keys = detach_keys.parse()?;
        Ok(Self { streams: [gives_input, true, true], detach_keys, signals: SignalProxy::Forward })
    }

    /// Stays until the end, and says how that was.
    pub(crate) fn stay(
        self,
        container: &Container,
        act: impl FnOnce(&Attachment<'_>) -> Result<Ended, ContainerError>,
    ) -> Result<ExitCode, Failure> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let attachment = Attachment {
            stdin: self.streams[0].then(|| stdin.as_fd()),
            stdout: self.streams[1].then(|| stdout.as_fd()),
            stderr: self.streams[2].then(|| stderr.as_fd()),
            detach_keys: self.detach_keys,
            signals: self.signals,
        };
        match act(&attachment) {
            Ok(ended) => tell_end(ended, container),
            Err(error @ ContainerError::Start { .. }) => {
                // A command that cannot be executed has exit codes of its own.
                note(format!("error: {}", with_causes(&error)));
                Err(Failure::Status(error.exit_code()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn tell_end(ended: Ended, container: &Container) -> Result<ExitCode, Failure> {
    let name = container.name();
    match ended {
        Ended::Exited(code) => Ok(ExitCode::from(code)),
        Ended::Detached => {
            note(format!("\ndetached: container {name} runs on"));
            Ok(ExitCode::SUCCESS)
        }
        Ended::Unheeded => {
            note(format!("\nerror: container {name} ignores the signals and runs on: `kiln kill {name}` ends it"));
            Err(Failure::Status(1))
        }
    }
}
