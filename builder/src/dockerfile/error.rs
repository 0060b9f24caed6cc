//! Why a Dockerfile is none.

use crate::diagnostic::{Diagnostic, Span};

/// What stops an instruction from being understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The file holds no instruction (rule A002).
    #[error("file with no instructions")]
    NoInstructions,
    /// The file has no FROM.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// Something else than ARG stands before the first FROM (rule A002).
    #[error("no build stage in current context: {keyword} stands before the first FROM")]
    NoStage {
        /// The instruction, in upper case.
        keyword: String,
    },
    /// The first word of a line is no instruction (rule A001).
    #[error("unknown instruction: {keyword}")]
    UnknownInstruction {
        /// The word as written.
        keyword: String,
    },
    /// A line consists of continuation characters only.
    #[error("nothing follows the continuation")]
    Empty,
    /// The text is not UTF-8.
    #[error("the line is not valid UTF-8")]
    NotUtf8,
    /// The text is UTF-16, as some editors save it.
    #[error("the file is UTF-16: it must be UTF-8")]
    Utf16,
    /// A NUL byte, which no argument of a command can hold.
    #[error("the instruction holds a NUL byte")]
    Nul,
    /// A directive stands there twice (rule A020).
    #[error("only one {key} parser directive can be used")]
    RepeatedDirective {
        /// The directive's name.
        key: String,
    },
    /// `escape` is neither of the two characters (rule A022).
    #[error("invalid escape token '{value}': it must be ` or \\")]
    Escape {
        /// The value as written.
        value: String,
    },
    /// A heredoc has no terminator (rule A032).
    #[error("unterminated heredoc: no line is exactly {name:?}")]
    Unterminated {
        /// The heredoc's name.
        name: String,
    },
    /// A heredoc opener without a body: the line's quotes hide it from the reader.
    #[error("heredoc {name:?} has no body")]
    Bodiless {
        /// The heredoc's name.
        name: String,
    },
    /// The last word of COPY or ADD opens a heredoc (rule A033).
    #[error("{keyword} cannot accept a heredoc as its destination")]
    HeredocDestination {
        /// The instruction.
        keyword: &'static str,
    },
    /// An instruction that needs arguments has none.
    #[error("{keyword} requires at least one argument")]
    NoArguments {
        /// The instruction.
        keyword: &'static str,
    },
    /// An instruction that takes one argument has none.
    #[error("{keyword} requires exactly one argument")]
    NotOneArgument {
        /// The instruction.
        keyword: &'static str,
    },
    /// COPY or ADD with fewer than two words.
    #[error("{keyword} requires at least two arguments: a source and a destination")]
    NoDestination {
        /// The instruction.
        keyword: &'static str,
    },
    /// FROM with two words, or more than three, or without AS between them (rule A060).
    #[error("FROM requires either one or three arguments: FROM <image> [AS <name>]")]
    FromArguments,
    /// The name of a stage is none (rule A060).
    #[error(
        "invalid name for build stage: {name:?}, it must start with a letter and hold only letters, digits, `-`, `_` and `.`"
    )]
    StageName {
        /// The name as written.
        name: String,
    },
    /// `ENV key` without a value.
    #[error("{keyword} must have two arguments: {keyword} <key>=<value>")]
    NoValue {
        /// The instruction.
        keyword: &'static str,
    },
    /// A later word of ENV or LABEL has no `=`.
    #[error("can't find = in {word:?}: {keyword} must be of the form <key>=<value>")]
    NoEquals {
        /// The instruction.
        keyword: &'static str,
        /// The word.
        word: String,
    },
    /// A key is empty (rule A150).
    #[error("{keyword} names can not be blank")]
    BlankName {
        /// The instruction.
        keyword: &'static str,
    },
    /// A JSON array holds something else than strings (rule A012).
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    /// SHELL without a JSON array (rule A159).
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellForm,
    /// A path of VOLUME is blank (rule A153).
    #[error("VOLUME specified can not be an empty string")]
    BlankVolume,
    /// A flag that the instruction does not have (rule A011).
    #[error("unknown flag: --{name}")]
    UnknownFlag {
        /// The flag's name.
        name: String,
    },
    /// A flag that stands there twice (rule A011).
    #[error("duplicate flag specified: --{name}")]
    RepeatedFlag {
        /// The flag's name.
        name: String,
    },
    /// A flag that needs a value (rule A011).
    #[error("missing a value on flag: --{name}")]
    FlagWithoutValue {
        /// The flag's name.
        name: String,
    },
    /// A switch that is neither true nor false (rule A011).
    #[error("expecting boolean value for flag --{name}, not: {value}")]
    NotBoolean {
        /// The flag's name.
        name: String,
        /// The value as written.
        value: String,
    },
    /// A variable where none is expanded (rule A049).
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    VariableInFrom,
    /// `--network` or `--security` with a mode that does not exist.
    #[error("invalid {what} mode: {value:?}")]
    Mode {
        /// `network` or `security`.
        what: &'static str,
        /// The value as written.
        value: String,
    },
    /// A `--mount` that can be seen to be wrong before expansion.
    #[error(transparent)]
    Mount(#[from] super::mount::MountError),
    /// The word after HEALTHCHECK is neither NONE nor CMD (rule A160).
    #[error("unknown type {word:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType {
        /// The word, in upper case.
        word: String,
    },
    /// `HEALTHCHECK NONE` and more.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    /// `HEALTHCHECK CMD` and nothing.
    #[error("missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    /// A duration that Go does not read, or one below a millisecond.
    #[error("invalid duration {value:?} for --{name}: expected 0 or at least 1ms, such as 90s or 1m30s")]
    Duration {
        /// The flag's name.
        name: &'static str,
        /// The value as written.
        value: String,
    },
    /// `--retries` is no number from zero up.
    #[error("invalid number {value:?} for --retries")]
    Retries {
        /// The value as written.
        value: String,
    },
    /// An instruction that cannot be a trigger (rule A161).
    #[error("{keyword} isn't allowed as an ONBUILD trigger")]
    Trigger {
        /// The instruction, in upper case.
        keyword: String,
    },
    /// A recorded trigger that is more than one instruction.
    #[error("an ONBUILD trigger must be a single instruction")]
    ManyTriggers,
}

/// An error with its place, on the way to becoming a [`Diagnostic`].
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: SyntaxError,
    pub(super) span: Span,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(error: impl Into<SyntaxError>, span: Span) -> Self {
        Self { error: error.into(), span, help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    pub(super) fn suggest(mut self, suggestion: Option<&str>) -> Self {
        self.help = suggestion.map(|name| format!("did you mean {name}?"));
        self
    }
}

impl From<Fault> for Diagnostic {
    fn from(fault: Fault) -> Self {
        let diagnostic = Self::error(fault.span, fault.error.to_string());
        Self { help: fault.help, ..diagnostic }
    }
}
