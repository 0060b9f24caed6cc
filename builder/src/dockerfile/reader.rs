//! From bytes to logical lines: comments, continuations, and the bodies of heredocs.
//!
//! The reader goes over the source once and copies each byte at most once. It knows no
//! instructions; the parser asks it for a line, and for a heredoc's body where the line opens one.

use super::directive::Escape;
use super::heredoc::Opener;
use super::instruction::Tabs;
use super::line::Line;
use crate::diagnostic::Span;
use crate::suggest::suggest;

/// Hands out the logical lines of a source.
pub(super) struct Reader<'a> {
    source: &'a [u8],
    at: usize,
    escape: Escape,
}

/// One logical line and what was met on the way to it.
pub(super) struct Logical {
    pub(super) line: Line,
    /// From its first byte to its last, without the line's end.
    pub(super) span: Span,
    /// The comment lines directly above.
    pub(super) comments: Vec<String>,
    /// The first empty line between its continuations.
    pub(super) gap: Option<Span>,
    /// The first byte that is not UTF-8.
    pub(super) garbled: Option<Span>,
}

/// The lines of a heredoc.
pub(super) struct Body {
    pub(super) content: String,
    pub(super) span: Span,
    /// Where the terminator ends.
    pub(super) end: usize,
    pub(super) garbled: Option<Span>,
}

/// What a physical line is to the reader.
enum Physical<'a> {
    Comment(&'a [u8]),
    Blank,
    Text { text: &'a [u8], continues: bool },
}

impl<'a> Reader<'a> {
    /// Starts after the directives.
    pub(super) fn new(source: &'a [u8], at: usize, escape: Escape) -> Self {
        Self { source, at, escape }
    }

    /// The next instruction's line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Option<Logical> {
        let mut comments = Vec::new();
        loop {
            let span = self.physical()?;
            match self.classify(span) {
                Physical::Comment(text) => note(&mut comments, text),
                Physical::Blank => comments.clear(),
                Physical::Text { text, continues } => {
                    let indent = leading_blanks(text);
                    let mut logical = Logical::new(comments);
                    logical.push(&text[indent..], Span::new(span.start + indent, span.end));
                    if continues {
                        self.join(&mut logical);
                    }
                    return Some(logical);
                }
            }
        }
    }

    /// The body of a heredoc, up to its terminator; `None` if there is no terminator.
    pub(super) fn body(&mut self, opener: &Opener) -> Option<Body> {
        let start = self.at;
        loop {
            let span = self.physical()?;
            let line = &self.source[span.start..span.end];
            let line = match opener.tabs {
                Tabs::Kept => line,
                Tabs::Stripped => &line[line.iter().take_while(|byte| **byte == b'\t').count()..],
            };
            if line == opener.name.as_bytes() {
                let (content, garbled) = decode(&self.source[start..span.start], start);
                return Some(Body { content, span: Span::new(start, span.start), end: span.end, garbled });
            }
        }
    }

    /// Where the next line starts.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The first line from a place on that is nearly a heredoc's name.
    pub(super) fn near(&self, start: usize, name: &str) -> Option<String> {
        let lines = self.source[start..].split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let is_near = |line: &&str| {
            let line = line.trim();
            line.eq_ignore_ascii_case(name) || name.len() > 2 && suggest(line, [name]).is_some()
        };
        lines.map(str::trim_end).find(is_near).map(str::to_owned)
    }

    fn join(&mut self, logical: &mut Logical) {
        while let Some(span) = self.physical() {
            match self.classify(span) {
                Physical::Comment(_) => {}
                Physical::Blank => drop(logical.gap.get_or_insert(span)),
                Physical::Text { text, continues } => {
                    logical.push(text, span);
                    if !continues {
                        return;
                    }
                }
            }
        }
    }

    /// The next line of the file without its end.
    fn physical(&mut self) -> Option<Span> {
        if self.at >= self.source.len() {
            return None;
        }
        let rest = &self.source[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |index| index + 1);
        let kept = rest[..length].iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |index| index + 1);
        let start = self.at;
        self.at += length;
        Some(Span::new(start, start + kept))
    }

    fn classify(&self, span: Span) -> Physical<'a> {
        let line = &self.source[span.start..span.end];
        match &line[leading_blanks(line)..] {
            [] => Physical::Blank,
            [b'#', comment @ ..] => Physical::Comment(comment),
            _ => match strip_continuation(line, self.escape) {
                Some(text) => Physical::Text { text, continues: true },
                None => Physical::Text { text: line, continues: false },
            },
        }
    }
}

impl Logical {
    fn new(comments: Vec<String>) -> Self {
        Self { line: Line::default(), span: Span::default(), comments, gap: None, garbled: None }
    }

    fn push(&mut self, bytes: &[u8], span: Span) {
        let (text, garbled) = decode(bytes, span.start);
        self.garbled = self.garbled.or(garbled);
        self.span = if self.span == Span::default() { span } else { self.span.cover(span) };
        self.line.push(&text, Span::new(span.start, span.start + bytes.len()));
    }
}

/// The line without its continuation character and the blanks after it. A doubled character is no
/// continuation (rule A008).
fn strip_continuation(line: &[u8], escape: Escape) -> Option<&[u8]> {
    let escape = escape.byte();
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'))?;
    let (text, last) = (&line[..end], line[end]);
    (last == escape && text.last() != Some(&escape)).then_some(text)
}

fn note(comments: &mut Vec<String>, text: &[u8]) {
    let text = String::from_utf8_lossy(text).trim().to_owned();
    if text.is_empty() { comments.clear() } else { comments.push(text) }
}

/// The text, and where its first byte stands that is not UTF-8.
fn decode(bytes: &[u8], at: usize) -> (String, Option<Span>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(error) => {
            let bad = at + error.valid_up_to();
            (same_length(bytes), Some(Span::new(bad, bad + 1)))
        }
    }
}

/// The text with every byte that is none replaced by one of the same length, so that places stay what they are.
fn same_length(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// The number of bytes of leading blanks, as Unicode has them.
fn leading_blanks(line: &[u8]) -> usize {
    let text = line.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.len() - text.trim_start().len()
}
