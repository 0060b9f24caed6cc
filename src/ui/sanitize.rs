//! Keeps what others wrote from driving the user's terminal.
//!
//! Logs of steps, error texts of registries, labels and file names are other people's bytes. Colours may
//! pass where a terminal can show them; cursor movement, titles, clipboard access and hidden lines may not.

use std::fmt::Write as _;

/// Which escape sequences may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Select-graphic-rendition sequences (`ESC [ … m`) pass.
    Kept,
    /// Nothing passes.
    Dropped,
}

/// One line for a person: bytes that are no UTF-8 become U+FFFD, control characters except tabs vanish
/// or are shown, and of a line that a carriage return overwrote only the last state stays.
pub(crate) fn line(bytes: &[u8], colours: Colours) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    let last = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut clean = String::with_capacity(last.len());
    let mut characters = last.chars().peekable();
    // A backspace takes away characters, never a part of a sequence.
    let mut erasable_from = 0;
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                let sequence = escape(&mut characters);
                if colours == Colours::Kept && is_colour(&sequence) {
                    clean.push('\u{1b}');
                    clean.push_str(&sequence);
                    erasable_from = clean.len();
                }
            }
            '\t' => clean.push('\t'),
            '\u{8}' if clean.len() > erasable_from => drop(clean.pop()),
            '\u{8}' => {}
            _ if is_hostile(character) => {
                let _ = write!(clean, "\\u{{{:x}}}", u32::from(character));
            }
            _ => clean.push(character),
        }
    }
    clean
}

/// Any text, line by line.
pub(crate) fn text(text: &str) -> String {
    text.lines().map(|one| line(one.as_bytes(), Colours::Dropped)).collect::<Vec<_>>().join("\n")
}

/// What follows an ESC, as ECMA-48 delimits it: a control sequence, a control string, or one character.
fn escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut sequence = String::new();
    match characters.next() {
        Some('[') => {
            sequence.push('[');
            for character in characters.by_ref() {
                sequence.push(character);
                if ('\u{40}'..='\u{7e}').contains(&character) {
                    break;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' || (character == '\u{1b}' && characters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        Some(other) => sequence.push(other),
        None => {}
    }
    sequence
}

fn is_colour(sequence: &str) -> bool {
    let inner = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('m'));
    inner.is_some_and(|inner| inner.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':'))
}

/// Control characters, and those that reorder or hide text around them (Unicode, bidirectional controls).
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(line(bytes, Colours::Dropped), expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn lines() {
        check(b"plain text\n", "plain text");
        check(b"10%\r50%\r100%\n", "100%");
        check(b"done\r\n", "done");
        check(b"\x1b[31mred\x1b[0m", "red");
        check(b"\x1b]0;title\x07after", "after");
        check(b"\x1b]52;c;AAAA\x1b\\after", "after");
        check(b"\x1b[2Jgone", "gone");
        check(b"a\x08b", "b");
        check(b"\x00\x07", "\\u{0}\\u{7}");
        check(b"\xff", "\u{fffd}");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check(b"\x1b[31", "");
        check(b"a\tb", "a\tb");
    }

    #[test]
    fn colours_pass_where_they_may() {
        assert_eq!(line(b"\x1b[1;31mred\x1b[0m\x1b[2J", Colours::Kept), "\x1b[1;31mred\x1b[0m");
        assert_eq!(line(b"\x1b[?25l", Colours::Kept), "");
        assert_eq!(line(b"\x1b[31m\x08\x082J", Colours::Kept), "\x1b[31m2J");
    }

    #[test]
    fn cleaning_twice_changes_nothing() {
        for bytes in [&b"\x1b[31mx\x00"[..], b"\xff\x1b]0;t\x07", b"a\rb\x08c"] {
            let once = line(bytes, Colours::Kept);
            assert_eq!(line(once.as_bytes(), Colours::Kept), once);
        }
    }
}
