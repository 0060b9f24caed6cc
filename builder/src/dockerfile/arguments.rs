//! What each instruction makes of its arguments.
//!
//! One function an instruction. They see a keyword, flags, and the rest of the line, and answer with
//! a typed instruction or with one fault.

use super::directive::Escape;
use super::error::{Fault, SyntaxError};
use super::files;
use super::flags::{Flags, Takes};
use super::health;
use super::instruction::{
    Arg, ArgVariable, CommandLine, From, Heredoc, Instruction, NetworkMode, OnBuild, Pair, PairForm, Pairs, Run,
    SecurityMode, Word,
};
use super::json::{self, Array};
use super::line::Fragment;
use super::mount::RunMount;
use super::parser::{description, split_keyword};
use super::words::{quoted_words, split_equals};
use crate::diagnostic::Diagnostic;
use crate::suggest::suggest;

/// One instruction before it is understood.
pub(super) struct Arguments<'a> {
    pub(super) keyword: Fragment<'a>,
    pub(super) flags: Flags,
    /// What follows the flags, trimmed.
    pub(super) rest: Fragment<'a>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) comments: &'a [String],
    pub(super) escape: Escape,
}

/// One instruction understood.
#[derive(Debug)]
pub(super) enum Typed {
    From(From),
    Instruction(Instruction),
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Arguments<'_> {
    /// Understands the instruction. Warnings that no build check makes go to `notes`.
    pub(super) fn read(self, notes: &mut Vec<Diagnostic>) -> Result<Typed, Fault> {
        Ok(Typed::Instruction(match self.keyword.text().to_ascii_uppercase().as_str() {
            "ADD" => Instruction::Add(files::add(self)?),
            "ARG" => Instruction::Arg(self.arg(notes)?),
            "CMD" => Instruction::Cmd(self.without_flags()?.command_line()?),
            "COPY" => Instruction::Copy(files::copy(self)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.without_flags()?.command_line()?),
            "ENV" => Instruction::Env(self.pairs("ENV")?),
            "EXPOSE" => Instruction::Expose(self.some_words("EXPOSE")?),
            "FROM" => return Ok(Typed::From(self.stage()?)),
            "HEALTHCHECK" => Instruction::Healthcheck(health::healthcheck(self, notes)?),
            "LABEL" => Instruction::Label(self.pairs("LABEL")?),
            "MAINTAINER" => Instruction::Maintainer(self.one_word("MAINTAINER")?.text),
            "ONBUILD" => Instruction::OnBuild(self.on_build(notes)?),
            "RUN" => Instruction::Run(self.run()?),
            "SHELL" => Instruction::Shell(self.shell()?),
            "STOPSIGNAL" => Instruction::StopSignal(self.stop_signal(notes)?),
            "USER" => Instruction::User(self.one_word("USER")?),
            "VOLUME" => Instruction::Volume(self.volumes()?),
            "WORKDIR" => Instruction::Workdir(self.one_word("WORKDIR")?),
            _ => return Err(self.unknown()),
        }))
    }

    /// The instruction's own place, for faults that are about all of it.
    pub(super) fn fault(&self, error: SyntaxError) -> Fault {
        let end = if self.rest.is_empty() { self.keyword } else { self.rest };
        Fault::new(error, self.keyword.span().cover(end.span()))
    }

    /// The exec form if it is one, else the text for a shell.
    pub(super) fn command_line(&self) -> Result<CommandLine, Fault> {
        match json::array(self.rest.text()) {
            Array::Strings(strings) => Ok(CommandLine::Exec(strings.into_iter().map(|(string, _)| string).collect())),
            Array::Mixed => Err(Fault::new(SyntaxError::NotStrings, self.rest.span())),
            Array::None => Ok(CommandLine::Shell(self.rest.text().to_owned())),
        }
    }

    /// The strings of a JSON array, else the words between blanks.
    pub(super) fn list(&self) -> Result<Vec<Word>, Fault> {
        match json::array(self.rest.text()) {
            Array::Strings(strings) => {
                let word = |(text, place)| Word { text, span: self.rest.cut(place).span() };
                Ok(strings.into_iter().map(word).collect())
            }
            Array::Mixed => Err(Fault::new(SyntaxError::NotStrings, self.rest.span())),
            Array::None => Ok(self.rest.words().map(Fragment::word).collect()),
        }
    }

    /// Whether the arguments are a JSON array.
    pub(super) fn is_list(&self) -> bool {
        matches!(json::array(self.rest.text()), Array::Strings(_))
    }

