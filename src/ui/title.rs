//! How steps, hits and misses are worded; the same in every style.

use std::time::Duration;

use builder::key;
use builder::progress::{Miss, Outcome, Step, StepKind, Wait};
use store::action::{Difference, FileDifference, Value};

use super::sanitize;
use crate::format::units::{ago, elapsed, rough, unix_time};

/// `[build 2/3] RUN make`
pub(crate) fn title(step: &Step) -> String {
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
    if *miss == Miss::New {
        return None;
    }
    let reasons = reasons(miss);
    let and = match reasons.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    reasons.first().map(|first| format!("runs because {first}{and}"))
}

/// All reasons for which a step runs, each the rest of a sentence that begins with "because".
pub(crate) fn reasons(miss: &Miss) -> Vec<String> {
    match miss {
        Miss::New => vec!["no earlier run of it is known".to_owned()],
        Miss::NoCache => vec!["of --no-cache".to_owned()],
        Miss::Collected(at) => vec![format!("its result was collected {}", ago(unix_time(*at)).to_lowercase())],
        Miss::Expired(longest) => vec![format!("its result is older than {}", rough(*longest).to_lowercase())],
        Miss::Forgotten => vec!["its result is no longer in the store".to_owned()],
        Miss::Changed(differences) => {
            differences.iter().filter(|one| !is_explained(one, differences)).flat_map(difference).collect()
        }
    }
}

/// Whether an id differs that a list beside it explains better.
fn is_explained(one: &Difference, all: &[Difference]) -> bool {
    let by = match one {
        Difference::Changed { part, .. } if part == key::ROOT => key::LINEAGE,
        Difference::Changed { part, .. } if part == key::SOURCE => key::FILES,
        _ => return false,
    };
    all.iter().any(|other| matches!(other, Difference::Files { part, files } if part == by && !files.is_empty()))
}

/// One input that is not what it was; of a list, each that is not.
fn difference(difference: &Difference) -> Vec<String> {
    let text = match difference {
        Difference::Files { part, files } => {
            return files.iter().map(|(name, how)| sanitize::text(&file(part, name, *how))).collect();
        }
        Difference::Added { part, now } => format!("{} is new{}", input(part), value(now)),
        Difference::Removed { part, before } => format!("{} is gone{}", input(part), value(before)),
        Difference::Changed { part, .. } if part.starts_with("mount ") => format!("{} changed", input(part)),
        Difference::Changed { part, before, now } => {
            format!("{} changed: {} -> {}", input(part), short(before), short(now))
        }
    };
    vec![sanitize::text(&text)]
}

/// A part of a key as a person would call it.
fn input(part: &str) -> String {
    match part.split_once(' ') {
        _ if part == "argument" => "the command".to_owned(),
        _ if part == "epoch" => "the build's clock".to_owned(),
        Some(("mount", target)) => format!("what is mounted at {target}"),
        Some(("at", path)) => format!("what the base has at {path}"),
        _ => part.to_owned(),
    }
}

fn file(part: &str, name: &str, how: FileDifference) -> String {
    let what = match name.strip_prefix("FROM ") {
        Some(image) if part == key::LINEAGE => format!("the base image {image}"),
        None if part == key::LINEAGE => format!("what {name} made"),
        _ => name.to_owned(),
    };
    format!("{what} {}", verb(how))
}

fn verb(how: FileDifference) -> &'static str {
    match how {
        FileDifference::Added => "is new",
        FileDifference::Removed => "is gone",
        FileDifference::Changed => "changed",
    }
}

fn value(value: &Value) -> String {
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

/// Long values are cut; of ids the beginning is enough.
fn short(value: &str) -> String {
    const MOST_CHARACTERS: usize = 60;
    const ID_CHARACTERS: usize = 12;
    if value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return value[..ID_CHARACTERS].to_owned();
    }
    match value.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
