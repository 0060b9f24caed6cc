//! Build checks: what builds, but should be looked at (section A.10).
//!
//! A [`Lint`] is one check, named as BuildKit names it. Those that need only the file are made by
//! [`parse`](crate::dockerfile::parse); those that need values, a base image or a context are made
//! by the planner with the same names. [`Checks`] says which of them count.

mod checks;
mod from;
mod ignored;
mod rules;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::Dockerfile;

pub use checks::{Checks, ChecksError, Findings};
pub(crate) use ignored::ignored_sources;
pub use values::{expose, is_secret_name, undefined_variable};

macro_rules! lints {
    ($($name:ident, $slug:literal, $about:literal;)*) => {
        /// A build check.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Lint {
            $(#[doc = $about] $name,)*
        }

        impl Lint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name, as `# check=skip=` takes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What it asks for, in one sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => $about),* }
            }

            /// Where Docker explains it.
            pub const fn url(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("https://docs.docker.com/go/dockerfile/rule/", $slug, "/"),)*
                }
            }
        }
    };
}

lints! {
    StageNameCasing, "stage-name-casing", "names of stages are lower case";
    FromAsCasing, "from-as-casing", "FROM and AS are written in the same case";
    NoEmptyContinuation, "no-empty-continuation", "no empty line stands within an instruction";
    ConsistentInstructionCasing, "consistent-instruction-casing", "all instructions are written in the same case";
    DuplicateStageName, "duplicate-stage-name", "no two stages have the same name";
    ReservedStageName, "reserved-stage-name", "no stage is called scratch or context";
    JSONArgsRecommended, "json-args-recommended", "CMD and ENTRYPOINT are JSON arrays, so that signals reach the process";
    MaintainerDeprecated, "maintainer-deprecated", "MAINTAINER is a label nowadays";
    UndefinedArgInFrom, "undefined-arg-in-from", "FROM uses only arguments that are declared before it";
    WorkdirRelativePath, "workdir-relative-path", "the first WORKDIR is absolute";
    UndefinedVar, "undefined-var", "variables are defined before they are used";
    MultipleInstructionsDisallowed, "multiple-instructions-disallowed", "CMD, ENTRYPOINT and HEALTHCHECK stand once in a stage";
    LegacyKeyValueFormat, "legacy-key-value-format", "ENV and LABEL are written key=value";
    InvalidBaseImagePlatform, "invalid-base-image-platform", "the base image is of the platform that was asked for";
    RedundantTargetPlatform, "redundant-target-platform", "FROM does not ask for the target platform, which is the default";
    SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env", "no secret is in ARG or ENV, where the image keeps it";
    InvalidDefaultArgInFrom, "invalid-default-arg-in-from", "FROM makes an image name out of the defaults of its arguments";
    FromPlatformFlagConstDisallowed, "from-platform-flag-const-disallowed", "FROM does not fix the platform";
    CopyIgnoredFile, "copy-ignored-file", "no source of COPY or ADD is excluded by the ignore file";
    InvalidDefinitionDescription, "invalid-definition-description", "a comment above FROM or ARG describes what it names";
    ExposeProtoCasing, "expose-proto-casing", "protocols in EXPOSE are lower case";
    ExposeInvalidFormat, "expose-invalid-format", "EXPOSE names ports of the container only";
}

impl Lint {
    /// Whether it is off unless a file asks for it.
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::InvalidDefinitionDescription)
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No build check has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no build check called {0:?}")]
pub struct UnknownLint(String);

impl FromStr for Lint {
    type Err = UnknownLint;

    fn from_str(name: &str) -> Result<Self, UnknownLint> {
        let found = Self::ALL.iter().find(|lint| lint.name() == name);
        found.copied().ok_or_else(|| UnknownLint(name.to_owned()))
    }
}

/// What the checks find in a file, wanted or not.
pub(crate) fn find(dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    rules::check(dockerfile)
}

/// Drops findings that are not wanted: by the checks chosen, or by a comment `check=skip=...`
/// directly above the instruction that they are about (rule A024). Everything else stays.
pub fn retain(dockerfile: &Dockerfile, checks: &Checks, diagnostics: &mut Vec<Diagnostic>) {
    let inline = inline(dockerfile);
    diagnostics.retain(|diagnostic| {
        let Some(lint) = diagnostic.lint else { return true };
        let at = inline.partition_point(|(span, _)| span.start <= diagnostic.span.start);
        let above = at.checked_sub(1).map(|index| &inline[index]).filter(|(span, _)| diagnostic.span.start < span.end);
        checks.want(lint) && above.is_none_or(|(_, checks)| checks.want(lint) || lint.is_experimental())
    });
}

/// The checks that a comment chooses for the instruction below it.
fn inline_checks(comment: &str) -> Option<Checks> {
    Checks::parse(comment.strip_prefix("check=")?.trim()).ok()
}

/// The instructions that have such comments, in the order of the file.
fn inline(dockerfile: &Dockerfile) -> Vec<(Span, Checks)> {
    let global = dockerfile.global_args.iter().map(|arg| (arg.span, &arg.comments));
    let stages = dockerfile.stages.iter().flat_map(|stage| {
        let instructions = stage.instructions.iter().map(|statement| (statement.span, &statement.comments));
        [(stage.from.span, &stage.from.comments)].into_iter().chain(instructions)
    });
    let checks = |comments: &[String]| comments.iter().find_map(|comment| inline_checks(comment));
    global.chain(stages).filter_map(|(span, comments)| Some((span, checks(comments)?))).collect()
}
