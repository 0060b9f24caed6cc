//! Which stages the target needs, and which images those need.
//!
//! What a stage refers to can be told without planning it: FROM is expanded with global arguments
//! only, and `--from` is never expanded. So unreachable stages cost nothing and pull nothing
//! (docs/dockerfile.md, A062). Triggers of a base add to what its child refers to.

use std::collections::{BTreeMap, BTreeSet};

use store::{Platform, Reference};

use super::scope::{self, Variables, expanded};
use super::{ImageRequest, Images, PlanError, error_at};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{Dockerfile, Instruction, Statement, parse_trigger};
use crate::error::{BuildError, RequestError};
use crate::graph::ContextName;
use crate::request::{BuildRequest, NamedContext, StageChoice};
use crate::suggest::suggest;

/// What a stage starts from, or a `--from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing.
    Scratch,
    /// Another stage of the file.
    Stage(usize),
    /// A directory of the user.
    Directory(ContextName),
    /// An image.
    Image(ImageRequest),
}

/// The file with all its references resolved.
pub(super) struct Stages<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) request: &'a BuildRequest,
    /// What each stage starts from.
    pub(super) origins: Vec<Origin>,
    /// The platform of each stage, if FROM gives one.
    pub(super) platforms: Vec<Option<Platform>>,
    /// Stages by name; of two with the same name the later one.
    by_name: BTreeMap<&'a str, usize>,
}

