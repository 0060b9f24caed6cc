//! One stage after the other: instructions in their order, with the state that they change.

use std::collections::{BTreeMap, BTreeSet};

use store::{Platform, RelPath};

use super::reach::{Origin, Stages};
use super::scope::{Arguments, Variables, expanded, is_ineffective, is_predefined, proxies};
use super::{ImageRequest, Images, PlanError, Planned, error_at, metadata, undefined};
use crate::copy::Form;
use crate::copy::{Destination, OwnerSpec};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{Arg, Escape, Instruction, Statement, Word};
use crate::expand::expand;
use crate::graph::{
    Archives, Clock, ContextName, CopyKind, CopyOp, CopySource, Footing, Graph, Lookup, Op, RemoteOp, Vertex, VertexId,
    WorkdirOp,
};
use crate::image::StageImage;
use crate::progress::{Notice, Step, StepKind};
use crate::remote::{Remote, redacted};
use crate::request::{CacheUse, NamedContext};

/// Plans stages into one graph.
pub(super) struct Planner<'a> {
    pub(super) stages: &'a Stages<'a>,
    pub(super) globals: &'a Variables,
    pub(super) images: &'a Images,
    pub(super) clock: Clock,
    pub(super) proxies: Vec<(String, String)>,
    graph: Graph,
    done: BTreeMap<usize, State>,
    sources: BTreeMap<String, VertexId>,
    consumed: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

/// What the instructions of a stage have come to so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) image: StageImage,
    pub(super) root: VertexId,
    pub(super) variables: Variables,
    /// The ARGs in scope, in order, with the value that they had when they were declared.
    pub(super) arguments: Arguments,
    pub(super) platform: Platform,
}

/// Where the planner is.
pub(super) struct Place {
    pub(super) stage: usize,
    pub(super) name: String,
    position: usize,
    total: usize,
}

impl State {
    /// The state in which a stage begins that starts from an image.
    pub(super) fn new(image: StageImage, root: VertexId, platform: Platform) -> Self {
        let mut variables = Variables::default();
        for pair in &image.config.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            variables.set(name, value);
        }
        Self { image, root, variables, arguments: Arguments::default(), platform }
    }

    /// The current directory.
    pub(super) fn directory(&self) -> RelPath {
        RelPath::clean(self.image.config.config.working_dir.as_bytes()).unwrap_or_default()
    }

    /// A path that may be relative to the current directory.
    pub(super) fn absolute(&self, path: &str, span: Span) -> Result<RelPath, PlanError> {
        let joined =
            if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", text_of(&self.directory())) };
        RelPath::clean(joined.as_bytes()).map_err(|error| error_at(span, error.to_string()))
    }

    /// The shell with a text to execute.
    pub(super) fn with_shell(&self, text: &str) -> Vec<String> {
        let shell = &self.image.config.config.shell;
        let shell = if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.clone() };
        shell.into_iter().chain([text.to_owned()]).collect()
    }
}

impl<'a> Planner<'a> {
    pub(super) fn new(stages: &'a Stages<'a>, globals: &'a Variables, images: &'a Images, clock: Clock) -> Self {
        let declared = stages.dockerfile.global_args.iter().flat_map(|statement| &statement.value.variables);
        Self {
            stages,
            globals,
            images,
            clock,
            proxies: proxies(stages.request),
            graph: Graph::default(),
            done: BTreeMap::new(),
            sources: BTreeMap::new(),
            consumed: declared.map(|variable| variable.key.text.clone()).collect(),
            diagnostics: Vec::new(),
        }
    }

    /// What was planned, with one stage as its result.
    pub(super) fn finish(mut self, target: usize) -> Planned {
        let state = self.done.remove(&target).expect("the target is reachable");
        let notices = self.notices();
        Planned {
            graph: self.graph,
            root: state.root,
            image: state.image,
            clock: self.clock,
            epoch: None,
            diagnostics: self.diagnostics,
            notices,
        }
    }

