//! What is to be said about a Dockerfile, and where in it.
//!
//! A [`Diagnostic`] is plain data: a severity, a sentence, the bytes it is about, and what may help.
//! Nothing here renders or knows colours; the command draws the excerpt from the same source bytes
//! that the spans were made from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lint::Lint;

/// A range of bytes in the source of one Dockerfile, end exclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest span that holds both.
    pub fn cover(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The number of the line, counted from one, in which the span starts.
    pub fn first_line(self, source: &[u8]) -> usize {
        line_at(source, self.start)
    }

    /// The number of the line, counted from one, in which the span's last byte stands.
    pub fn last_line(self, source: &[u8]) -> usize {
        line_at(source, self.end.saturating_sub(1).max(self.start))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Whether a build can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It builds, but somebody should look.
    Warning,
    /// It does not build.
    Error,
}

/// One thing to say about a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether a build can go on.
    pub severity: Severity,
    /// The build check that found it, if one did.
    pub lint: Option<Lint>,
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// What it is about.
    pub span: Span,
    /// Other places that belong to it, each with a few words.
    pub notes: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Says that something cannot be built.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, lint: None, message: message.into(), span, notes: Vec::new(), help: None }
    }

    /// Says that something looks wrong, outside of the build checks.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Says what a build check found.
    pub fn lint(lint: Lint, span: Span, message: impl Into<String>) -> Self {
        Self { lint: Some(lint), ..Self::warning(span, message) }
    }

    /// Adds what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that belongs to it.
    pub fn with_note(mut self, span: Span, note: impl Into<String>) -> Self {
        self.notes.push((span, note.into()));
        self
    }

    /// Whether it stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

fn line_at(source: &[u8], offset: usize) -> usize {
    1 + source.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let source = b"one\ntwo \\\nthree\n";
        assert_eq!(Span::new(0, 3).first_line(source), 1);
        assert_eq!(Span::new(4, 15).first_line(source), 2);
        assert_eq!(Span::new(4, 15).last_line(source), 3);
        assert_eq!(Span::new(16, 16).first_line(source), 4);
        assert_eq!(Span::new(99, 120).last_line(source), 4);
    }
}
