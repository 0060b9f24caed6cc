//! `kiln ps`

use std::process::ExitCode;

use jiff::Timestamp;
use run::container::list::{Condition, Filter, Listed, status_text};
use run::container::mount::MountSource;
use serde_json::{Value, json};

use crate::context::{Context, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units;
use crate::report::Failure;

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print texts whole
    #[arg(long)]
    no_trunc: bool,
    /// Tell what each has written, and what it takes with its image
    #[arg(short, long)]
    size: bool,
    /// Show the newest, running or not
    #[arg(short, long)]
    latest: bool,
    /// Show that many of the newest, running or not
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// id, name, label, status, health, exited, ancestor, before, since, volume, network, publish, expose, is-task
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const LISTING: Listing = Listing {
    columns: &[
        Column { field: "ID", heading: "CONTAINER ID" },
        Column { field: "Image", heading: "IMAGE" },
        Column { field: "Command", heading: "COMMAND" },
        Column { field: "RunningFor", heading: "CREATED" },
        Column { field: "Status", heading: "STATUS" },
        Column { field: "Ports", heading: "PORTS" },
        Column { field: "Names", heading: "NAMES" },
        Column { field: "Size", heading: "SIZE" },
        Column { field: "CreatedAt", heading: "CREATED AT" },
        Column { field: "Labels", heading: "LABELS" },
        Column { field: "Mounts", heading: "MOUNTS" },
        Column { field: "Networks", heading: "NETWORKS" },
        Column { field: "LocalVolumes", heading: "LOCAL VOLUMES" },
        Column { field: "State", heading: "STATE" },
    ],
    shown: 7,
    id: "ID",
};

/// Lists containers, the newest first.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), args.quiet)?;
    let conditions = args.filters.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?;
    let last = if args.latest { Some(1) } else { args.last };
    let filter = Filter { all: args.all || last.is_some(), conditions };
    let listed = run::container::list(&store, &filter)?;
    let mut rows: Vec<Value> =
        listed.iter().take(last.unwrap_or(usize::MAX)).map(|found| row(found, args.no_trunc)).collect();
    // All files of a container are looked at for its size, so only where it is asked for, as in Docker.
    if args.size || args.format.as_ref().is_some_and(|format| format.contains(".Size")) {
        for (row, found) in rows.iter_mut().zip(&listed) {
            let sizes = found.container.sizes()?;
            let (own, all) = (units::size(sizes.writable_bytes), units::size(sizes.root_bytes));
            row["Size"] = format!("{own} (virtual {all})").into();
        }
    }
    let shown = if args.size { LISTING.shown + 1 } else { LISTING.shown };
    Listing { shown, ..LISTING }.write(&rows, &style, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn row(found: &Listed, whole: bool) -> Value {
    let config = found.container.config();
    let command = command(config.argv());
    let created = units::system_time(config.created);
    let labels: Vec<String> = config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts: Vec<String> = config.mounts.iter().filter_map(|mount| source(&mount.source)).collect();
    json!({
        "ID": if whole { config.id.to_string() } else { config.id.short() },
        "Image": config.image_name,
        "Command": format!("\"{}\"", if whole { command } else { shortened(&command) }),
        "RunningFor": units::ago(created),
        "CreatedAt": units::timestamp(created),
        "Status": status_text(&found.state, Timestamp::now()),
        "State": found.state.status(),
        "Ports": ports(found),
        "Names": config.name.as_str(),
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": config.mounts.iter().filter(|mount| is_volume(&mount.source)).count().to_string(),
        "Networks": config.network.mode.to_string(),
    })
}

/// The command line, with the arguments that have blanks in quotes.
fn command<'a>(mut argv: impl Iterator<Item = &'a str>) -> String {
    let mut text = argv.next().unwrap_or_default().to_owned();
    for argument in argv {
        let quote = if argument.contains(' ') { "'" } else { "" };
        text.extend([" ", quote, argument, quote]);
    }
    text
}

/// `0.0.0.0:4000->80/tcp` for what is published, `80/tcp` for what is only declared.
fn ports(found: &Listed) -> String {
    let Some(running) = found.state.running() else { return String::new() };
    let published = running.ports.iter().map(|port| {
        let address = if port.host_ip.is_ipv6() { format!("[{}]", port.host_ip) } else { port.host_ip.to_string() };
        format!("{address}:{}->{}", port.host_port, port.container)
    });
    let is_published =
        |port: &run::container::port::ContainerPort| running.ports.iter().any(|published| published.container == *port);
    let declared =
        found.container.config().network.expose.iter().filter(|port| !is_published(port)).map(ToString::to_string);
    published.chain(declared).collect::<Vec<_>>().join(", ")
}

fn is_volume(source: &MountSource) -> bool {
    matches!(source, MountSource::Volume { .. })
}

fn source(source: &MountSource) -> Option<String> {
    match source {
        MountSource::Bind(path) => Some(path.display().to_string()),
        MountSource::Volume { name, .. } => Some(name.clone()),
        MountSource::Tmpfs(_) => None,
    }
}

fn shortened(text: &str) -> String {
    const MOST_CHARACTERS: usize = 20;
    if text.chars().count() <= MOST_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(MOST_CHARACTERS - 1).chain(['…']).collect()
}
