//! `RUN --mount`: options as they stand in the file, and what they come to once expanded.
//!
//! Options may hold variables, `type` included, so a mount is understood in two steps: the parser
//! splits it into a [`RunMount`], and the planner, which knows the values, calls
//! [`RunMount::resolve`]. A stage that is not built may hold mounts that make no sense, as in BuildKit.

use super::instruction::Word;
use crate::diagnostic::Span;

/// One `--mount` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMount {
    /// In the order written.
    pub options: Vec<MountOption>,
    /// The flag's value.
    pub span: Span,
}

/// `key` or `key=value`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// In lower case.
    pub key: String,
    /// Not expanded yet.
    pub value: Option<Word>,
    /// The whole option. Within quotes of the flag it is the flag's place.
    pub span: Span,
}

/// A mount with everything expanded and the defaults filled in that do not depend on the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Files of the context, a stage or an image.
    Bind {
        /// Where in the step's root; relative to its directory.
        target: String,
        /// A stage, its number, a named context or an image; the build context if absent.
        from: Option<String>,
        /// What of it; all if absent.
        source: Option<String>,
        /// Whether writes are refused; otherwise they are dropped after the step.
        access: Access,
    },
    /// A directory that outlives builds.
    Cache {
        /// Where in the step's root; relative to its directory.
        target: String,
        /// Its name; the cleaned target if absent.
        id: Option<String>,
        /// What fills it at first.
        from: Option<String>,
        /// What of it.
        source: Option<String>,
        /// What other steps do that want it at the same time.
        sharing: Sharing,
        /// Whether writes are refused.
        access: Access,
        /// Used when the directory is made; 0755 of root if absent.
        owner: Ownership,
    },
    /// Memory.
    Tmpfs {
        /// Where in the step's root; relative to its directory.
        target: String,
        /// The most it holds; the kernel's default if absent.
        size_bytes: Option<u64>,
    },
    /// A file or variable that only this step sees.
    Secret {
        /// Which one.
        id: String,
        /// Where it is a file; nowhere if it is a variable only.
        target: Option<String>,
        /// The variable that holds it.
        variable: Option<String>,
        /// Whether the step fails without it.
        need: Need,
        /// 0400 of root if absent.
        owner: Ownership,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Which agent; `default` if not given.
        id: String,
        /// Where; a place of the step's choice if absent.
        target: Option<String>,
        /// Whether the step fails without it.
        need: Need,
        /// 0600 of root if absent.
        owner: Ownership,
    },
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// `ro`
    ReadOnly,
    /// `rw`
    ReadWrite,
}

/// What happens without a secret or agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The mount is left out.
    Optional,
    /// The step fails.
    Required,
}

/// How steps share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sharing {
    /// At the same time.
    Shared,
    /// Each has its own while another is in use.
    Private,
    /// One after the other.
    Locked,
}

/// Mode and owner of what a mount makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ownership {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
}

/// Why a mount is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The value is not a line of comma-separated values.
    #[error("failed to parse --mount={text}: {reason}")]
    Csv {
        /// The flag's value.
        text: String,
        /// What is wrong with its quotes.
        reason: &'static str,
    },
    /// A key that no mount has.
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.suggestion))]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole option.
        field: String,
        /// A key like it.
        suggestion: Option<&'static str>,
    },
    /// A key that this type of mount does not have.
    #[error("{key} is not allowed for {kind} mounts")]
    UnexpectedKey {
        /// The key.
        key: String,
        /// The type of the mount.
        kind: &'static str,
    },
    /// A key that needs a value.
    #[error("invalid field '{key}' must be a key=value pair")]
    NoValue {
        /// The key.
        key: String,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {value:?}{}", did_you_mean(.suggestion))]
    Type {
        /// The value.
        value: String,
        /// A type like it.
        suggestion: Option<&'static str>,
    },
    /// A sharing mode that does not exist.
    #[error("unsupported sharing value {value:?}{}", did_you_mean(.suggestion))]
    Sharing {
        /// The value.
        value: String,
        /// A mode like it.
        suggestion: Option<&'static str>,
    },
    /// A value that is no number, size or truth value where one is needed.
    #[error("invalid value for {key}: {value:?}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A variable in `from` (rule A049).
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// A bind, cache or tmpfs mount without a place (rule A132).
    #[error("a {kind} mount needs a target")]
    NoTarget {
        /// The type of the mount.
        kind: &'static str,
    },
    /// A secret that has neither a name nor a place.
    #[error("a secret mount needs an id or a target")]
    NoSecret,
    /// A secret that is named twice.
    #[error("both source and id can't be set for a secret mount")]
    TwoNames,
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// Why a mount could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError<E: std::error::Error + 'static> {
    /// It makes no sense.
    #[error("{error}")]
    Mount {
        /// What is wrong.
        #[source]
        error: MountError,
        /// The option or the whole mount.
        span: Span,
    },
    /// A value could not be expanded.
    #[error("{error}")]
    Expand {
        /// What is wrong.
        #[source]
        error: E,
        /// The value.
        span: Span,
    },
}

mod options;
mod resolve;
