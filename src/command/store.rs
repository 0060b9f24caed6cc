//! `kiln store`: what it holds, what can go, and whether it is whole.

use std::process::ExitCode;

use serde_json::{Value, json};
use store::gc::{Collected, Gc, GcMode, GcOptions};
use store::verify::Fault;
use store::{Reference, Store};

use crate::context::{Context, agreed, note, stdout};
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
    Verify(VerifyArgs),
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
    /// `json`, an object a line, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Compare everything with its digest
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// `json`, an object a line, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
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
    /// `json`, an object a line, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
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

const COLLECTED: Listing = Listing {
    columns: &[
        Column { field: "Type", heading: "TYPE" },
        Column { field: "ID", heading: "ID" },
        Column { field: "Size", heading: "SIZE" },
    ],
    shown: 3,
    id: "ID",
};

const FAULTS: Listing = Listing {
    columns: &[Column { field: "Type", heading: "TYPE" }, Column { field: "Fault", heading: "FAULT" }],
    shown: 2,
    id: "Fault",
};

const FORGOTTEN: Listing = Listing { columns: &[Column { field: "Key", heading: "KEY" }], shown: 1, id: "Key" };

/// Does what the verb says.
pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Du(args) => usage(args, context),
        Command::Gc(args) => collect(args, context),
        Command::Verify(args) => verify(args, context),
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
    if usage.copied_bytes > 0 {
        let bytes = usage.copied_bytes;
        rows.push(json!({"Type": "twice", "Name": "objects copied into checkouts", "Size": size(bytes), "Unique": size(bytes), "Bytes": bytes}));
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
    match args.format.as_deref() {
        Some(format) => list_collected(&gc, format)?,
        None => tell(&gc, args.dry_run, context)?,
    }
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
        let (kind, id) = named(what);
        context.print(format!("{kind} {} {}", shortened(&id), size(*bytes)))?;
    }
    let freed = size(gc.before_bytes - gc.after_bytes);
    let verb = if dry_run { "would free" } else { "freed" };
    context.print(format!("{verb} {freed}, {} left", size(gc.after_bytes)))
}

/// Writes what went for programs: with whole ids and bytes.
fn list_collected(gc: &Gc, format: &str) -> Result<(), Failure> {
    let mut rows: Vec<Value> = Vec::new();
    for (what, bytes) in &gc.collected {
        let (kind, id) = named(what);
        rows.push(json!({"Type": kind, "ID": id, "Size": size(*bytes), "Bytes": bytes}));
    }
    let freed = gc.before_bytes - gc.after_bytes;
    rows.push(json!({"Type": "all", "ID": "", "Size": size(freed), "Bytes": freed}));
    write(COLLECTED, &rows, format)
}

/// The kind of a thing, and its id in full.
fn named(what: &Collected) -> (&'static str, String) {
    match what {
        Collected::Image(image) => ("image", image.to_string()),
        Collected::Layer(layer) => ("layer", layer.to_string()),
        Collected::Checkout(layer) => ("checkout", layer.to_string()),
        Collected::Blob(digest) => ("blob", digest.to_string()),
        Collected::Object(object) => ("object", object.to_string()),
    }
}

fn shortened(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn write(listing: Listing, rows: &[Value], format: &str) -> Result<(), Failure> {
    Ok(listing.write(rows, &Style::from_flags(Some(format), false)?, &mut stdout())?)
}

/// Removes containers that ended, images that nothing names, and what only they needed.
pub(crate) fn prune(args: &PruneArgs, context: &Context) -> Result<ExitCode, Failure> {
    let unused = if args.all { "images that no container is made of" } else { "images without a name" };
    if !args.force && !agreed(&format!("This will remove containers that ended, {unused} and cached steps."))? {
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.store()?;
    let everything = run::container::list::Filter { all: true, conditions: Vec::new() };
    for found in run::container::list(&store, &everything)? {
        if !found.state.is_live() {
            found.container.remove(run::container::Force::No, run::container::AnonymousVolumes::Keep)?;
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
        let mut is_used = false;
        for image in store.images_of(&target)? {
            is_used |= crate::containers::using(store, image)?.is_some();
        }
        if !is_used {
            store.untag(&name)?;
            context.print(format!("tag {}", name.familiar()))?;
        }
    }
    Ok(())
}

fn verify(args: &VerifyArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let verified = store.verify()?;
    match args.format.as_deref() {
        Some(format) => {
            let rows: Vec<Value> =
                verified.faults.iter().map(|fault| json!({"Type": kind(fault), "Fault": fault.to_string()})).collect();
            write(FAULTS, &rows, format)?;
        }
        None => verified.faults.iter().try_for_each(|fault| context.print(fault))?,
    }
    note(format!(
        "looked at {} files, {}: {} faults",
        verified.checked,
        size(verified.checked_bytes),
        verified.faults.len()
    ));
    Ok(if verified.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Object(_) | Fault::MissingObject { .. } => "object",
        Fault::Layer(_) => "layer",
        Fault::Blob(_) => "blob",
        Fault::Image { .. } => "image",
        Fault::Tag { .. } | Fault::Document { .. } => "tag",
        Fault::Action(_) | Fault::MissingResult { .. } => "step",
    }
}

fn forget(args: &RmArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut forgotten: Vec<Value> = Vec::new();
    for prefix in &args.keys {
        let found = store.actions(prefix)?;
        match &found[..] {
            [only] => drop(store.forget_action(only.key)?),
            [] => return Err(UsageError::wrong(format!("no cached step has a key that begins with {prefix}"))),
            _ => return Err(UsageError::wrong(format!("{} keys begin with {prefix:?}: give more of it", found.len()))),
        }
        match args.format {
            Some(_) => forgotten.extend(found.iter().map(|action| json!({"Key": action.key.hex()}))),
            None => context.print(prefix)?,
        }
    }
    if let Some(format) = args.format.as_deref() {
        write(FORGOTTEN, &forgotten, format)?;
    }
    Ok(ExitCode::SUCCESS)
}
