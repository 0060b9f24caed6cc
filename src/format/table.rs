//! Rows on standard output: Docker's tables, templates, JSON lines, or ids alone.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::template::{Template, TemplateError};
use crate::context::shown;
use crate::ui::sanitize::{self, Colours};

/// How the user wants a list.
#[derive(Debug, Clone)]
pub(crate) enum Style {
    /// The command's own columns.
    Default,
    /// One id a line (`--quiet`).
    Quiet,
    /// One JSON object a line (`--format json`).
    Json,
    /// `--format 'table …'`: a template a row, under headings.
    Table(Template),
    /// `--format …`: a template a row.
    Plain(Template),
}

impl Style {
    /// Reads `--format` and `--quiet` as Docker does: a format wins over quiet.
    pub(crate) fn from_flags(format: Option<&str>, quiet: bool) -> Result<Self, TemplateError> {
        Ok(match format {
            None | Some("table") if quiet => Self::Quiet,
            None | Some("table") => Self::Default,
            Some("json") => Self::Json,
            Some(format) => match format.strip_prefix("table ") {
                Some(columns) => Self::Table(Template::parse(&unescape(columns))?),
                None => Self::Plain(Template::parse(&unescape(format))?),
            },
        })
    }
}

/// A column: the field of the row that it shows, and its heading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    pub(crate) heading: &'static str,
}

/// What can be listed: the columns shown by default come first, the rest serve templates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing {
    pub(crate) columns: &'static [Column],
    pub(crate) shown: usize,
    pub(crate) id: &'static str,
}

impl Listing {
    /// Writes the rows in the style.
    pub(crate) fn write(&self, rows: &[Value], style: &Style, out: &mut dyn Write) -> Result<(), ListingError> {
        match style {
            Style::Quiet => rows.iter().try_for_each(|row| writeln!(out, "{}", text(&row[self.id])))?,
            Style::Json => rows.iter().try_for_each(|row| writeln!(out, "{row}"))?,
            Style::Plain(template) => {
                for row in rows {
                    writeln!(out, "{}", shown(template.render(row)?))?;
                }
            }
            Style::Table(template) => {
                let headings = self.columns.iter().map(|column| (column.field.to_owned(), column.heading.into()));
                let mut lines = vec![template.render(&Value::Object(headings.collect::<Map<_, _>>()))?];
                for row in rows {
                    lines.push(shown(template.render(row)?));
                }
                align(
                    &lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect::<Vec<_>>(),
                    out,
                )?;
            }
            Style::Default => {
                let shown = &self.columns[..self.shown];
                let mut lines = vec![shown.iter().map(|column| column.heading.to_owned()).collect()];
                let cell = |row: &Value, column: &Column| {
                    sanitize::line(text(&row[column.field]).as_bytes(), Colours::Dropped)
                };
                lines.extend(rows.iter().map(|row| shown.iter().map(|column| cell(row, column)).collect()));
                align(&lines, out)?;
            }
        }
        Ok(())
    }
}

/// A list could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("writing to standard output")]
    Io(#[from] io::Error),
}

/// Columns wide enough for their widest cell, three blanks apart; the last is not padded.
fn align(lines: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for line in lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count() + 3));
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Shells pass `\t` and `\n` as two characters; Docker takes them as one.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTING: Listing = Listing {
        columns: &[
            Column { field: "ID", heading: "IMAGE ID" },
            Column { field: "Size", heading: "SIZE" },
            Column { field: "Digest", heading: "DIGEST" },
        ],
        shown: 2,
        id: "ID",
    };

    fn check(format: Option<&str>, quiet: bool, expected: &str) {
        let rows =
            [json!({"ID": "abc", "Size": "1kB", "Digest": "d"}), json!({"ID": "de", "Size": "22MB", "Digest": "e"})];
        let mut out = Vec::new();
        LISTING.write(&rows, &Style::from_flags(format, quiet).unwrap(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn styles() {
        check(None, false, "IMAGE ID   SIZE\nabc        1kB\nde         22MB\n");
        check(None, true, "abc\nde\n");
        check(Some("{{.Size}}"), true, "1kB\n22MB\n");
        check(Some("table {{.Digest}}\\t{{.ID}}"), false, "DIGEST   IMAGE ID\nd        abc\ne        de\n");
        check(
            Some("json"),
            false,
            "{\"Digest\":\"d\",\"ID\":\"abc\",\"Size\":\"1kB\"}\n{\"Digest\":\"e\",\"ID\":\"de\",\"Size\":\"22MB\"}\n",
        );
    }
}
