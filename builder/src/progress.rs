//! What happens while a build goes on, as data.
//!
//! The library never prints: it reports [`Event`]s to a [`Progress`], which draws, writes lines,
//! JSON, or nothing. The enum is closed, so that a renderer that forgets an event does not compile.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
pub use store::Cancel;
use store::action::Difference;

use crate::diagnostic::{Diagnostic, Span};

/// Whoever is told of events. Called from several threads; it must not block for long.
pub trait Progress: Sync {
    /// Told of one event.
    fn report(&self, event: Event<'_>);
}

/// Progress that nobody looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn report(&self, _: Event<'_>) {}
}

/// Names a step of one build: its place in [`Event::Planned`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId(pub u32);

/// What a step is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name within the build.
    pub id: StepId,
    /// Whether the Dockerfile has it or the build needs it.
    pub kind: StepKind,
    /// The stage's name, or `stage-N`; `None` for sources that belong to no stage.
    pub stage: Option<String>,
    /// Place among the steps of its stage, counted from one, and how many those are.
    pub position: Option<(usize, usize)>,
    /// The instruction as one line with its variables expanded, or what a source is.
    pub text: String,
    /// Where it stands in the Dockerfile; `None` for what only the base image or the request says.
    pub span: Option<Span>,
}

/// What sort of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// A base image, or the image of a `--from`.
    Image,
    /// A directory of the user: the build context or a named one.
    Context,
    /// `COPY`
    Copy,
    /// `ADD`
    Add,
    /// `RUN`
    Run,
    /// `WORKDIR`
    Workdir,
}

/// Everything that can happen.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Something to say about the Dockerfile or the request; errors come as the build's result.
    Warning(&'a Diagnostic),
    /// A warning that is about no place in the Dockerfile.
    Notice(&'a Notice),
    /// A reference is being looked up, before there are steps.
    Resolving {
        /// The image's name.
        reference: &'a str,
    },
    /// The steps are known, in an order in which they could run.
    Planned {
        /// All that will be looked at.
        steps: &'a [Step],
    },
    /// Somebody works on a step now.
    Started {
        /// Which.
        step: StepId,
    },
    /// A step cannot go on yet.
    Waiting {
        /// Which.
        step: StepId,
        /// For what.
        reason: Wait,
    },
    /// A step is not in the cache and is being executed.
    Missed {
        /// Which.
        step: StepId,
        /// Why.
        reason: &'a Miss,
    },
    /// A command wrote something.
    Output {
        /// Whose.
        step: StepId,
        /// Where it wrote.
        stream: Stream,
        /// What; not always whole lines, not always text.
        bytes: &'a [u8],
    },
    /// Bytes of an image arrive.
    Transfer {
        /// For which step.
        step: StepId,
        /// What and how much.
        transfer: Transfer,
    },
    /// A step is done.
    Finished {
        /// Which.
        step: StepId,
        /// What came of it.
        outcome: Outcome,
        /// How long it took now; for a hit, [`Outcome::Hit`] has what it took then.
        took: Duration,
    },
    /// A step failed; the build's result has the error.
    Failed {
        /// Which.
        step: StepId,
        /// How long it took.
        took: Duration,
    },
    /// A step was stopped because the build ends.
    Cancelled {
        /// Which.
        step: StepId,
    },
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was known already.
    Hit {
        /// What it took when it was made; `None` for sources.
        saved: Option<Duration>,
    },
    /// It was executed.
    Built,
    /// Another kiln executed it while this one waited.
    Shared,
    /// Nothing had to be done: a source that is there.
    Ready,
    /// In a dry run: it would be executed.
    WouldRun,
    /// In a dry run: it depends on a step that would be executed.
    Unknown,
}

/// Why a step is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Miss {
    /// No earlier run of this step is known.
    New,
    /// The request says so.
    NoCache,
    /// It was run before with other inputs: what differs.
    Changed(Vec<Difference>),
    /// It was run with the same inputs, but the result was collected, in seconds since 1970.
    Collected(i64),
    /// It was run with the same inputs, but the result is gone: somebody had it forgotten, or it did not
    /// survive a power cut.
    Forgotten,
    /// Its result is older than the request allows.
    Expired(Duration),
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Another kiln executes the same step.
    SameStep,
    /// Another step has the cache mount of this id, which is locked.
    CacheMount(String),
}

/// Which of a command's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far one part of an image has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The part: a short digest or a name.
    pub item: String,
    /// Bytes that have arrived.
    pub done_bytes: u64,
    /// All of them, if known.
    pub total_bytes: Option<NonZeroU64>,
}

/// Warnings that are about the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A build argument that no ARG declares.
    #[error("one or more build-args were not consumed: {}", .0.join(", "))]
    UnusedBuildArguments(Vec<String>),
    /// Build arguments that BuildKit knows and that have no effect here.
    #[error("build-args without effect in kiln: {}", .0.join(", "))]
    IneffectiveBuildArguments(Vec<String>),
    /// Commands have the machine's network, as this machine cannot give them one of their own.
    #[error("RUN shares this machine's network, its services on 127.0.0.1 included: {0}; `kiln info` says what helps")]
    SharedNetwork(String),
    /// Commands were told of proxies where they cannot reach them.
    #[error(
        "{} on this machine's loopback, out of reach of RUN, which has a network of its own: `--network=host` gives it \
         this machine's, or let the proxy listen on another address",
        listed(.0)
    )]
    ProxyOnLoopback(Vec<String>),
}

fn listed(names: &[String]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}
