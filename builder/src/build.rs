//! The one way in: a request goes in, an image comes out.
//!
//! A build parses, plans, solves and assembles. It reads the Dockerfile's bytes from the request,
//! the user's directories from disk, images from an [`ImageSource`], and
//! everything else from the store. It tags nothing and syncs nothing: whoever calls it does that
//! before saying that all is well.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::oci::ImageConfig;
use store::tree::Timestamp;
use store::{ActionKey, DiffId, ImageId, Platform, Reference, Store};

use crate::context;
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{self, Dockerfile};
use crate::error::{BuildError, RequestError, StepError};
use crate::executor::Executor;
use crate::executor::sandbox::SandboxExecutor;
use crate::graph::{Clock, Lookup, VertexId};
use crate::lint::{self, Checks, Findings, Lint};
use crate::plan::epoch::{self, EpochSource};
use crate::plan::{self, ImageRequest, Images, Plan, Planned, plan};
use crate::progress::{Event, Miss, Outcome, Progress, Step};
use crate::remote::{Fetcher, Remote};
use crate::request::{BuildRequest, CacheUse, MainContext};
use crate::solve::{BuildDirectory, Given, Mode, Shown, Solution, Solver, Value};
use crate::source::{ImageSource, ResolvedImage};
use crate::suggest::suggest;

/// What came of a build.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image's id.
    pub image: ImageId,
    /// Its config, which is in the store as a blob.
    pub config: ImageConfig,
    /// `SOURCE_DATE_EPOCH`, if somebody gave it.
    pub epoch: Option<Timestamp>,
    /// Its layers, lowest first, all in the store.
    pub layers: Vec<DiffId>,
    /// What came of each step.
    pub steps: Vec<StepReport>,
    /// What there is to say about the Dockerfile.
    pub diagnostics: Vec<Diagnostic>,
    /// The directory of this build's record and logs.
    pub record: PathBuf,
}

/// What came of one step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was executed, if it was.
    pub miss: Option<Miss>,
    /// Its key, if it has one and it is known.
    pub key: Option<ActionKey>,
    /// The layer that it made or found.
    pub layer: Option<DiffId>,
    /// How long it took now.
    pub took: Duration,
}

/// Builds an image and leaves it in the store, untagged and unsynced.
pub fn build(
    request: &BuildRequest,
    store: &Store,
    sources: &dyn ImageSource,
    executor: &dyn Executor,
    progress: &dyn Progress,
) -> Result<Built, BuildError> {
    let store = &store.ending_with(&request.cancel);
    let directory = BuildDirectory::new(store);
    let parties = Parties { request, store, sources, executor, progress };
    let (planned, diagnostics) = parties.plan()?;
    let solved = parties.solve(&planned, &directory, Mode::Build);
    let solutions = match solved {
        Ok(solutions) => solutions,
        Err(error) => {
            // The error is worth more than a record of it that could not be written.
            let _ = directory.finish(store, request, &Err(&error));
            return Err(error);
        }
    };
    let built = parties.assemble(&planned, &solutions, diagnostics, &directory)?;
    let hits: Vec<ActionKey> = built.steps.iter().filter(|step| is_hit(step)).filter_map(|step| step.key).collect();
    store.note_uses(&hits)?;
    directory.finish(store, request, &Ok(built.image))?;
    Ok(built)
}

/// Says what a build would do, without executing anything: per step whether it is known, and if not
/// why. Base images are brought if they are not there.
pub fn dry_run(
    request: &BuildRequest,
    store: &Store,
    sources: &dyn ImageSource,
    progress: &dyn Progress,
) -> Result<Vec<StepReport>, BuildError> {
    let store = &store.ending_with(&request.cancel);
    let parties = Parties { request, store, sources, executor: &SandboxExecutor::default(), progress };
    let (planned, _) = parties.plan()?;
    let solutions = parties.solve(&planned, &BuildDirectory::new(store), Mode::DryRun)?;
    Ok(solutions.iter().map(|solution| solution.report.clone()).collect())
}

/// Says what there is to do, as a graph that can be printed. Base images are looked up, not brought.
pub fn plan_only(
    request: &BuildRequest,
    store: &Store,
    sources: &dyn ImageSource,
    progress: &dyn Progress,
) -> Result<Planned, BuildError> {
    let store = &store.ending_with(&request.cancel);
    Parties { request, store, sources, executor: &SandboxExecutor::default(), progress }
        .plan()
        .map(|(planned, _)| planned)
}

/// What the build checks found.
#[derive(Debug)]
pub struct Checked {
    /// The findings, in the order of the file.
    pub findings: Vec<Diagnostic>,
    /// The base image that could not be had. Checks that need its variables were not made.
    pub missing: Option<BuildError>,
}

