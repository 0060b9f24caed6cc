//! A build as data: what is to be done, and what depends on what.
//!
//! A [`Graph`] is made by [`plan`](crate::plan) without any IO, holds only what the target needs,
//! and can be printed. Its vertices stand in an order in which they could run: inputs first.
//! Instructions that only change the image's config are no vertices.

mod command;

use std::fmt;

use store::RelPath;
use store::tree::Timestamp;

pub use command::{
    Access, CacheMount, Device, Limits, Mount, MountKind, Need, Network, Privileges, RunOp, SecretFile, SecretMount,
    Security, Sharing, SshMount, Volume,
};

use crate::copy::{Destination, ModeChange, OwnerSpec, Times};
use crate::progress::{Step, StepId};
use crate::remote::Remote;
use crate::source::ResolvedImage;

/// Names a vertex: its place in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

/// All vertices, inputs before what needs them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// What.
    pub op: Op,
    /// How it is shown.
    pub step: Step,
    /// Whether a known result may be taken.
    pub lookup: Lookup,
}

/// Whether a known result may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Of course.
    Cached,
    /// Only what this build makes (`--no-cache`).
    Fresh,
}

/// What a vertex does. Its inputs are earlier vertices.
#[derive(Debug, Clone)]
pub enum Op {
    /// Starts from nothing.
    Scratch,
    /// Brings an image.
    Image(Box<ResolvedImage>),
    /// Reads a directory of the user.
    Context(ContextName),
    /// Fetches something that lies elsewhere.
    Remote(Box<RemoteOp>),
    /// Copies files: COPY and ADD.
    Copy(Box<CopyOp>),
    /// Executes a command.
    Run(Box<RunOp>),
    /// Makes a working directory.
    Workdir(WorkdirOp),
}

/// Something that lies elsewhere.
#[derive(Debug, Clone)]
pub struct RemoteOp {
    /// What.
    pub remote: Remote,
    /// What becomes of an archive.
    pub archive: Archives,
}

/// Which directory of the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContextName {
    /// The build context.
    Main,
    /// One given with `--build-context`.
    Named(String),
}

/// Whether an instruction was COPY or ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyKind {
    /// `COPY`
    Copy,
    /// `ADD`
    Add,
}

/// What a copy is laid on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Footing {
    /// The base: its links are followed and its directories kept.
    Base,
    /// Nothing (`--link`): the layer is the same whatever it is laid on.
    Nothing,
}

/// What becomes of archives among the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Archives {
    /// They are copied as they are.
    Keep,
    /// They are unpacked.
    Unpack,
}

/// COPY or ADD.
#[derive(Debug, Clone)]
pub struct CopyOp {
    /// Which of the two.
    pub kind: CopyKind,
    /// What it is laid on.
    pub base: VertexId,
    /// Where files come from, in order.
    pub sources: Vec<CopySource>,
    /// Where they go.
    pub destination: Destination,
    /// `--chown`
    pub owner: Option<OwnerSpec>,
    /// `--chmod`
    pub mode: Option<ModeChange>,
    /// `--link`
    pub footing: Footing,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// Whether archives are unpacked.
    pub archives: Archives,
    /// What becomes of times.
    pub times: Times,
}

/// One source of a copy.
#[derive(Debug, Clone)]
pub enum CopySource {
    /// What a path or pattern names in a tree.
    Path {
        /// The tree.
        from: VertexId,
        /// The path or pattern, expanded.
        pattern: String,
    },
    /// A path of which the parents are kept (`--parents`).
    WithParents {
        /// The tree.
        from: VertexId,
        /// What is dropped: the part before `/./`.
        pivot: String,
        /// What is copied with its parents; may hold `**`.
        pattern: String,
    },
    /// A file that was fetched.
    Fetched {
        /// The tree with nothing but the file.
        from: VertexId,
        /// The file's name.
        name: String,
        /// What becomes of it if it is an archive.
        archive: Archives,
    },
    /// A file that stands in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// What it holds.
        content: Vec<u8>,
    },
}

/// WORKDIR.
#[derive(Debug, Clone)]
pub struct WorkdirOp {
    /// What it is laid on.
    pub base: VertexId,
    /// The directory, absolute; never the root.
    pub path: RelPath,
    /// `USER`, whom new directories belong to.
    pub owner: OwnerSpec,
    /// What becomes of times.
    pub times: Times,
}

