//! `SOURCE_DATE_EPOCH`: seconds, or whose time it is (docs/dockerfile.md, A080).
//!
//! Planning does no IO: what has to be fetched for its time is only named here. A stage lends its time if it is
//! nothing but one thing that lies elsewhere.

use store::tree::Timestamp;

use super::scope::{self, Variables, expanded};
use super::{PlanError, error_at};
use crate::dockerfile::{Add, Dockerfile, Escape, Instruction, Source, Stage};
use crate::error::RequestError;
use crate::remote::{Checksum, Remote};
use crate::request::{BuildRequest, NamedContext};

/// The variable.
pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// Where the build's clock comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EpochSource {
    /// The text says it, or nothing.
    Literal(Option<Timestamp>),
    /// The build context.
    Context,
    /// A named context or a stage that lies elsewhere.
    Remote(Box<Remote>),
    /// A source that has no time: a directory or an image.
    Timeless,
}

/// A text that is a number of seconds since 1970.
pub fn seconds(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp::from_secs)
}

/// What the build argument says, or else the default before the first FROM. An empty value is none.
pub(crate) fn source(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<EpochSource, PlanError> {
    let mut globals = scope::globals(dockerfile, request)?;
    let given = request.build_args.get(NAME).map(String::as_str);
    let text = given.or_else(|| globals.get(NAME)).unwrap_or_default().to_owned();
    if text.is_empty() {
        return Ok(EpochSource::Literal(None));
    }
    if let Some(time) = seconds(&text) {
        return Ok(EpochSource::Literal(Some(time)));
    }
    let name = text.to_lowercase();
    match (text.as_str(), request.contexts.get(&name)) {
        ("context", _) => return Ok(EpochSource::Context),
        (_, Some(NamedContext::Remote(remote))) => return Ok(EpochSource::Remote(Box::new(remote.clone()))),
        (_, Some(_)) => return Ok(EpochSource::Timeless),
        (_, None) => {}
    }
    let Some(stage) = dockerfile.stages.iter().find(|stage| stage.name.as_deref() == Some(&name)) else {
        return Err(RequestError::Epoch(text).into());
    };
    globals.set(NAME, "");
    of_stage(stage, request, globals, dockerfile.directives.escape)
}

fn of_stage(
    stage: &Stage,
    request: &BuildRequest,
    mut variables: Variables,
    escape: Escape,
) -> Result<EpochSource, PlanError> {
    let wrong = |problem: &str| Err(error_at(stage.from.span, format!("{NAME} stage {problem}")));
    if expanded(&stage.from.value.image, &variables, escape)?.text != "scratch" {
        return wrong("must use FROM scratch");
    }
    let mut found = None;
    for statement in &stage.instructions {
        match &statement.value {
            Instruction::Arg(arg) => {
                for variable in &arg.variables {
                    let name = &variable.key.text;
                    let value = match (request.build_args.get(name), &variable.default) {
                        (Some(given), _) => given.clone(),
                        (None, Some(default)) => expanded(default, &variables, escape)?.text,
                        (None, None) => continue,
                    };
                    variables.set(name, &value);
                }
            }
            Instruction::Add(_) if found.is_some() => return wrong("must contain exactly one remote ADD"),
            Instruction::Add(add) => match of_add(add, &variables, escape)? {
                Some(remote) => found = Some(remote),
                None => return wrong("source must be a single HTTP(S) or Git ADD"),
            },
            other => {
                let keyword = other.keyword();
                return wrong(&format!("does not meet source-only requirements: unsupported {keyword} instruction"));
            }
        }
    }
    match found {
        Some(remote) => Ok(EpochSource::Remote(Box::new(remote))),
        None => wrong("must contain exactly one remote ADD"),
    }
}

/// The one thing that lies elsewhere; `None` for anything else.
fn of_add(add: &Add, variables: &Variables, escape: Escape) -> Result<Option<Remote>, PlanError> {
    let [Source::Path(path)] = add.files.sources.as_slice() else { return Ok(None) };
    let text = expanded(path, variables, escape)?.text;
    let mut remote = Remote::parse(&text).map_err(|error| error_at(path.span, error.to_string()))?;
    if let (Some(remote), Some(word)) = (&mut remote, &add.checksum) {
        let text = expanded(word, variables, escape)?.text;
        match remote {
            Remote::Url(url) => {
                let checksum = Checksum::parse(&text).map_err(|error| error_at(word.span, error.to_string()))?;
                url.checksum = Some(checksum);
            }
            Remote::Git(git) => git.checksum = Some(text),
        }
    }
    Ok(remote)
}
