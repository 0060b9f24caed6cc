//! What the user sees while something happens: a live view on a terminal, lines in a pipe, JSON, or nothing.
//!
//! The libraries report closed enums of events; here alone they become text, on standard error.

pub(crate) mod excerpt;
pub(crate) mod images_only;
pub(crate) mod json;
mod lines;
mod live;
mod plain;
pub(crate) mod sanitize;
pub(crate) mod title;
pub(crate) mod transfer;

use builder::progress::{Progress, Quiet};

use crate::context::fancy_stderr;

/// `--progress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// A live view on a terminal, lines elsewhere.
    Auto,
    /// Lines.
    Plain,
    /// A live view.
    Tty,
    /// One JSON object a line.
    #[value(alias = "rawjson")]
    Json,
    /// Nothing but errors.
    #[value(alias = "none")]
    Quiet,
}

impl Style {
    /// What shows a build's progress in this style. The source is the Dockerfile, for its excerpts.
    pub(crate) fn build_progress(self, source: &builder::request::DockerfileText) -> Box<dyn Progress> {
        match self.resolved() {
            Self::Quiet => Box::new(Quiet),
            Self::Json => Box::new(json::Json::new(source)),
            Self::Tty => Box::new(live::Live::new(source)),
            Self::Auto | Self::Plain => Box::new(plain::Plain::new(source)),
        }
    }

    /// The same without `Auto`.
    pub(crate) fn resolved(self) -> Self {
        match self {
            Self::Auto if fancy_stderr() => Self::Tty,
            Self::Auto => Self::Plain,
            style => style,
        }
    }
}
