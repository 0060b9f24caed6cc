//! `kiln rmi`

use std::process::ExitCode;

use store::refs::RefError;
use store::{ImageId, Reference, Store};

use crate::context::{Context, note};
use crate::report::{Failure, UsageError};

/// Remove names of images, and images without a name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images: names, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove all names of an image, and it even if a container is made of it
    #[arg(short, long)]
    force: bool,
}

/// Removes each; goes on after a failure and tells it.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut failed = false;
    for text in &args.images {
        match remove(&store, text, args.force) {
            Ok(lines) => lines.iter().try_for_each(|line| context.print(line))?,
            Err(Failure::Error(error)) => {
                failed = true;
                note(format!("error: {}", crate::report::with_causes(error.as_ref())));
            }
            Err(status) => return Err(status),
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn remove(store: &Store, text: &str, force: bool) -> Result<Vec<String>, Failure> {
    let target = store.resolve_target(text)?;
    let id = target.image;
    let names = store.tags_of(id)?;
    let named = text.parse::<Reference>().ok().filter(|name| names.contains(name));
    let going: Vec<Reference> = match named {
        Some(name) => vec![name],
        None if names.len() > 1 && !force => {
            let names: Vec<String> = names.iter().map(Reference::familiar).collect();
            return Err(UsageError::wrong(format!(
                "image {text} has several names ({}): name one, or use --force",
                names.join(", ")
            )));
        }
        None => names.clone(),
    };
    let deleted = left_nameless(store, id, &going)?;
    if !force {
        deleted.iter().try_for_each(|image| refuse_if_used(store, *image))?;
    }
    let mut lines = Vec::new();
    for name in &going {
        store.untag(name)?;
        lines.push(format!("Untagged: {}", name.familiar()));
    }
    for image in deleted {
        store.forget_image(image).map_err(RefError::from)?;
        lines.push(format!("Deleted: {image}"));
    }
    Ok(lines)
}

/// The images that have no name when these are gone: the one that is meant, and of a name for several
/// platforms the others.
fn left_nameless(store: &Store, image: ImageId, going: &[Reference]) -> Result<Vec<ImageId>, Failure> {
    let mut images = vec![image];
    for target in going.iter().map(|name| store.tagged(name)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        images
            .extend(store.images_of(&target)?.into_iter().filter(|other| !images.contains(other)).collect::<Vec<_>>());
    }
    let mut nameless = Vec::new();
    for image in images {
        if store.tags_of(image)?.iter().all(|name| going.contains(name)) {
            nameless.push(image);
        }
    }
    Ok(nameless)
}

fn refuse_if_used(store: &Store, id: ImageId) -> Result<(), Failure> {
    match crate::containers::using(store, id)? {
        Some(container) => Err(UsageError::wrong(format!(
            "image {} is used by container {container}: remove that, or use --force",
            id.short()
        ))),
        None => Ok(()),
    }
}
