//! The `--name[=value]` words between keyword and arguments (rule A011).

use super::error::{Fault, SyntaxError};
use super::instruction::Word;
use super::line::Fragment;
use crate::diagnostic::Span;
use crate::suggest::suggest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A value, once.
    Value,
    /// A value, any number of times.
    Values,
    /// Nothing, `true` or `false`, once.
    Switch,
}

/// The flags of one instruction, in order.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<Flag>);

#[derive(Debug)]
struct Flag {
    name: String,
    value: Option<Word>,
    span: Span,
}

impl Flags {
    /// Takes the flags off the front of an instruction's arguments.
    pub(super) fn take(arguments: Fragment<'_>) -> (Self, Fragment<'_>) {
        let mut flags = Vec::new();
        let mut rest = arguments.trim();
        while rest.text().starts_with("--") {
            let (text, end) = unquote_word(rest.text());
            let word = rest.cut(0..end);
            rest = rest.from(end).trim();
            if text == "--" {
                break;
            }
            flags.push(Flag::new(&text, word));
        }
        (Self(flags), rest)
    }

    /// Holds the flags against those that the instruction has.
    pub(super) fn check(self, known: &[(&str, Takes)]) -> Result<Self, Fault> {
        for (index, flag) in self.0.iter().enumerate() {
            flag.check(known, &self.0[..index])?;
        }
        Ok(self)
    }

    /// The value of a flag that stands there at most once.
    pub(super) fn value(&self, name: &str) -> Option<Word> {
        self.values(name).pop()
    }

    /// All values of a flag.
    pub(super) fn values(&self, name: &str) -> Vec<Word> {
        self.0.iter().filter(|flag| flag.name == name).filter_map(|flag| flag.value.clone()).collect()
    }

    /// Whether a switch is on, if it is there.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.0.iter().find(|flag| flag.name == name)?;
        Some(flag.value.as_ref().is_none_or(|value| value.text.eq_ignore_ascii_case("true")))
    }

    /// The first flag's place, for instructions that have none.
    pub(super) fn first(&self) -> Option<Span> {
        self.0.first().map(|flag| flag.span)
    }
}

impl Flag {
    fn new(text: &str, word: Fragment<'_>) -> Self {
        let span = word.span();
        let text = &text[2..];
        let Some((name, value)) = text.split_once('=') else {
            return Self { name: text.to_owned(), value: None, span };
        };
        let start = word.text().find('=').map_or(0, |index| index + 1);
        let value = Word { text: value.to_owned(), span: word.from(start).span() };
        Self { name: name.to_owned(), value: Some(value), span }
    }

    fn check(&self, known: &[(&str, Takes)], before: &[Self]) -> Result<(), Fault> {
        let name = self.name.clone();
        let Some((_, takes)) = known.iter().find(|(known, _)| *known == name) else {
            let suggestion = suggest(&name, known.iter().map(|(known, _)| *known)).map(|name| format!("--{name}"));
            return Err(Fault::new(SyntaxError::UnknownFlag { name }, self.span).suggest(suggestion.as_deref()));
        };
        if *takes != Takes::Values && before.iter().any(|flag| flag.name == name) {
            return Err(Fault::new(SyntaxError::RepeatedFlag { name }, self.span));
        }
        let error = match (takes, &self.value) {
            (Takes::Value | Takes::Values, None) => SyntaxError::FlagWithoutValue { name },
            (Takes::Switch, Some(value)) if value.text.is_empty() => SyntaxError::FlagWithoutValue { name },
            (Takes::Switch, Some(value)) if !is_boolean(&value.text) => {
                SyntaxError::NotBoolean { name, value: value.text.clone() }
            }
            _ => return Ok(()),
        };
        Err(Fault::new(error, self.span))
    }
}

fn is_boolean(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

/// The first word with its quotes and backslashes worked off, and where it ends. The backslash
/// escapes here whatever the `escape` directive says, within both kinds of quotes.
fn unquote_word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (character, quote) {
            (c, None) if c.is_whitespace() => return (word, at),
            ('\\', _) => word.extend(characters.next().map(|(_, escaped)| escaped)),
            ('\'' | '"', None) => quote = Some(character),
            (c, Some(open)) if c == open => quote = None,
            (c, _) => word.push(c),
        }
    }
    (word, text.len())
}
