//! What a Dockerfile says, typed: the syntax tree that planning reads.
//!
//! Nothing in it is expanded. A [`Word`] is text that still goes through [`expand`](crate::expand);
//! a plain `String` is text that never does. Every value knows its bytes in the source. Defaults
//! that depend on the build (a base's shell, a stage's directory) are not filled in here.

use std::time::Duration;

use super::heredoc::is_opener;
use super::mount::RunMount;
use crate::diagnostic::Span;

/// Text that is expanded later, with its variables, quotes and escapes still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text as [`expand`](crate::expand::expand) takes it.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// One instruction as it stands in the file: what it says, and everything around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<T = Instruction> {
    /// What it says.
    pub value: T,
    /// All its lines, heredoc bodies and their terminators included.
    pub span: Span,
    /// The keyword's own bytes.
    pub keyword: Span,
    /// The instruction as one line: continuations joined, comments dropped, trimmed. It shows what
    /// runs in progress lines and errors.
    pub text: String,
    /// The comment lines directly above, without `#`, directives excluded.
    pub comments: Vec<String>,
}

/// An instruction within a stage. FROM is no such instruction: it makes the [`Stage`](super::Stage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD [flags] source... destination`
    Add(Add),
    /// `ARG name[=default]...`
    Arg(Arg),
    /// `CMD command`
    Cmd(CommandLine),
    /// `COPY [flags] source... destination`
    Copy(Copy),
    /// `ENTRYPOINT command`
    Entrypoint(CommandLine),
    /// `ENV key=value...`
    Env(Pairs),
    /// `EXPOSE port...`: each word is expanded, then split, then read as ports.
    Expose(Vec<Word>),
    /// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD command`
    Healthcheck(Healthcheck),
    /// `LABEL key=value...`
    Label(Pairs),
    /// `MAINTAINER name`
    Maintainer(String),
    /// `ONBUILD instruction`
    OnBuild(OnBuild),
    /// `RUN [flags] command`
    Run(Run),
    /// `SHELL ["executable", "parameter"...]`, never empty
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `USER user[:group]`
    User(Word),
    /// `VOLUME path...`
    Volume(Vec<Word>),
    /// `WORKDIR path`
    Workdir(Word),
}

impl Instruction {
    /// The keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::OnBuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// `FROM [--platform=platform] image [AS name]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// What the stage starts from: an earlier stage, a named context, an image, or `scratch`.
    /// Expanded with global arguments only.
    pub image: Word,
    /// The platform of the base, expanded with global arguments only.
    pub platform: Option<Word>,
    /// The name given with AS, as written; [`Stage::name`](super::Stage::name) has it in lower case.
    pub alias: Option<Word>,
}

/// `ARG`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// In order; each default sees the names before it (rule A050).
    pub variables: Vec<ArgVariable>,
}

/// One variable that ARG declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgVariable {
    /// The name; it is expanded, too.
    pub key: Word,
    /// What stands after `=`. `ARG A=` has an empty default, `ARG A` has none.
    pub default: Option<Word>,
    /// The text of a comment `# key text` directly above.
    pub description: Option<String>,
}

/// `ENV` and `LABEL`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// In order; never empty. All values see the environment before the instruction (rule A050).
    pub pairs: Vec<Pair>,
    /// How they were written.
    pub form: PairForm,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key, not blank before expansion.
    pub key: Word,
    /// The value.
    pub value: Word,
}

/// How ENV or LABEL was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairForm {
    /// `key=value key=value`
    Equals,
    /// `key the rest of the line`: one pair.
    Legacy,
}

/// What RUN, CMD, ENTRYPOINT and HEALTHCHECK execute. It is never expanded by the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell, after the flags, as one line.
    Shell(String),
    /// An argument vector, executed as it is. May be empty.
    Exec(Vec<String>),
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The `--mount` flags in order.
    pub mounts: Vec<RunMount>,
    /// `--network`
    pub network: NetworkMode,
    /// `--security`
    pub security: SecurityMode,
    /// The `--device` flags in order, as written.
    pub devices: Vec<Word>,
    /// What runs. With heredocs it holds their openers; see [`Run::script`].
    pub command: CommandLine,
    /// The bodies, in the order of their openers. Empty for the exec form.
    pub heredocs: Vec<Heredoc>,
}

