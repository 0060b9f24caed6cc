//! The walk over a word.

use std::iter::Peekable;
use std::str::Chars;

use super::trim::{Pattern, Reach};
use super::{ExpandError, Expanded, Lookup};

/// What becomes of quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They do their work and vanish.
    Removed,
    /// They are characters like others.
    Kept,
}

/// What becomes of escapes that did their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Removed,
    /// They stay, for a pattern that has its own.
    Kept,
}

/// Deeper than any person nests, and shallow enough for any stack.
const DEPTH: usize = 100;

/// Bytes that a text may come to by substitution, which can multiply: thirty-two times what the
/// kernel takes as one argument.
pub(super) const LONGEST: usize = 4 << 20;

pub(super) fn run(text: &str, variables: &dyn Lookup, escape: char, quotes: Quotes) -> Result<Expanded, ExpandError> {
    let characters = text.chars().peekable();
    let mut lexer = Lexer {
        characters,
        variables,
        escape,
        quotes,
        escapes: Escapes::Removed,
        depth: 0,
        result: Expanded::default(),
    };
    let mut output = Output::default();
    lexer.until(None, &mut output)?;
    output.words.extend(output.word.take());
    Ok(Expanded { text: output.text, words: output.words, ..lexer.result })
}

struct Lexer<'a> {
    characters: Peekable<Chars<'a>>,
    variables: &'a dyn Lookup,
    escape: char,
    quotes: Quotes,
    escapes: Escapes,
    depth: usize,
    /// Only its sets of names are used.
    result: Expanded,
}

/// Text and, beside it, the words that it splits into.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: Option<String>,
}

