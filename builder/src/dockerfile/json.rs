//! JSON arrays of strings: the exec form (rule A012).
//!
//! An own reader, since each string's place is wanted, and since what is no array of strings is
//! mostly no error but text for a shell. Strings are read as Go reads them: an escaped lone
//! surrogate is the replacement character.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use serde::de::IgnoredAny;

/// What a text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Array {
    /// Strings, and where each stands in the text, quotes included.
    Strings(Vec<(String, Range<usize>)>),
    /// A valid array with something else in it.
    Mixed,
    /// No array.
    None,
}

/// Reads a text without blanks around it.
pub(super) fn array(text: &str) -> Array {
    if !text.starts_with('[') {
        return Array::None;
    }
    match (Reader { text, characters: text.char_indices().peekable() }).strings() {
        Some(strings) => Array::Strings(strings),
        None if serde_json::from_str::<Vec<IgnoredAny>>(text).is_ok() => Array::Mixed,
        None => Array::None,
    }
}

struct Reader<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn strings(mut self) -> Option<Vec<(String, Range<usize>)>> {
        let mut strings = Vec::new();
        self.token('[')?;
        if self.token(']').is_none() {
            strings.push(self.string()?);
            while self.token(',').is_some() {
                strings.push(self.string()?);
            }
            self.token(']')?;
        }
        self.skip_blanks();
        self.characters.next().is_none().then_some(strings)
    }

    fn token(&mut self, expected: char) -> Option<usize> {
        self.skip_blanks();
        self.characters.next_if(|(_, character)| *character == expected).map(|(at, _)| at)
    }

    fn skip_blanks(&mut self) {
        while self.characters.next_if(|(_, c)| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
    }

    fn string(&mut self) -> Option<(String, Range<usize>)> {
        let start = self.token('"')?;
        let mut string = String::new();
        loop {
            match self.characters.next()? {
                (at, '"') => return Some((string, start..at + 1)),
                (_, '\\') => string.push(self.escaped()?),
                (_, character) if character < ' ' => return None,
                (_, character) => string.push(character),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.characters.next()?.1 {
            character @ ('"' | '\\' | '/') => character,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hexadecimal()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        let pair = self.low_surrogate().filter(|_| (0xd800..0xdc00).contains(&first));
        let Some(low) = pair else { return Some(char::REPLACEMENT_CHARACTER) };
        for _ in 0..6 {
            self.characters.next();
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00))
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value * 16 + self.characters.next()?.1.to_digit(16)?))
    }

    /// The second half of a pair, if it comes next.
    fn low_surrogate(&mut self) -> Option<u32> {
        let at = self.characters.peek()?.0;
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        (0xdc00..0xe000).contains(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(expected: &[&str]) -> Option<Vec<String>> {
        Some(expected.iter().map(|text| (*text).to_owned()).collect())
    }

    fn check(text: &str, expected: Option<Vec<String>>) {
        let found = match array(text) {
            Array::Strings(strings) => Some(strings.into_iter().map(|(string, _)| string).collect()),
            Array::Mixed | Array::None => None,
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a012_arrays_of_strings() {
        check("[]", strings(&[]));
        check("[ ]", strings(&[]));
        check(r#"["a"]"#, strings(&["a"]));
        check("[ \"a b\" ,\t\"c\" ] ", strings(&["a b", "c"]));
        check(r#"["\"\\\/\b\f\n\r\t\u0041"]"#, strings(&["\"\\/\u{8}\u{c}\n\r\tA"]));
        check(r#"["\ud83d\ude00"]"#, strings(&["😀"]));
        check(r#"["\ud83d", "\ude00", "\ud83dx\u00e9"]"#, strings(&["\u{fffd}", "\u{fffd}", "\u{fffd}xé"]));
    }

    #[test]
    fn a012_everything_else_is_text() {
        for text in ["", "a", "['a']", r#"["a",]"#, r#"["a"] b"#, r#"["a""#, r#"["a" "b"]"#, r#"["\x"]"#, "[\"\t\"]"] {
            assert_eq!(array(text), Array::None, "{text}");
        }
    }

    #[test]
    fn a012_other_values_are_errors() {
        for text in ["[1]", r#"["a", 2]"#, "[null]", r#"["a", ["b"]]"#, r#"["a", {"b": 1}]"#] {
            assert_eq!(array(text), Array::Mixed, "{text}");
        }
    }

    #[test]
    fn places_hold_the_quotes() {
        assert_eq!(array(r#"[ "ab"]"#), Array::Strings(vec![("ab".to_owned(), 2..6)]));
    }
}
