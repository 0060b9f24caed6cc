//! Pulls and pushes on standard error, in the words of `docker pull`.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use registry::{BlobState, Event};
use store::Digest;

use super::Style;
use super::sanitize;
use crate::format::units::{elapsed, size};

/// Shows one pull or push.
pub(crate) struct TransferView {
    state: Mutex<State>,
    style: Style,
}

#[derive(Default)]
struct State {
    screen: Option<MultiProgress>,
    bars: HashMap<Digest, ProgressBar>,
    told: HashSet<(Digest, &'static str)>,
    style: Option<Style>,
}

impl TransferView {
    /// A view in a resolved style.
    pub(crate) fn new(style: Style) -> Self {
        let style = style.resolved();
        let screen = (style == Style::Tty).then(MultiProgress::new);
        Self { state: Mutex::new(State { screen, style: Some(style), ..State::default() }), style }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: Event) {
        if self.style == Style::Quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // What the name stands for is told at the end: of several platforms, this is only the chosen one.
            Event::Resolved { .. } => {}
            Event::Blob { digest, size_bytes, state: now } => state.blob(digest, size_bytes, &now),
            Event::Moved { digest, moved_bytes } => {
                if let Some(bar) = state.bars.get(&digest) {
                    bar.set_position(moved_bytes);
                }
            }
            Event::Retrying { doing, because, wait } => {
                state.say(&format!("{doing}: {because}; again in {}", elapsed(wait)))
            }
            Event::RateLimit { remaining } if remaining <= 20 => {
                state.say(&format!("the registry allows {remaining} more pulls in this window"));
            }
            Event::RateLimit { .. } => {}
            Event::Compressing { layer, size_bytes } => {
                state.say(&format!("{}: Compressing {}", layer.short(), size(size_bytes)));
            }
            Event::Recompressing { layer, original } => state.say(&format!(
                "{}: its original blob {} is nowhere to be had; it is compressed again",
                layer.short(),
                original.short()
            )),
        }
    }
}

impl State {
    fn blob(&mut self, digest: Digest, size_bytes: u64, now: &BlobState) {
        let word = match now {
            BlobState::Present => "Already exists",
            BlobState::Downloading => "Pulling",
            BlobState::Unpacked => "Pull complete",
            BlobState::Uploading => "Pushing",
            BlobState::Mounted { .. } => "Mounted",
            BlobState::Uploaded => "Pushed",
        };
        match now {
            BlobState::Downloading | BlobState::Uploading if self.screen.is_some() => {
                self.bar(digest, size_bytes).set_prefix(format!("{}: {word}", digest.short()));
            }
            BlobState::Mounted { from } => {
                self.end(digest);
                self.say(&format!("{}: Mounted from {from}", digest.short()));
            }
            _ => {
                self.end(digest);
                if self.told.insert((digest, word)) {
                    let amount = if matches!(now, BlobState::Downloading | BlobState::Uploading) {
                        format!(" {}", size(size_bytes))
                    } else {
                        String::new()
                    };
                    self.say(&format!("{}: {word}{amount}", digest.short()));
                }
            }
        }
    }

    fn bar(&mut self, digest: Digest, size_bytes: u64) -> &ProgressBar {
        let screen = self.screen.clone().unwrap_or_default();
        self.bars.entry(digest).or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{prefix} {bar:30.cyan} {bytes}/{total_bytes} {bytes_per_sec:.dim}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            screen.add(ProgressBar::new(size_bytes).with_style(style))
        })
    }

    fn end(&mut self, digest: Digest) {
        if let Some(bar) = self.bars.remove(&digest) {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        let line = sanitize::text(line);
        match &self.screen {
            None if self.style == Some(Style::Json) => {
                super::json::write(&serde_json::json!({"event": "notice", "message": line}));
            }
            Some(screen) => drop(screen.println(line)),
            None => drop(writeln!(io::stderr().lock(), "{line}")),
        }
    }
}
