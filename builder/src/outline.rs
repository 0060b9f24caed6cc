//! What a Dockerfile offers and takes, without building it: its targets, and the arguments, secrets and
//! agents of one of them (`--call=targets`, `--call=outline`). No image is looked up, so triggers of base
//! images are not in it.

use crate::build;
use crate::dockerfile::{Arg, Dockerfile, Instruction, Mount, Run, mount::Need};
use crate::error::BuildError;
use crate::expand::expand;
use crate::plan::Sketch;
use crate::request::BuildRequest;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What its comment says.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// `FROM --platform`, as written.
    pub platform: Option<String>,
    /// Whether it is built unless another is asked for.
    pub role: Role,
}

/// What a stage is to a build that names no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the result.
    Default,
    /// It is built if something needs it.
    Other,
}

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// What its comment says.
    pub description: Option<String>,
    /// The arguments of all stages that it needs, each once, in order.
    pub arguments: Vec<Argument>,
    /// Its secrets.
    pub secrets: Vec<Credential>,
    /// Its agents.
    pub agents: Vec<Credential>,
    /// The ids of its cache mounts; one without an id is known by its place.
    pub caches: Vec<String>,
}

/// An ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// The value that it would have now.
    pub value: Option<String>,
    /// What its comment says.
    pub description: Option<String>,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub name: String,
    /// What happens without it.
    pub need: Need,
}

/// The stages of the request's Dockerfile.
pub fn targets(request: &BuildRequest) -> Result<Vec<Target>, BuildError> {
    let dockerfile = build::read(request)?;
    let last = dockerfile.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &crate::dockerfile::Stage)| Target {
        name: stage.name.clone(),
        description: stage.description.clone(),
        base: stage.from.value.image.text.clone(),
        platform: stage.from.value.platform.as_ref().map(|word| word.text.clone()),
        role: if index == last { Role::Default } else { Role::Other },
    };
    Ok(dockerfile.stages.iter().enumerate().map(target).collect())
}

/// What the request's target takes.
pub fn outline(request: &BuildRequest) -> Result<Outline, BuildError> {
    let dockerfile = build::read(request)?;
    let sketch = Sketch::of(&dockerfile, request)?;
    let target = &dockerfile.stages[sketch.target];
    let (name, description) = (target.name.clone(), target.description.clone());
    let mut drawing = Drawing { dockerfile: &dockerfile, request, sketch: &sketch, outline: Outline::default() };
    drawing.outline.name = name;
    drawing.outline.description = description;
    drawing.lines_of_from();
    for stage in &sketch.stages {
        for statement in &dockerfile.stages[*stage].instructions {
            match &statement.value {
                Instruction::Arg(arg) => drawing.arguments(arg),
                Instruction::Run(run) => drawing.mounts(run),
                _ => {}
            }
        }
    }
    Ok(drawing.outline)
}

struct Drawing<'a> {
    dockerfile: &'a Dockerfile,
    request: &'a BuildRequest,
    sketch: &'a Sketch,
    outline: Outline,
}

