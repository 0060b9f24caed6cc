//! `kiln why`

use std::process::ExitCode;
use std::time::Duration;

use builder::progress::{Miss, Step, StepId, StepKind};
use builder::record::{BuildRecord, StepOutcome, StepRecord};
use store::Store;
use store::action::Action;

use super::steps;
use crate::context::{Context, note};
use crate::format::table::Style;
use crate::format::units::{ago, unix_time};
use crate::report::{Failure, UsageError};

/// Tell why steps of the last build ran, or why they did not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A step: its number in the last build, part of its text, or the beginning of a key [default: all]
    step: Option<String>,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Explains each of the steps meant, from what their build recorded.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let last = BuildRecord::all(&store)?.next();
    let meant = match (&last, &args.step) {
        (Some(build), None) => build.steps.iter().filter(|step| step.key.is_some()).cloned().collect(),
        (Some(build), Some(text)) => in_build(build, text),
        (None, _) => Vec::new(),
    };
    let meant = match &args.step {
        Some(text) if meant.is_empty() => by_key(&store, text)?,
        _ => {
            last.iter().for_each(introduce);
            meant
        }
    };
    if meant.is_empty() {
        return Err(UsageError::wrong(nothing(last.is_some(), args.step.as_deref())));
    }
    match &args.format {
        Some(format) => steps::list(&meant.iter().collect::<Vec<_>>(), &Style::from_flags(Some(format), false)?)?,
        None => meant.iter().try_for_each(|step| steps::tell(step, &store))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn introduce(build: &BuildRecord) {
    let when = ago(unix_time(build.started_at.cast_signed())).to_lowercase();
    let how = if build.image.is_some() { "built" } else { "failed to build" };
    note(format!("{how} {} {when}", build.dockerfile));
}

fn nothing(has_builds: bool, wanted: Option<&str>) -> String {
    match wanted {
        Some(text) => format!("no step of the last build and no key fits {text:?}: `kiln why` lists the steps"),
        None if has_builds => "the last build had no steps that run".to_owned(),
        None => "the store remembers no build".to_owned(),
    }
}

/// A number means that step; other text, all steps that have it.
fn in_build(build: &BuildRecord, text: &str) -> Vec<StepRecord> {
    let number = text.trim_start_matches('#').parse::<u32>().ok();
    let by_number = build.steps.iter().find(|step| number == Some(step.step.id.0 + 1));
    if let Some(step) = by_number {
        return vec![step.clone()];
    }
    let text = text.to_lowercase();
    let fits = |step: &&StepRecord| step.key.is_some() && step.step.text.to_lowercase().contains(&text);
    build.steps.iter().filter(fits).cloned().collect()
}

/// The run that gave a key its result, as its build recorded it; if that is forgotten, as the keys tell it.
fn by_key(store: &Store, prefix: &str) -> Result<Vec<StepRecord>, Failure> {
    let mut meant = Vec::new();
    for action in store.actions(prefix)? {
        let is_it = |step: &StepRecord| step.key == Some(action.key) && step.miss.is_some();
        let recorded = BuildRecord::all(store)?.find_map(|build| build.steps.into_iter().find(is_it));
        meant.push(match recorded {
            Some(step) => step,
            None => from_keys(store, action)?,
        });
    }
    Ok(meant)
}

fn from_keys(store: &Store, action: Action) -> Result<StepRecord, Failure> {
    let miss = match store.nearest_action(&action.record, action.key)? {
        Some((_, differences)) if !differences.is_empty() => Miss::Changed(differences),
        _ => Miss::New,
    };
    let text = action.record.description;
    let step = Step { id: StepId(0), kind: StepKind::Run, stage: None, position: None, text, span: None };
    let (layer, took): (_, Duration) = (action.result.layer, action.result.duration);
    let (outcome, key) = (StepOutcome::Built, Some(action.key));
    Ok(StepRecord { step, outcome, miss: Some(miss), key, layer, took, log: None })
}