/// Makes the build checks and builds nothing. What cannot be built is an error, as in a build.
pub fn check(
    request: &BuildRequest,
    store: &Store,
    sources: &dyn ImageSource,
    progress: &dyn Progress,
) -> Result<Checked, BuildError> {
    let store = &store.ending_with(&request.cancel);
    let parties = Parties { request, store, sources, executor: &SandboxExecutor::default(), progress };
    let checks = parties.checks()?;
    let (dockerfile, mut findings) = parties.read(checks.as_ref())?;
    let missing = match parties.plan_of(&dockerfile) {
        Ok(planned) => {
            findings.extend(parties.findings(&planned)?);
            None
        }
        Err(error @ BuildError::Image { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    lint::retain(&dockerfile, &checks.unwrap_or_else(|| dockerfile.checks().unwrap_or_default()), &mut findings);
    findings.sort_by_key(|found| found.span);
    Ok(Checked { findings, missing })
}

/// Reads the request's Dockerfile and nothing else.
pub fn read(request: &BuildRequest) -> Result<Dockerfile, BuildError> {
    let parsed = dockerfile::parse(&request.dockerfile.bytes);
    if parsed.has_errors() { Err(BuildError::Dockerfile(parsed.diagnostics)) } else { Ok(parsed.dockerfile) }
}

/// The images whose platforms decide what a build can be for (`--all-platforms`). None of them is asked for.
pub fn bases(request: &BuildRequest) -> Result<Vec<Reference>, BuildError> {
    plan::bases(&read(request)?, request)
}

/// Who takes part in a build.
struct Parties<'a> {
    request: &'a BuildRequest,
    store: &'a Store,
    sources: &'a dyn ImageSource,
    executor: &'a dyn Executor,
    progress: &'a dyn Progress,
}

impl Parties<'_> {
    fn plan(&self) -> Result<(Planned, Vec<Diagnostic>), BuildError> {
        let checks = self.checks()?;
        let (dockerfile, mut diagnostics) = self.read(checks.as_ref())?;
        let planned = self.plan_of(&dockerfile)?;
        diagnostics.extend(self.findings(&planned)?);
        let checks = checks.unwrap_or_else(|| dockerfile.checks().unwrap_or_default());
        lint::retain(&dockerfile, &checks, &mut diagnostics);
        if checks.findings() == Findings::Fail && diagnostics.iter().any(|found| found.lint.is_some()) {
            return Err(BuildError::Checks(diagnostics));
        }
        diagnostics.iter().for_each(|found| self.progress.report(Event::Warning(found)));
        planned.notices.iter().for_each(|notice| self.progress.report(Event::Notice(notice)));
        self.progress.report(Event::Planned { steps: &planned.graph.steps() });
        Ok((planned, diagnostics))
    }

    /// The file and what there is to say of it alone.
    fn read(&self, checks: Option<&Checks>) -> Result<(Dockerfile, Vec<Diagnostic>), BuildError> {
        let parsed = dockerfile::parse_with(&self.request.dockerfile.bytes, checks);
        if parsed.has_errors() {
            return Err(BuildError::Dockerfile(parsed.diagnostics));
        }
        Ok((parsed.dockerfile, parsed.diagnostics))
    }

    fn plan_of(&self, dockerfile: &Dockerfile) -> Result<Planned, BuildError> {
        self.plan_with_images(dockerfile).map_err(BuildError::told)
    }

    fn plan_with_images(&self, dockerfile: &Dockerfile) -> Result<Planned, BuildError> {
        let (mut images, mut of_images) = (Images::new(), Vec::new());
        let now = now();
        let (epoch, request) = self.epoch(dockerfile)?;
        loop {
            match plan(dockerfile, &request, epoch, &images, now)? {
                Plan::Ready(mut planned) => {
                    planned.diagnostics.append(&mut of_images);
                    return Ok(*planned);
                }
                Plan::Needs(missing) => self.resolve(missing, dockerfile, &mut images, &mut of_images)?,
            }
        }
    }

    /// The build's clock, and the request with the time instead of whose it is.
    fn epoch(&self, dockerfile: &Dockerfile) -> Result<(Option<Timestamp>, Cow<'_, BuildRequest>), BuildError> {
        let time = match epoch::source(dockerfile, self.request)? {
            EpochSource::Literal(time) => return Ok((time, Cow::Borrowed(self.request))),
            EpochSource::Timeless => None,
            EpochSource::Context => self.request.context_time,
            EpochSource::Remote(remote) => self.time_of(&remote)?,
        };
        let mut request = self.request.clone();
        let text = time.map_or_else(String::new, |time| time.secs.to_string());
        request.build_args.insert(epoch::NAME.to_owned(), text);
        Ok((time, Cow::Owned(request)))
    }

    fn time_of(&self, remote: &Remote) -> Result<Option<Timestamp>, BuildError> {
        let fetcher = Fetcher {
            store: self.store,
            sources: self.sources,
            secrets: &self.request.secrets,
            clock: Clock::Preserve { epoch: None, now: Timestamp::default() },
            lookup: Lookup::Cached,
            cancel: &self.request.cancel,
            report: &|_| {},
        };
        let failed = |error: StepError| BuildError::Epoch(Box::new(error));
        let fetched = fetcher.fetch(remote).map_err(|error| failed(error.into()))?;
        match fetched.time {
            Some(time) => Ok(Some(time)),
            None => context::newest_in_archive(self.store, fetched.layer).map_err(failed),
        }
    }

    /// What only the plan tells: variables that nothing defines, and sources that are ignored.
    fn findings(&self, planned: &Planned) -> Result<Vec<Diagnostic>, BuildError> {
        let mut findings = planned.diagnostics.clone();
        let directory = self.request.context.as_ref().and_then(MainContext::directory);
        let ignored = directory.map(context::ignored).transpose();
        if let Some((file, rules)) = ignored.map_err(BuildError::Context)?.flatten() {
            findings.extend(lint::ignored_sources(&planned.graph, &file, &rules));
        }
        Ok(findings)
    }

    /// The build checks that the request chooses over the file (docs/dockerfile.md, A023).
    fn checks(&self) -> Result<Option<Checks>, RequestError> {
        let Some(text) = self.request.build_args.get("BUILDKIT_DOCKERFILE_CHECK") else { return Ok(None) };
        Checks::parse(text).map(Some).map_err(RequestError::Checks)
    }

    fn resolve(
        &self,
        missing: Vec<ImageRequest>,
        dockerfile: &Dockerfile,
        images: &mut Images,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), BuildError> {
        for request in missing {
            if self.request.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            let span = Some(request.span);
            self.progress.report(Event::Resolving { reference: &request.reference.familiar() });
            let platform = request.platform.parse().unwrap_or_else(|_| Platform::host());
            let image =
                self.sources.resolve(&request.reference, &platform, &self.request.cancel).map_err(|source| {
                    let stages = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref());
                    let name = request.reference.familiar();
                    let name = name.strip_suffix(":latest").unwrap_or(&name);
                    let suggestion = suggest(name, stages).map(str::to_owned);
                    BuildError::Image { span, suggestion, source }
                })?;
            diagnostics.extend(other_platform(&image, &platform, request.span));
            images.insert(request, image);
        }
        Ok(())
    }

    fn solve(
        &self,
        planned: &Planned,
        directory: &BuildDirectory,
        mode: Mode,
    ) -> Result<Vec<Arc<Solution>>, BuildError> {
        let Self { request, store, sources, executor, progress } = *self;
        let stop = request.cancel.branch();
        let store = &store.ending_with(&stop);
        let (graph, clock) = (&planned.graph, planned.clock);
        let (shown, given) = (Shown::default(), Given::default());
        Solver { request, store, sources, executor, progress, graph, clock, directory, mode, stop, shown, given }
            .solve()
    }

    fn squash(&self, planned: &Planned, config: &mut ImageConfig) -> Result<(), StepError> {
        let lookup = if self.request.cache == CacheUse::None { Lookup::Fresh } else { Lookup::Cached };
        let of_base = planned.image.config.rootfs.diff_ids.len();
        self.request.squash.squash(config, of_base, planned.clock, (self.store, lookup))
    }

    fn assemble(
        &self,
        planned: &Planned,
        solutions: &[Arc<Solution>],
        diagnostics: Vec<Diagnostic>,
        directory: &BuildDirectory,
    ) -> Result<Built, BuildError> {
        let made = |vertex: VertexId| solutions[vertex.0 as usize].made.expect("steps in the history make layers");
        let Value::Rootfs(rootfs) = &solutions[planned.root.0 as usize].value else {
            unreachable!("the result of a build is a root filesystem");
        };
        let mut config = planned.image.finish(&self.request.edits, &made, planned.clock);
        config.rootfs.diff_ids = rootfs.layers().to_vec();
        self.squash(planned, &mut config).map_err(|error| BuildError::Squash(Box::new(error)))?;
        self.request.edits.history(&mut config);
        let image = self.store.put_image(&config.to_bytes()).map_err(BuildError::Result)?;
        Ok(Built {
            image,
            epoch: planned.epoch,
            layers: config.rootfs.diff_ids.clone(),
            config,
            steps: solutions.iter().map(|solution| solution.report.clone()).collect(),
            diagnostics,
            record: directory.path().to_owned(),
        })
    }
}

/// An image of another platform is built on all the same, with a warning (docs/dockerfile.md, A067).
fn other_platform(image: &ResolvedImage, wanted: &Platform, span: Span) -> Option<Diagnostic> {
    let found = image.config.platform();
    let reference = image.reference.familiar();
    let message = format!("base image {reference} is an image for {found}, not for {wanted}");
    let is_other = wanted.distance_to(&found).is_none();
    is_other.then(|| Diagnostic::lint(Lint::InvalidBaseImagePlatform, span, message))
}

fn is_hit(report: &StepReport) -> bool {
    matches!(report.outcome, Outcome::Hit { .. } | Outcome::Shared)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs().cast_signed())
}