impl Drawing<'_> {
    /// The global arguments that the FROM lines of the target use.
    fn lines_of_from(&mut self) {
        let escape = self.dockerfile.directives.escape;
        for stage in &self.sketch.stages {
            let from = &self.dockerfile.stages[*stage].from.value;
            for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
                let used = expand(&word.text, &self.sketch.globals, escape).unwrap_or_default();
                for name in used.used.iter().chain(&used.undefined) {
                    self.global(name);
                }
            }
        }
    }

    fn global(&mut self, name: &str) {
        let mut declared = self.dockerfile.global_args.iter().flat_map(|arg| &arg.value.variables);
        if let Some(variable) = declared.rfind(|variable| variable.key.text == name) {
            self.note(name, self.sketch.globals.get(name).map(str::to_owned), variable.description.clone());
        }
    }

    fn arguments(&mut self, arg: &Arg) {
        let escape = self.dockerfile.directives.escape;
        for variable in &arg.variables {
            let name = &variable.key.text;
            let given = self.request.build_args.get(name).cloned();
            let default = || {
                let word = variable.default.as_ref()?;
                let known = |name: &str| self.outline.value(name);
                expand(&word.text, &known, escape).ok().map(|expanded| expanded.text)
            };
            let value = given.or_else(default).or_else(|| self.sketch.globals.get(name).map(str::to_owned));
            self.note(name, value, variable.description.clone());
            self.global(name);
        }
    }

    /// Adds an argument; one that is there already is completed.
    fn note(&mut self, name: &str, value: Option<String>, description: Option<String>) {
        match self.outline.arguments.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.value = known.value.take().or(value);
                known.description = known.description.take().or(description);
            }
            None => self.outline.arguments.push(Argument { name: name.to_owned(), value, description }),
        }
    }

    /// What RUN mounts from outside. A mount that makes no sense is for the build to refuse.
    fn mounts(&mut self, run: &Run) {
        let escape = self.dockerfile.directives.escape;
        for mount in &run.mounts {
            let known = |name: &str| self.outline.value(name);
            match mount.resolve(|word| expand(&word.text, &known, escape).map(|expanded| expanded.text)) {
                Ok(Mount::Secret { id, need, .. }) => Credential::add(&mut self.outline.secrets, id, need),
                Ok(Mount::Ssh { id, need, .. }) => Credential::add(&mut self.outline.agents, id, need),
                Ok(Mount::Cache { target, id, .. }) => {
                    let id = id.unwrap_or(target);
                    if !self.outline.caches.contains(&id) {
                        self.outline.caches.push(id);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Outline {
    fn value(&self, name: &str) -> Option<String> {
        self.arguments.iter().find(|known| known.name == name)?.value.clone()
    }
}

impl Credential {
    /// One that some step requires is required.
    fn add(credentials: &mut Vec<Self>, name: String, need: Need) {
        match credentials.iter_mut().find(|known| known.name == name) {
            Some(known) => known.need = known.need.max(need),
            None => credentials.push(Self { name, need }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DockerfileText;

    const FILE: &str = "# V is the base's version\nARG V=3 UNUSED\n# base has the tools\nFROM a:$V AS base\n\
        RUN --mount=type=secret,id=token x\nFROM b AS other\nARG HIDDEN\nFROM base\nARG V\n# W is $V again\nARG W=x$V X\n\
        RUN --mount=type=secret,id=token,required --mount=type=ssh --mount=type=cache,target=/c y\n";

    fn request(target: Option<&str>) -> BuildRequest {
        let bytes = FILE.as_bytes().to_vec();
        let request = BuildRequest::new(DockerfileText { name: "Dockerfile".into(), bytes });
        BuildRequest { target: target.map(str::to_owned), ..request }
    }

    #[test]
    fn a010_targets_are_stages_with_descriptions() {
        let found = targets(&request(None)).unwrap();
        let lines: Vec<_> = found.iter().map(|found| (found.name.as_deref(), found.description.as_deref())).collect();
        assert_eq!(lines, [(Some("base"), Some("has the tools")), (Some("other"), None), (None, None)]);
        assert_eq!(found.iter().position(|found| found.role == Role::Default), Some(2));
        assert_eq!(found[0].base, "a:$V");
    }

    #[test]
    fn a010_an_outline_is_what_the_target_takes() {
        let found = outline(&request(None)).unwrap();
        let arguments: Vec<_> = found
            .arguments
            .iter()
            .map(|found| (found.name.as_str(), found.value.as_deref(), found.description.as_deref()))
            .collect();
        let expected = [
            ("V", Some("3"), Some("is the base's version")),
            ("W", Some("x3"), Some("is $V again")),
            ("X", None, None),
        ];
        assert_eq!(arguments, expected);
        assert_eq!(found.secrets, [Credential { name: "token".into(), need: Need::Required }]);
        assert_eq!(found.agents, [Credential { name: "default".into(), need: Need::Optional }]);
        assert_eq!(found.caches, ["/c"]);
        let other = outline(&request(Some("other"))).unwrap();
        assert_eq!(other.arguments.len(), 1);
        assert!(outline(&request(Some("nothing"))).is_err());
    }
}
