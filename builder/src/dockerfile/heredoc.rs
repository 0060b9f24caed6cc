//! Heredoc openers: which words of a line announce a document below it (section A.3).
//!
//! The shell has the last word on a RUN line, so the line is only lexed as far as it takes to find
//! its words: quotes, escapes and `${...}` are skipped, not evaluated. A line that cannot be lexed
//! opens nothing, as in BuildKit; the shell will complain about it better.

use super::instruction::{Expansion, Heredoc, Tabs};
use super::line::Fragment;
use super::reader::Body;
use crate::diagnostic::Span;

/// A word such as `<<EOF`, `3<<-"END"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opener {
    pub(super) name: String,
    pub(super) expansion: Expansion,
    pub(super) tabs: Tabs,
}

/// The openers of a line in order.
pub(super) fn openers(line: Fragment<'_>) -> Vec<(Opener, Span)> {
    if !line.text().contains("<<") {
        return Vec::new();
    }
    let words = Lexer::new(line.text()).words().unwrap_or_default();
    let fragments = words.into_iter().map(|(start, end)| line.cut(start..end));
    fragments.filter_map(|word| Some((Opener::parse(word.text())?, word.span()))).collect()
}

/// Whether a text is one opener and nothing else.
pub(super) fn is_opener(text: &str) -> bool {
    Opener::parse(text).is_some()
}

impl Opener {
    /// Reads one word: digits, `<<`, perhaps `-`, and a name without `<` (rule A031).
    pub(super) fn parse(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (rest, tabs) = match rest.strip_prefix('-') {
            Some(rest) => (rest, Tabs::Stripped),
            None => (rest, Tabs::Kept),
        };
        let quoted = rest.trim_start();
        if quoted.contains('<') {
            return None;
        }
        let (name, expansion) = unquote(quoted)?;
        (!name.is_empty()).then_some(Self { name, expansion, tabs })
    }

    /// The opener with its body.
    pub(super) fn with(self, opener: Span, body: Body) -> Heredoc {
        let Self { name, expansion, tabs } = self;
        Heredoc { name, content: body.content, expansion, tabs, opener, body: body.span }
    }
}

impl Heredoc {
    /// The lines as they are meant: without leading tabs if the opener says so.
    pub fn text(&self) -> String {
        match self.tabs {
            Tabs::Kept => self.content.clone(),
            Tabs::Stripped => self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect(),
        }
    }
}

/// A name without its quotes; only quotes make a document literal, a backslash does not.
fn unquote(text: &str) -> Option<(String, Expansion)> {
    let mut name = String::new();
    let mut expansion = Expansion::Variables;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                expansion = Expansion::Literal;
                quoted(character, &mut characters, &mut name)?;
            }
            '\\' => name.extend(characters.next()),
            c if c.is_whitespace() => return None,
            c => name.push(c),
        }
    }
    Some((name, expansion))
}

fn quoted(quote: char, characters: &mut std::str::Chars<'_>, name: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => match characters.next()? {
                c @ ('"' | '$' | '\\') => name.push(c),
                c => name.extend(['\\', c]),
            },
            c => name.push(c),
        }
    }
}