    /// What is to be said of the build arguments.
    fn notices(&self) -> Vec<Notice> {
        let given = &self.stages.request.build_args;
        let is_unused = |name: &&String| !self.consumed.contains(*name) && !is_predefined(name);
        let unused: Vec<String> = given.keys().filter(is_unused).cloned().collect();
        let idle = given.iter().filter(|(name, value)| is_ineffective(name, value));
        let idle: Vec<String> = idle.map(|(name, _)| name.clone()).collect();
        let unused = (!unused.is_empty()).then_some(Notice::UnusedBuildArguments(unused));
        let idle = (!idle.is_empty()).then_some(Notice::IneffectiveBuildArguments(idle));
        unused.into_iter().chain(idle).collect()
    }

    /// Plans a stage of which everything it refers to is planned.
    pub(super) fn plan_stage(&mut self, stage: usize) -> Result<(), PlanError> {
        let triggers = self.stages.triggers(stage, self.images)?;
        let instructions: Vec<&Statement> =
            triggers.iter().chain(&self.stages.dockerfile.stages[stage].instructions).collect();
        let is_image = matches!(self.stages.origins[stage], Origin::Image(_));
        let total =
            instructions.iter().filter(|statement| makes_step(&statement.value)).count() + usize::from(is_image);
        let mut place = Place { stage, name: self.stages.name(stage), position: usize::from(is_image), total };
        let mut state = self.start(stage)?;
        self.edit(&mut state, stage);
        if self.is_replaced(stage) {
            self.done.insert(stage, state);
            return Ok(());
        }
        for statement in instructions {
            self.instruction(statement, &mut state, &mut place)?;
        }
        self.done.insert(stage, state);
        Ok(())
    }

    /// What the request changes in the config that a stage begins with (docs/dockerfile.md, C059).
    fn edit(&self, state: &mut State, stage: usize) {
        let edits = &self.stages.request.edits;
        edits.begin(&mut state.image.config.config);
        if matches!(self.stages.origins[stage], Origin::Stage(_)) {
            return;
        }
        for (name, value) in &edits.env {
            state.image.config.config.set_env(name, value);
            state.variables.set(name, value);
        }
    }

    /// Whether a named context stands in for the whole stage.
    fn is_replaced(&self, stage: usize) -> bool {
        let name = self.stages.dockerfile.stages[stage].name.as_deref();
        let platform = self.stages.platforms[stage].as_ref();
        name.is_some_and(|name| self.stages.stand_in(name, platform).is_some())
    }

    fn start(&mut self, stage: usize) -> Result<State, PlanError> {
        let span = self.stages.dockerfile.stages[stage].from.span;
        let platform = self.stages.platforms[stage].clone();
        let asked = platform.clone().or_else(|| self.stages.request.platform.clone());
        match self.stages.origins[stage].clone() {
            Origin::Stage(base) => {
                let parent = &self.done[&base];
                Ok(State { image: parent.image.child(), ..parent.clone() })
            }
            Origin::Scratch => {
                // Nothing is of no platform: `FROM --platform` says nothing here (BuildKit's behaviour).
                let platform = self.stages.request.platform.clone().unwrap_or_else(Platform::host);
                let root = self.scratch();
                Ok(State::new(StageImage::scratch(&platform), root, platform))
            }
            Origin::Directory(name) => {
                let platform = asked.unwrap_or_else(Platform::host);
                let (scratch, context) = (self.scratch(), self.context(name.clone()));
                let text = format!("FROM {}", context_text(&name));
                let op = Op::Copy(Box::new(whole_context(scratch, context, self.clock)));
                let step = self.step(StepKind::Copy, None, None, text, Some(span));
                let root = self.graph.add(Vertex { op, step, lookup: Lookup::Cached });
                Ok(State::new(StageImage::scratch(&platform), root, platform))
            }
            Origin::Image(request) => {
                let mut config = self.images[&request].config.clone();
                let platform = asked.unwrap_or_else(|| config.platform());
                if let Some(target) = &self.stages.request.platform {
                    (config.os, config.architecture) = (target.os.clone(), target.architecture.clone());
                    config.variant.clone_from(&target.variant);
                }
                config.config.on_build.clear();
                let root = self.image(&request, Some(stage));
                Ok(State::new(StageImage::new(config), root, platform))
            }
        }
    }

