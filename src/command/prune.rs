//! `kiln container prune`, and what the other verbs of its kind share with it.

pub(crate) mod images;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use run::container::list::Filter;
use run::container::log::parse_time;
use run::container::{AnonymousVolumes, Force, list};

use crate::context::{Context, agreed};
use crate::format::units::size;
use crate::report::{Failure, UsageError};

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// `until=TIME`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]`
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// A condition on what is removed.
enum Condition {
    Until(Timestamp),
    Label(String),
    NotLabel(String),
}

/// Prints the ids of what is gone, and how much room that made.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let conditions = Condition::parse_all(&args.filters)?;
    if !args.force && !agreed("This will remove all stopped containers.")? {
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.store()?;
    let (mut removed, mut freed_bytes) = (Vec::new(), 0);
    for found in list(&store, &Filter { all: true, conditions: Vec::new() })? {
        let config = found.container.config();
        let holds = |condition: &Condition| condition.holds(config.created, &config.labels);
        if found.state.is_live() || !conditions.iter().all(holds) {
            continue;
        }
        let bytes = found.container.log_path().parent().map_or(0, bytes_below);
        // Somebody may have started it, or removed it, in this moment.
        if found.container.remove(Force::No, AnonymousVolumes::Keep).is_ok() {
            removed.push(found.container.id());
            freed_bytes += bytes;
        }
    }
    if !removed.is_empty() {
        context.print("Deleted Containers:")?;
        removed.iter().try_for_each(|id| context.print(id))?;
        context.print("")?;
    }
    context.print(format!("Total reclaimed space: {}", size(freed_bytes)))?;
    Ok(ExitCode::SUCCESS)
}

impl Condition {
    fn parse_all(filters: &[String]) -> Result<Vec<Self>, Failure> {
        filters.iter().map(|text| Self::parse(text)).collect()
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(label) = text.strip_prefix("label!=") {
            return Ok(Self::NotLabel(label.to_owned()));
        }
        match text.split_once('=') {
            Some(("label", label)) => Ok(Self::Label(label.to_owned())),
            Some(("until", time)) => Ok(Self::Until(parse_time(time, Timestamp::now())?)),
            _ => Err(UsageError::wrong(format!("invalid filter {text:?}: until=, label=, label!="))),
        }
    }

    /// Whether it is true of something of that age with these labels.
    fn holds(&self, since: Timestamp, labels: &BTreeMap<String, String>) -> bool {
        let has = |label: &str| match label.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|known| known == value),
            None => labels.contains_key(label),
        };
        match self {
            Self::Until(time) => since < *time,
            Self::Label(label) => has(label),
            Self::NotLabel(label) => !has(label),
        }
    }
}

/// What the files below a directory take on the disk. What cannot be read is not counted.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}
