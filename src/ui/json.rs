//! Progress as JSON, one object a line, for programs: with `--progress json` nothing else comes on
//! standard error.
//!
//! Every object has an `event`: `warning`, `notice`, `resolving`, `platform`, `planned`, `started`, `waiting`,
//! `missed`, `output`, `transfer`, `finished`, `failed`, `cancelled` while the build goes on; `pushed` for each
//! name at a registry; and as the last one `built` or `error`.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use builder::diagnostic::Diagnostic;
use builder::error::BuildError;
use builder::progress::{Event, Outcome, Progress, Stream};
use builder::request::DockerfileText;
use serde_json::{Value, json};

use super::title;

/// Writes objects to standard error.
pub(crate) struct Json {
    /// One line at a time.
    turn: Mutex<()>,
    source: DockerfileText,
}

impl Json {
    pub(super) fn new(source: &DockerfileText) -> Self {
        Self { turn: Mutex::new(()), source: source.clone() }
    }
}

impl Progress for Json {
    fn report(&self, event: Event<'_>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        write(&object(&event, &self.source));
    }
}

/// Writes one object.
pub(crate) fn write(object: &Value) {
    let line = format!("{object}\n");
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Why there is no image, with the place in the Dockerfile.
pub(crate) fn error(error: &BuildError, source: &DockerfileText) -> Value {
    let mut object = json!({"event": "error", "message": crate::report::with_causes(error)});
    match error {
        BuildError::Failed { exit, log, last_lines, .. } => {
            object["exit_code"] = json!(exit.code());
            object["log"] = json!(log);
            object["last_lines"] = json!(last_lines);
        }
        BuildError::Dockerfile(found) => {
            let errors = found.iter().filter(|found| found.is_error());
            object["errors"] = errors.map(|found| diagnostic("error", found, source)).collect();
        }
        _ => {}
    }
    if let Some(span) = error.span() {
        object["file"] = json!(source.name);
        object["line"] = json!(span.first_line(&source.bytes));
    }
    object
}

fn diagnostic(event: &str, found: &Diagnostic, source: &DockerfileText) -> Value {
    json!({
        "event": event, "message": found.message, "check": found.lint.map(|lint| lint.name()),
        "file": source.name, "line": found.span.first_line(&source.bytes), "help": found.help,
    })
}

fn object(event: &Event<'_>, source: &DockerfileText) -> Value {
    match event {
        Event::Warning(found) => diagnostic("warning", found, source),
        Event::Notice(notice) => json!({"event": "notice", "message": notice.to_string()}),
        Event::Resolving { reference } => json!({"event": "resolving", "reference": reference}),
        Event::Planned { steps } => {
            let steps: Vec<Value> =
                steps.iter().map(|step| json!({"step": step.id.0, "name": title::title(step)})).collect();
            json!({"event": "planned", "steps": steps})
        }
        Event::Started { step } => json!({"event": "started", "step": step.0}),
        Event::Waiting { step, reason } => json!({"event": "waiting", "step": step.0, "reason": title::wait(reason)}),
        Event::Missed { step, reason } => json!({"event": "missed", "step": step.0, "reason": title::miss(reason)}),
        Event::Output { step, stream, bytes } => {
            let stream = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            json!({"event": "output", "step": step.0, "stream": stream, "data": String::from_utf8_lossy(bytes)})
        }
        Event::Transfer { step, transfer } => json!({
            "event": "transfer", "step": step.0, "item": transfer.item,
            "done_bytes": transfer.done_bytes, "total_bytes": transfer.total_bytes,
        }),
        Event::Finished { step, outcome, took } => {
            let (name, saved) = match outcome {
                Outcome::Hit { saved } => ("cached", *saved),
                Outcome::Built => ("built", None),
                Outcome::Shared => ("shared", None),
                Outcome::Ready => ("ready", None),
                Outcome::WouldRun => ("would-run", None),
                Outcome::Unknown => ("unknown", None),
            };
            json!({
                "event": "finished", "step": step.0, "outcome": name, "seconds": took.as_secs_f64(),
                "saved_seconds": saved.map(|saved| saved.as_secs_f64()),
            })
        }
        Event::Failed { step, took } => json!({"event": "failed", "step": step.0, "seconds": took.as_secs_f64()}),
        Event::Cancelled { step } => json!({"event": "cancelled", "step": step.0}),
    }
}