impl Lexer<'_> {
    /// Goes on to the end, or past the character to stop at.
    fn until(&mut self, stop: Option<char>, output: &mut Output) -> Result<(), ExpandError> {
        while let Some(character) = self.characters.next() {
            match character {
                c if Some(c) == stop => return Ok(()),
                '\'' if self.quotes == Quotes::Removed => output.quoted(&self.single_quoted()?),
                '"' if self.quotes == Quotes::Removed => output.quoted(&self.double_quoted()?),
                '$' => output.splitting(&self.substituted(output.text.len())?),
                c if c == self.escape => self.escaped(output),
                c => output.plain(c),
            }
        }
        if stop.is_none() { Ok(()) } else { Err(ExpandError::Brace) }
    }

    fn escaped(&mut self, output: &mut Output) {
        if self.escapes == Escapes::Kept {
            output.literal(self.escape);
        }
        if let Some(character) = self.characters.next() {
            output.literal(character);
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        loop {
            match self.characters.next().ok_or(ExpandError::Quote { quote: '\'' })? {
                '\'' => return Ok(text),
                character => text.push(character),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        loop {
            match self.characters.next().ok_or(ExpandError::Quote { quote: '"' })? {
                '"' => return Ok(text),
                '$' => text.push_str(&self.substituted(text.len())?),
                c if c == self.escape => self.escaped_in_quotes(&mut text),
                character => text.push(character),
            }
        }
    }

    /// Only a quote, `$` and the escape itself can be escaped here; before others it is a character.
    fn escaped_in_quotes(&mut self, text: &mut String) {
        let escape = self.escape;
        if self.escapes == Escapes::Kept {
            text.push(escape);
        }
        match self.characters.next_if(|c| matches!(c, '"' | '$') || *c == escape) {
            Some(character) => text.push(character),
            None => text.push(escape),
        }
    }

    /// What stands after `$`, if the text before leaves room for it.
    fn substituted(&mut self, before: usize) -> Result<String, ExpandError> {
        let value = self.dollar()?;
        if before + value.len() > LONGEST { Err(ExpandError::Long) } else { Ok(value) }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.characters.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name, Missing::Reported).unwrap_or_default()
            });
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ExpandError::Depth);
        }
        let value = self.braces()?;
        self.depth -= 1;
        Ok(value)
    }

    /// What stands after `${`.
    fn braces(&mut self) -> Result<String, ExpandError> {
        match self.characters.peek() {
            None => return Err(ExpandError::Brace),
            Some('{' | '}' | ':') => return Err(ExpandError::Substitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.characters.next().ok_or(ExpandError::Brace)? {
            '}' => Ok(self.value(&name, Missing::Reported).unwrap_or_default()),
            ':' => match self.characters.next().ok_or(ExpandError::Brace)? {
                operator @ ('-' | '+' | '?') => self.alternative(&name, operator, Unset::OrEmpty),
                other => Err(ExpandError::Modifier { name, modifier: format!(":{other}") }),
            },
            operator @ ('-' | '+' | '?') => self.alternative(&name, operator, Unset::Only),
            operator @ ('#' | '%') => self.trimmed(&name, operator),
            '/' => self.replaced(&name),
            other => Err(ExpandError::Modifier { name, modifier: other.to_string() }),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`. The word is expanded in any case, as in
    /// BuildKit, so its mistakes show even if it is not used.
    fn alternative(&mut self, name: &str, operator: char, unset: Unset) -> Result<String, ExpandError> {
        let word = self.nested('}', Escapes::Removed)?;
        let value = self.value(name, Missing::Handled);
        let given = value.filter(|value| unset == Unset::Only || !value.is_empty());
        match (operator, given) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) => {
                let state = if self.variables.lookup(name).is_some() { "empty" } else { "unset" };
                let message = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    /// `${name#pattern}` and its like.
    fn trimmed(&mut self, name: &str, operator: char) -> Result<String, ExpandError> {
        let word = self.nested('}', Escapes::Kept)?;
        let value = self.value(name, Missing::Reported).unwrap_or_default();
        let (pattern, reach) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, Reach::Longest),
            None => (word.as_str(), Reach::Shortest),
        };
        let pattern = parse_pattern(name, pattern)?;
        Ok(if operator == '#' { pattern.without_prefix(&value, reach) } else { pattern.without_suffix(&value, reach) })
    }

    /// `${name/pattern/replacement}` and `${name//pattern/replacement}`
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.characters.next_if_eq(&'/').is_some();
        let pattern = self.nested('/', Escapes::Kept).map_err(|error| match error {
            ExpandError::Brace => ExpandError::Slash { name: name.to_owned() },
            error => error,
        })?;
        let replacement = self.nested('}', Escapes::Kept)?;
        let value = self.value(name, Missing::Reported).unwrap_or_default();
        let count = if all { usize::MAX } else { 1 };
        parse_pattern(name, &pattern)?.replace(&value, &replacement, count).ok_or(ExpandError::Long)
    }

    fn nested(&mut self, stop: char, escapes: Escapes) -> Result<String, ExpandError> {
        let outer = std::mem::replace(&mut self.escapes, escapes);
        let mut output = Output::default();
        self.until(Some(stop), &mut output)?;
        self.escapes = outer;
        Ok(output.text)
    }

    /// A name, a number, or one of the shell's special parameters; empty if it is none of them.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if self.characters.peek().is_some_and(char::is_ascii_digit) {
            name.extend(std::iter::from_fn(|| self.characters.next_if(char::is_ascii_digit)));
            return name;
        }
        if let Some(special) = self.characters.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            return special.to_string();
        }
        name.extend(std::iter::from_fn(|| self.characters.next_if(|c| c.is_alphanumeric() || *c == '_')));
        name
    }

    fn value(&mut self, name: &str, missing: Missing) -> Option<String> {
        let value = self.variables.lookup(name);
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if value.is_some() {
            self.result.used.insert(name.to_owned());
        } else if is_name && missing == Missing::Reported {
            self.result.undefined.insert(name.to_owned());
        }
        value
    }
}

/// When a variable counts as not given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unset {
    Only,
    OrEmpty,
}

/// Whether somebody should hear that a variable is not set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Reported,
    Handled,
}

fn parse_pattern(name: &str, pattern: &str) -> Result<Pattern, ExpandError> {
    let error = || ExpandError::Pattern { name: name.to_owned(), pattern: pattern.to_owned() };
    Pattern::parse(pattern).ok_or_else(error)
}

impl Output {
    /// A character that splits words if it is a blank.
    fn plain(&mut self, character: char) {
        self.text.push(character);
        self.split(character);
    }

    /// A character that never splits words.
    fn literal(&mut self, character: char) {
        self.text.push(character);
        self.word.get_or_insert_default().push(character);
    }

    /// A value: its blanks split words.
    fn splitting(&mut self, value: &str) {
        self.text.push_str(value);
        value.chars().for_each(|character| self.split(character));
    }

    /// A quoted text: its blanks are part of the word.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        if !text.is_empty() {
            self.word.get_or_insert_default().push_str(text);
        }
    }

    fn split(&mut self, character: char) {
        if character.is_whitespace() {
            self.words.extend(self.word.take());
        } else {
            self.word.get_or_insert_default().push(character);
        }
    }
}
