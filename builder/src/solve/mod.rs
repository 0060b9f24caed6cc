//! From a graph to what each vertex came to.
//!
//! ```text
//!   vertex + inputs --quick key--> link --> ActionKey --> record      (nothing changed: two small reads)
//!                   --parts------> ActionKey --> record               (something changed, but nothing that counts)
//!                   --work-------> layer --> record                   (a miss)
//! ```
//!
//! A vertex that is looked up by what its inputs contain first needs to know what they contain. The
//! *quick key* is made of the ids of whole input trees, which are cheap, and a link leads from it to
//! the key that was found last time; so an unchanged build loads no tree. A link is a hint: what it
//! leads to is looked up like any other key.

mod absent;
mod bind;
mod cache_mount;
mod copying;
mod fetching;
mod lazy;
mod link;
mod log;
mod notices;
mod record;
mod rootfs;
mod running;
mod schedule;
mod step;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{ActionKey, DiffId, Store};

pub use bind::{Shown, WriteTreeError};
pub(crate) use fetching::unpacked;
pub use notices::Given;
pub use record::BuildDirectory;
pub use rootfs::Rootfs;

use crate::build::StepReport;
use crate::context::{self, ContextError, ContextTree, Wanted};
use crate::error::{BuildError, StepError};
use crate::executor::Executor;
use crate::graph::{Clock, ContextName, Graph, Op, Vertex, VertexId};
use crate::image::MadeLayer;
use crate::progress::{Cancel, Event, Miss, Outcome, Progress};
use crate::request::{BuildRequest, MainContext, NamedContext};
use crate::source::{ImageSource, ResolvedImage};
use crate::squash::Squash;
use lazy::reads;
use schedule::{Done, Stopped};

/// Whether misses are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Build,
    /// They are only named.
    DryRun,
}

/// All that a solver works with.
pub struct Solver<'a> {
    /// What the user asked for.
    pub request: &'a BuildRequest,
    /// Where everything is kept, for work that ends when `stop` is set.
    pub store: &'a Store,
    /// Where images come from.
    pub sources: &'a dyn ImageSource,
    /// What executes commands.
    pub executor: &'a dyn Executor,
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// What is to be done.
    pub graph: &'a Graph,
    /// What the build takes for the time.
    pub clock: Clock,
    /// Where logs go.
    pub directory: &'a BuildDirectory,
    /// Whether misses are executed.
    pub mode: Mode,
    /// Set when nothing more shall be started; running commands look at it.
    pub stop: Cancel,
    /// What bind mounts show.
    pub shown: Shown,
    /// What was said.
    pub given: Given,
}

/// What a vertex came to.
#[derive(Debug, Clone)]
pub enum Value {
    /// A root filesystem.
    Rootfs(Arc<Rootfs>),
    /// A directory of the user.
    Context(Arc<ContextTree>),
    /// In a dry run: what only executing would tell.
    Unknown,
}

/// A solved vertex.
#[derive(Debug)]
pub struct Solution {
    /// What it came to.
    pub value: Value,
    /// The layer that it made or found.
    pub made: Option<MadeLayer>,
    /// What to say about it.
    pub report: StepReport,
}

/// What an op came to, before it is reported.
struct Solved {
    value: Value,
    outcome: Outcome,
    miss: Option<Miss>,
    key: Option<ActionKey>,
    made: Option<MadeLayer>,
}

type Inputs<'a> = Done<'a, Arc<Solution>, BuildError>;

