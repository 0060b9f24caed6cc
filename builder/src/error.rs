//! Why a build ended without an image.
//!
//! Every variant carries what a person needs to see: the place in the Dockerfile as a
//! [`Span`], the exit status, the last lines of the log and where all of it
//! is. How that looks, and which exit status the command has, the command decides.

use std::collections::BTreeSet;
use std::path::PathBuf;

use store::{Cancelled, StoreError};

use crate::context::ContextError;
use crate::copy::CopyError;
use crate::copy::links::LinkLoop;
use crate::copy::owner::OwnerError;
use crate::diagnostic::{Diagnostic, Span};
use crate::executor::{ExecuteError, Exit};
use crate::lint::ChecksError;
use crate::missing::Missing;
use crate::progress::Step;
use crate::remote::RemoteError;
use crate::source::SourceError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile cannot be built: what parsing found, errors among it.
    #[error("the Dockerfile has errors: {}", first_error(.0))]
    Dockerfile(Vec<Diagnostic>),
    /// The Dockerfile can be read but not planned.
    #[error("{}", .0.message)]
    Plan(Box<Diagnostic>),
    /// The Dockerfile has findings, and says that they are errors (`# check=error=true`).
    #[error("the build checks fail the build: {}", rules(.0))]
    Checks(Vec<Diagnostic>),
    /// The build context cannot be read.
    #[error(transparent)]
    Context(ContextError),
    /// The request and the Dockerfile do not fit.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A base image cannot be had.
    #[error("cannot build from this image{}", did_you_mean_stage(.suggestion))]
    Image {
        /// Where the Dockerfile names it.
        span: Option<Span>,
        /// A stage whose name is close to the image's.
        suggestion: Option<String>,
        /// What went wrong.
        #[source]
        source: SourceError,
    },
    /// A command failed.
    #[error("process {command:?} did not complete successfully: {}", describe(*exit))]
    Failed {
        /// The step.
        step: Box<Step>,
        /// What was executed, as a person would type it.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it wrote.
        last_lines: Vec<String>,
        /// All that it wrote.
        log: PathBuf,
    },
    /// A step could not be done.
    #[error("{}", step.text)]
    Step {
        /// The step.
        step: Box<Step>,
        /// What went wrong.
        #[source]
        source: Box<StepError>,
    },
    /// The source that `SOURCE_DATE_EPOCH` names cannot be had.
    #[error("cannot find out the time of the source that SOURCE_DATE_EPOCH names")]
    Epoch(#[source] Box<StepError>),
    /// The layers of the finished image cannot be made one.
    #[error("cannot squash the image's layers")]
    Squash(#[source] Box<StepError>),
    /// The finished image cannot be kept.
    #[error(transparent)]
    Result(store::image::ImageError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody asked for it.
    #[error("the build was cancelled")]
    Cancelled,
}

impl BuildError {
    /// The same, or [`Cancelled`](Self::Cancelled) if somebody's asking for an end is the cause of it.
    pub(crate) fn told(self) -> Self {
        if Cancelled::is_cause_of(&self) { Self::Cancelled } else { self }
    }

    /// The place in the Dockerfile that it is about.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Dockerfile(diagnostics) => diagnostics.iter().find(|found| found.is_error()).map(|found| found.span),
            Self::Checks(diagnostics) => diagnostics.iter().find(|found| found.lint.is_some()).map(|found| found.span),
            Self::Plan(diagnostic) => Some(diagnostic.span),
            Self::Image { span, .. } => *span,
            Self::Failed { step, .. } | Self::Step { step, .. } => step.span,
            Self::Context(_)
            | Self::Request(_)
            | Self::Epoch(_)
            | Self::Squash(_)
            | Self::Result(_)
            | Self::Store(_)
            | Self::Cancelled => None,
        }
    }

    /// Other places that belong to it, each with a few words.
    pub fn notes(&self) -> Vec<(Span, String)> {
        match self {
            Self::Step { source, .. } => match source.as_ref() {
                StepError::Missing(missing) => {
                    missing.also.iter().map(|also| (also.span, also.missing.to_string())).collect()
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// The request asks for what the Dockerfile does not have, or for what is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No stage of that name.
    #[error("target stage {target:?} could not be found{}", did_you_mean(.suggestion))]
    Target {
        /// The name asked for.
        target: String,
        /// A stage whose name is close.
        suggestion: Option<String>,
    },
    /// `BUILDKIT_DOCKERFILE_CHECK` chooses nothing.
    #[error("the build argument BUILDKIT_DOCKERFILE_CHECK: {0}")]
    Checks(#[source] ChecksError),
    /// `SOURCE_DATE_EPOCH` is no number of seconds and names no source.
    #[error("invalid SOURCE_DATE_EPOCH: {0}: neither seconds since 1970, nor `context`, nor a stage or named context")]
    Epoch(String),
    /// Something that kiln does not do.
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

/// What can go wrong with one step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The rules of COPY and ADD.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// `--chown` or `USER` names nobody.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The user's directory cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The layers' trees cannot be put together.
    #[error(transparent)]
    Tree(#[from] store::layer::RootTreeError),
    /// A file's bytes cannot be had.
    #[error(transparent)]
    Content(#[from] store::content::ContentError),
    /// The step's layer cannot be written.
    #[error("cannot write the layer")]
    WriteLayer(#[from] store::layer::WriteLayerError),
    /// An archive cannot be unpacked.
    #[error("cannot unpack the archive")]
    Unpack(#[from] store::layer::ImportError),
    /// An archive cannot be read.
    #[error("cannot read the archive")]
    Archive(#[source] std::io::Error),
    /// The root filesystem cannot be laid out.
    #[error(transparent)]
    Snapshot(#[from] store::SnapshotError),
    /// What the command left cannot be taken as a layer.
    #[error(transparent)]
    Capture(#[from] store::capture::CaptureError),
    /// A directory to mount one of the kernel's file systems on cannot be made.
    #[error("cannot make /{name} for the command")]
    KernelDirectory {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tree cannot be written out for a mount.
    #[error("cannot write out what is mounted")]
    Mount(#[from] crate::solve::WriteTreeError),
    /// A result of an earlier build cannot be read.
    #[error(transparent)]
    Image(Box<store::image::ImageError>),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something that lies elsewhere cannot be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A command could not be executed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// A secret that the step needs is not in the request.
    #[error("secret {0:?} is required, but the build was not given it")]
    MissingSecret(String),
    /// An agent that the step needs is not in the request.
    #[error("ssh agent {0:?} is required, but the build was not given it: `--ssh {0}`")]
    MissingAgent(String),
    /// An agent cannot be reached, or its keys cannot be read.
    #[error("cannot forward ssh agent {id:?}")]
    Agent {
        /// Its name.
        id: String,
        /// Why.
        #[source]
        source: crate::ssh::SshError,
    },
    /// A secret's file or variable cannot be read.
    #[error("cannot read secret {id:?} from {from}")]
    UnreadableSecret {
        /// Its name.
        id: String,
        /// File or variable.
        from: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A source of COPY or ADD is not there.
    #[error("{0}")]
    Missing(Box<Missing>),
    /// The source of a mount is not there.
    #[error("cannot mount {0}")]
    MountSource(Box<Missing>),
    /// The step's log or another file of the build cannot be written.
    #[error("cannot write {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl From<LinkLoop> for StepError {
    fn from(error: LinkLoop) -> Self {
        Self::Copy(error.into())
    }
}

fn first_error(diagnostics: &[Diagnostic]) -> &str {
    diagnostics.iter().find(|found| found.is_error()).map_or("none", |found| &found.message)
}

/// The names of the checks that found something, each once.
fn rules(diagnostics: &[Diagnostic]) -> String {
    let names: BTreeSet<&str> = diagnostics.iter().filter_map(|found| Some(found.lint?.name())).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn did_you_mean_stage(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!(" (did you mean the stage {name:?}?)"))
}

fn did_you_mean(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code: {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal} (exit code: {})", exit.code()),
        Exit::OutOfMemory => format!("out of memory (exit code: {})", exit.code()),
        Exit::Cancelled => "cancelled".to_owned(),
    }
}
