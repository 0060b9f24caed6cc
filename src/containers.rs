//! What several verbs ask about containers.

use std::process::ExitCode;

use run::container::list::{Condition, Filter};
use run::container::{Container, ContainerError, ContainerName};
use store::{ImageId, Store};

use crate::context::{Context, note};
use crate::report::{Failure, with_causes};

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