    fn unknown(&self) -> Fault {
        let keyword = self.keyword.text().to_owned();
        if keyword.is_empty() {
            return self.fault(SyntaxError::Empty);
        }
        let suggestion = suggest(&keyword.to_ascii_uppercase(), KEYWORDS);
        Fault::new(SyntaxError::UnknownInstruction { keyword }, self.keyword.span()).suggest(suggestion)
    }

    fn with_flags(mut self, known: &[(&str, Takes)]) -> Result<Self, Fault> {
        self.flags = self.flags.check(known)?;
        Ok(self)
    }

    fn without_flags(self) -> Result<Self, Fault> {
        self.with_flags(&[])
    }

    /// Flags that BuildKit does not look at. They cannot mean anything, so they are told.
    pub(super) fn ignored_flags(&self, keyword: &str, notes: &mut Vec<Diagnostic>) {
        if let Some(span) = self.flags.first() {
            notes.push(Diagnostic::warning(span, format!("{keyword} has no flags; this one means nothing")));
        }
    }

    fn one_word(self, keyword: &'static str) -> Result<Word, Fault> {
        if self.rest.is_empty() {
            return Err(self.fault(SyntaxError::NotOneArgument { keyword }));
        }
        Ok(self.without_flags()?.rest.word())
    }

    fn some_words(self, keyword: &'static str) -> Result<Vec<Word>, Fault> {
        if self.rest.is_empty() {
            return Err(self.fault(SyntaxError::NoArguments { keyword }));
        }
        Ok(self.without_flags()?.rest.words().map(Fragment::word).collect())
    }

