//! The language of Dockerfiles: reading, printing, expansion, and what is ignored.

use builder::dockerfile::{self, Escape};
use builder::expand;
use builder::ignore::IgnoreFile;
use builder::lint::Checks;

/// Reading a Dockerfile never panics, and what is said of it lies within it.
pub fn parse(input: &[u8]) {
    let parsed = dockerfile::parse(input);
    for found in &parsed.diagnostics {
        assert!(found.span.start <= found.span.end && found.span.end <= input.len(), "{found:?}");
    }
    assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty());
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = dockerfile::parse_trigger(text);
        let _ = Checks::parse(text);
    }
}

/// A Dockerfile that can be read is printed as one that reads the same.
pub fn print(input: &[u8]) {
    let parsed = dockerfile::parse(input);
    if parsed.has_errors() {
        return;
    }
    let printed = parsed.dockerfile.to_string();
    let again = dockerfile::parse(printed.as_bytes());
    assert!(!again.has_errors(), "{printed:?}: {:?}", again.diagnostics);
    assert_eq!(again.dockerfile.to_string(), printed);
    assert_eq!(again.dockerfile.stages.len(), parsed.dockerfile.stages.len(), "{printed:?}");
}

/// Words expand or are refused, with either escape character, and the same way every time.
pub fn expand(input: &[u8]) {
    let Ok(word) = std::str::from_utf8(input) else { return };
    let variables = |name: &str| match name {
        "a" => Some("va/l*ue".to_owned()),
        "b" => Some(String::new()),
        _ => None,
    };
    for escape in [Escape::Backslash, Escape::Backtick] {
        assert_eq!(expand::expand(word, &variables, escape), expand::expand(word, &variables, escape));
    }
    let _ = expand::expand_document(word, &variables);
}

/// An ignore file is read or refused, and has an opinion on every path: its first line is the path.
pub fn ignore(input: &[u8]) {
    let (path, patterns) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let (Ok(file), Ok(path)) = (IgnoreFile::parse(patterns), store::RelPath::clean(path)) else { return };
    let kept = file.matches(&path);
    assert_eq!(file.matches(&path), kept);
    let _ = file.may_keep_below(&path);
}
