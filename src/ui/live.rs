//! Progress on a terminal: what is done scrolls up, what goes on stays below with its last line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use builder::progress::{Event, Outcome, Progress, Step, StepId, StepKind};
use builder::request::DockerfileText;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::lines::Lines;
use super::sanitize::{self, Colours};
use super::{excerpt, title};
use crate::format::units::{elapsed, size};

/// Draws on standard error.
pub(super) struct Live {
    screen: MultiProgress,
    state: Mutex<State>,
    source: DockerfileText,
}

#[derive(Default)]
struct State {
    steps: HashMap<StepId, Step>,
    bars: HashMap<StepId, ProgressBar>,
    lines: Lines,
}

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// Columns that the spinner and the time take beside a title.
const BESIDE_TITLE: usize = 8;

impl Live {
    pub(super) fn new(source: &DockerfileText) -> Self {
        Self { screen: MultiProgress::new(), state: Mutex::default(), source: source.clone() }
    }

    fn say(&self, line: &str) {
        let _ = self.screen.println(line);
    }

    fn begin(&self, state: &mut State, step: StepId) {
        let Some(known) = state.steps.get(&step) else { return };
        let title = title::title(known);
        let style = ProgressStyle::with_template("{spinner:.cyan} {title} {elapsed:.dim}\n  {wide_msg:.dim}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("title", move |_: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&cut(&title, columns().saturating_sub(BESIDE_TITLE)));
            });
        let bar = self.screen.add(ProgressBar::new_spinner().with_style(style));
        bar.enable_steady_tick(Duration::from_millis(100));
        state.bars.insert(step, bar);
    }

    fn end(&self, state: &mut State, step: StepId, mark: &str, result: &str) {
        if let Some(bar) = state.bars.remove(&step) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
        if let Some(known) = state.steps.get(&step) {
            self.say(&format!("{mark}{RESET} {} {DIM}{result}{RESET}", title::title(known)));
        }
    }

    fn message(state: &State, step: StepId, text: String) {
        if let Some(bar) = state.bars.get(&step) {
            bar.set_message(text);
        }
    }
}

impl Progress for Live {
    fn report(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Warning(diagnostic) => self.say(&excerpt::diagnostic(&self.source, diagnostic, Colours::Kept)),
            Event::Notice(notice) => self.say(&format!("warning: {}", sanitize::text(&notice.to_string()))),
            Event::Resolving { .. } => {}
            Event::Planned { steps } => state.steps = steps.iter().map(|step| (step.id, step.clone())).collect(),
            Event::Started { step } => self.begin(&mut state, step),
            Event::Waiting { step, reason } => Self::message(&state, step, title::wait(&reason)),
            Event::Missed { step, reason } => {
                if let Some(reason) = title::miss(reason) {
                    Self::message(&state, step, reason);
                }
            }
            Event::Output { step, stream, bytes } => {
                if let Some(last) = state.lines.push(step, stream, bytes).last() {
                    Self::message(&state, step, sanitize::line(last, Colours::Dropped));
                }
            }
            Event::Transfer { step, transfer } => {
                let total = transfer.total_bytes.map_or_else(String::new, |total| format!(" of {}", size(total.get())));
                Self::message(
                    &state,
                    step,
                    format!("{} {}{total}", sanitize::text(&transfer.item), size(transfer.done_bytes)),
                );
            }
            Event::Finished { step, outcome, took } => {
                state.lines.finish(step);
                let is_source =
                    state.steps.get(&step).is_some_and(|s| matches!(s.kind, StepKind::Image | StepKind::Context));
                match outcome {
                    Outcome::Ready if is_source && took < Duration::from_millis(500) => {
                        if let Some(bar) = state.bars.remove(&step) {
                            bar.finish_and_clear();
                            self.screen.remove(&bar);
                        }
                    }
                    _ => self.end(&mut state, step, &format!("{GREEN}✓"), &title::outcome(outcome, took)),
                }
            }
            Event::Failed { step, took } => self.end(&mut state, step, &format!("{RED}✗"), &elapsed(took)),
            Event::Cancelled { step } => self.end(&mut state, step, DIM, "cancelled"),
        }
    }
}

/// How wide the terminal is now.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col))
}

/// A text in at most so many columns: what goes on below would be drawn over a line that wraps.
fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.chars().count() <= columns {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    Cow::Owned(format!("{kept}…"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_titles_end_where_the_terminal_does() {
        assert_eq!(super::cut("RUN make", 8), "RUN make");
        assert_eq!(super::cut("RUN make", 7), "RUN ma…");
        assert_eq!(super::cut("été", 3), "été");
    }
}
