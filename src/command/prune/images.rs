//! `kiln image prune`
//!
//! What a store has been asked about stays as long as it is open. So one store is asked which images go, and
//! another one, which has been asked about none of them, lets them go.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use jiff::Timestamp;
use store::gc::Collected;
use store::{ImageId, Reference, Store};

use super::Condition;
use crate::context::{Context, agreed};
use crate::format::units::size;
use crate::report::Failure;

/// Remove images without a name that no container is made of
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Those with a name, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// `until=TIME`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]`
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// Prints what is gone, and how much room that made. Cached steps stay, with what they made.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let conditions = Condition::parse_all(&args.filters)?;
    let which = if args.all { "images" } else { "images without a name" };
    if !args.force && !agreed(&format!("This will remove all {which} that no container is made of."))? {
        return Ok(ExitCode::SUCCESS);
    }
    let doomed = Doomed::find(&context.store()?, args.all, &conditions)?;
    let store = context.store()?;
    for name in &doomed.names {
        store.untag(name)?;
    }
    let collected = store.gc_images(&doomed.images)?.collected;
    let mut lines: Vec<String> = doomed.names.iter().map(|name| format!("untagged: {}", name.familiar())).collect();
    lines.extend(collected.iter().filter_map(|(what, _)| match what {
        Collected::Image(image) => Some(format!("deleted: {image}")),
        _ => None,
    }));
    if !lines.is_empty() {
        context.print("Deleted Images:")?;
        lines.iter().try_for_each(|line| context.print(line))?;
        context.print("")?;
    }
    let freed_bytes = collected.iter().map(|(_, bytes)| bytes).sum();
    context.print(format!("Total reclaimed space: {}", size(freed_bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// What goes.
struct Doomed {
    names: Vec<Reference>,
    /// Those that no name leads to then.
    images: BTreeSet<ImageId>,
}

impl Doomed {
    fn find(store: &Store, all: bool, conditions: &[Condition]) -> Result<Self, Failure> {
        let mut unwanted = BTreeMap::new();
        for image in store.image_ids()? {
            let is_used = crate::containers::using(store, image)?.is_some();
            unwanted.insert(image, !is_used && fits(store, image, conditions)?);
        }
        // Of the images of an index some may not be here.
        let is_unwanted = |image: &ImageId| unwanted.get(image).copied().unwrap_or(true);
        let (mut names, mut named) = (Vec::new(), BTreeSet::new());
        for (name, target) in store.tags()? {
            let images = store.images_of(&target)?;
            if all && images.iter().all(is_unwanted) {
                names.push(name);
            } else {
                named.extend(images);
            }
        }
        let images = unwanted.into_iter().filter(|(image, goes)| *goes && !named.contains(image));
        Ok(Self { names, images: images.map(|(image, _)| image).collect() })
    }
}

/// Whether the conditions hold for an image; its age is that of its coming here, which `kiln images` shows.
fn fits(store: &Store, id: ImageId, conditions: &[Condition]) -> Result<bool, Failure> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let Some(image) = store.image(id)? else { return Ok(false) };
    let received = Timestamp::from_second(image.record.received_at).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(conditions.iter().all(|condition| condition.holds(received, &image.config.config.labels)))
}
