//! Words in which quotes and escapes count: the arguments of ENV, LABEL and ARG.
//!
//! Nothing is unquoted here. A word ends at a blank that is neither quoted nor escaped; what is in
//! it stays as it was written, for [`expand`](crate::expand) to work on.

use super::directive::Escape;
use super::instruction::Word;
use super::line::Fragment;
use crate::diagnostic::Span;

/// The words of a text.
pub(super) fn quoted_words(text: Fragment<'_>, escape: Escape) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = word_end(rest.text(), escape);
        words.extend(word(rest.cut(0..end), escape));
        rest = rest.from(end).trim();
    }
    words
}

/// A word before and after its first `=`.
pub(super) fn split_equals(word: Word) -> (Word, Option<Word>) {
    let Some((key, value)) = word.text.split_once('=') else { return (word, None) };
    let middle = (word.span.start + key.len()).min(word.span.end);
    let value_start = (middle + 1).min(word.span.end);
    let value = Word { text: value.to_owned(), span: Span::new(value_start, word.span.end) };
    (Word { text: key.to_owned(), span: Span::new(word.span.start, middle) }, Some(value))
}

fn word_end(text: &str, escape: Escape) -> usize {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (character, quote) {
            (c, None) if c.is_whitespace() => return at,
            (c, None | Some('"')) if c == escape.character() => drop(characters.next()),
            ('\'' | '"', None) => quote = Some(character),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The word without an escape character that has nothing to escape, as BuildKit drops it.
fn word(fragment: Fragment<'_>, escape: Escape) -> Option<Word> {
    let mut word = fragment.word();
    if ends_in_escape(&word.text, escape) {
        word.text.pop();
    }
    (!word.text.is_empty()).then_some(word)
}

fn ends_in_escape(text: &str, escape: Escape) -> bool {
    let mut quote = None;
    let mut escaped = false;
    for character in text.chars() {
        match (character, quote) {
            _ if escaped => escaped = false,
            (c, None | Some('"')) if c == escape.character() => escaped = true,
            ('\'' | '"', None) => quote = Some(character),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut line = Line::default();
        line.push(text, Span::new(0, text.len()));
        let words = quoted_words(line.trimmed(), Escape::Backslash);
        assert_eq!(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn quotes_and_escapes_hold_words_together() {
        check("a=b  c=d", &["a=b", "c=d"]);
        check(r#"a="b c" d='e f'"#, &[r#"a="b c""#, "d='e f'"]);
        check(r"a=b\ c d", &[r"a=b\ c", "d"]);
        check(r#"a="b\" c" d"#, &[r#"a="b\" c""#, "d"]);
        check(r"a='b\' c", &[r"a='b\'", "c"]);
        check(r#"a="" b"#, &[r#"a="""#, "b"]);
        check(r#"a="b c"#, &[r#"a="b c"#]);
        check(r"a b\", &["a", "b"]);
        check(r"a \", &["a"]);
        check(r"a b\\", &["a", r"b\\"]);
        check("  ", &[]);
    }
}
