//! The checks that look at one value. The planner makes those of ports and variables again where
//! the file alone did not tell the value.

use super::Lint;
use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{Arg, Pairs, Word};
use crate::suggest::suggest;

/// What is wrong with one port of EXPOSE, after expansion.
pub fn expose(port: &str, span: Span) -> Option<Diagnostic> {
    if port.contains(':') {
        let message = format!("EXPOSE names ports of the container, not addresses or ports of the host: '{port}'");
        return Some(Diagnostic::lint(Lint::ExposeInvalidFormat, span, message));
    }
    let (_, protocol) = port.split_once('/')?;
    let lower = protocol.to_lowercase();
    let message = || format!("the protocol in EXPOSE {port} is not lower case");
    let finding = || Diagnostic::lint(Lint::ExposeProtoCasing, span, message()).with_help(format!("write {lower}"));
    (lower != protocol).then(finding)
}

/// That a variable is used which nothing defines before. The names that are defined are candidates
/// for what was meant.
pub fn undefined_variable<'a>(name: &str, span: Span, defined: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = Diagnostic::lint(Lint::UndefinedVar, span, format!("usage of undefined variable '${name}'"));
    match suggest(name, defined) {
        Some(other) => diagnostic.with_help(format!("did you mean ${other}?")),
        None => diagnostic,
    }
}

/// Whether a name sounds like something that must not be in an image.
pub fn is_secret_name(name: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part.to_lowercase().as_str()));
    has(&SECRET) && !has(&HARMLESS)
}

pub(super) fn arg(arg: &Arg, findings: &mut Vec<Diagnostic>) {
    findings.extend(arg.variables.iter().filter_map(|variable| secret("ARG", &variable.key)));
}

pub(super) fn env(pairs: &Pairs, findings: &mut Vec<Diagnostic>) {
    findings.extend(pairs.pairs.iter().filter_map(|pair| secret("ENV", &pair.key)));
}

/// The first WORKDIR of a stage and its bases. What a variable holds is not known here.
pub(super) fn workdir(path: &Word) -> Option<Diagnostic> {
    let text = path.text.trim_start_matches(['"', '\'']);
    let message = format!("relative WORKDIR '{text}' depends on the directory of the base image");
    let finding = Diagnostic::lint(Lint::WorkdirRelativePath, path.span, message);
    (!text.starts_with(['/', '$'])).then(|| finding.with_help("use an absolute path"))
}

pub(super) fn constant_port(port: &Word) -> Option<Diagnostic> {
    if port.text.contains('$') { None } else { expose(&port.text, port.span) }
}

fn secret(keyword: &str, key: &Word) -> Option<Diagnostic> {
    let message = format!("a secret in {keyword} stays in the image: {} \"{}\"", keyword, key.text);
    let finding = Diagnostic::lint(Lint::SecretsUsedInArgOrEnv, key.span, message);
    is_secret_name(&key.text).then(|| finding.with_help("use RUN --mount=type=secret"))
}
