//! What is remembered of builds: their steps, and why each of them ran.
//!
//! `builds/<id>/record.json` in the store. Ids sort by time. Records explain; nothing else rests on
//! them, so one that cannot be read is passed over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{ActionKey, Area, DiffId, ImageId, Store, StoreError};

use crate::build::StepReport;
use crate::progress::{Miss, Outcome, Step};

/// The name of a record in the directory of its build.
pub(crate) const FILE: &str = "record.json";

/// One build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// When it began, in seconds since 1970.
    pub started_at: u64,
    /// How long it took.
    pub took: Duration,
    /// The name of its Dockerfile.
    pub dockerfile: String,
    /// Its context.
    pub context: Option<PathBuf>,
    /// `--target`
    pub target: Option<String>,
    /// What it made.
    pub image: Option<ImageId>,
    /// Why it made nothing.
    pub error: Option<String>,
    /// The steps that it came to, in the order of the plan.
    pub steps: Vec<StepRecord>,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// What came of it.
    pub outcome: StepOutcome,
    /// Why it was executed, if it was.
    pub miss: Option<Miss>,
    /// Its key, if it has one and it is known.
    pub key: Option<ActionKey>,
    /// The layer that it made or found.
    pub layer: Option<DiffId>,
    /// How long it took.
    pub took: Duration,
    /// What it wrote: a file beside the record.
    pub log: Option<String>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It was known already.
    Hit,
    /// It was executed.
    Built,
    /// Another kiln executed it meanwhile.
    Shared,
    /// A source that was there.
    Ready,
    /// It failed.
    Failed,
    /// It did not come to its end.
    Cancelled,
    /// In a dry run: it would be executed.
    WouldRun,
    /// In a dry run: it depends on a step that would be executed.
    Unknown,
}

impl BuildRecord {
    /// All builds that the store remembers, the latest first. Each is read when it is its turn.
    pub fn all(store: &Store) -> Result<impl Iterator<Item = Self> + use<>, StoreError> {
        let directory = store.dir(Area::Builds);
        let entries = std::fs::read_dir(&directory).map_err(StoreError::io("list", &directory))?;
        let mut builds: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        builds.sort_unstable();
        Ok(builds.into_iter().rev().filter_map(|build| Self::read(&build)))
    }

    fn read(build: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(build.join(FILE)).ok()?).ok()
    }
}

impl StepRecord {
    /// The record of a step that has just begun and, unless more is heard of it, does not end.
    pub(crate) fn begun(step: &Step) -> Self {
        let (outcome, took) = (StepOutcome::Cancelled, Duration::ZERO);
        Self { step: step.clone(), outcome, miss: None, key: None, layer: None, took, log: None }
    }
}

impl From<&StepReport> for StepRecord {
    fn from(report: &StepReport) -> Self {
        let StepReport { step, outcome, miss, key, layer, took } = report.clone();
        Self { step, outcome: outcome.into(), miss, key, layer, took, log: None }
    }
}

impl From<Outcome> for StepOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Hit { .. } => Self::Hit,
            Outcome::Built => Self::Built,
            Outcome::Shared => Self::Shared,
            Outcome::Ready => Self::Ready,
            Outcome::WouldRun => Self::WouldRun,
            Outcome::Unknown => Self::Unknown,
        }
    }
}
