//! The value of `--mount` as options: one record of comma-separated values (RFC 4180), keys in any
//! case.

use super::{MountError, MountOption, RunMount};
use crate::diagnostic::Span;
use crate::dockerfile::instruction::Word;

impl RunMount {
    /// Splits a flag's value. Values stay unexpanded; only `from` is looked into, since it may hold
    /// no variable.
    pub(in crate::dockerfile) fn parse(flag: Word) -> Result<Self, MountError> {
        let csv = |reason| MountError::Csv { text: flag.text.clone(), reason };
        let fields = fields(&flag.text).map_err(csv)?;
        let options: Vec<_> = fields.into_iter().map(|field| option(field, &flag)).collect();
        let variable = options.iter().any(|option| option.key == "from" && option.value().is_some_and(has_variable));
        if variable { Err(MountError::VariableInFrom) } else { Ok(Self { options, span: flag.span }) }
    }

    /// The value of `from`, which names a stage, a named context or an image and is never expanded.
    pub fn from(&self) -> Option<&Word> {
        let from = self.options.iter().rfind(|option| option.key == "from")?;
        from.value.as_ref().filter(|word| !word.text.is_empty())
    }
}

impl MountOption {
    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_ref().map(|word| word.text.as_str())
    }
}

fn has_variable(value: &str) -> bool {
    value.split_once('$').is_some_and(|(_, rest)| !rest.is_empty())
}

/// A field of the record and where it stands in it, if it stands there unquoted.
struct Field {
    text: String,
    place: Option<usize>,
}

fn fields(record: &str) -> Result<Vec<Field>, &'static str> {
    if record.is_empty() {
        return Err("it is empty");
    }
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (field, length) = field(&record[at..], at)?;
        fields.push(field);
        at += length;
        if at == record.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

/// The first field and its length, up to its comma or the end.
fn field(text: &str, at: usize) -> Result<(Field, usize), &'static str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (field, length) = quoted_field(quoted)?;
        return Ok((Field { text: field, place: None }, length + 1));
    }
    let length = text.find(',').unwrap_or(text.len());
    if text[..length].contains('"') {
        return Err("a quote stands within a field that does not start with one");
    }
    Ok((Field { text: text[..length].to_owned(), place: Some(at) }, length))
}

fn quoted_field(text: &str) -> Result<(String, usize), &'static str> {
    let mut field = String::new();
    let mut at = 0;
    loop {
        let quote = at + text[at..].find('"').ok_or("a quote is not closed")?;
        field.push_str(&text[at..quote]);
        at = quote + 1;
        match text.as_bytes().get(at) {
            Some(b'"') => field.push('"'),
            Some(b',') | None => return Ok((field, at)),
            Some(_) => return Err("something follows a closing quote"),
        }
        at += 1;
    }
}

fn option(field: Field, flag: &Word) -> MountOption {
    let span = place(&field, flag);
    let Some((key, value)) = field.text.split_once('=') else {
        return MountOption { key: field.text.to_lowercase(), value: None, span };
    };
    let value_span = if span == flag.span { span } else { Span::new(span.start + key.len() + 1, span.end) };
    let value = Word { text: value.to_owned(), span: value_span };
    MountOption { key: key.to_lowercase(), value: Some(value), span }
}

/// Quotes and escapes that were worked off make offsets useless: then it is the whole flag.
fn place(field: &Field, flag: &Word) -> Span {
    match field.place {
        Some(at) if flag.text.len() == flag.span.end - flag.span.start => {
            Span::new(flag.span.start + at, flag.span.start + at + field.text.len())
        }
        _ => flag.span,
    }
}