/// What a build takes for the time (docs/cache.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// No time that the build writes is later than this; commands see it as `SOURCE_DATE_EPOCH`.
    Epoch(Timestamp),
    /// Everything that the build writes has this time; commands see it as `SOURCE_DATE_EPOCH`.
    Exact(Timestamp),
    /// Times are kept and clocks are read, as Docker does.
    Preserve {
        /// `SOURCE_DATE_EPOCH`, if somebody set it.
        epoch: Option<Timestamp>,
        /// When the build started.
        now: Timestamp,
    },
}

impl Clock {
    /// What becomes of the times of files that are copied from the user's directories.
    pub fn times_of_context(self) -> Times {
        match self {
            Self::Epoch(epoch) | Self::Exact(epoch) => Times { exactly: Some(epoch), ceiling: Some(epoch), new: epoch },
            Self::Preserve { epoch, now } => Times { exactly: None, ceiling: None, new: epoch.unwrap_or(now) },
        }
    }

    /// What becomes of the times of files that are copied from images and stages.
    pub fn times_of_stage(self) -> Times {
        match self {
            Self::Epoch(epoch) => Times { exactly: None, ceiling: Some(epoch), new: epoch },
            Self::Exact(_) | Self::Preserve { .. } => self.times_of_context(),
        }
    }

    /// The build's time, unless clocks are read.
    pub fn settled(self) -> Option<Timestamp> {
        match self {
            Self::Epoch(epoch) | Self::Exact(epoch) => Some(epoch),
            Self::Preserve { .. } => None,
        }
    }

    /// The time of what the image's config and history say, if it is settled.
    pub fn written(self) -> Option<Timestamp> {
        match self {
            Self::Epoch(epoch) | Self::Exact(epoch) => Some(epoch),
            Self::Preserve { epoch, .. } => epoch,
        }
    }
}

impl Graph {
    /// Adds a vertex of which all inputs are in the graph.
    pub fn add(&mut self, vertex: Vertex) -> VertexId {
        let id = self.next_id();
        debug_assert!(vertex.op.inputs().iter().all(|input| *input < id), "inputs come before what needs them");
        self.vertices.push(vertex);
        id
    }

    /// The id that the next vertex will have.
    pub fn next_id(&self) -> VertexId {
        VertexId(u32::try_from(self.vertices.len()).expect("fewer than four billion vertices"))
    }

    /// A vertex of this graph.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// All vertices, inputs first.
    pub fn vertices(&self) -> impl ExactSizeIterator<Item = (VertexId, &Vertex)> {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexId(index as u32), vertex))
    }

    /// The steps, for progress.
    pub fn steps(&self) -> Vec<Step> {
        self.vertices.iter().map(|vertex| vertex.step.clone()).collect()
    }
}

impl VertexId {
    /// The step of the same vertex.
    pub fn step(self) -> StepId {
        StepId(self.0)
    }
}

impl Op {
    /// The vertices that must be done before, each once.
    pub fn inputs(&self) -> Vec<VertexId> {
        let mut inputs = match self {
            Self::Scratch | Self::Image(_) | Self::Context(_) | Self::Remote(_) => Vec::new(),
            Self::Workdir(workdir) => vec![workdir.base],
            Self::Copy(copy) => {
                std::iter::once(copy.base).chain(copy.sources.iter().filter_map(CopySource::from)).collect()
            }
            Self::Run(run) => std::iter::once(run.base).chain(run.mounts.iter().filter_map(Mount::from)).collect(),
        };
        inputs.sort();
        inputs.dedup();
        inputs
    }
}

impl CopySource {
    /// The tree that it names something in.
    pub fn from(&self) -> Option<VertexId> {
        match self {
            Self::Path { from, .. } | Self::WithParents { from, .. } | Self::Fetched { from, .. } => Some(*from),
            Self::Inline { .. } => None,
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, vertex) in self.vertices() {
            let inputs: Vec<String> = vertex.op.inputs().iter().map(|input| input.0.to_string()).collect();
            writeln!(f, "{} <- [{}] {}", id.0, inputs.join(" "), vertex.step.text)?;
        }
        Ok(())
    }
}
