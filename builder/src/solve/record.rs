//! The directory of one build: its record, and the logs of its steps.
//!
//! `builds/<id>/` holds `record.json` and a `<step>.log` for every command that ran. Ids sort by
//! time. The directory is made with the first thing in it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use store::{Area, Digest, Store, StoreError};

use super::log::StepLog;
use crate::build::{BuildRequest, StepReport};
use crate::error::{BuildError, StepError};
use crate::progress::{Outcome, StepId};

/// Where one build leaves what it has to say.
#[derive(Debug)]
pub struct BuildDirectory {
    path: PathBuf,
    started: SystemTime,
}

impl BuildDirectory {
    /// Thinks of a name; makes nothing.
    pub fn new(store: &Store) -> Self {
        let started = SystemTime::now();
        let nanos = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{nanos:020x}-{:x}", std::process::id());
        Self { path: store.dir(Area::Builds).join(name), started }
    }

    /// The directory, which may not be there yet.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts the log of a step.
    pub(super) fn log(&self, step: StepId) -> Result<StepLog, StepError> {
        std::fs::create_dir_all(&self.path).map_err(StoreError::io("make", &self.path))?;
        StepLog::create(self.log_path(step))
    }

    /// Keeps a step's log as a blob beside its result; `None` if it wrote nothing.
    pub(super) fn keep_log(&self, store: &Store, step: StepId) -> Result<Option<Digest>, StepError> {
        let path = self.log_path(step);
        match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => Ok(Some(store.put_blob(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StepError::Log { path, source }),
        }
    }

    /// Writes the record.
    pub fn finish(
        &self,
        store: &Store,
        request: &BuildRequest,
        steps: &[StepReport],
        result: &Result<store::ImageId, &BuildError>,
    ) -> Result<(), StoreError> {
        let record = Record {
            started_at: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            took_millis: self.started.elapsed().unwrap_or_default().as_millis() as u64,
            dockerfile: &request.dockerfile.name,
            context: request.context.as_ref().map(|context| context.path.display().to_string()),
            target: request.target.as_deref(),
            image: result.as_ref().ok().map(ToString::to_string),
            error: result.as_ref().err().map(ToString::to_string),
            steps: steps.iter().map(|report| self.step(report)).collect(),
        };
        std::fs::create_dir_all(&self.path).map_err(StoreError::io("make", &self.path))?;
        let bytes = serde_json::to_vec(&record).expect("a record of strings and numbers is always written");
        store.write_file(&self.path.join("record.json"), &bytes)
    }

    fn log_path(&self, step: StepId) -> PathBuf {
        self.path.join(format!("{:03}.log", step.0))
    }

    fn step<'r>(&self, report: &'r StepReport) -> StepRecord<'r> {
        let log = self.log_path(report.step.id);
        let ran = report.outcome == Outcome::Built;
        StepRecord {
            text: &report.step.text,
            stage: report.step.stage.as_deref(),
            outcome: outcome_name(report.outcome),
            key: report.key.map(|key| key.to_string()),
            layer: report.layer.map(|layer| layer.to_string()),
            took_millis: report.took.as_millis() as u64,
            log: (ran && log.exists()).then(|| format!("{:03}.log", report.step.id.0)),
        }
    }
}

#[derive(Serialize)]
struct Record<'r> {
    started_at: u64,
    took_millis: u64,
    dockerfile: &'r str,
    context: Option<String>,
    target: Option<&'r str>,
    image: Option<String>,
    error: Option<String>,
    steps: Vec<StepRecord<'r>>,
}

#[derive(Serialize)]
struct StepRecord<'r> {
    text: &'r str,
    stage: Option<&'r str>,
    outcome: &'static str,
    key: Option<String>,
    layer: Option<String>,
    took_millis: u64,
    log: Option<String>,
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit { .. } => "hit",
        Outcome::Built => "built",
        Outcome::Shared => "shared",
        Outcome::Ready => "ready",
        Outcome::WouldRun => "would run",
        Outcome::Unknown => "unknown",
    }
}
