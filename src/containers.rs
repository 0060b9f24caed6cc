//! What several verbs ask about containers.

use run::container::list::{Condition, Filter};
use run::container::{Container, ContainerName};
use store::{ImageId, Store};

use crate::context::{Context, note};
use crate::report::{Failure, with_causes};

/// The name of a container that is made of an image, if there is one.
pub(crate) fn using(store: &Store, image: ImageId) -> Result<Option<ContainerName>, Failure> {
    let filter = Filter { all: true, conditions: vec![Condition::Ancestor(image.to_string())] };
    Ok(run::container::list(store, &filter)?.first().map(|found| found.container.name().clone()))
}

/// Does something to each of the containers named, prints each name when it is done, and goes on after
/// a failure; the status is then 1.
pub(crate) fn each(
    context: &Context,
    names: &[String],
    mut act: impl FnMut(&Container) -> Result<(), Failure>,
) -> Result<std::process::ExitCode, Failure> {
    let store = context.store()?;
    let mut failed = false;
    for name in names {
        let done = Container::find(&store, name).map_err(Failure::from).and_then(|container| act(&container));
        match done {
            Ok(()) => context.print(name)?,
            Err(Failure::Error(error)) => {
                failed = true;
                note(format!("error: {}", with_causes(error.as_ref())));
            }
            Err(status) => return Err(status),
        }
    }
    Ok(std::process::ExitCode::from(u8::from(failed)))
}
