//! What the whole parser makes of whole files: tables by rule, mistakes, properties, and another
//! parser's opinion.

mod differential;
mod mistakes;
mod properties;
mod tables;

use super::*;

/// The file, which has no errors.
fn read(source: &str) -> Dockerfile {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{source:?}: {:#?}", parsed.diagnostics);
    parsed.dockerfile
}

/// The first instruction after a FROM.
fn instruction(text: &str) -> Instruction {
    let dockerfile = read(&format!("FROM base\n{text}\n"));
    dockerfile.stages[0].instructions[0].value.clone()
}

/// The errors with their lines.
fn errors(source: &str) -> Vec<(usize, String)> {
    let errors = parse(source.as_bytes()).diagnostics.into_iter().filter(Diagnostic::is_error);
    errors.map(|error| (error.span.first_line(source.as_bytes()), error.message)).collect()
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}
