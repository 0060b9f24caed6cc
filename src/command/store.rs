//! `kiln store`: what it holds, what can go, and whether it is whole.

use std::process::ExitCode;

use serde_json::{Value, json};
use store::gc::{Collected, Gc, GcMode, GcOptions};
use store::{Reference, Store};

use crate::context::{Context, note, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units::{parse_size, size};
use crate::report::{Failure, UsageError};

/// `kiln store …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Tell what takes how much room
    Du(UsageArgs),
    /// Remove what nothing needs
    Gc(GcArgs),
    /// Compare everything with its digest
    Verify,
    /// Forget cached steps, so that they run again
    Rm(RmArgs),
}

/// Tell what takes how much room
#[derive(Debug, clap::Args)]
pub(crate) struct UsageArgs {
    /// Show each image and step
    #[arg(short, long)]
    verbose: bool,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Remove what nothing needs
#[derive(Debug, clap::Args)]
pub(crate) struct GcArgs {
    /// Keep cached steps up to this size, the dearest to lose first [default: keep none]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Remove what nothing needs: containers that ended, images without a name, cached steps
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove images that have a name but no container, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Forget cached steps, so that they run again
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Beginnings of keys, as `kiln cache ls` shows them
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

const LISTING: Listing = Listing {
    columns: &[
        Column { field: "Type", heading: "TYPE" },
        Column { field: "Name", heading: "NAME" },
        Column { field: "Size", heading: "SIZE" },
        Column { field: "Unique", heading: "UNIQUE" },
    ],
    shown: 4,
    id: "Name",
};

/// Does what the verb says.
pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Du(args) => usage(args, context),
        Command::Gc(args) => collect(args, context),
        Command::Verify => verify(context),
        Command::Rm(args) => forget(args, context),
    }
}

/// Lists the areas of the store, and each image and step if asked for.
pub(crate) fn usage(args: &UsageArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), false)?;
    let usage = store.usage()?;
    let mut rows: Vec<Value> = Vec::new();
    for (area, bytes) in &usage.areas {
        rows.push(
            json!({"Type": "area", "Name": area.name(), "Size": size(*bytes), "Unique": size(*bytes), "Bytes": bytes}),
        );
    }
    if args.verbose {
        for (image, share) in &usage.images {
            let names: Vec<String> = store.tags_of(*image)?.iter().map(Reference::familiar).collect();
            let name = if names.is_empty() { image.short() } else { names.join(", ") };
            rows.push(json!({"Type": "image", "Name": name, "Size": size(share.bytes), "Unique": size(share.unique_bytes), "Bytes": share.bytes}));
        }
        for (key, share) in &usage.actions {
            let what = store.action_record(*key)?.map_or_else(String::new, |action| action.record.description);
            let name = format!("{} {what}", key.short());
            rows.push(json!({"Type": "step", "Name": name, "Size": size(share.bytes), "Unique": size(share.unique_bytes), "Bytes": share.bytes}));
        }
    }
    let all = usage.bytes();
    rows.push(json!({"Type": "all", "Name": store.path(), "Size": size(all), "Unique": size(all), "Bytes": all}));
    LISTING.write(&rows, &style, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn collect(args: &GcArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mode = if args.dry_run { GcMode::DryRun } else { GcMode::Collect };
    let gc = store.gc(GcOptions { max_size_bytes: args.max_size, mode })?;
    tell(&gc, args.dry_run, context)?;
    if gc.over_bytes > 0 {
        note(format!(
            "{} more than --max-size are needed by tags, containers and running commands",
            size(gc.over_bytes)
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(gc: &Gc, dry_run: bool, context: &Context) -> Result<(), Failure> {
    for (what, bytes) in &gc.collected {
        let what = match what {
            Collected::Image(image) => format!("image {}", image.short()),
            Collected::Layer(layer) => format!("layer {}", layer.short()),
            Collected::Checkout(layer) => format!("checkout {}", layer.short()),
            Collected::Blob(digest) => format!("blob {}", digest.short()),
            Collected::Object(object) => format!("object {}", object.short()),
        };
        context.print(format!("{what} {}", size(*bytes)))?;
    }
    let freed = size(gc.before_bytes - gc.after_bytes);
    let verb = if dry_run { "would free" } else { "freed" };
    context.print(format!("{verb} {freed}, {} left", size(gc.after_bytes)))
}

/// Removes containers that ended, images that nothing names, and what only they needed.
pub(crate) fn prune(args: &PruneArgs, context: &Context) -> Result<ExitCode, Failure> {
    if !args.force {
        return Err(UsageError::wrong("this removes containers that ended and images without a name: say --force"));
    }
    let store = context.store()?;
    let everything = run::container::list::Filter { all: true, conditions: Vec::new() };
    for found in run::container::list(&store, &everything)? {
        if found.state.running().is_none() {
            found.container.remove(run::container::Force::No)?;
            context.print(format!("container {}", found.container.id().short()))?;
        }
    }
    if args.all {
        untag_unused(&store, context)?;
    }
    tell(&store.gc(GcOptions { max_size_bytes: None, mode: GcMode::Collect })?, false, context)?;
    Ok(ExitCode::SUCCESS)
}

fn untag_unused(store: &Store, context: &Context) -> Result<(), Failure> {
    for (name, target) in store.tags()? {
        if crate::containers::using(store, target.image)?.is_none() {
            store.untag(&name)?;
            context.print(format!("tag {}", name.familiar()))?;
        }
    }
    Ok(())
}

fn verify(context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let verified = store.verify()?;
    for fault in &verified.faults {
        context.print(fault)?;
    }
    note(format!(
        "looked at {} files, {}: {} faults",
        verified.checked,
        size(verified.checked_bytes),
        verified.faults.len()
    ));
    Ok(if verified.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn forget(args: &RmArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    for prefix in &args.keys {
        let found = store.actions(prefix)?;
        match &found[..] {
            [only] => drop(store.forget_action(only.key)?),
            [] => return Err(UsageError::wrong(format!("no cached step has a key that begins with {prefix}"))),
            _ => return Err(UsageError::wrong(format!("{} keys begin with {prefix:?}: give more of it", found.len()))),
        }
        context.print(prefix)?;
    }
    Ok(ExitCode::SUCCESS)
}