/// Finds where words begin and end. Each step fails where BuildKit's lexer would.
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Deeper than any person nests, and shallow enough for any stack.
const DEPTH: usize = 100;

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn words(mut self) -> Option<Vec<(usize, usize)>> {
        let mut words = Vec::new();
        let mut start = None;
        while let Some(character) = self.peek() {
            let at = self.at;
            if character.is_whitespace() {
                self.bump();
                words.extend(start.take().map(|start| (start, at)));
                continue;
            }
            start.get_or_insert(at);
            self.step(character)?;
        }
        words.extend(start.map(|start| (start, self.at)));
        Some(words)
    }

    /// One unit of a word.
    fn step(&mut self, character: char) -> Option<()> {
        self.bump();
        match character {
            '\'' => self.skip_past('\''),
            '"' => self.double_quoted(),
            '$' => self.dollar(),
            '\\' => {
                self.bump();
                Some(())
            }
            '<' if self.peek() == Some('<') => {
                self.bump();
                self.skip_blanks();
                Some(())
            }
            _ => Some(()),
        }
    }

    fn double_quoted(&mut self) -> Option<()> {
        loop {
            match self.bump()? {
                '"' => return Some(()),
                '$' => self.dollar()?,
                '\\' if matches!(self.peek(), Some('"' | '$' | '\\')) => drop(self.bump()),
                _ => {}
            }
        }
    }

    /// After `$`. Only braces can hold blanks or quotes, or be wrong.
    fn dollar(&mut self) -> Option<()> {
        if self.peek() != Some('{') {
            return Some(());
        }
        self.bump();
        if matches!(self.peek()?, '{' | '}' | ':') {
            return None;
        }
        self.name();
        match self.bump()? {
            '}' => Some(()),
            ':' => {
                self.bump()?;
                self.until('}')
            }
            '+' | '-' | '?' | '#' | '%' => self.until('}'),
            '/' => {
                if self.peek() == Some('/') {
                    self.bump();
                }
                self.until('/')?;
                self.until('}')
            }
            _ => None,
        }
    }

    fn name(&mut self) {
        if matches!(self.peek(), Some('@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            self.bump();
            return;
        }
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.bump();
        }
    }

    fn until(&mut self, stop: char) -> Option<()> {
        self.depth += 1;
        while self.peek()? != stop {
            if self.depth > DEPTH {
                return None;
            }
            self.step(self.peek()?)?;
        }
        self.depth -= 1;
        self.bump().map(|_| ())
    }

    fn skip_past(&mut self, stop: char) -> Option<()> {
        while self.bump()? != stop {}
        Some(())
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
            self.bump();
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let mut text = Line::default();
        text.push(line, Span::new(0, line.len()));
        let found = openers(text.trimmed());
        assert_eq!(found.iter().map(|(opener, _)| opener.name.as_str()).collect::<Vec<_>>(), expected, "{line}");
    }

    #[test]
    fn a030_openers_stand_at_the_start_of_words() {
        check("RUN <<EOF", &["EOF"]);
        check("RUN cat <<A 3<<-B > /f <<'C D'", &["A", "B", "C D"]);
        check("RUN cat << EOF > /f", &["EOF"]);
        check("RUN <<$EOF", &["$EOF"]);
        check("RUN cat <<< word", &[]);
        check("RUN cat<<EOF", &[]);
        check("RUN echo \"<<EOF\" '<<EOF' \\<<EOF", &[]);
        check("RUN cat << ", &[]);
        check("RUN cat <<- EOF", &[]);
    }

    #[test]
    fn a030_a_line_that_cannot_be_lexed_opens_nothing() {
        check("RUN echo it's <<EOF", &[]);
        check("RUN echo ${a[0]} <<EOF", &[]);
        check("RUN echo ${} <<EOF", &[]);
        check("RUN echo ${a:0:3} ${b/c/\"d e\"} ${c:-it} <<EOF", &["EOF"]);
    }

    #[test]
    fn a031_quotes_make_a_document_literal_and_a_backslash_does_not() {
        for (word, name, expansion) in [
            ("<<eof", "eof", Expansion::Variables),
            (r"<<eo\'f", "eo'f", Expansion::Variables),
            ("<<eo'f'", "eof", Expansion::Literal),
            (r"<<'e'o\'f", "eo'f", Expansion::Literal),
            ("<<\"E\\$F\"", "E$F", Expansion::Literal),
        ] {
            let opener = Opener::parse(word).unwrap();
            assert_eq!((opener.name.as_str(), opener.expansion), (name, expansion), "{word}");
        }
        for word in ["<<", "<<-", "<<''", "<<a<b", "<<'a", "a<<b", "<"] {
            assert_eq!(Opener::parse(word), None, "{word}");
        }
    }
}
