//! `kiln volume`

use std::collections::BTreeMap;
use std::process::ExitCode;

use run::container::ContainerError;
use run::container::volume::{self, Volume};
use serde_json::{Value, json};
use store::Store;

use crate::context::{Context, note, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::template::Template;
use crate::report::{Failure, with_causes};

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
        /// `table`, `json`, or a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
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
        Command::Ls { quiet, format } => {
            let style = Style::from_flags(format.as_deref(), *quiet)?;
            let rows: Vec<Value> = volume::list(&store)?.iter().map(|found| describe(&store, found)).collect();
            LISTING.write(&rows, &style, &mut stdout())?;
        }
        Command::Rm { names, force } => {
            let may_be_missing = |error: &ContainerError| *force && matches!(error, ContainerError::NoSuchVolume(_));
            return remove(&store, names, may_be_missing, context);
        }
    }
    Ok(ExitCode::SUCCESS)
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