    fn stage(self) -> Result<From, Fault> {
        let words: Vec<_> = self.rest.words().collect();
        let (image, alias) = match words[..] {
            [image] => (image, None),
            [image, r#as, alias] if r#as.text().eq_ignore_ascii_case("AS") => (image, Some(alias)),
            _ => return Err(self.fault(SyntaxError::FromArguments)),
        };
        if let Some(alias) = alias.filter(|alias| !is_stage_name(&alias.text().to_lowercase())) {
            return Err(Fault::new(SyntaxError::StageName { name: alias.text().to_owned() }, alias.span()));
        }
        let (image, alias) = (image.word(), alias.map(Fragment::word));
        let platform = self.with_flags(&[("platform", Takes::Value)])?.flags.value("platform");
        Ok(From { image, platform, alias })
    }

    fn arg(self, notes: &mut Vec<Diagnostic>) -> Result<Arg, Fault> {
        self.ignored_flags("ARG", notes);
        let words = quoted_words(self.rest, self.escape);
        if words.is_empty() {
            return Err(self.fault(SyntaxError::NoArguments { keyword: "ARG" }));
        }
        let variables = words.into_iter().map(|word| variable(word, self.comments)).collect::<Result<_, _>>()?;
        Ok(Arg { variables })
    }

    fn pairs(self, keyword: &'static str) -> Result<Pairs, Fault> {
        let words = quoted_words(self.rest, self.escape);
        let (pairs, form) = match words.first() {
            None => return Err(self.fault(SyntaxError::NoArguments { keyword })),
            Some(first) if first.text.contains('=') => (equals(words, keyword)?, PairForm::Equals),
            Some(_) => {
                (vec![legacy(self.rest).ok_or_else(|| self.fault(SyntaxError::NoValue { keyword }))?], PairForm::Legacy)
            }
        };
        if let Some(blank) = pairs.iter().find(|pair| pair.key.text.is_empty()) {
            return Err(Fault::new(SyntaxError::BlankName { keyword }, blank.value.span));
        }
        self.without_flags()?;
        Ok(Pairs { pairs, form })
    }

    fn run(self) -> Result<Run, Fault> {
        const FLAGS: &[(&str, Takes)] = &[
            ("mount", Takes::Values),
            ("network", Takes::Value),
            ("security", Takes::Value),
            ("device", Takes::Values),
        ];
        let this = self.with_flags(FLAGS)?;
        Ok(Run {
            mounts: this.flags.values("mount").into_iter().map(mount).collect::<Result<_, _>>()?,
            network: this.flags.value("network").map_or(Ok(NetworkMode::Default), network)?,
            security: this.flags.value("security").map_or(Ok(SecurityMode::Sandbox), security)?,
            devices: this.flags.values("device"),
            command: this.command_line()?,
            heredocs: this.heredocs,
        })
    }

    fn shell(self) -> Result<Vec<String>, Fault> {
        let command = self.command_line()?;
        match command {
            CommandLine::Exec(argv) if !argv.is_empty() => self.without_flags().map(|_| argv),
            CommandLine::Exec(_) => Err(self.fault(SyntaxError::NoArguments { keyword: "SHELL" })),
            CommandLine::Shell(text) if text.is_empty() => {
                Err(self.fault(SyntaxError::NoArguments { keyword: "SHELL" }))
            }
            CommandLine::Shell(_) => Err(Fault::new(SyntaxError::ShellForm, self.rest.span())),
        }
    }

    fn stop_signal(self, notes: &mut Vec<Diagnostic>) -> Result<Word, Fault> {
        self.ignored_flags("STOPSIGNAL", notes);
        if self.rest.is_empty() {
            return Err(self.fault(SyntaxError::NotOneArgument { keyword: "STOPSIGNAL" }));
        }
        Ok(self.rest.word())
    }

    fn volumes(self) -> Result<Vec<Word>, Fault> {
        let mut paths = self.list()?;
        if paths.is_empty() {
            return Err(self.fault(SyntaxError::NoArguments { keyword: "VOLUME" }));
        }
        for path in &mut paths {
            path.text = path.text.trim().to_owned();
        }
        if let Some(blank) = paths.iter().find(|path| path.text.is_empty()) {
            return Err(Fault::new(SyntaxError::BlankVolume, blank.span));
        }
        self.without_flags().map(|_| paths)
    }

    /// The trigger is understood only to warn of what will fail later; mistakes that BuildKit finds
    /// at once are errors here, too.
    fn on_build(self, notes: &mut Vec<Diagnostic>) -> Result<OnBuild, Fault> {
        if self.rest.is_empty() {
            return Err(self.fault(SyntaxError::NoArguments { keyword: "ONBUILD" }));
        }
        let this = self.without_flags()?;
        let (keyword, rest) = split_keyword(this.rest);
        let upper = keyword.text().to_ascii_uppercase();
        if matches!(upper.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(Fault::new(SyntaxError::Trigger { keyword: upper }, keyword.span()));
        }
        let mut trigger = this.rest.text().to_owned();
        for heredoc in &this.heredocs {
            trigger.extend(["\n", &heredoc.content, &heredoc.name]);
        }
        let (flags, rest) = Flags::take(rest);
        let heredocs = this.heredocs.clone();
        let inner = Arguments { keyword, flags, rest, ..this };
        match inner.read(notes) {
            Ok(_) => {}
            Err(fault) if is_immediate(&fault.error) => return Err(fault),
            Err(fault) => {
                notes.push(Diagnostic::warning(fault.span, format!("the trigger will fail: {}", fault.error)))
            }
        }
        Ok(OnBuild { trigger, heredocs })
    }
}

/// What BuildKit refuses when a trigger is recorded, and not only when it fires.
fn is_immediate(error: &SyntaxError) -> bool {
    matches!(error, SyntaxError::NotStrings | SyntaxError::NoValue { .. } | SyntaxError::NoEquals { .. })
}

/// `^[a-z][a-z0-9-_.]*$`
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

fn variable(word: Word, comments: &[String]) -> Result<ArgVariable, Fault> {
    let span = word.span;
    let (key, default) = split_equals(word);
    if key.text.is_empty() {
        return Err(Fault::new(SyntaxError::BlankName { keyword: "ARG" }, span));
    }
    let description = description(comments, &key.text);
    Ok(ArgVariable { key, default, description })
}

fn equals(words: Vec<Word>, keyword: &'static str) -> Result<Vec<Pair>, Fault> {
    let pair = |word: Word| match split_equals(word) {
        (key, Some(value)) => Ok(Pair { key, value }),
        (word, None) => Err(Fault::new(SyntaxError::NoEquals { keyword, word: word.text }, word.span)),
    };
    words.into_iter().map(pair).collect()
}

/// `key the rest of the line`
fn legacy(rest: Fragment<'_>) -> Option<Pair> {
    let (key, value) = rest.split_blank();
    Some(Pair { key: key.word(), value: value?.word() })
}

fn mount(word: Word) -> Result<RunMount, Fault> {
    let span = word.span;
    RunMount::parse(word).map_err(|error| Fault::new(error, span))
}

fn network(word: Word) -> Result<NetworkMode, Fault> {
    match word.text.as_str() {
        "default" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => Err(mode_fault("network", word, ["default", "none", "host"])),
    }
}

fn security(word: Word) -> Result<SecurityMode, Fault> {
    match word.text.as_str() {
        "sandbox" => Ok(SecurityMode::Sandbox),
        "insecure" => Ok(SecurityMode::Insecure),
        _ => Err(mode_fault("security", word, ["sandbox", "insecure"])),
    }
}

fn mode_fault<const N: usize>(what: &'static str, word: Word, modes: [&'static str; N]) -> Fault {
    let suggestion = suggest(&word.text, modes);
    Fault::new(SyntaxError::Mode { what, value: word.text }, word.span).suggest(suggestion)
}
