//! The driver: lines in, stages out, and every error on the way noted.

use super::arguments::{Arguments, Typed};
use super::directive::{self, Directives};
use super::error::{Fault, SyntaxError};
use super::flags::Flags;
use super::heredoc;
use super::instruction::{Heredoc, Instruction, Statement};
use super::json::{self, Array};
use super::line::Fragment;
use super::reader::{Logical, Reader};
use super::{Dockerfile, Parsed, Stage};
use crate::diagnostic::{Diagnostic, Span};
use crate::lint::{self, Checks, Lint};

/// Reads a Dockerfile. Errors are among the diagnostics; it never fails otherwise.
///
/// The build checks that need nothing but the file are made, as its `check` directive wants.
pub fn parse(source: &[u8]) -> Parsed {
    parse_with(source, None)
}

/// Reads a Dockerfile with build checks that replace those of its `check` directive, as
/// `BUILDKIT_DOCKERFILE_CHECK` does.
pub fn parse_with(source: &[u8], checks: Option<&Checks>) -> Parsed {
    if is_utf16(source) {
        let fault =
            Fault::new(SyntaxError::Utf16, Span::new(0, 0)).help("save it as UTF-8, without or with a byte order mark");
        return Parsed { dockerfile: Dockerfile::default(), diagnostics: vec![fault.into()] };
    }
    let mut faults = Vec::new();
    let (directives, start) = directive::read(source, &mut faults);
    let mut parser = Parser::new(source, start, directives);
    parser.diagnostics.extend(faults.into_iter().map(Diagnostic::from));
    while let Some(statement) = parser.next() {
        parser.place(statement);
    }
    parser.finish(checks)
}

/// Reads an ONBUILD trigger as an image config records it. Spans are offsets in that text.
///
/// Warnings are dropped: whoever builds the child cannot mend its base.
pub fn parse_trigger(trigger: &str) -> Result<Statement, Vec<Diagnostic>> {
    let mut parser = Parser::new(trigger.as_bytes(), 0, Directives::default());
    let mut statements: Vec<_> = std::iter::from_fn(|| parser.next()).collect();
    let errors: Vec<_> = parser.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let whole = Span::new(0, trigger.len());
    let refuse = |error| Err(vec![Fault::new(error, whole).into()]);
    match (statements.pop(), statements.len()) {
        (Some(statement), 0) => match allowed_trigger(statement) {
            Ok(statement) => Ok(statement),
            Err(keyword) => refuse(SyntaxError::Trigger { keyword: keyword.to_owned() }),
        },
        _ => refuse(SyntaxError::ManyTriggers),
    }
}

fn allowed_trigger(statement: Statement<Typed>) -> Result<Statement, &'static str> {
    let Statement { value, span, keyword, text, comments } = statement;
    match value {
        Typed::From(_) => Err("FROM"),
        Typed::Instruction(value @ (Instruction::OnBuild(_) | Instruction::Maintainer(_))) => Err(value.keyword()),
        Typed::Instruction(value) => Ok(Statement { value, span, keyword, text, comments }),
    }
}

struct Parser<'a> {
    reader: Reader<'a>,
    dockerfile: Dockerfile,
    diagnostics: Vec<Diagnostic>,
    /// Whether an instruction was met, understood or not.
    seen: Seen,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Instructions,
    From,
}

impl<'a> Parser<'a> {
    fn new(source: &'a [u8], start: usize, directives: Directives) -> Self {
        let reader = Reader::new(source, start, directives.escape);
        let dockerfile = Dockerfile { directives, ..Dockerfile::default() };
        Self { reader, dockerfile, diagnostics: Vec::new(), seen: Seen::Nothing }
    }

    /// The next instruction that can be understood; what cannot is noted and left out.
    fn next(&mut self) -> Option<Statement<Typed>> {
        loop {
            let logical = self.reader.next()?;
            match self.statement(logical) {
                Ok(statement) => return Some(statement),
                Err(fault) => self.diagnostics.push(fault.into()),
            }
        }
    }

    fn statement(&mut self, logical: Logical) -> Result<Statement<Typed>, Fault> {
        let line = logical.line.trimmed();
        let (keyword, rest) = split_keyword(line);
        self.seen =
            self.seen.max(if keyword.text().eq_ignore_ascii_case("FROM") { Seen::From } else { Seen::Instructions });
        if let Some(garbled) = logical.garbled {
            return Err(Fault::new(SyntaxError::NotUtf8, garbled));
        }
        if let Some(at) = line.text().find('\0') {
            return Err(Fault::new(SyntaxError::Nul, line.cut(at..at + 1).span()));
        }
        let (heredocs, end) = self.heredocs(line, keyword, rest)?;
        if let Some(gap) = logical.gap {
            let message = "empty line between the continued lines of an instruction";
            self.diagnostics.push(Diagnostic::lint(Lint::NoEmptyContinuation, gap, message));
        }
        let (flags, rest) = Flags::take(rest);
        let escape = self.dockerfile.directives.escape;
        let arguments = Arguments { keyword, flags, rest, heredocs, comments: &logical.comments, escape };
        let value = arguments.read(&mut self.diagnostics)?;
        let span = Span::new(logical.span.start, end.unwrap_or(logical.span.end));
        let (keyword, text) = (keyword.span(), line.text().to_owned());
        Ok(Statement { value, span, keyword, text, comments: logical.comments })
    }

