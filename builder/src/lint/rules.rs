//! The checks that need nothing but the file.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lint, from, values};
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{CommandLine, Dockerfile, Instruction, PairForm, Stage, Statement};

/// What the checks find, in no order.
pub(super) fn check(dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    instruction_casing(dockerfile, &mut findings);
    stage_names(dockerfile, &mut findings);
    from::check(dockerfile, &mut findings);
    descriptions(dockerfile, &mut findings);
    for arg in &dockerfile.global_args {
        values::arg(&arg.value, &mut findings);
    }
    let mut inherited = BTreeMap::new();
    for stage in &dockerfile.stages {
        let known = Known::of(stage, &inherited);
        inherited.extend(stage.name.clone().zip(Some(instructions(stage, known, &mut findings))));
    }
    findings
}

/// What a stage knows of itself, and hands on to the stages that start from it.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    shell: bool,
    workdir: bool,
}

impl Known {
    fn of(stage: &Stage, inherited: &BTreeMap<String, Self>) -> Self {
        inherited.get(&stage.from.value.image.text.to_lowercase()).copied().unwrap_or_default()
    }
}

fn instructions(stage: &Stage, mut known: Known, findings: &mut Vec<Diagnostic>) -> Known {
    let mut once = BTreeMap::new();
    for statement in &stage.instructions {
        match &statement.value {
            Instruction::Shell(_) => known.shell = true,
            Instruction::Workdir(path) => {
                let finding = (!known.workdir).then(|| values::workdir(path)).flatten();
                findings.extend(finding);
                known.workdir = true;
            }
            Instruction::Cmd(command) | Instruction::Entrypoint(command) if !known.shell => {
                findings.extend(shell_form(statement, command));
            }
            Instruction::Env(pairs) | Instruction::Label(pairs) if pairs.form == PairForm::Legacy => {
                let message = format!("{0} key value is outdated: write {0} key=value", statement.value.keyword());
                findings.push(Diagnostic::lint(Lint::LegacyKeyValueFormat, statement.span, message));
            }
            Instruction::Maintainer(_) => findings.push(maintainer(statement)),
            Instruction::Expose(ports) => findings.extend(ports.iter().filter_map(values::constant_port)),
            _ => {}
        }
        match &statement.value {
            Instruction::Env(pairs) => values::env(pairs, findings),
            Instruction::Arg(arg) => values::arg(arg, findings),
            Instruction::Cmd(_) | Instruction::Entrypoint(_) | Instruction::Healthcheck(_) => {
                let earlier = once.insert(statement.value.keyword(), statement.span);
                findings.extend(earlier.map(|earlier| repeated(statement, earlier)));
            }
            _ => {}
        }
    }
    known
}

fn shell_form(statement: &Statement, command: &CommandLine) -> Option<Diagnostic> {
    let CommandLine::Shell(_) = command else { return None };
    let keyword = statement.value.keyword();
    let message = format!("{keyword} runs within a shell, which does not pass signals on: prefer a JSON array");
    Some(Diagnostic::lint(Lint::JSONArgsRecommended, statement.span, message))
}

fn maintainer(statement: &Statement) -> Diagnostic {
    Diagnostic::lint(Lint::MaintainerDeprecated, statement.span, "MAINTAINER is deprecated in favour of a label")
        .with_help("LABEL org.opencontainers.image.authors=...")
}

/// The earlier one is in vain.
fn repeated(statement: &Statement, earlier: Span) -> Diagnostic {
    let keyword = statement.value.keyword();
    let message = format!("several {keyword} instructions stand in one stage: only the last one counts");
    Diagnostic::lint(Lint::MultipleInstructionsDisallowed, earlier, message)
        .with_note(statement.span, "this one counts")
}

fn instruction_casing(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let words = || {
        let stages = dockerfile.stages.iter();
        stages.flat_map(|stage| {
            let instructions = stage.instructions.iter().map(|statement| (keyword(&statement.text), statement.keyword));
            [(keyword(&stage.from.text), stage.from.keyword)].into_iter().chain(instructions)
        })
    };
    let lower = words().filter(|(word, _)| is_lower(word)).count();
    let upper = words().filter(|(word, _)| is_upper(word)).count();
    let (name, is_usual): (_, fn(&str) -> bool) =
        if lower > upper { ("lower case", is_lower) } else { ("upper case", is_upper) };
    for (word, span) in words().filter(|(word, _)| !is_usual(word)) {
        let message = format!("'{word}' stands in another case than most instructions of the file ({name})");
        findings.push(Diagnostic::lint(Lint::ConsistentInstructionCasing, span, message));
    }
}

fn stage_names(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for stage in &dockerfile.stages {
        let (Some(name), Some(alias)) = (&stage.name, &stage.from.value.alias) else { continue };
        let mut find = |lint, message: String| findings.push(Diagnostic::lint(lint, alias.span, message));
        if *name != alias.text {
            find(Lint::StageNameCasing, format!("stage name '{}' is not lower case", alias.text));
        }
        if matches!(name.as_str(), "scratch" | "context") {
            find(Lint::ReservedStageName, format!("stage name '{name}' is reserved"));
        }
        if !seen.insert(name) {
            find(Lint::DuplicateStageName, format!("stage name '{name}' stands for an earlier stage, too"));
        }
        let words = (keyword(&stage.from.text), stage.from.text.split_whitespace().rev().nth(1).unwrap_or_default());
        if (is_upper(words.0) && !is_upper(words.1)) || (is_lower(words.0) && !is_lower(words.1)) {
            find(Lint::FromAsCasing, format!("'{}' and '{}' are not written in the same case", words.1, words.0));
        }
    }
}

/// A comment above something that has a name is taken for its description, so it has to be one.
fn descriptions(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let mut find = |span, name: &str| {
        let message = format!("the comment above is no description: it does not start with '{name}'");
        findings.push(Diagnostic::lint(Lint::InvalidDefinitionDescription, span, message));
    };
    let inner = dockerfile.stages.iter().flat_map(|stage| &stage.instructions).filter_map(|statement| {
        let Instruction::Arg(arg) = &statement.value else { return None };
        Some((arg, &statement.comments, statement.span))
    });
    let global = dockerfile.global_args.iter().map(|arg| (&arg.value, &arg.comments, arg.span));
    for (arg, comments, span) in global.chain(inner).filter(|(_, comments, _)| !comments.is_empty()) {
        let described = arg.variables.iter().any(|variable| variable.description.is_some());
        if let Some(first) = arg.variables.first().filter(|_| !described && !is_check(comments)) {
            find(span, &first.key.text);
        }
    }
    for stage in dockerfile.stages.iter().filter(|stage| stage.description.is_none()) {
        let comments = &stage.from.comments;
        if let Some(name) = stage.name.as_deref().filter(|_| !comments.is_empty() && !is_check(comments)) {
            find(stage.from.span, name);
        }
    }
}

fn is_check(comments: &[String]) -> bool {
    comments.iter().all(|comment| super::inline_checks(comment).is_some())
}

fn keyword(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn is_lower(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_lowercase())
}
