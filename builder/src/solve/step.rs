//! What all steps with a key have in common: look up, wait, do, remember.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::action::{ActionResult, ActionState, Part};
use store::image::ImageError;
use store::{ActionKey, Contents, KeyRecord, Layer};

use super::link::QuickKey;
use super::{Inputs, Mode, Rootfs, Solved, Solver, Value, at};
use crate::error::{BuildError, StepError};
use crate::graph::{Lookup, Op, Vertex, VertexId};
use crate::image::MadeLayer;
use crate::key;
use crate::progress::{Event, Miss, Outcome, Wait};

/// How often a step that another kiln works on is asked for again.
const RETRY: Duration = Duration::from_millis(20);

/// A step whose inputs have been looked into.
pub(super) struct Prepared<'w> {
    /// What decides about it.
    pub(super) parts: Vec<Part>,
    /// Parts that only explain: lists of files.
    pub(super) explanations: Box<dyn Fn() -> Vec<Part> + 'w>,
    /// What to do if nobody has done it.
    pub(super) work: Box<dyn FnOnce() -> Result<Layer, BuildError> + 'w>,
}

/// A step before anything is known of it.
pub(super) struct Asked<'v> {
    pub(super) vertex: &'v Vertex,
    /// The name of the operation in keys.
    pub(super) operation: &'static str,
    /// What it lies on.
    pub(super) base: &'v Arc<Rootfs>,
    /// Cheap parts that decide together as much as the parts do.
    pub(super) quick: Vec<Part>,
}

