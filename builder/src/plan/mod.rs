//! From a Dockerfile to a graph.
//!
//! ```text
//!   request + Dockerfile --reach--> stages and images that the target needs
//!                        --stage--> per stage: variables, config, history, vertices
//! ```
//!
//! Planning does no IO. Where it needs the config of an image that it does not know, it says so
//! ([`Plan::Needs`]) and is asked again: the configs of bases hold variables and triggers that
//! decide what the stages do.

mod amend;
mod command;
pub mod epoch;
mod files;
mod metadata;
mod reach;
pub mod scope;
mod stage;
mod undefined;

pub use amend::amend;

use std::collections::BTreeMap;

use store::Reference;
use store::tree::Timestamp;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::Dockerfile;
use crate::error::BuildError;
use crate::graph::{Clock, Graph, VertexId};
use crate::image::StageImage;
use crate::progress::Notice;
use crate::request::BuildRequest;
use crate::source::ResolvedImage;

/// Planning fails with the errors of a build.
pub(crate) type PlanError = BuildError;

/// An image that a plan needs. Where the file names it is no part of what it is.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// Its name.
    pub reference: Reference,
    /// The platform it must be for, as text.
    pub platform: String,
    /// Where the Dockerfile names it.
    pub span: Span,
}

/// The images that are known so far.
pub type Images = BTreeMap<ImageRequest, ResolvedImage>;

/// What planning comes to.
#[derive(Debug)]
pub enum Plan {
    /// All is known.
    Ready(Box<Planned>),
    /// These images must be resolved first.
    Needs(Vec<ImageRequest>),
}

/// A build that only needs to be done.
#[derive(Debug)]
pub struct Planned {
    /// What is to be done.
    pub graph: Graph,
    /// The root filesystem of the result.
    pub root: VertexId,
    /// The config of the result.
    pub image: StageImage,
    /// What the build takes for the time.
    pub clock: Clock,
    /// `SOURCE_DATE_EPOCH`, if somebody gave it.
    pub epoch: Option<Timestamp>,
    /// What there is to say about the Dockerfile.
    pub diagnostics: Vec<Diagnostic>,
    /// What there is to say about the request.
    pub notices: Vec<Notice>,
}

/// Plans a build.
pub fn plan(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    epoch: Option<Timestamp>,
    images: &Images,
    now: Timestamp,
) -> Result<Plan, BuildError> {
    let globals = scope::globals(dockerfile, request)?;
    let clock = scope::clock(request, epoch, now);
    let stages = reach::Stages::new(dockerfile, request, &globals)?;
    let target = stages.target()?;
    let reached = stages.reachable(target, images)?;
    if !reached.missing.is_empty() {
        return Ok(Plan::Needs(reached.missing));
    }
    let mut planner = stage::Planner::new(&stages, &globals, images, clock);
    for stage in &reached.stages {
        planner.plan_stage(*stage)?;
    }
    Ok(Plan::Ready(Box::new(Planned { epoch, ..planner.finish(target) })))
}

/// The images that stages of the target's own platform start from: those of which the platforms decide what can be
/// built for. FROM with a platform of its own does not.
pub fn bases(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Vec<Reference>, BuildError> {
    let globals = scope::globals(dockerfile, request)?;
    let stages = reach::Stages::new(dockerfile, request, &globals)?;
    let reached = stages.reachable(stages.target()?, &Images::new())?;
    let base = |stage: usize| match (&stages.origins[stage], &stages.platforms[stage]) {
        (reach::Origin::Image(image), None) => Some(image.reference.clone()),
        _ => None,
    };
    Ok(reached.stages.into_iter().filter_map(base).collect())
}

/// What of a file a target needs, as far as it can be told without any image.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// The stage to build.
    pub(crate) target: usize,
    /// The stages that it needs, itself among them, in order.
    pub(crate) stages: Vec<usize>,
    /// The variables of FROM lines.
    pub(crate) globals: scope::Variables,
}

impl Sketch {
    /// Resolves what FROM and `--from` name.
    pub(crate) fn of(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Self, BuildError> {
        let globals = scope::globals(dockerfile, request)?;
        let stages = reach::Stages::new(dockerfile, request, &globals)?;
        let target = stages.target()?;
        let reached = stages.reachable(target, &Images::new())?;
        Ok(Self { target, stages: reached.stages.into_iter().collect(), globals })
    }
}

/// An error at a place in the Dockerfile.
pub(crate) fn error_at(span: Span, message: impl Into<String>) -> BuildError {
    BuildError::Plan(Box::new(Diagnostic::error(span, message)))
}

impl ImageRequest {
    fn identity(&self) -> (&Reference, &str) {
        (&self.reference, &self.platform)
    }
}

impl PartialEq for ImageRequest {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ImageRequest {}

impl PartialOrd for ImageRequest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ImageRequest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.identity().cmp(&other.identity())
    }
}