impl Solver<'_> {
    /// Solves the whole graph.
    pub fn solve(&self) -> Result<Vec<Arc<Solution>>, BuildError> {
        let inputs: Vec<Vec<VertexId>> = self.graph.vertices().map(|(_, vertex)| vertex.op.inputs()).collect();
        let jobs: NonZeroUsize = self.request.jobs;
        schedule::run(&inputs, jobs, &self.stop, |id, done| self.vertex(id, done)).map_err(|stopped| match stopped {
            Stopped::Failed(error) => error,
            Stopped::Cancelled => BuildError::Cancelled,
        })
    }

    fn vertex(&self, id: VertexId, inputs: &Inputs<'_>) -> Result<Arc<Solution>, BuildError> {
        let vertex = self.graph.vertex(id);
        let started = Instant::now();
        self.progress.report(Event::Started { step: id.step() });
        match self.op(id, vertex, inputs) {
            Ok(solved) => Ok(Arc::new(self.finished(vertex, solved, started.elapsed()))),
            Err(error) => Err(self.failed(vertex, error.told(), started.elapsed())),
        }
    }

    fn op(&self, id: VertexId, vertex: &Vertex, inputs: &Inputs<'_>) -> Result<Solved, BuildError> {
        match &vertex.op {
            Op::Scratch => Ok(Solved::source(Value::Rootfs(Arc::new(Rootfs::of_image(Vec::new()))))),
            Op::Image(image) => self.image(image, id, vertex),
            Op::Context(name) => self.context(name, id, vertex),
            Op::Remote(remote) => self.remote(remote, vertex),
            Op::Copy(copy) => self.copy(copy, vertex, inputs),
            Op::Run(run) => self.run(run, vertex, inputs),
            Op::Workdir(workdir) => self.workdir(workdir, vertex, inputs),
        }
    }

    fn image(&self, image: &ResolvedImage, id: VertexId, vertex: &Vertex) -> Result<Solved, BuildError> {
        // First held, then looked for: what is there then stays while the build lasts.
        let paths: Vec<_> = image.layers().iter().map(|layer| self.store.layer_path(*layer)).collect();
        self.store.hold(paths.iter().map(PathBuf::as_path))?;
        let missing = |layer: &DiffId| !matches!(self.store.layer(*layer), Ok(Some(_)));
        if image.layers().iter().any(missing) {
            let step = vertex.step.id;
            let report = |transfer| self.progress.report(Event::Transfer { step, transfer });
            let is_read = self.request.squash != Squash::None || reads(self.graph, id);
            let had = if is_read { self.sources.fetch(image, &self.stop, &report) } else { self.sources.note(image) };
            had.map_err(|source| BuildError::Image { span: vertex.step.span, suggestion: None, source })?;
        }
        Ok(Solved::source(Value::Rootfs(Arc::new(Rootfs::of_image(image.layers().to_vec())))))
    }

    fn context(&self, name: &ContextName, id: VertexId, vertex: &Vertex) -> Result<Solved, BuildError> {
        let directory = match name {
            ContextName::Main => match &self.request.context {
                Some(MainContext::Directory(directory)) => Some(directory),
                Some(MainContext::Layer { layer, .. }) => return Ok(self.kept_context(*layer)?),
                None => None,
            },
            ContextName::Named(name) => match self.request.contexts.get(name) {
                Some(NamedContext::Directory(directory)) => Some(directory),
                Some(NamedContext::Image(_) | NamedContext::Scratch | NamedContext::Remote(_)) | None => None,
            },
        };
        let wanted = Wanted::of(self.graph, id);
        let tree = directory.ok_or(ContextError::None).and_then(|it| context::read(self.store, it, wanted, self.clock));
        let tree = tree.map_err(|error| at(vertex, error.into()))?;
        Ok(Solved::source(Value::Context(Arc::new(tree))))
    }

    fn finished(&self, vertex: &Vertex, solved: Solved, took: Duration) -> Solution {
        let Solved { value, outcome, miss, key, made } = solved;
        self.progress.report(Event::Finished { step: vertex.step.id, outcome, took });
        let layer = made.map(|made| made.diff_id);
        let report = StepReport { step: vertex.step.clone(), outcome, miss, key, layer, took };
        self.directory.finished(&report);
        Solution { value, made, report }
    }

    fn failed(&self, vertex: &Vertex, error: BuildError, took: Duration) -> BuildError {
        self.directory.failed(&vertex.step, &error, took);
        let step = vertex.step.id;
        self.progress.report(match error {
            BuildError::Cancelled => Event::Cancelled { step },
            _ => Event::Failed { step, took },
        });
        error
    }
}

impl Solved {
    /// A source that is there.
    fn source(value: Value) -> Self {
        Self { value, outcome: Outcome::Ready, miss: None, key: None, made: None }
    }

    /// What nobody can know in a dry run.
    fn unknown() -> Self {
        Self { value: Value::Unknown, outcome: Outcome::Unknown, miss: None, key: None, made: None }
    }
}

/// An error of a step.
fn at(vertex: &Vertex, source: StepError) -> BuildError {
    BuildError::Step { step: Box::new(vertex.step.clone()), source: Box::new(source) }
}
