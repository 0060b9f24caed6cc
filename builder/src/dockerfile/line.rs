//! Logical lines: an instruction's text in one piece, and the way back to the file's bytes.
//!
//! Continuations are joined and comments are gone, so one [`Line`] is made of several pieces of the
//! source. A [`Fragment`] is a part of it that still knows where it came from; everything after the
//! reader works on fragments and never sees the file.

use std::ops::Range;

use super::instruction::Word;
use crate::diagnostic::Span;

/// The text of one instruction.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Offset in the text.
    at: usize,
    /// Where that byte stands in the source.
    source: Span,
}

impl Line {
    /// Appends a part of the source.
    pub(super) fn push(&mut self, text: &str, source: Span) {
        self.pieces.push(Piece { at: self.text.len(), source });
        self.text.push_str(text);
    }

    /// The whole text without the blanks around it.
    pub(super) fn trimmed(&self) -> Fragment<'_> {
        Fragment { line: self, range: (0, self.text.len()) }.trim()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let first = self.source_of(start);
        if end <= start { Span::new(first, first) } else { Span::new(first, self.source_of(end - 1) + 1) }
    }

    fn source_of(&self, offset: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.at <= offset);
        match next.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(piece) => (piece.source.start + (offset - piece.at)).min(piece.source.end),
            None => 0,
        }
    }
}

/// A part of a logical line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    line: &'a Line,
    range: (usize, usize),
}

impl<'a> Fragment<'a> {
    pub(super) fn text(self) -> &'a str {
        &self.line.text[self.range.0..self.range.1]
    }

    pub(super) fn is_empty(self) -> bool {
        self.range.0 == self.range.1
    }

    pub(super) fn span(self) -> Span {
        self.line.span(self.range.0, self.range.1)
    }

    /// The part at these offsets, which are relative to this fragment.
    pub(super) fn cut(self, part: Range<usize>) -> Self {
        Self { line: self.line, range: (self.range.0 + part.start, self.range.0 + part.end) }
    }

    pub(super) fn from(self, offset: usize) -> Self {
        self.cut(offset..self.text().len())
    }

    pub(super) fn trim(self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.cut(start..start + text.trim().len())
    }

    /// The text as a word of its own.
    pub(super) fn word(self) -> Word {
        Word { text: self.text().to_owned(), span: self.span() }
    }

    /// Splits at the first run of blanks; the second part is `None` if there is no blank.
    pub(super) fn split_blank(self) -> (Self, Option<Self>) {
        let text = self.text();
        let Some(end) = text.find(is_blank) else { return (self, None) };
        let next = text[end..].find(|c| !is_blank(c)).map_or(text.len(), |length| end + length);
        (self.cut(0..end), Some(self.from(next)))
    }

    /// The words between blanks. Quotes and escapes have no meaning to it, as in FROM, EXPOSE,
    /// VOLUME, and the paths of COPY and ADD.
    pub(super) fn words(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self.trim()).filter(|fragment| !fragment.is_empty());
        std::iter::from_fn(move || {
            let (word, after) = rest?.split_blank();
            rest = after.filter(|fragment| !fragment.is_empty());
            Some(word)
        })
    }
}

/// What separates words. A line feed cannot occur in a logical line, and other Unicode blanks only
/// count where a text is trimmed.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lead_back_through_continuations() {
        let mut line = Line::default();
        line.push("RUN one ", Span::new(10, 18));
        line.push("  two", Span::new(30, 35));
        let words: Vec<_> = line.trimmed().words().map(|word| (word.text(), word.span())).collect();
        let expected = [("RUN", Span::new(10, 13)), ("one", Span::new(14, 17)), ("two", Span::new(32, 35))];
        assert_eq!(words, expected);
        assert_eq!(line.trimmed().from(4).span(), Span::new(14, 35));
    }
}
