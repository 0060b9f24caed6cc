//! The Dockerfile language: from bytes to a syntax tree.
//!
//! ```text
//!   bytes --directive--> escape, syntax, check
//!         --reader-----> logical lines (continuations joined, comments gone) and heredoc bodies
//!         --flags------> keyword, flags, rest
//!         --arguments--> typed instructions --> stages
//!         --lint-------> what a build check would say
//! ```
//!
//! [`parse`] does no IO, never panics, takes time linear in its input, and reports what it can of
//! what is wrong: a bad instruction is left out and the rest is read. Nothing is expanded here.
//! The rules cited as `A001` and so on are those of `docs/dockerfile.md`.

mod arguments;
mod directive;
mod error;
mod files;
mod flags;
mod health;
mod heredoc;
mod instruction;
mod json;
mod line;
pub mod mount;
mod parser;
mod print;
mod reader;
mod words;

#[cfg(test)]
mod tests;

pub use directive::{Directives, Escape};
pub use error::SyntaxError;
pub use health::go_duration;
pub use instruction::{
    Add, Arg, ArgVariable, CommandLine, Copy, Expansion, Files, From, HealthCommand, Healthcheck, Heredoc, Instruction,
    NetworkMode, OnBuild, Pair, PairForm, Pairs, Run, Script, SecurityMode, Source, Statement, Tabs, Word,
};
pub use mount::{Mount, RunMount};
pub use parser::{parse, parse_trigger, parse_with};

use crate::diagnostic::Diagnostic;
use crate::lint::{Checks, ChecksError};

/// What came of reading a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Everything that could be read. Without errors it is the whole file and has a stage.
    pub dockerfile: Dockerfile,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether something in the file cannot be built.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// What its first lines say about how to read it.
    pub directives: Directives,
    /// The ARG instructions before the first FROM (rule A071).
    pub global_args: Vec<Statement<Arg>>,
    /// Its stages in order.
    pub stages: Vec<Stage>,
}

impl Dockerfile {
    /// The build checks that its `check` directive chooses.
    pub fn checks(&self) -> Result<Checks, ChecksError> {
        self.directives.check.as_ref().map_or(Ok(Checks::default()), |word| Checks::parse(&word.text))
    }
}

/// One FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name given with AS, in lower case (rule A060). Names may repeat; the last one wins.
    pub name: Option<String>,
    /// What it starts from.
    pub from: Statement<From>,
    /// The text of a comment `# name text` directly above FROM.
    pub description: Option<String>,
    /// What is done in it.
    pub instructions: Vec<Statement>,
}
