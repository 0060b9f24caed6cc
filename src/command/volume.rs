//! `kiln volume`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use run::container::ContainerError;
use run::container::mount::Lifetime;
use run::container::volume::{self, Volume};
use serde_json::{Value, json};
use store::Store;

use crate::context::{Context, agreed, note, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::template::Template;
use crate::format::units::size;
use crate::report::{Failure, UsageError, with_causes};

/// `kiln volume …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a volume
    Create {
        /// Its name
        name: Option<String>,
        /// A label
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Show volumes as JSON
    Inspect {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// A Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        /// Print names alone
        #[arg(short, long)]
        quiet: bool,
        /// name=PART, dangling=BOOL, label=KEY[=VALUE], driver=NAME
        #[arg(short, long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<String>,
        /// `table`, `json`, or a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Remove volumes that no container has
    Prune {
        /// Those with a name, too, and not only anonymous ones
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// label=KEY[=VALUE], label!=KEY[=VALUE]
        #[arg(long = "filter", value_name = "KEY=VALUE")]
        filters: Vec<String>,
    },
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// It is no failure if there is none
        #[arg(short, long)]
        force: bool,
    },
}

const LISTING: Listing = Listing {
    columns: &[
        Column { field: "Driver", heading: "DRIVER" },
        Column { field: "Name", heading: "VOLUME NAME" },
        Column { field: "Mountpoint", heading: "MOUNTPOINT" },
        Column { field: "Labels", heading: "LABELS" },
    ],
    shown: 2,
    id: "Name",
};

/// Does what the verb says.
pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    match command {
        Command::Create { name, labels } => {
            let labels = labels.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
            let labels: BTreeMap<String, String> = labels.map(|(key, value)| (key.into(), value.into())).collect();
            context.print(volume::create(&store, name.as_deref(), labels)?.name)?;
        }
        Command::Inspect { names, format } => {
            let found = names
                .iter()
                .map(|name| Ok(describe(&store, &volume::find(&store, name)?)))
                .collect::<Result<Vec<Value>, Failure>>()?;
            match format {
                Some(format) => {
                    let template = Template::parse(format)?;
                    for one in &found {
                        context.print(template.render(one)?)?;
                    }
                }
                None => context.print(serde_json::to_string_pretty(&found)?)?,
            }
        }
        Command::Ls { quiet, filters, format } => {
            let style = Style::from_flags(format.as_deref(), *quiet)?;
            let conditions = Condition::parse_all(filters)?;
            let rows: Vec<Value> = wanted(&store, &conditions)?.iter().map(|found| row(&store, found)).collect();
            LISTING.write(&rows, &style, &mut stdout())?;
        }
        Command::Prune { all, force, filters } => {
            let conditions = conditions_of_prune(filters)?;
            let which = if *all { "volumes" } else { "anonymous volumes" };
            if *force || agreed(&format!("This will remove all {which} that no container has."))? {
                prune(&store, *all, &conditions, context)?;
            }
        }
        Command::Rm { names, force } => {
            let may_be_missing = |error: &ContainerError| *force && matches!(error, ContainerError::NoSuchVolume(_));
            return remove(&store, names, may_be_missing, context);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The filters of `prune`, of which there are fewer than of `ls`.
fn conditions_of_prune(filters: &[String]) -> Result<Vec<Condition>, Failure> {
    let conditions = Condition::parse_all(filters)?;
    let is_label = |condition: &Condition| matches!(condition, Condition::Label { .. });
    if let Some(other) = filters.iter().zip(&conditions).find(|(_, condition)| !is_label(condition)) {
        return Err(UsageError::wrong(format!("invalid filter {:?}: prune knows label and label!", other.0)));
    }
    Ok(conditions)
}

/// Removes what no container has: the anonymous, or all.
fn prune(store: &Store, all: bool, conditions: &[Condition], context: &Context) -> Result<(), Failure> {
    let (mut removed, mut freed_bytes) = (Vec::new(), 0);
    for found in wanted(store, conditions)?.into_iter().filter(|found| all || found.lifetime == Lifetime::Container) {
        let bytes = bytes_below(&found.path(store));
        match volume::remove(store, &found.name) {
            Ok(()) => removed.push(found.name),
            // A container has it, or somebody was faster.
            Err(ContainerError::VolumeInUse { .. } | ContainerError::NoSuchVolume(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        freed_bytes += bytes;
    }
    if !removed.is_empty() {
        context.print("Deleted Volumes:")?;
        removed.iter().try_for_each(|name| context.print(name))?;
        context.print("")?;
    }
    context.print(format!("Total reclaimed space: {}", size(freed_bytes)))
}

/// The bytes that files take below a directory; what cannot be read counts as nothing.
fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// One `--filter`. Several names, or drivers, are alternatives; every label must fit.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Name(String),
    Driver(String),
    Dangling(bool),
    Label { key: String, value: Option<String>, expected: bool },
}

impl Condition {
    fn parse_all(filters: &[String]) -> Result<Vec<Self>, Failure> {
        filters.iter().map(|text| Self::parse(text)).collect()
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || UsageError::wrong(format!("invalid filter {text:?}"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        Ok(match (key, value) {
            ("name", _) => Self::Name(value.to_owned()),
            ("driver", _) => Self::Driver(value.to_owned()),
            ("dangling", "true" | "1") => Self::Dangling(true),
            ("dangling", "false" | "0") => Self::Dangling(false),
            ("label" | "label!", _) => {
                let (name, value) = value.split_once('=').map_or((value, None), |(name, value)| (name, Some(value)));
                Self::Label { key: name.to_owned(), value: value.map(str::to_owned), expected: key == "label" }
            }
            _ => return Err(wrong()),
        })
    }

    fn holds(&self, store: &Store, volume: &Volume) -> Result<bool, ContainerError> {
        Ok(match self {
            Self::Name(part) => volume.name.contains(part.as_str()),
            Self::Driver(name) => name == "local",
            Self::Dangling(dangling) => volume::users(store, &volume.name)?.is_empty() == *dangling,
            Self::Label { key, value, expected } => {
                let found = volume.labels.get(key);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found)) == *expected
            }
        })
    }
}

/// The volumes that the conditions let through, by name.
fn wanted(store: &Store, conditions: &[Condition]) -> Result<Vec<Volume>, ContainerError> {
    let mut wanted = Vec::new();
    for found in volume::list(store)? {
        let mut fits = true;
        for condition in conditions {
            let is_alternative = |other: &&Condition| match condition {
                Condition::Label { .. } => *other == condition,
                _ => std::mem::discriminant(*other) == std::mem::discriminant(condition),
            };
            let mut any = false;
            for alternative in conditions.iter().filter(is_alternative) {
                any |= alternative.holds(store, &found)?;
            }
            fits &= any;
        }
        if fits {
            wanted.push(found);
        }
    }
    Ok(wanted)
}

/// A volume as a line of `volume ls`: the labels are one text there.
fn row(store: &Store, volume: &Volume) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Name": volume.name, "Driver": "local", "Scope": "local", "Mountpoint": volume.path(store),
        "Labels": labels.join(","), "Availability": "N/A", "Group": "N/A", "Links": "N/A", "Size": "N/A", "Status": "N/A",
    })
}

fn remove(
    store: &Store,
    names: &[String],
    is_forgiven: impl Fn(&ContainerError) -> bool,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let mut failed = false;
    for name in names {
        match volume::remove(store, name) {
            Ok(()) => context.print(name)?,
            Err(error) if is_forgiven(&error) => context.print(name)?,
            Err(error) => {
                failed = true;
                note(format!("error: {}", with_causes(&error)));
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// A volume under Docker's keys.
pub(crate) fn describe(store: &Store, volume: &Volume) -> Value {
    json!({
        "Name": volume.name, "Driver": "local", "Scope": "local", "Mountpoint": volume.path(store),
        "CreatedAt": volume.created.to_string(), "Labels": volume.labels, "Options": null,
    })
}