    fn instruction(&mut self, statement: &Statement, state: &mut State, place: &mut Place) -> Result<(), PlanError> {
        place.position += usize::from(makes_step(&statement.value));
        let before = self.diagnostics.len();
        self.diagnostics.extend(undefined::check(&statement.value, state, self.escape(), before));
        match &statement.value {
            Instruction::Add(add) => self.add(add, statement, state, place),
            Instruction::Copy(copy) => self.copy(copy, statement, state, place),
            Instruction::Run(run) => self.run(run, statement, state, place),
            Instruction::Workdir(path) => self.workdir(path, statement, state, place),
            Instruction::Arg(arg) => self.arg(arg, state),
            other => metadata::apply(other, state, self.escape()),
        }
    }

    fn arg(&mut self, arg: &Arg, state: &mut State) -> Result<(), PlanError> {
        let mut texts = Vec::new();
        for variable in &arg.variables {
            // Names are taken as they are, whatever the documentation says of expansion (BuildKit's code).
            let name = variable.key.text.clone();
            self.consumed.insert(name.clone());
            let value = match (self.stages.request.build_args.get(&name), &variable.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(expanded(default, &state.variables, self.escape())?.text),
                (None, None) => self.globals.get(&name).map(str::to_owned),
            };
            if let Some(value) = &value {
                state.variables.set(&name, value);
            }
            texts.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            state.arguments.declare(&name, value);
        }
        state.image.note(format!("ARG {}", texts.join(" ")));
        Ok(())
    }

    fn workdir(
        &mut self,
        path: &Word,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        let text = expanded(path, &state.variables, self.escape())?.text;
        let path = state.absolute(&text, path.span)?;
        // An absolute path keeps its slash, as in the field.
        let slash = if text.starts_with('/') && text.ends_with('/') && !path.is_root() { "/" } else { "" };
        let written = format!("{}{slash}", text_of(&path));
        let history = format!("WORKDIR {written}");
        state.image.config.config.working_dir = written;
        if path.is_root() {
            state.image.note(history);
            return Ok(());
        }
        let owner = OwnerSpec::parse(&state.image.config.config.user);
        let op = WorkdirOp { base: state.root, path, owner, times: self.clock.times_of_context() };
        state.root = self.vertex(Op::Workdir(op), StepKind::Workdir, statement, state, place);
        state.image.note_layer(history, state.root);
        Ok(())
    }

    pub(super) fn escape(&self) -> Escape {
        self.stages.dockerfile.directives.escape
    }

    /// Adds the vertex of an instruction.
    pub(super) fn vertex(
        &mut self,
        op: Op,
        kind: StepKind,
        statement: &Statement,
        state: &State,
        place: &Place,
    ) -> VertexId {
        let text = match kind {
            StepKind::Run => statement.text.clone(),
            _ => expand(&statement.text, &state.variables, self.escape())
                .map_or_else(|_| statement.text.clone(), |expanded| expanded.text),
        };
        let text = redacted(&text);
        let position = Some((place.position, place.total));
        let step = self.step(kind, Some(place.name.clone()), position, text, Some(statement.span));
        let lookup = self.lookup(place.stage);
        self.graph.add(Vertex { op, step, lookup })
    }

    fn lookup(&self, stage: usize) -> Lookup {
        let name = self.stages.name(stage);
        match &self.stages.request.cache {
            CacheUse::All => Lookup::Cached,
            CacheUse::None => Lookup::Fresh,
            CacheUse::NotStages(stages) if stages.iter().any(|other| other.eq_ignore_ascii_case(&name)) => {
                Lookup::Fresh
            }
            CacheUse::NotStages(_) => Lookup::Cached,
        }
    }

    fn step(
        &self,
        kind: StepKind,
        stage: Option<String>,
        position: Option<(usize, usize)>,
        text: String,
        span: Option<Span>,
    ) -> Step {
        Step { id: self.graph.next_id().step(), kind, stage, position, text, span }
    }

