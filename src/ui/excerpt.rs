//! Places in a Dockerfile, drawn with the lines they stand in.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use builder::diagnostic::{Diagnostic, Severity, Span};
use builder::request::DockerfileText;

use super::sanitize::{self, Colours};

/// A diagnostic with its excerpt.
pub(crate) fn diagnostic(source: &DockerfileText, diagnostic: &Diagnostic, colours: Colours) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = match diagnostic.lint {
        Some(lint) => format!("{lint}: {}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let notes: Vec<(Span, &str)> = diagnostic.notes.iter().map(|(span, text)| (*span, text.as_str())).collect();
    draw(source, level, &message, Some(diagnostic.span), &notes, diagnostic.help.as_deref(), colours)
}

/// An error that is about a place, or about none.
pub(crate) fn error(
    source: &DockerfileText,
    message: &str,
    span: Option<Span>,
    notes: &[(Span, String)],
    colours: Colours,
) -> String {
    let notes: Vec<(Span, &str)> = notes.iter().map(|(span, text)| (*span, text.as_str())).collect();
    draw(source, Level::ERROR, message, span, &notes, None, colours)
}

fn draw(
    source: &DockerfileText,
    level: Level<'_>,
    message: &str,
    span: Option<Span>,
    notes: &[(Span, &str)],
    help: Option<&str>,
    colours: Colours,
) -> String {
    let (text, name, message) = (printable(&source.bytes), sanitize::text(&source.name), sanitize::text(message));
    let help = help.map(sanitize::text);
    let notes: Vec<(Range<usize>, String)> =
        notes.iter().map(|(span, note)| (range(&text, *span), sanitize::text(note))).collect();
    let mut group = Group::with_title(level.primary_title(message.as_str()));
    if let Some(span) = span {
        let mut snippet = Snippet::source(text.as_str())
            .path(name.as_str())
            .annotation(AnnotationKind::Primary.span(range(&text, span)));
        for (range, note) in &notes {
            snippet = snippet.annotation(AnnotationKind::Context.span(range.clone()).label(note.as_str()));
        }
        group = group.element(snippet);
    }
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match colours {
        Colours::Kept => Renderer::styled(),
        Colours::Dropped => Renderer::plain(),
    };
    renderer.render(&[group])
}

/// The text with every byte that a terminal must not see replaced, so that offsets stay what they are.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => text.push(character),
                '\r' => text.push(' '),
                _ if sanitize::line(character.encode_utf8(&mut [0; 4]).as_bytes(), Colours::Dropped)
                    .chars()
                    .eq([character]) =>
                {
                    text.push(character);
                }
                _ => text.extend(std::iter::repeat_n('?', character.len_utf8())),
            }
        }
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// A span that lies in the text, without the newline that ends it.
fn range(text: &str, span: Span) -> Range<usize> {
    let end = span.end.min(text.len());
    let start = span.start.min(end);
    let trimmed = text.get(start..end).map_or(end, |part| start + part.trim_end().len());
    start..trimmed.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line() {
        let source = DockerfileText { name: "Dockerfile".into(), bytes: b"FROM a\nRUNN true \x1b[2J\n".to_vec() };
        let drawn = error(&source, "unknown instruction: RUNN", Some(Span::new(7, 11)), &[], Colours::Dropped);
        insta::assert_snapshot!(drawn, @r"
        error: unknown instruction: RUNN
         --> Dockerfile:2:1
          |
        2 | RUNN true ?[2J
          | ^^^^
        ");
    }

    #[test]
    fn offsets_survive_bytes_that_are_no_text() {
        let source =
            DockerfileText { name: "Dockerfile".into(), bytes: b"# \xff\xfe \xe2\x80\xae\nCOPY a b\n".to_vec() };
        let drawn = error(&source, "no", Some(Span::new(14, 15)), &[], Colours::Dropped);
        assert!(drawn.contains("2 | COPY a b\n  |      ^"), "{drawn}");
    }
}
