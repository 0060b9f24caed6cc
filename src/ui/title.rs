//! How steps, hits and misses are worded; the same in every style.

use std::time::Duration;

use builder::progress::{Miss, Outcome, Step, StepKind, Wait};
use store::action::{Difference, FileDifference, Value};

use super::sanitize;
use crate::format::units::elapsed;

/// `[build 2/3] RUN make`
pub(super) fn title(step: &Step) -> String {
    let text = sanitize::text(&step.text);
    let place = match (&step.stage, step.position) {
        (Some(stage), Some((at, of))) => format!("{stage} {at}/{of}"),
        (Some(stage), None) => stage.clone(),
        (None, _) => match step.kind {
            StepKind::Context => "context".to_owned(),
            _ => "image".to_owned(),
        },
    };
    format!("[{}] {text}", sanitize::text(&place))
}

/// What came of a step, in a word.
pub(super) fn outcome(outcome: Outcome, took: Duration) -> String {
    match outcome {
        Outcome::Hit { saved: Some(saved) } if saved >= Duration::from_millis(100) => {
            format!("CACHED (saves {})", elapsed(saved))
        }
        Outcome::Hit { .. } => "CACHED".to_owned(),
        Outcome::Built => format!("DONE {}", elapsed(took)),
        Outcome::Shared => format!("DONE {} (by another kiln)", elapsed(took)),
        Outcome::Ready => format!("DONE {}", elapsed(took)),
        Outcome::WouldRun => "WOULD RUN".to_owned(),
        Outcome::Unknown => "DEPENDS on what runs before".to_owned(),
    }
}

/// Why a step runs; `None` where there is nothing to tell.
pub(super) fn miss(miss: &Miss) -> Option<String> {
    match miss {
        Miss::New => None,
        Miss::NoCache => Some("runs because of --no-cache".to_owned()),
        Miss::Collected => Some("runs because its result was collected".to_owned()),
        Miss::Changed(differences) => {
            let first = differences.first().map(difference)?;
            let more = differences.len() - 1;
            let and = if more > 0 { format!(" and {more} more") } else { String::new() };
            Some(format!("runs because {first}{and}"))
        }
    }
}

/// One input that is not what it was.
pub(crate) fn difference(difference: &Difference) -> String {
    sanitize::text(&match difference {
        Difference::Added { part, now } => format!("{part} is new{}", text(now)),
        Difference::Removed { part, before } => format!("{part} is gone{}", text(before)),
        Difference::Changed { part, before, now } => format!("{part} changed: {} -> {}", short(before), short(now)),
        Difference::Files { part, files } => {
            let named =
                files.iter().take(3).map(|(path, how)| format!("{path} {}", file(*how))).collect::<Vec<_>>().join(", ");
            let more = files.len().saturating_sub(3);
            let and = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{part}: {named}{and}")
        }
    })
}

fn file(how: FileDifference) -> &'static str {
    match how {
        FileDifference::Added => "is new",
        FileDifference::Removed => "is gone",
        FileDifference::Changed => "changed",
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => format!(": {}", short(text)),
        Value::Files(files) => format!(" ({} files)", files.len()),
    }
}

/// What a step waits for.
pub(super) fn wait(wait: &Wait) -> String {
    match wait {
        Wait::SameStep => "waits for another kiln that runs the same step".to_owned(),
        Wait::CacheMount(id) => format!("waits for the cache mount {}", sanitize::text(id)),
    }
}

fn short(value: &str) -> String {
    const MOST_CHARACTERS: usize = 60;
    match value.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
