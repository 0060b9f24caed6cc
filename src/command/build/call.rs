//! `kiln build --check` and `--call`: what there is to say about a Dockerfile instead of an image.
//!
//! Results go to standard output, as text or as JSON. Checks that find something end with status 1.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::str::FromStr;

use builder::build::{self, Checked};
use builder::diagnostic::Diagnostic;
use builder::dockerfile::mount::Need;
use builder::outline::{self, Credential, Outline, Role, Target};
use builder::progress::Quiet;
use builder::request::{BuildRequest, DockerfileText};
use serde_json::{Value, json};
use store::Store;

use crate::context::{note, stdout};
use crate::report::{Failure, with_causes};
use crate::sources::Images;
use crate::ui::excerpt;
use crate::ui::sanitize::{self, Colours};

/// What to do with the Dockerfile.
#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// Make the build checks and build nothing; status 1 if they find something
    #[arg(long, conflicts_with = "call")]
    check: bool,
    /// What to do: build, check, outline (what the target takes), targets; `,format=json` for JSON
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: Call,
}

/// `--call`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    method: Method,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// No such method or format.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("invalid method {0:?}: expected build, check, outline or targets")]
    Method(String),
    #[error("invalid option {0:?}: expected format=text or format=json")]
    Option(String),
}

impl FromStr for Call {
    type Err = CallError;

    fn from_str(text: &str) -> Result<Self, CallError> {
        let (name, options) = text.split_once(',').map_or((text, None), |(name, options)| (name, Some(options)));
        let method = match name {
            "build" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            _ => return Err(CallError::Method(name.to_owned())),
        };
        let format = match options {
            None | Some("format=text" | "format=txt") => Format::Text,
            Some("format=json") => Format::Json,
            Some(other) => return Err(CallError::Option(other.to_owned())),
        };
        Ok(Self { method, format })
    }
}

impl CallArgs {
    /// Whether an image is wanted after all.
    pub(super) fn is_build(&self) -> bool {
        !self.check && self.call.method == Method::Build
    }

