//! What a container said: Docker's json-file format, one line of JSON a line of output.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
//! ```
//!
//! A line that is longer than 16 KiB, or is the unfinished last one, stands without its newline at the end of
//! `log`; bytes that are not UTF-8 become U+FFFD, as in Docker. [`Writer`] is the monitor's; [`Reader`] is
//! everybody's, and follows without polling.

mod read;
mod write;

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use read::{Options, Reader, parse_time};
pub use write::Writer;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read, written or watched.
    #[error("cannot {doing} the log {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The log.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A point in time that cannot be read.
    #[error("invalid time {0:?}: RFC 3339, seconds since 1970, or a duration before now such as 10m")]
    Time(String),
}

/// Which of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything that comes from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The text with its newline, if it has one.
    #[serde(rename = "log")]
    pub text: String,
    /// Where it was written to.
    pub stream: Stream,
    /// When it was read from the container.
    pub time: Timestamp,
}

/// `docker logs -t`: the time, a space, the text.
pub struct Stamped<'a>(pub &'a Line);

impl fmt::Display for Stamped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9} {}", self.0.time, self.0.text)
    }
}

#[cfg(test)]
mod tests;
