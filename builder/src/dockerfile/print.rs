//! A Dockerfile as text again.
//!
//! One line an instruction, comments dropped except those directly above. Reading the text gives
//! the same Dockerfile (only spans differ), so printing it once more changes nothing.

use std::fmt;

use super::directive::{Directives, Escape};
use super::instruction::{Heredoc, Instruction, OnBuild, Source, Statement};
use super::{Dockerfile, Stage};

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = self.directives.escape;
        self.directives.fmt(f)?;
        for statement in &self.global_args {
            line(statement, escape, f)?;
        }
        self.stages.iter().try_for_each(|stage| print_stage(stage, escape, f))
    }
}

impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = &self.syntax {
            writeln!(f, "# syntax={}", syntax.text)?;
        }
        if self.escape != Escape::default() {
            writeln!(f, "# escape={}", self.escape.character())?;
        }
        if let Some(check) = &self.check {
            writeln!(f, "# check={}", check.text)?;
        }
        Ok(())
    }
}

fn print_stage(stage: &Stage, escape: Escape, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    line(&stage.from, escape, f)?;
    for statement in &stage.instructions {
        line(statement, escape, f)?;
        bodies(&statement.value, f)?;
    }
    Ok(())
}

/// The instruction's line. An empty line before the comments keeps the first from being read as a
/// directive.
fn line<T>(statement: &Statement<T>, escape: Escape, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !statement.comments.is_empty() {
        writeln!(f)?;
    }
    for comment in &statement.comments {
        writeln!(f, "# {comment}")?;
    }
    writeln!(f, "{}{}", statement.text, guard(&statement.text, escape))
}

/// Keeps the end of a text from being read as a continuation: a vertical tab is trimmed again, but
/// is none of the blanks that may follow the character.
fn guard(text: &str, escape: Escape) -> &'static str {
    let last = text.strip_suffix(escape.character());
    if last.is_some_and(|before| !before.ends_with(escape.character())) { "\u{b}" } else { "" }
}

fn bodies(instruction: &Instruction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sources = match instruction {
        Instruction::Run(run) => return run.heredocs.iter().try_for_each(|heredoc| body(heredoc, f)),
        Instruction::OnBuild(OnBuild { heredocs, .. }) => {
            return heredocs.iter().try_for_each(|heredoc| body(heredoc, f));
        }
        Instruction::Copy(copy) => &copy.files.sources,
        Instruction::Add(add) => &add.files.sources,
        _ => return Ok(()),
    };
    sources.iter().try_for_each(|source| match source {
        Source::Heredoc(heredoc) => body(heredoc, f),
        Source::Path(_) => Ok(()),
    })
}

fn body(heredoc: &Heredoc, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}{}", heredoc.content, heredoc.name)
}
