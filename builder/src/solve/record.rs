//! The directory of one build: its record, and the logs of its steps.
//!
//! `builds/<id>/` holds `record.json` and a `<step>.log` for every command that ran. Ids sort by
//! time. The directory is made with the first thing in it. What becomes of each step is noted as it
//! happens, so that a build that fails is remembered as well as one that does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{ActionKey, Area, Digest, Store, StoreError};

use super::log::StepLog;
use crate::build::StepReport;
use crate::error::{BuildError, StepError};
use crate::progress::{Miss, Step, StepId};
use crate::record::{self, BuildRecord, StepOutcome, StepRecord};
use crate::request::BuildRequest;

/// Where one build leaves what it has to say.
#[derive(Debug)]
pub struct BuildDirectory {
    path: PathBuf,
    started: SystemTime,
    steps: Mutex<BTreeMap<StepId, StepRecord>>,
}

impl BuildDirectory {
    /// Thinks of a name; makes nothing.
    pub fn new(store: &Store) -> Self {
        let started = SystemTime::now();
        let nanos = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{nanos:020x}-{:x}", std::process::id());
        Self { path: store.dir(Area::Builds).join(name), started, steps: Mutex::default() }
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

    /// A step is executed, and this is why.
    pub(super) fn missed(&self, step: &Step, key: ActionKey, miss: &Miss) {
        self.note(StepRecord { key: Some(key), miss: Some(miss.clone()), ..StepRecord::begun(step) });
    }

    /// A step is done.
    pub(super) fn finished(&self, report: &StepReport) {
        self.note(report.into());
    }

    /// A step is not done, and never will be.
    pub(super) fn failed(&self, step: &Step, error: &BuildError, took: Duration) {
        let outcome = match error {
            BuildError::Cancelled => StepOutcome::Cancelled,
            _ => StepOutcome::Failed,
        };
        let known = self.steps().remove(&step.id).unwrap_or_else(|| StepRecord::begun(step));
        self.note(StepRecord { outcome, took, ..known });
    }

    /// Writes the record.
    pub fn finish(
        &self,
        store: &Store,
        request: &BuildRequest,
        result: &Result<store::ImageId, &BuildError>,
    ) -> Result<(), StoreError> {
        let record = BuildRecord {
            started_at: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            took: self.started.elapsed().unwrap_or_default(),
            dockerfile: request.dockerfile.name.clone(),
            context: request.context.as_ref().map(|context| context.name().into()),
            target: request.target.clone(),
            image: result.as_ref().ok().copied(),
            error: result.as_ref().err().map(ToString::to_string),
            steps: self.steps().values().map(|step| self.with_log(step)).collect(),
        };
        std::fs::create_dir_all(&self.path).map_err(StoreError::io("make", &self.path))?;
        let bytes = serde_json::to_vec(&record).expect("a record of strings and numbers is always written");
        store.write_file(&self.path.join(record::FILE), &bytes)
    }

    fn with_log(&self, step: &StepRecord) -> StepRecord {
        let log = self.log_path(step.step.id);
        let name = log.file_name().filter(|_| log.exists()).map(|name| name.to_string_lossy().into_owned());
        StepRecord { log: name, ..step.clone() }
    }

    fn note(&self, step: StepRecord) {
        self.steps().insert(step.step.id, step);
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<StepId, StepRecord>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self, step: StepId) -> PathBuf {
        self.path.join(format!("{:03}.log", step.0))
    }
}