impl Solver<'_> {
    /// Comes to a layer, by the cheapest way.
    pub(super) fn keyed<'w>(
        &self,
        asked: &Asked<'_>,
        prepare: impl FnOnce() -> Result<Prepared<'w>, BuildError>,
    ) -> Result<Solved, BuildError> {
        let step = |error: StepError| at(asked.vertex, error);
        let quick = QuickKey::of(asked.operation, &asked.quick);
        if asked.vertex.lookup == Lookup::Cached
            && let Some(key) = quick.follow(self.store).map_err(|error| step(error.into()))?
            && let Some(result) = self.usable(asked.vertex, key).map_err(step)?
        {
            return Ok(self.hit(asked, key, &result));
        }
        let prepared = prepare()?;
        let key = key::of_parts(asked.operation, &prepared.parts);
        if asked.vertex.lookup == Lookup::Cached
            && let Some(result) = self.usable(asked.vertex, key).map_err(step)?
        {
            quick.lead_to(key, self.store).map_err(|error| step(error.into()))?;
            return Ok(self.hit(asked, key, &result));
        }
        let record = self.key_record(asked.vertex, &prepared);
        let miss = self.miss(asked.vertex, key, &record).map_err(step)?;
        if self.mode == Mode::DryRun {
            let outcome = Outcome::WouldRun;
            return Ok(Solved { value: Value::Unknown, outcome, miss: Some(miss), key: Some(key), made: None });
        }
        let solved = self.make(asked, key, miss, &record, prepared.work)?;
        quick.lead_to(key, self.store).map_err(|error| step(error.into()))?;
        Ok(solved)
    }

    /// The root filesystem that an input came to; `None` in a dry run that cannot know it.
    pub(super) fn rootfs(&self, id: VertexId, inputs: &Inputs<'_>) -> Option<Arc<Rootfs>> {
        match &inputs.get(id).value {
            Value::Rootfs(rootfs) => Some(rootfs.clone()),
            Value::Context(_) | Value::Unknown => None,
        }
    }

    fn make(
        &self,
        asked: &Asked<'_>,
        key: ActionKey,
        miss: Miss,
        record: &KeyRecord,
        work: Box<dyn FnOnce() -> Result<Layer, BuildError> + '_>,
    ) -> Result<Solved, BuildError> {
        let id = asked.vertex.step.id;
        let step = |error: StepError| at(asked.vertex, error);
        let mut waited = false;
        let _lock = loop {
            if let Some(lock) = self.store.try_step_lock(key).map_err(|error| step(error.into()))? {
                break lock;
            }
            if self.stop.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            if !waited {
                waited = true;
                self.progress.report(Event::Waiting { step: id, reason: Wait::SameStep });
            }
            std::thread::sleep(RETRY);
        };
        let made_meanwhile = if waited { self.known(key) } else { self.usable(asked.vertex, key) };
        if (asked.vertex.lookup == Lookup::Cached || waited)
            && let Some(result) = made_meanwhile.map_err(step)?
        {
            return Ok(Solved { outcome: Outcome::Shared, ..self.hit(asked, key, &result) });
        }
        if self.stop.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.directory.missed(&asked.vertex.step, key, &miss);
        self.progress.report(Event::Missed { step: id, reason: &miss });
        let started = Instant::now();
        let layer = work()?;
        let log = self.directory.keep_log(self.store, id).map_err(step)?;
        let result = ActionResult { log, ..ActionResult::now(Some(layer.diff_id()), started.elapsed()) };
        self.store.put_action(key, record, &result).map_err(|error| step(error.into()))?;
        Ok(Solved { outcome: Outcome::Built, miss: Some(miss), ..self.hit(asked, key, &result) })
    }

    /// A result that is there and not too old: what a command made, it may have made of what has changed since
    /// (`--cache-ttl`). Other steps are made of their inputs alone.
    fn usable(&self, vertex: &Vertex, key: ActionKey) -> Result<Option<ActionResult>, StepError> {
        let longest = self.request.cache_ttl.filter(|_| matches!(vertex.op, Op::Run(_)));
        let is_young = |result: &ActionResult| longest.is_none_or(|longest| age(result) < longest);
        Ok(self.known(key)?.filter(is_young))
    }

    /// A result that is there, with its layer.
    fn known(&self, key: ActionKey) -> Result<Option<ActionResult>, StepError> {
        let result = self.store.action(key)?;
        Ok(result.filter(|result| result.layer.is_some()))
    }

    fn hit(&self, asked: &Asked<'_>, key: ActionKey, result: &ActionResult) -> Solved {
        let diff_id = result.layer.expect("only results with a layer are known");
        let value = Value::Rootfs(Arc::new(Rootfs::with_layer(asked.base, diff_id)));
        let made = MadeLayer { diff_id, created_at: result.created_at };
        let outcome = Outcome::Hit { saved: Some(result.duration) };
        Solved { value, outcome, miss: None, key: Some(key), made: Some(made) }
    }

    fn key_record(&self, vertex: &Vertex, prepared: &Prepared<'_>) -> KeyRecord {
        let mut parts = prepared.parts.clone();
        parts.extend((prepared.explanations)());
        KeyRecord { step: self.step_identity(vertex), description: vertex.step.text.clone(), parts }
    }

    /// Which step of which Dockerfile it is, whatever it contains.
    fn step_identity(&self, vertex: &Vertex) -> String {
        let context = self.request.context.as_ref().map(crate::request::MainContext::name);
        let (position, _) = vertex.step.position.unwrap_or_default();
        let stage = vertex.step.stage.as_deref().unwrap_or("");
        let kind = vertex.step.kind;
        format!("{}\n{}\n{stage}\n{position} {kind:?}", context.unwrap_or_default(), self.request.dockerfile.name)
    }

    fn miss(&self, vertex: &Vertex, key: ActionKey, record: &KeyRecord) -> Result<Miss, StepError> {
        if vertex.lookup == Lookup::Fresh {
            return Ok(Miss::NoCache);
        }
        if let (Some(longest), Some(_)) = (self.request.cache_ttl, self.known(key)?) {
            return Ok(Miss::Expired(longest));
        }
        if let Some(ActionState::Collected(at)) = self.store.action_record(key)?.map(|action| action.state) {
            return Ok(Miss::Collected(at));
        }
        if self.store.keys_of_step(&record.step)?.contains(&key) {
            return Ok(Miss::Forgotten);
        }
        let nearest = self.store.nearest_action(record, key)?;
        Ok(match nearest {
            Some((_, differences)) if !differences.is_empty() => Miss::Changed(differences),
            _ => Miss::New,
        })
    }

    /// Writes a change as a layer of a step.
    pub(super) fn layer(
        &self,
        vertex: &Vertex,
        change: &store::Change,
        contents: &Contents,
    ) -> Result<Layer, BuildError> {
        self.store.write_layer(change, contents).map_err(|error| at(vertex, error.into()))
    }
}

/// How long ago a result was had.
fn age(result: &ActionResult) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(u64::try_from(result.created_at).unwrap_or(0)))
}

impl From<ImageError> for StepError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Store(error) => Self::Store(error),
            other => Self::Image(Box::new(other)),
        }
    }
}