impl<'a> Stages<'a> {
    /// Resolves what every stage starts from.
    pub(super) fn new(
        dockerfile: &'a Dockerfile,
        request: &'a BuildRequest,
        globals: &Variables,
    ) -> Result<Self, PlanError> {
        let mut stages =
            Self { dockerfile, request, origins: Vec::new(), platforms: Vec::new(), by_name: BTreeMap::new() };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            let from = &stage.from.value;
            let escape = dockerfile.directives.escape;
            let image = match &request.first_base {
                Some(base) if index == 0 => base.clone(),
                _ => expanded(&from.image, globals, escape)?.text,
            };
            if image.is_empty() {
                return Err(error_at(stage.from.span, format!("base name ({}) should not be blank", from.image.text)));
            }
            let platform = match &from.platform {
                None => None,
                Some(word) if word.text.is_empty() => None,
                Some(word) => Some(scope::platform(&expanded(word, globals, escape)?.text, word.span)?),
            };
            let origin = stages.origin(&image, platform.as_ref(), stage.name.as_deref(), from.image.span)?;
            stages.origins.push(origin);
            stages.platforms.push(platform);
            if let Some(name) = &stage.name {
                stages.by_name.insert(name, index);
            }
        }
        Ok(stages)
    }

    /// The stage to build.
    pub(super) fn target(&self) -> Result<usize, RequestError> {
        let Some(target) = &self.request.target else { return Ok(self.dockerfile.stages.len().saturating_sub(1)) };
        let name = target.to_lowercase();
        let by_number = || target.parse().ok().filter(|index| *index < self.dockerfile.stages.len());
        self.by_name.get(name.as_str()).copied().or_else(by_number).ok_or_else(|| RequestError::Target {
            target: target.clone(),
            suggestion: suggest(&name, self.by_name.keys().copied()).map(str::to_owned),
        })
    }

    /// How messages call a stage.
    pub(super) fn name(&self, stage: usize) -> String {
        self.dockerfile.stages[stage].name.clone().unwrap_or_else(|| format!("stage-{stage}"))
    }

    /// What `--from` names in a stage.
    pub(super) fn from(&self, text: &str, stage: usize, span: Span) -> Result<Origin, PlanError> {
        let name = text.to_lowercase();
        let by_number = || text.parse::<usize>().ok();
        let found = match self.by_name.get(name.as_str()).copied() {
            Some(found) => Some(found),
            None => match by_number() {
                Some(index) if index >= self.dockerfile.stages.len() => {
                    return Err(error_at(span, format!("invalid stage index {index}")));
                }
                index => index,
            },
        };
        match found {
            Some(found) if found >= stage => {
                if let Some(way) = self.way(found, stage) {
                    let names: Vec<_> = std::iter::once(stage).chain(way).map(|stage| self.name(stage)).collect();
                    let message = format!("circular dependency detected on stage: {}", names.join(" -> "));
                    return Err(error_at(span, message));
                }
                let here = self.name(stage);
                let message =
                    format!("cannot copy from stage {text:?}, it needs to be defined before current stage {here:?}");
                Err(error_at(span, message))
            }
            Some(found) => Ok(Origin::Stage(found)),
            None => self.outside(text, self.platforms[stage].as_ref(), span),
        }
    }

    /// How one stage needs another, both included, by bases and `--from` as they are written.
    fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::from([from]);
        while let Some(way) = ways.pop() {
            let last = way[way.len() - 1];
            if last == to {
                return Some(way);
            }
            let next = self.written(last).into_iter().filter(|stage| seen.insert(*stage));
            ways.extend(next.map(|stage| way.iter().copied().chain([stage]).collect::<Vec<_>>()));
        }
        None
    }

    /// The stages that a stage names.
    fn written(&self, stage: usize) -> Vec<usize> {
        let base = match self.origins.get(stage) {
            Some(Origin::Stage(base)) => Some(*base),
            _ => None,
        };
        let mut named: Vec<usize> = base.into_iter().collect();
        for statement in &self.dockerfile.stages[stage].instructions {
            named.extend(froms(&statement.value).into_iter().filter_map(|from| self.stage_of(from)));
        }
        named
    }

    /// The stage of a name or number.
    fn stage_of(&self, text: &str) -> Option<usize> {
        let by_number = || text.parse().ok().filter(|index| *index < self.dockerfile.stages.len());
        self.by_name.get(text.to_lowercase().as_str()).copied().or_else(by_number)
    }

    /// The instructions that a stage begins with because of its base (docs/dockerfile.md, A161).
    pub(super) fn triggers(&self, stage: usize, images: &Images) -> Result<Vec<Statement>, PlanError> {
        let texts: Vec<&str> = match &self.origins[stage] {
            Origin::Scratch | Origin::Directory(_) => Vec::new(),
            Origin::Image(image) => images
                .get(image)
                .map_or_else(Vec::new, |image| image.config.config.on_build.iter().map(String::as_str).collect()),
            Origin::Stage(base) => {
                let instructions = self.dockerfile.stages[*base].instructions.iter();
                let trigger = |statement: &'a Statement| match &statement.value {
                    Instruction::OnBuild(on_build) => Some(on_build.trigger.as_str()),
                    _ => None,
                };
                instructions.filter_map(trigger).collect()
            }
        };
        let span = self.dockerfile.stages[stage].from.span;
        texts.into_iter().map(|text| read_trigger(text, span)).collect()
    }

    /// The stages that a stage needs, and the images they all need that are not known yet.
    pub(super) fn reachable(&self, target: usize, images: &Images) -> Result<Reached, PlanError> {
        let mut reached = Reached::default();
        let mut pending = match self.request.stages {
            StageChoice::Needed => vec![target],
            StageChoice::All => (0..=target).collect(),
        };
        while let Some(stage) = pending.pop() {
            if !reached.stages.insert(stage) {
                continue;
            }
            for origin in self.references(stage, images)? {
                match origin {
                    Origin::Stage(other) => pending.push(other),
                    Origin::Image(image) if !images.contains_key(&image) => reached.missing.push(image),
                    Origin::Image(_) | Origin::Scratch | Origin::Directory(_) => {}
                }
            }
        }
        reached.missing.sort();
        reached.missing.dedup_by(|a, b| a == b);
        Ok(reached)
    }

    fn references(&self, stage: usize, images: &Images) -> Result<Vec<Origin>, PlanError> {
        let mut origins = vec![self.origins[stage].clone()];
        let triggers = self.triggers(stage, images)?;
        let instructions = triggers.iter().chain(&self.dockerfile.stages[stage].instructions);
        for statement in instructions {
            for from in froms(&statement.value) {
                origins.push(self.from(from, stage, statement.span)?);
            }
        }
        Ok(origins)
    }

    fn origin(
        &self,
        image: &str,
        platform: Option<&Platform>,
        stage: Option<&str>,
        span: Span,
    ) -> Result<Origin, PlanError> {
        if let Some((name, context)) = stage.and_then(|name| self.stand_in(name, platform)) {
            return Ok(self.context(name, context, platform, span));
        }
        match self.by_name.get(image) {
            Some(stage) => Ok(Origin::Stage(*stage)),
            None => self.outside(image, platform, span),
        }
    }

    /// A named context, `scratch` or an image.
    fn outside(&self, text: &str, platform: Option<&Platform>, span: Span) -> Result<Origin, PlanError> {
        if text == "scratch" {
            return Ok(Origin::Scratch);
        }
        if let Some((name, context)) = self.named(text, platform) {
            return Ok(self.context(name, context, platform, span));
        }
        let reference: Reference =
            text.parse().map_err(|error| error_at(span, format!("failed to parse stage name {text:?}: {error}")))?;
        Ok(Origin::Image(self.image(reference, platform, span)))
    }

    /// A named context by what the file says: the name itself, or an image name in any spelling.
    fn named(&self, text: &str, platform: Option<&Platform>) -> Option<(&'a str, &'a NamedContext)> {
        let lower = text.to_lowercase();
        let wanted = text.parse::<Reference>().ok();
        let same = |name: &str| {
            name.eq_ignore_ascii_case(&lower) || wanted.is_some() && name.parse::<Reference>().ok() == wanted
        };
        self.given(same, platform)
    }

    /// The named context that stands in for a stage.
    pub(super) fn stand_in(&self, stage: &str, platform: Option<&Platform>) -> Option<(&'a str, &'a NamedContext)> {
        self.given(|name| name == stage, platform)
    }

    /// One for this platform (`name::platform`) comes before one for all (docs/dockerfile.md, C027).
    fn given(&self, same: impl Fn(&str) -> bool, platform: Option<&Platform>) -> Option<(&'a str, &'a NamedContext)> {
        let platform = platform.or(self.request.platform.as_ref()).cloned().unwrap_or_else(Platform::host);
        let fits = |key: &str| match key.split_once("::") {
            Some((name, of)) => same(name) && of.parse().is_ok_and(|of: Platform| of == platform),
            None => false,
        };
        let contexts = || self.request.contexts.iter();
        let found = contexts().find(|(key, _)| fits(key)).or_else(|| contexts().find(|(key, _)| same(key)));
        found.map(|(key, context)| (key.as_str(), context))
    }

    fn context(&self, name: &str, context: &NamedContext, platform: Option<&Platform>, span: Span) -> Origin {
        match context {
            NamedContext::Directory(_) | NamedContext::Remote(_) => {
                Origin::Directory(ContextName::Named(name.to_owned()))
            }
            NamedContext::Image(reference) => Origin::Image(self.image(reference.clone(), platform, span)),
            NamedContext::Scratch => Origin::Scratch,
        }
    }

    fn image(&self, reference: Reference, platform: Option<&Platform>, span: Span) -> ImageRequest {
        let platform = platform.or(self.request.platform.as_ref()).cloned().unwrap_or_else(Platform::host);
        ImageRequest { reference, platform: platform.to_string(), span }
    }
}

/// What a target needs.
#[derive(Debug, Default)]
pub(super) struct Reached {
    pub(super) stages: BTreeSet<usize>,
    pub(super) missing: Vec<ImageRequest>,
}

/// What the `--from` and `from=` of an instruction say.
fn froms(instruction: &Instruction) -> Vec<&str> {
    match instruction {
        Instruction::Copy(copy) => {
            let from = copy.from.iter().map(|from| from.text.as_str());
            from.filter(|text| !text.is_empty()).collect()
        }
        Instruction::Run(run) => {
            run.mounts.iter().filter_map(|mount| mount.from()).map(|from| from.text.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a trigger; its spans become that of the FROM that fires it.
fn read_trigger(text: &str, span: Span) -> Result<Statement, PlanError> {
    let moved = |diagnostics: Vec<Diagnostic>| {
        let error = diagnostics.into_iter().find(Diagnostic::is_error);
        let message = error.map_or_else(String::new, |error| error.message);
        BuildError::Plan(Box::new(Diagnostic::error(span, format!("ONBUILD {text}: {message}"))))
    };
    let statement = parse_trigger(text).map_err(moved)?;
    Ok(Statement { span, keyword: span, text: format!("ONBUILD {}", statement.text), ..statement })
}