    /// Answers the call; errors of the build are the caller's to explain.
    pub(super) fn answer(
        &self,
        request: &BuildRequest,
        store: &Store,
        images: &Images,
    ) -> Result<ExitCode, CallFailure> {
        let format = self.call.format;
        match if self.check { Method::Check } else { self.call.method } {
            Method::Build | Method::Check => {
                let checked = build::check(request, store, images, &Quiet)?;
                print(&match format {
                    Format::Text => findings(&checked, &request.dockerfile),
                    Format::Json => pretty(&findings_json(&checked, &request.dockerfile)),
                })?;
                Ok(if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Method::Outline => {
                let outline = outline::outline(request)?;
                print(&if format == Format::Json { pretty(&outline_json(&outline)) } else { outline_text(&outline) })?;
                Ok(ExitCode::SUCCESS)
            }
            Method::Targets => {
                let targets = outline::targets(request)?;
                print(&if format == Format::Json { pretty(&targets_json(&targets)) } else { targets_text(&targets) })?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Why a call has no answer.
pub(super) enum CallFailure {
    /// The Dockerfile or the request is at fault.
    Build(builder::BuildError),
    /// The answer could not be written.
    Other(Failure),
}

impl From<builder::BuildError> for CallFailure {
    fn from(error: builder::BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<std::io::Error> for CallFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

fn print(text: &str) -> std::io::Result<()> {
    stdout().write_all(text.as_bytes())
}

/// How many there are, and each with its lines, what it asks for, and where more is said.
fn findings(checked: &Checked, source: &DockerfileText) -> String {
    if let Some(error) = &checked.missing {
        note(format!("warning: checks that need the base image were not made: {}", with_causes(error)));
    }
    let mut text = match checked.findings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = if plain { Colours::Dropped } else { Colours::Kept };
    for found in &checked.findings {
        let _ = writeln!(text, "\n{}", excerpt::diagnostic(source, found, colours));
        if let Some(lint) = found.lint {
            let _ = writeln!(text, "{}: {}", lint.about(), lint.url());
        }
    }
    text
}

fn findings_json(checked: &Checked, source: &DockerfileText) -> Value {
    let warnings: Vec<Value> = checked.findings.iter().map(|found| finding_json(found, source)).collect();
    let mut value = json!({
        "warnings": warnings,
        "sources": [{ "fileName": source.name, "language": "Dockerfile" }],
    });
    if let Some(error) = &checked.missing {
        value["notChecked"] = with_causes(error).into();
    }
    value
}

fn finding_json(found: &Diagnostic, source: &DockerfileText) -> Value {
    let line = |line: usize| json!({ "line": line });
    let range = json!({
        "start": line(found.span.first_line(&source.bytes)),
        "end": line(found.span.last_line(&source.bytes)),
    });
    json!({
        "ruleName": found.lint.map(|lint| lint.name()),
        "description": found.lint.map(|lint| lint.about()),
        "url": found.lint.map(|lint| lint.url()),
        "detail": found.message,
        "location": { "sourceIndex": 0, "ranges": [range] },
    })
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    for (title, value) in [("TARGET:", &outline.name), ("DESCRIPTION:", &outline.description)] {
        if let Some(value) = value {
            let _ = writeln!(text, "{title:<13}{}", sanitize::text(value));
        }
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        [argument.name.clone(), own(&argument.value), own(&argument.description)]
    });
    table(&mut text, ["BUILD ARG", "VALUE", "DESCRIPTION"], arguments);
    let rows = |credentials: &[Credential]| -> Vec<[String; 2]> {
        let required = |need| if need == Need::Required { "true" } else { "" };
        credentials.iter().map(|found| [found.name.clone(), required(found.need).to_owned()]).collect()
    };
    table(&mut text, ["SECRET", "REQUIRED"], rows(&outline.secrets));
    table(&mut text, ["SSH", "REQUIRED"], rows(&outline.agents));
    text
}

fn targets_text(targets: &[Target]) -> String {
    let mut text = String::new();
    let rows = targets.iter().map(|target| {
        let name = target.name.as_deref().unwrap_or_default();
        let name = if target.role == Role::Default { format!("{name} (default)") } else { name.to_owned() };
        [name.trim().to_owned(), target.description.clone().unwrap_or_default()]
    });
    // A stage that has no name cannot be asked for, unless it is the default.
    table(&mut text, ["TARGET", "DESCRIPTION"], rows.filter(|[name, _]| !name.is_empty()));
    text
}

/// Columns as wide as what is in them; nothing at all without rows.
fn table<const N: usize>(text: &mut String, heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| sanitize::text(&cell))).collect();
    if rows.is_empty() {
        return;
    }
    rows.insert(0, heading.map(str::to_owned));
    if !text.is_empty() {
        text.push('\n');
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("   ").trim_end());
    }
}

fn outline_json(outline: &Outline) -> Value {
    let argument = |found: &outline::Argument| {
        without_nulls(json!({ "name": found.name, "value": found.value, "description": found.description }))
    };
    let credential = |found: &Credential| json!({ "name": found.name, "required": found.need == Need::Required });
    without_nulls(json!({
        "name": outline.name,
        "description": outline.description,
        "args": outline.arguments.iter().map(argument).collect::<Vec<_>>(),
        "secrets": outline.secrets.iter().map(credential).collect::<Vec<_>>(),
        "ssh": outline.agents.iter().map(credential).collect::<Vec<_>>(),
        "cache": outline.caches.iter().map(|id| json!({ "ID": id })).collect::<Vec<_>>(),
    }))
}

fn targets_json(targets: &[Target]) -> Value {
    let target = |target: &Target| {
        without_nulls(json!({
            "name": target.name,
            "default": (target.role == Role::Default).then_some(true),
            "description": target.description,
            "base": target.base,
            "platform": target.platform,
        }))
    };
    json!({ "targets": targets.iter().map(target).collect::<Vec<_>>() })
}

/// What is not there is left out, as in the field.
fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    }
    value
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_formats() {
        let call = |text: &str| text.parse::<Call>().ok().map(|call| (call.method, call.format));
        assert_eq!(call("check"), Some((Method::Check, Format::Text)));
        assert_eq!(call("lint,format=json"), Some((Method::Check, Format::Json)));
        assert_eq!(call("outline,format=text"), Some((Method::Outline, Format::Text)));
        for text in ["", "subrequests.describe", "check,format=yaml", "check,json"] {
            assert_eq!(call(text), None, "{text}");
        }
    }
}
