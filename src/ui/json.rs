//! Progress as JSON, one object a line, for programs.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use builder::progress::{Event, Outcome, Progress, Stream};
use serde_json::{Value, json};

use super::title;

/// Writes objects to standard error.
pub(super) struct Json {
    /// One line at a time.
    turn: Mutex<()>,
}

impl Json {
    pub(super) fn new() -> Self {
        Self { turn: Mutex::new(()) }
    }
}

impl Progress for Json {
    fn report(&self, event: Event<'_>) {
        let line = format!("{}\n", object(&event));
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

fn object(event: &Event<'_>) -> Value {
    match event {
        Event::Warning(diagnostic) => json!({"event": "warning", "message": diagnostic.message}),
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
