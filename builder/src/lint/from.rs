//! The checks of FROM: its platform, and the arguments in it.

use std::collections::BTreeMap;

use super::Lint;
use crate::diagnostic::Diagnostic;
use crate::dockerfile::{Dockerfile, Escape, Stage, Word};
use crate::expand::{Lookup, expand};
use crate::suggest::suggest;

pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let escape = dockerfile.directives.escape;
    let defaults = defaults(dockerfile, escape);
    for stage in &dockerfile.stages {
        let from = &stage.from.value;
        for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
            findings.extend(undeclared(word, &defaults, escape));
        }
        findings.extend(default_image(&from.image, &defaults, escape));
        findings.extend(from.platform.as_ref().and_then(|platform| constant_platform(stage, platform)));
    }
}

/// The arguments that can stand in FROM, with their values if nobody gives others; `None` for those
/// that have none.
fn defaults(dockerfile: &Dockerfile, escape: Escape) -> BTreeMap<String, Option<String>> {
    const PLATFORM: [(&str, &str); 11] = [
        ("TARGETPLATFORM", "linux/amd64"),
        ("TARGETOS", "linux"),
        ("TARGETOSVERSION", ""),
        ("TARGETARCH", "amd64"),
        ("TARGETVARIANT", ""),
        ("BUILDPLATFORM", "linux/amd64"),
        ("BUILDOS", "linux"),
        ("BUILDOSVERSION", ""),
        ("BUILDARCH", "amd64"),
        ("BUILDVARIANT", ""),
        ("TARGETSTAGE", "default"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), Some(value.to_owned()));
    let mut known: BTreeMap<_, _> = PLATFORM.into_iter().map(owned).collect();
    for variable in dockerfile.global_args.iter().flat_map(|arg| &arg.value.variables) {
        let value = variable.default.as_ref().and_then(|word| {
            let lookup = |name: &str| known.get(name).cloned().flatten();
            expand(&word.text, &lookup, escape).ok()
        });
        known.insert(variable.key.text.clone(), value.map(|value| value.text));
    }
    known
}

fn undeclared(word: &Word, known: &BTreeMap<String, Option<String>>, escape: Escape) -> Vec<Diagnostic> {
    let lookup = |name: &str| known.contains_key(name).then(|| "declared".to_owned());
    let names = expand(&word.text, &lookup, escape).map(|found| found.undefined).unwrap_or_default();
    let finding = |name: String| {
        let message = format!("FROM argument '{name}' is not declared");
        let finding = Diagnostic::lint(Lint::UndefinedArgInFrom, word.span, message);
        match suggest(&name, known.keys().map(String::as_str)) {
            Some(other) => finding.with_help(format!("did you mean {other}?")),
            None => finding.with_help(format!("declare it before the first FROM: ARG {name}")),
        }
    };
    names.into_iter().map(finding).collect()
}

/// An image that only has a name if somebody gives arguments.
fn default_image(image: &Word, defaults: &BTreeMap<String, Option<String>>, escape: Escape) -> Option<Diagnostic> {
    let lookup: &dyn Lookup = &|name: &str| defaults.get(name).cloned().flatten();
    let found = expand(&image.text, lookup, escape).ok().filter(|_| image.text.contains('$'))?;
    if !found.undefined.iter().all(|name| defaults.contains_key(name)) || is_image(&found.text) {
        return None;
    }
    let message = format!("the defaults of the arguments in FROM {} make no image name: '{}'", image.text, found.text);
    Some(Diagnostic::lint(Lint::InvalidDefaultArgInFrom, image.span, message))
}

fn is_image(name: &str) -> bool {
    name == "scratch" || name.parse::<store::Reference>().is_ok()
}

/// A platform without a variable in it, which holds whatever is asked for. A stage that has the
/// platform in its name is meant so.
fn constant_platform(stage: &Stage, platform: &Word) -> Option<Diagnostic> {
    if matches!(platform.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!("--platform={} is what FROM does anyway", platform.text);
        return Some(Diagnostic::lint(Lint::RedundantTargetPlatform, platform.span, message));
    }
    let name = stage.name.as_deref().unwrap_or_default();
    let named = platform.text.split('/').any(|part| !part.is_empty() && name.contains(part));
    let message = format!("FROM fixes its platform to \"{}\", whatever platform is built for", platform.text);
    let constant = !platform.text.contains('$') && !platform.text.is_empty() && !named;
    constant.then(|| Diagnostic::lint(Lint::FromPlatformFlagConstDisallowed, platform.span, message))
}
