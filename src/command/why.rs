//! `kiln why`

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use store::action::{Action, ActionState};
use store::{ActionKey, Area, Store, StoreError};

use crate::context::Context;
use crate::format::units;
use crate::report::{Failure, UsageError};
use crate::ui::title::difference;

/// Tell why steps of the last build ran, or why they did not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A step: its number in the last build, part of its text, or the beginning of a key [default: all]
    step: Option<String>,
    /// Show all that differs
    #[arg(short, long)]
    all: bool,
}

/// What the store keeps of a build, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Build {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Deserialize)]
struct Step {
    text: String,
    outcome: String,
    key: Option<ActionKey>,
}

/// Explains each of the steps meant.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let steps = last_build(&store)?.map_or_else(Vec::new, |build| build.steps);
    let keyed: Vec<Step> = steps.into_iter().filter(|step| step.key.is_some()).collect();
    let meant = meant(&store, &keyed, args.step.as_deref())?;
    for (number, step) in meant {
        context.print(format!("{number}{}", crate::ui::sanitize::text(&step.text)))?;
        for line in explain(&store, &step, args.all)? {
            context.print(format!("    {line}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn meant(store: &Store, steps: &[Step], wanted: Option<&str>) -> Result<Vec<(String, Step)>, Failure> {
    let numbered = steps.iter().enumerate().map(|(at, step)| (at + 1, step));
    let is_meant = |number: usize, step: &Step| match wanted {
        None => true,
        Some(text) => text.parse() == Ok(number) || step.text.to_lowercase().contains(&text.to_lowercase()),
    };
    let found: Vec<(String, Step)> = numbered
        .filter(|(number, step)| is_meant(*number, step))
        .map(|(number, step)| (format!("{number} "), step.clone()))
        .collect();
    match wanted {
        Some(text) if found.is_empty() => by_key(store, text),
        None if found.is_empty() => Err(UsageError::wrong("the store remembers no build with steps")),
        _ => Ok(found),
    }
}

fn by_key(store: &Store, prefix: &str) -> Result<Vec<(String, Step)>, Failure> {
    let actions = store.actions(prefix)?;
    if actions.is_empty() {
        return Err(UsageError::wrong(format!("no step of the last build, and no key, fits {prefix:?}")));
    }
    let step =
        |action: Action| Step { text: action.record.description, outcome: "built".to_owned(), key: Some(action.key) };
    Ok(actions.into_iter().map(|action| (String::new(), step(action))).collect())
}

fn explain(store: &Store, step: &Step, all: bool) -> Result<Vec<String>, Failure> {
    let Some(action) = step.key.map(|key| store.action_record(key)).transpose()?.flatten() else {
        return Ok(vec!["nothing is known of it any more".to_owned()]);
    };
    let when = units::ago(units::unix_time(action.result.created_at));
    if step.outcome == "hit" {
        return Ok(vec![format!(
            "reused: the same inputs were seen {when}, when it took {}",
            units::elapsed(action.result.duration)
        )]);
    }
    let Some((earlier, differences)) = store.nearest_action(&action.record, action.key)? else {
        return Ok(vec![format!("ran {when}: no other run of this step is known")]);
    };
    let mut lines = vec![format!("ran {when}; compared with {}{}", earlier.key.short(), fate(earlier.state))];
    let most = if all { usize::MAX } else { 5 };
    lines.extend(differences.iter().take(most).map(|found| format!("- {}", difference(found))));
    if differences.len() > most {
        lines.push(format!("- and {} more: --all shows them", differences.len() - most));
    }
    Ok(lines)
}

fn fate(state: ActionState) -> String {
    match state {
        ActionState::Present => String::new(),
        ActionState::Collected(at) => format!(", collected {}", units::ago(units::unix_time(at))),
        ActionState::Lost => ", lost".to_owned(),
    }
}

/// The latest build that left a record; names of builds sort by time.
fn last_build(store: &Store) -> Result<Option<Build>, Failure> {
    let directory = store.dir(Area::Builds);
    let entries = std::fs::read_dir(&directory).map_err(StoreError::io("read", &directory))?;
    let mut builds: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    builds.sort();
    for build in builds.iter().rev() {
        if let Some(bytes) = store.read_file(&build.join("record.json"))? {
            return Ok(Some(serde_json::from_slice(&bytes)?));
        }
    }
    Ok(None)
}