impl Run {
    /// What is executed (rules A034 to A036). The builder expands nothing in it.
    pub fn script(&self) -> Script {
        match (&self.command, self.heredocs.as_slice()) {
            (CommandLine::Exec(argv), _) => Script::Exec(argv.clone()),
            (CommandLine::Shell(text), [heredoc]) if is_opener(text) => {
                let content = heredoc.text();
                if content.starts_with("#!") {
                    Script::File { name: heredoc.name.clone(), content }
                } else {
                    Script::Shell(content)
                }
            }
            (CommandLine::Shell(text), heredocs) => {
                let bodies = heredocs.iter().flat_map(|heredoc| ["\n", &heredoc.content, &heredoc.name]);
                Script::Shell([text.as_str()].into_iter().chain(bodies).collect())
            }
        }
    }
}

/// What a RUN hands on to be executed, heredocs put where they belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// An argument vector, executed as it is.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
    /// A file with an interpreter line. It is shown to the step read-only and executable as
    /// `/dev/pipes/<name>`, and that path is the text for the shell (rule A035).
    File {
        /// The file's name.
        name: String,
        /// What it holds.
        content: String,
    },
}

/// What network a RUN sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NetworkMode {
    /// The build's.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// How much a RUN may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SecurityMode {
    /// As usual.
    #[default]
    Sandbox,
    /// Everything that root may.
    Insecure,
}

/// A document that stands in the Dockerfile itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, without quotes: terminator, and name of the file that COPY makes.
    pub name: String,
    /// The lines before the terminator, byte for byte. See [`Heredoc::text`].
    pub content: String,
    /// Whether COPY and ADD expand variables in it (rule A031).
    pub expansion: Expansion,
    /// Whether leading tabs are taken off (`<<-`).
    pub tabs: Tabs,
    /// The opener's bytes.
    pub opener: Span,
    /// The body's bytes, without the terminator.
    pub body: Span,
}

/// Whether variables in a heredoc are expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// The name was bare.
    Variables,
    /// A part of the name was quoted.
    Literal,
}

/// What happens to tabs at the start of a heredoc's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tabs {
    /// `<<NAME`
    Kept,
    /// `<<-NAME`
    Stripped,
}

/// `COPY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`, as written: a stage, its number, a named context or an image. Never expanded; a
    /// variable in it is an error. Empty means none.
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
    /// What goes where, and how.
    pub files: Files,
}

/// `ADD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; when absent, local archives are unpacked and remote ones are not.
    pub unpack: Option<bool>,
    /// What goes where, and how.
    pub files: Files,
}

/// What COPY and ADD have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// In the order written; never empty.
    pub sources: Vec<Source>,
    /// The last word.
    pub destination: Word,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// The `--exclude` patterns in order. Never expanded.
    pub exclude: Vec<Word>,
}

impl Files {
    /// The sources that are paths, URLs or git references.
    pub fn paths(&self) -> impl Iterator<Item = &Word> {
        self.sources.iter().filter_map(|source| match source {
            Source::Path(word) => Some(word),
            Source::Heredoc(_) => None,
        })
    }

    /// The sources that stand in the Dockerfile.
    pub fn heredocs(&self) -> impl Iterator<Item = &Heredoc> {
        self.sources.iter().filter_map(|source| match source {
            Source::Path(_) => None,
            Source::Heredoc(heredoc) => Some(heredoc),
        })
    }
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, URL or git reference.
    Path(Word),
    /// A file that stands in the Dockerfile.
    Heredoc(Heredoc),
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK CMD`
    Cmd(HealthCommand),
}

/// `HEALTHCHECK [flags] CMD command`. A time of zero or none means the runtime's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCommand {
    /// What is run.
    pub command: CommandLine,
    /// `--interval`
    pub interval: Duration,
    /// `--timeout`
    pub timeout: Duration,
    /// `--start-period`
    pub start_period: Duration,
    /// `--start-interval`
    pub start_interval: Duration,
    /// `--retries`
    pub retries: u32,
}

/// `ONBUILD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBuild {
    /// The trigger as the image config records it, heredoc bodies included;
    /// [`parse_trigger`](super::parse_trigger) reads it when it fires.
    pub trigger: String,
    /// The heredocs that are part of it.
    pub heredocs: Vec<Heredoc>,
}
