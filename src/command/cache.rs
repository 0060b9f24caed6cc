//! `kiln cache`: what is cached, and from which inputs.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use store::Store;
use store::action::{Action, ActionState, Uses, Value as PartValue};

use crate::context::{Context, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units;
use crate::report::{Failure, UsageError};
use crate::ui::sanitize::text;

/// `kiln cache …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List what was computed, the newest first
    Ls(LsArgs),
    /// Show what went into a result, and what came out
    Show(ShowArgs),
}

/// List cached steps.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Print keys alone
    #[arg(short, long)]
    quiet: bool,
    /// Print keys whole
    #[arg(long)]
    no_trunc: bool,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Show one cached step.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The beginning of a key, as `kiln cache ls` shows it
    key: String,
    /// `json`, or nothing
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column { field: "Key", heading: "KEY" },
    Column { field: "Step", heading: "STEP" },
    Column { field: "Created", heading: "CREATED" },
    Column { field: "Took", heading: "TOOK" },
    Column { field: "Hits", heading: "HITS" },
    Column { field: "Size", heading: "SIZE" },
    Column { field: "State", heading: "STATE" },
    Column { field: "Layer", heading: "LAYER" },
];

/// Does what the verb says.
pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Ls(args) => list(args, context),
        Command::Show(args) => show(args, context),
    }
}

fn list(args: &LsArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), args.quiet)?;
    let uses = store.uses()?;
    let mut actions = store.actions("")?;
    actions.sort_by_key(|action| (std::cmp::Reverse(action.result.created_at), action.key));
    let mut rows = Vec::new();
    for action in &actions {
        rows.push(row(&store, action, uses.get(&action.key), args.no_trunc)?);
    }
    Listing { columns: COLUMNS, shown: 7, id: "Key" }.write(&rows, &style, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn row(store: &Store, action: &Action, uses: Option<&Uses>, whole: bool) -> Result<Value, Failure> {
    let layer = action.result.layer.map(|layer| store.layer(layer)).transpose()?.flatten();
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(action.result.created_at.max(0).cast_unsigned());
    Ok(json!({
        "Key": if whole { action.key.hex() } else { action.key.short() },
        "Step": action.record.description,
        "Created": units::ago(created),
        "Took": units::elapsed(action.result.duration),
        "Hits": uses.map_or(0, |uses| uses.count).to_string(),
        "Size": layer.map_or_else(|| "-".to_owned(), |layer| units::size(layer.size_bytes())),
        "State": state(action.state),
        "Layer": action.result.layer.map_or_else(String::new, |layer| layer.short()),
    }))
}

fn state(state: ActionState) -> String {
    match state {
        ActionState::Present => "present".to_owned(),
        ActionState::Collected(at) => {
            let when = SystemTime::UNIX_EPOCH + Duration::from_secs(at.max(0).cast_unsigned());
            format!("collected {}", units::ago(when))
        }
        ActionState::Lost => "lost".to_owned(),
    }
}

fn show(args: &ShowArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let found = store.actions(&args.key)?;
    let action = match &found[..] {
        [only] => only,
        [] => return Err(UsageError::wrong(format!("no cached step has a key that begins with {}", args.key))),
        _ => return Err(UsageError::wrong(format!("{} keys begin with {:?}: give more of it", found.len(), args.key))),
    };
    let uses = store.uses()?;
    if let Some(other) = args.format.as_deref().filter(|format| *format != "json") {
        return Err(UsageError::wrong(format!("--format {other}: only json is known here")));
    }
    if args.format.is_some() {
        context.print(as_json(action, uses.get(&action.key)))?;
        return Ok(ExitCode::SUCCESS);
    }
    context.print(format!("{}\n  key    {}", text(&action.record.description), action.key))?;
    context.print(format!("  state  {}, took {}", state(action.state), units::elapsed(action.result.duration)))?;
    if let Some(layer) = action.result.layer {
        let size =
            store.layer(layer)?.map_or_else(String::new, |layer| format!(", {}", units::size(layer.size_bytes())));
        context.print(format!("  layer  {layer}{size}"))?;
    }
    context.print(format!("  hits   {}", uses.get(&action.key).map_or(0, |uses| uses.count)))?;
    context.print("  inputs")?;
    for part in &action.record.parts {
        match &part.value {
            PartValue::Text(value) => context.print(text(&format!("    {} = {value}", part.name)))?,
            PartValue::Files(files) => {
                context.print(format!("    {} ({} files)", part.name, files.len()))?;
                for (path, id) in files {
                    context.print(text(&format!("      {path} {id}")))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(action: &Action, uses: Option<&Uses>) -> Value {
    let parts: Vec<Value> = action.record.parts.iter().map(|part| json!(part)).collect();
    json!({
        "Key": action.key, "Step": action.record.description, "State": state(action.state),
        "Result": action.result, "Hits": uses.map_or(0, |uses| uses.count), "Inputs": parts,
    })
}
