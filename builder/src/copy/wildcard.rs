//! Wildcards in the sources of COPY and ADD: Go's `filepath.Match`, a component at a time.
//!
//! `*` and `?` stay within one name, `[a-z]` and `[^a-z]` are classes, a backslash takes the next
//! byte as it is. There is no `**` here. (Dockerfile reference, "COPY", "Pattern matching".)

/// A pattern that cannot match anything because it is malformed: an open class or a final backslash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {0:?}")]
pub struct PatternError(pub String);

/// Whether a source names more than itself.
pub fn has_wildcard(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    false
}

/// Whether a pattern of one component matches a whole name.
pub fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, PatternError> {
    match_from(pattern, name).ok_or_else(|| PatternError(String::from_utf8_lossy(pattern).into_owned()))
}

/// A component without wildcards as the name it stands for: backslashes taken away.
pub fn unescape(component: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(component.len());
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        name.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    name
}

/// `None`: the pattern is malformed.
fn match_from(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let Some((first, rest)) = pattern.split_first() else { return Some(name.is_empty()) };
    match first {
        b'*' => match_star(rest, name),
        b'?' => match name.len() {
            0 => match_from(rest, name).map(|_| false),
            _ => match_from(rest, &name[character_length(name)..]),
        },
        b'[' => {
            let (class, rest) = Class::parse(rest)?;
            match decode(name) {
                Some((character, after)) if class.contains(character) => match_from(rest, after),
                _ => match_from(rest, b"").map(|_| false),
            }
        }
        b'\\' => {
            let (literal, rest) = rest.split_first()?;
            match_literal(*literal, rest, name)
        }
        literal => match_literal(*literal, rest, name),
    }
}

fn match_star(rest: &[u8], name: &[u8]) -> Option<bool> {
    for start in 0..=name.len() {
        if match_from(rest, &name[start..])? {
            return Some(true);
        }
    }
    Some(false)
}

fn match_literal(literal: u8, rest: &[u8], name: &[u8]) -> Option<bool> {
    match name.split_first() {
        Some((byte, after)) if *byte == literal => match_from(rest, after),
        _ => match_from(rest, b"").map(|_| false),
    }
}

/// What stands between brackets.
struct Class {
    negated: bool,
    ranges: Vec<(u32, u32)>,
}

impl Class {
    /// Reads behind the opening bracket; gives what follows the closing one.
    fn parse(text: &[u8]) -> Option<(Self, &[u8])> {
        let negated = text.first() == Some(&b'^');
        let mut rest = if negated { &text[1..] } else { text };
        let mut ranges = Vec::new();
        while ranges.is_empty() || rest.first()? != &b']' {
            let (low, after) = class_character(rest)?;
            let (high, after) = match after.split_first() {
                Some((b'-', after)) => class_character(after)?,
                _ => (low, after),
            };
            ranges.push((low, high));
            rest = after;
        }
        Some((Self { negated, ranges }, &rest[1..]))
    }

    fn contains(&self, character: u32) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != self.negated
    }
}

fn class_character(text: &[u8]) -> Option<(u32, &[u8])> {
    match text.first()? {
        b'-' | b']' => None,
        b'\\' => decode(&text[1..]),
        _ => decode(text),
    }
}

/// The first character of bytes that are mostly UTF-8; a byte that is not stands for itself.
fn decode(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = character_length(text);
    let head = text.get(..length).filter(|head| !head.is_empty())?;
    let value = match std::str::from_utf8(head) {
        Ok(text) => u32::from(text.chars().next()?),
        Err(_) => u32::from(head[0]),
    };
    Some((value, &text[length..]))
}

fn character_length(text: &[u8]) -> usize {
    match text.utf8_chunks().next() {
        Some(chunk) => chunk.valid().chars().next().map_or(1, char::len_utf8),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b", "abc", false),
            ("a?c", "abc", true),
            ("a?c", "a\u{e9}c", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[[]x", "[x", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[a-z]", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), Ok(expected), "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_errors() {
        for (pattern, name) in [("[", "a"), ("[a", "a"), ("a\\", "a"), ("[]a]", "]"), ("[-]", "-"), ("[a-]", "a")] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn wildcards_are_seen_unless_escaped() {
        for (text, expected) in [("a", false), ("a*", true), ("\\*", false), ("a[b", true), ("a\\[b", false)] {
            assert_eq!(has_wildcard(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(unescape(b"a\\[b"), b"a[b");
    }
}
