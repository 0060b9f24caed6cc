//! Progress as lines, for pipes and logs: every line says which step it belongs to.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use builder::progress::{Event, Progress, Step, StepId, Transfer};
use builder::request::DockerfileText;

use super::lines::Lines;
use super::sanitize::{self, Colours};
use super::{excerpt, title};
use crate::format::units::size;

/// Writes lines to standard error.
pub(super) struct Plain {
    state: Mutex<State>,
    source: DockerfileText,
}

#[derive(Default)]
struct State {
    steps: Vec<Step>,
    started: Vec<Option<Instant>>,
    lines: Lines,
}

impl Plain {
    pub(super) fn new(source: &DockerfileText) -> Self {
        Self { state: Mutex::default(), source: source.clone() }
    }
}

impl Progress for Plain {
    fn report(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        state.describe(event, &self.source, &mut out);
        let _ = io::stderr().lock().write_all(&out);
    }
}

impl State {
    fn describe(&mut self, event: Event<'_>, source: &DockerfileText, out: &mut Vec<u8>) {
        match event {
            Event::Warning(diagnostic) => say(out, &excerpt::diagnostic(source, diagnostic, Colours::Dropped)),
            Event::Notice(notice) => say(out, &format!("warning: {}", sanitize::text(&notice.to_string()))),
            Event::Resolving { .. } => {}
            Event::Planned { steps } => {
                self.steps = steps.to_vec();
                self.started = vec![None; steps.len()];
            }
            Event::Started { step } => {
                let at = self.index(step);
                self.started[at] = Some(Instant::now());
                say(out, &format!("#{} {}", at + 1, title::title(&self.steps[at])));
            }
            Event::Waiting { step, reason } => self.line(out, step, &title::wait(&reason)),
            Event::Missed { step, reason } => {
                if let Some(reason) = title::miss(reason) {
                    self.line(out, step, &reason);
                }
            }
            Event::Output { step, stream, bytes } => {
                for line in self.lines.push(step, stream, bytes) {
                    self.output(out, step, &line);
                }
            }
            Event::Transfer { step, transfer } => self.transferred(out, step, &transfer),
            Event::Finished { step, outcome, took } => {
                self.flush(out, step);
                self.line(out, step, &title::outcome(outcome, took));
            }
            Event::Failed { step, took } => {
                self.flush(out, step);
                self.line(out, step, &format!("FAILED {}", crate::format::units::elapsed(took)));
            }
            Event::Cancelled { step } => {
                self.flush(out, step);
                self.line(out, step, "CANCELLED");
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>, step: StepId) {
        for line in self.lines.finish(step) {
            self.output(out, step, &line);
        }
    }

    fn output(&self, out: &mut Vec<u8>, step: StepId, line: &[u8]) {
        let since = self.started[self.index(step)].map_or(0.0, |start| start.elapsed().as_secs_f64());
        self.line(out, step, &format!("{since:.3} {}", sanitize::line(line, Colours::Dropped)));
    }

    /// In a log only the end of a transfer is worth a line.
    fn transferred(&self, out: &mut Vec<u8>, step: StepId, transfer: &Transfer) {
        if transfer.total_bytes.is_some_and(|total| total.get() == transfer.done_bytes) {
            self.line(out, step, &format!("{} {} done", sanitize::text(&transfer.item), size(transfer.done_bytes)));
        }
    }

    fn line(&self, out: &mut Vec<u8>, step: StepId, text: &str) {
        say(out, &format!("#{} {text}", self.index(step) + 1));
    }

    fn index(&self, step: StepId) -> usize {
        self.steps.iter().position(|known| known.id == step).unwrap_or_default()
    }
}

fn say(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}
