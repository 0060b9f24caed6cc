//! Parser directives: the comments at the very top that change how the rest is read.
//!
//! `# key = value`, keys in any case. The first line that is none ends them (rule A020). A shebang
//! may stand before `syntax` and `check`, but not before `escape`, as BuildKit has it.

use super::error::{Fault, SyntaxError};
use super::instruction::Word;
use crate::diagnostic::Span;

/// What the directives say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// `syntax`: the frontend image that the file asks for, up to the first blank.
    pub syntax: Option<Word>,
    /// `escape`
    pub escape: Escape,
    /// `check`, for [`Checks::parse`](crate::lint::Checks::parse).
    pub check: Option<Word>,
}

/// The character that escapes others and continues lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Escape {
    /// `\`
    #[default]
    Backslash,
    /// `` ` ``
    Backtick,
}

impl Escape {
    /// The character itself.
    pub const fn character(self) -> char {
        self.byte() as char
    }

    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Backslash => b'\\',
            Self::Backtick => b'`',
        }
    }
}

/// Reads the directives; also returns where the first line after them starts.
pub(super) fn read(source: &[u8], faults: &mut Vec<Fault>) -> (Directives, usize) {
    let mut at = if source.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let shebang = source[at..].starts_with(b"#!");
    if shebang {
        at += line_length(&source[at..]);
    }
    let mut directives = Directives::default();
    let mut seen = Vec::new();
    while let Some((key, value)) = setting(&source[at..at + line_length(&source[at..])], at) {
        if !(is_known(&key) && (key != "escape" || !shebang)) {
            break;
        }
        at += line_length(&source[at..]);
        if seen.contains(&key) {
            faults.push(Fault::new(SyntaxError::RepeatedDirective { key }, value.span));
            continue;
        }
        directives.set(&key, value, faults);
        seen.push(key);
    }
    (directives, at)
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Directives {
    fn set(&mut self, key: &str, value: Word, faults: &mut Vec<Fault>) {
        match (key, value.text.as_str()) {
            ("syntax", text) => {
                let image = text.split(' ').next().unwrap_or_default().to_owned();
                self.syntax = Some(Word { text: image, span: value.span });
            }
            ("check", _) => self.check = Some(value),
            (_, "\\") => self.escape = Escape::Backslash,
            (_, "`") => self.escape = Escape::Backtick,
            _ => faults.push(Fault::new(SyntaxError::Escape { value: value.text }, value.span)),
        }
    }
}

fn is_known(key: &str) -> bool {
    matches!(key, "syntax" | "escape" | "check")
}

/// `# key = value` with the key in lower case; the value is never empty.
fn setting(line: &[u8], at: usize) -> Option<(String, Word)> {
    let text = std::str::from_utf8(line).ok()?;
    let (key, value) = text.trim_start().strip_prefix('#')?.split_once('=')?;
    let key = key.trim();
    let starts_with_letter = key.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts_with_letter || !key.chars().all(|c| c.is_ascii_alphanumeric()) || value.trim().is_empty() {
        return None;
    }
    let start = at + text.len() - value.trim_start().len();
    let text = value.trim().to_owned();
    let span = Span::new(start, start + text.len());
    Some((key.to_ascii_lowercase(), Word { text, span }))
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, syntax: Option<&str>, escape: Escape, rest: &str, faults: usize) {
        let mut found = Vec::new();
        let (directives, at) = read(source.as_bytes(), &mut found);
        assert_eq!(directives.syntax.as_ref().map(|word| word.text.as_str()), syntax, "{source:?}");
        assert_eq!(directives.escape, escape, "{source:?}");
        assert_eq!(&source[at..], rest, "{source:?}");
        assert_eq!(found.len(), faults, "{source:?}: {found:?}");
    }

    #[test]
    fn a020_directives_end_at_the_first_line_that_is_none() {
        use Escape::{Backslash, Backtick};
        check("# syntax=docker/dockerfile:1\nFROM a\n", Some("docker/dockerfile:1"), Backslash, "FROM a\n", 0);
        check("#SYNTAX = a b\r\n# Escape=`\nX", Some("a"), Backtick, "X", 0);
        check("\u{feff}# escape=`\nX", None, Backtick, "X", 0);
        check("#!/usr/bin/env x\n# syntax=a\nX", Some("a"), Backslash, "X", 0);
        check("#!/usr/bin/env x\n# escape=`\nX", None, Backslash, "# escape=`\nX", 0);
        check("# a comment\n# escape=`\nX", None, Backslash, "# a comment\n# escape=`\nX", 0);
        check("# unknown=1\n# escape=`\nX", None, Backslash, "# unknown=1\n# escape=`\nX", 0);
        check("\n# escape=`\nX", None, Backslash, "\n# escape=`\nX", 0);
        check("# escape=\nX", None, Backslash, "# escape=\nX", 0);
    }

    #[test]
    fn a020_a022_repeated_and_impossible_values_are_errors() {
        check("# escape=`\n# escape=`\nX", None, Escape::Backtick, "X", 1);
        check("# escape=ab\nX", None, Escape::Backslash, "X", 1);
    }
}