    /// The vertex of what a `--from` names; without one it is the build context.
    pub(super) fn origin(
        &mut self,
        from: Option<&str>,
        stage: usize,
        span: Span,
    ) -> Result<(VertexId, Origin), PlanError> {
        let Some(from) = from else {
            let main = ContextName::Main;
            return Ok((self.context(main.clone()), Origin::Directory(main)));
        };
        let origin = self.stages.from(from, stage, span)?;
        let vertex = match &origin {
            Origin::Scratch => self.scratch(),
            Origin::Stage(stage) => self.done[stage].root,
            Origin::Directory(name) => self.context(name.clone()),
            Origin::Image(request) => self.image(request, None),
        };
        Ok((vertex, origin))
    }

    pub(super) fn scratch(&mut self) -> VertexId {
        self.source("scratch".to_owned(), Op::Scratch, StepKind::Image, "FROM scratch".to_owned(), None, None)
    }

    fn context(&mut self, name: ContextName) -> VertexId {
        let text = context_text(&name);
        let given = match &name {
            ContextName::Named(name) => self.stages.request.contexts.get(name),
            ContextName::Main => None,
        };
        let op = match given {
            Some(NamedContext::Remote(remote)) => {
                Op::Remote(Box::new(RemoteOp { remote: remote.clone(), archive: Archives::Unpack }))
            }
            _ => Op::Context(name),
        };
        self.source(format!("context {text}"), op, StepKind::Context, text, None, None)
    }

    /// What a source of ADD names that lies elsewhere.
    pub(super) fn remote(&mut self, remote: &Remote, stage: usize, span: Span) -> VertexId {
        let lookup = self.lookup(stage);
        let key = format!("remote {lookup:?} {}", self.identity(remote));
        let op = Op::Remote(Box::new(RemoteOp { remote: remote.clone(), archive: Archives::Keep }));
        let text = format!("fetch {remote}");
        if let Some(vertex) = self.sources.get(&key) {
            return *vertex;
        }
        let step = self.step(StepKind::Context, Some(self.stages.name(stage)), None, text, Some(span));
        let vertex = self.graph.add(Vertex { op, step, lookup });
        self.sources.insert(key, vertex);
        vertex
    }

    /// All that tells one remote thing from another.
    fn identity(&self, remote: &Remote) -> String {
        match remote {
            Remote::Url(url) => format!("{} {:?}", url.url, url.checksum),
            Remote::Git(git) => format!("{} {git:?}", git.repository),
        }
    }

    fn image(&mut self, request: &ImageRequest, stage: Option<usize>) -> VertexId {
        let image = self.images[request].clone();
        let key = format!("image {} {}", request.reference, request.platform);
        let text = format!("FROM {}", request.reference.familiar());
        let stage = stage.map(|stage| self.stages.name(stage));
        self.source(key, Op::Image(Box::new(image)), StepKind::Image, text, stage, Some(request.span))
    }

    /// Adds a source once.
    fn source(
        &mut self,
        key: String,
        op: Op,
        kind: StepKind,
        text: String,
        stage: Option<String>,
        span: Option<Span>,
    ) -> VertexId {
        if let Some(vertex) = self.sources.get(&key) {
            return *vertex;
        }
        let step = self.step(kind, stage, None, text, span);
        let vertex = self.graph.add(Vertex { op, step, lookup: Lookup::Cached });
        self.sources.insert(key, vertex);
        vertex
    }
}

/// A path as the config has it.
pub(super) fn text_of(path: &RelPath) -> String {
    format!("/{}", String::from_utf8_lossy(path.as_bytes()))
}

fn makes_step(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_))
}

fn context_text(name: &ContextName) -> String {
    match name {
        ContextName::Main => "build context".to_owned(),
        ContextName::Named(name) => format!("context {name}"),
    }
}

/// A directory of the user as a root filesystem.
fn whole_context(base: VertexId, context: VertexId, clock: Clock) -> CopyOp {
    CopyOp {
        kind: CopyKind::Copy,
        base,
        sources: vec![CopySource::Path { from: context, pattern: "/".to_owned() }],
        destination: Destination { path: RelPath::root(), form: Form::Directory },
        owner: None,
        mode: None,
        footing: Footing::Base,
        exclude: Vec::new(),
        archives: Archives::Keep,
        times: clock.times_of_context(),
    }
}
