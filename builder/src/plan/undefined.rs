//! The check for variables that nothing defines, which needs the values of a stage.
//!
//! Only words that are expanded count, with the variables before the instruction. An ARG without a
//! value is declared, and the proxy arguments need no declaration.

use std::collections::BTreeSet;

use super::scope::is_predefined;
use super::stage::State;
use crate::diagnostic::Diagnostic;
use crate::dockerfile::{Escape, Files, Instruction, Source, Word};
use crate::expand::expand;
use crate::lint;

/// How many findings of a build come with a similar name; looking for one goes over all that are defined.
const SUGGESTIONS: usize = 12;

/// How many names are looked at for a similar one.
const CANDIDATES: usize = 1000;

/// What an instruction uses that is not defined when it is reached, after so many findings before it.
pub(super) fn check(instruction: &Instruction, state: &State, escape: Escape, before: usize) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for word in words(instruction).into_iter().filter(|word| word.text.contains('$')) {
        let undefined = expand(&word.text, &state.variables, escape).map(|word| word.undefined).unwrap_or_default();
        for name in undefined {
            if !is_declared(&name, state) && seen.insert(name.clone()) {
                let names = if before + findings.len() < SUGGESTIONS { CANDIDATES } else { 0 };
                findings.push(lint::undefined_variable(&name, word.span, defined(state).take(names)));
            }
        }
    }
    findings
}

fn is_declared(name: &str, state: &State) -> bool {
    let is_platform = name.starts_with("BUILD") || name.starts_with("TARGET");
    state.arguments.contains(name) || is_predefined(name) && !is_platform
}

fn defined(state: &State) -> impl Iterator<Item = &str> {
    state.variables.pairs().map(|(name, _)| name).chain(state.arguments.pairs().map(|(name, _)| name))
}

/// The words of an instruction that are expanded.
fn words(instruction: &Instruction) -> Vec<&Word> {
    match instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).collect()
        }
        Instruction::Arg(arg) => arg.variables.iter().filter_map(|variable| variable.default.as_ref()).collect(),
        Instruction::Expose(words) | Instruction::Volume(words) => words.iter().collect(),
        Instruction::StopSignal(word) | Instruction::User(word) | Instruction::Workdir(word) => vec![word],
        Instruction::Copy(copy) => files(&copy.files),
        Instruction::Add(add) => files(&add.files),
        Instruction::Cmd(_)
        | Instruction::Entrypoint(_)
        | Instruction::Healthcheck(_)
        | Instruction::Maintainer(_)
        | Instruction::OnBuild(_)
        | Instruction::Run(_)
        | Instruction::Shell(_) => Vec::new(),
    }
}

fn files(files: &Files) -> Vec<&Word> {
    let sources = files.sources.iter().filter_map(|source| match source {
        Source::Path(word) => Some(word),
        Source::Heredoc(_) => None,
    });
    sources.chain([&files.destination]).chain(&files.chown).chain(&files.chmod).collect()
}