    /// The bodies of a line's heredocs, and where the last one ends.
    fn heredocs(
        &mut self,
        line: Fragment<'_>,
        keyword: Fragment<'_>,
        rest: Fragment<'_>,
    ) -> Result<(Vec<Heredoc>, Option<usize>), Fault> {
        let mut heredocs = Vec::new();
        let mut end = None;
        if !opens_heredocs(keyword, rest) {
            return Ok((heredocs, end));
        }
        for (opener, span) in heredoc::openers(line) {
            let unterminated = SyntaxError::Unterminated { name: opener.name.clone() };
            let start = self.reader.position();
            let body = self.reader.body(&opener).ok_or_else(|| {
                let near = self.reader.near(start, &opener.name);
                let help = |near: String| format!("the line {near:?} is not the same: nothing stands around the name");
                Fault::new(unterminated, span).maybe_help(near.map(help))
            })?;
            if let Some(garbled) = body.garbled {
                self.diagnostics.push(Fault::new(SyntaxError::NotUtf8, garbled).into());
            }
            end = Some(body.end);
            heredocs.push(opener.with(span, body));
        }
        Ok((heredocs, end))
    }

    /// Puts an instruction where it belongs.
    fn place(&mut self, statement: Statement<Typed>) {
        let Statement { value, span, keyword, text, comments } = statement;
        match (value, self.dockerfile.stages.last_mut()) {
            (Typed::From(value), _) => {
                let name = value.alias.as_ref().map(|alias| alias.text.to_lowercase());
                let description = name.as_deref().and_then(|name| description(&comments, name));
                let from = Statement { value, span, keyword, text, comments };
                self.dockerfile.stages.push(Stage { name, from, description, instructions: Vec::new() });
            }
            (Typed::Instruction(value), Some(stage)) => {
                stage.instructions.push(Statement { value, span, keyword, text, comments });
            }
            (Typed::Instruction(Instruction::Arg(value)), None) => {
                self.dockerfile.global_args.push(Statement { value, span, keyword, text, comments });
            }
            // After a FROM that could not be read, one error is enough.
            (Typed::Instruction(_), None) if self.seen == Seen::From => {}
            (Typed::Instruction(value), None) => {
                let keyword = value.keyword().to_owned();
                self.diagnostics.push(Fault::new(SyntaxError::NoStage { keyword }, span).into());
            }
        }
    }

    fn finish(mut self, checks: Option<&Checks>) -> Parsed {
        let nowhere = Span::new(0, 0);
        if self.seen == Seen::Nothing {
            self.diagnostics.push(Fault::new(SyntaxError::NoInstructions, nowhere).into());
        } else if self.dockerfile.stages.is_empty() && !self.diagnostics.iter().any(Diagnostic::is_error) {
            self.diagnostics.push(Fault::new(SyntaxError::NoStages, nowhere).into());
        }
        self.diagnostics.extend(self.unknown_syntax());
        self.diagnostics.extend(lint::find(&self.dockerfile));
        let chosen = self.dockerfile.checks();
        let directive = self.dockerfile.directives.check.as_ref();
        if let (Err(error), Some(directive), None) = (&chosen, directive, checks) {
            self.diagnostics.push(Diagnostic::error(directive.span, error.to_string()));
        }
        let chosen = checks.cloned().or(chosen.ok()).unwrap_or_default();
        lint::retain(&self.dockerfile, &chosen, &mut self.diagnostics);
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        Parsed { dockerfile: self.dockerfile, diagnostics: self.diagnostics }
    }
}

impl Parser<'_> {
    /// The language is built in; another one is not fetched (rule A021).
    fn unknown_syntax(&self) -> Option<Diagnostic> {
        let syntax = self.dockerfile.directives.syntax.as_ref()?;
        let name = syntax.text.strip_prefix("docker.io/").unwrap_or(&syntax.text);
        let name = name.split(['@', ':']).next().unwrap_or_default();
        if matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0") {
            return None;
        }
        let message = format!("syntax {} is not fetched: the file is read as docker/dockerfile", syntax.text);
        Some(Diagnostic::warning(syntax.span, message))
    }
}

/// Whether it starts as UTF-16 does: with a byte order mark, or with a letter and half a letter.
fn is_utf16(source: &[u8]) -> bool {
    matches!(source, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'#' | b'A'..=b'z', 0, ..] | [0, b'#' | b'A'..=b'z', ..])
}

/// The text of the comment that starts with a name.
pub(super) fn description(comments: &[String], name: &str) -> Option<String> {
    let text = comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '))?;
    Some(text.to_owned())
}

/// The first word and the rest, both trimmed.
pub(super) fn split_keyword(line: Fragment<'_>) -> (Fragment<'_>, Fragment<'_>) {
    let (keyword, rest) = line.split_blank();
    (keyword, rest.unwrap_or_else(|| line.from(line.text().len())))
}

/// Heredocs belong to RUN, COPY and ADD, not in their JSON forms, and to ONBUILD of these
/// (rule A030).
fn opens_heredocs(keyword: Fragment<'_>, rest: Fragment<'_>) -> bool {
    let (_, arguments) = Flags::take(rest);
    match keyword.text().to_ascii_uppercase().as_str() {
        "RUN" | "COPY" | "ADD" => {
            rest.text().contains("<<") && !matches!(json::array(arguments.text()), Array::Strings(_))
        }
        "ONBUILD" => {
            let (keyword, rest) = split_keyword(arguments);
            !keyword.text().eq_ignore_ascii_case("ONBUILD") && opens_heredocs(keyword, rest)
        }
        _ => false,
    }
}
