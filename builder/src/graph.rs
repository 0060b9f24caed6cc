//! A build as data: what is to be done, and what depends on what.
//!
//! A [`Graph`] is made by [`plan`](crate::plan) without any IO, holds only what the target needs,
//! and can be printed. Its vertices stand in an order in which they could run: inputs first.
//! Instructions that only change the image's config are no vertices.

use std::fmt;
use std::net::IpAddr;

use store::tree::Timestamp;
use store::{Platform, RelPath};

use crate::copy::{Destination, ModeChange, OwnerSpec, Times};
use crate::progress::{Step, StepId};
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
    /// Copies files: COPY and ADD.
    Copy(Box<CopyOp>),
    /// Executes a command.
    Run(Box<RunOp>),
    /// Makes a working directory.
    Workdir(WorkdirOp),
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
    /// A file that stands in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// What it holds.
        content: Vec<u8>,
    },
}

/// RUN.
#[derive(Debug, Clone)]
pub struct RunOp {
    /// The root filesystem it starts with.
    pub base: VertexId,
    /// The command, shell included.
    pub argv: Vec<String>,
    /// The environment, in order: the config's and the arguments in scope.
    pub env: Vec<(String, String)>,
    /// Proxy variables: seen by the command, but in no key (features A077).
    pub proxies: Vec<(String, String)>,
    /// `USER`; empty is root.
    pub user: String,
    /// The working directory.
    pub cwd: RelPath,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// `--network`, or what the request says.
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--add-host` of the request.
    pub hosts: Vec<(String, IpAddr)>,
    /// The host name inside.
    pub hostname: String,
    /// Limits and sizes of the request.
    pub limits: Limits,
    /// The platform that it runs on.
    pub platform: Platform,
    /// What the step takes for the time.
    pub clock: Clock,
}

/// Limits of the request for every RUN. They do not decide what comes out, and are in no key,
/// except for the size of `/dev/shm` and `--ulimit`, which commands can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory (`--memory`).
    pub memory_bytes: Option<u64>,
    /// Processors' worth of time, in thousandths.
    pub milli_cpus: Option<u64>,
    /// The size of `/dev/shm` (`--shm-size`).
    pub shm_bytes: Option<u64>,
    /// `--ulimit`: name, soft and hard limit.
    pub ulimits: Vec<(String, u64, u64)>,
}

/// What network a RUN sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// As kiln sees fit: the host's, without its abstract sockets.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// How much a RUN may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// As usual.
    #[default]
    Sandbox,
    /// Everything that root may.
    Insecure,
}

/// Whether something may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and written.
    ReadWrite,
}

/// One `--mount` of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where; the root for a secret that is only a variable.
    pub target: RelPath,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of a tree; what is written to it is dropped.
    Bind {
        /// The tree.
        from: VertexId,
        /// Where in it.
        source: RelPath,
        /// Whether it may be written to.
        access: Access,
    },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// A file system in memory.
    Tmpfs {
        /// Its size.
        size_bytes: Option<u64>,
    },
    /// A value that is in no layer and no key.
    Secret(SecretMount),
    /// A file that stands in the Dockerfile, executable and read-only.
    Script {
        /// What it holds.
        content: Vec<u8>,
    },
}

/// `--mount=type=cache`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// What names the directory, in all builds of the store.
    pub id: String,
    /// Who may use it at once.
    pub sharing: Sharing,
    /// What it holds when it is new: a directory of a tree.
    pub seed: Option<(VertexId, RelPath)>,
    /// Permission bits when it is new.
    pub mode: u16,
    /// Owner when it is new.
    pub uid: u32,
    /// Group when it is new.
    pub gid: u32,
    /// Whether it may be written to.
    pub access: Access,
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One; others get a directory of their own.
    Private,
    /// One; others wait.
    Locked,
}

/// `--mount=type=secret`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Its name in the request.
    pub id: String,
    /// Whether there is a file.
    pub file: Option<SecretFile>,
    /// The variable that holds it.
    pub env: Option<String>,
    /// Whether its absence is an error.
    pub need: Need,
}

/// How a secret's file looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFile {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Whether the absence of something is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// It is.
    Required,
    /// It is not.
    Optional,
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

/// What a build takes for the time (DESIGN, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// No time that the build writes is later than this; commands see it as `SOURCE_DATE_EPOCH`.
    Epoch(Timestamp),
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
            Self::Epoch(epoch) => Times { exactly: Some(epoch), ceiling: Some(epoch), new: epoch },
            Self::Preserve { epoch, now } => Times { exactly: None, ceiling: None, new: epoch.unwrap_or(now) },
        }
    }

    /// What becomes of the times of files that are copied from images and stages.
    pub fn times_of_stage(self) -> Times {
        match self {
            Self::Epoch(epoch) => Times { exactly: None, ceiling: Some(epoch), new: epoch },
            Self::Preserve { .. } => self.times_of_context(),
        }
    }

    /// The latest time that may be in a layer, if there is one.
    pub fn ceiling(self) -> Option<Timestamp> {
        match self {
            Self::Epoch(epoch) => Some(epoch),
            Self::Preserve { .. } => None,
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
            Self::Scratch | Self::Image(_) | Self::Context(_) => Vec::new(),
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
            Self::Path { from, .. } | Self::WithParents { from, .. } => Some(*from),
            Self::Inline { .. } => None,
        }
    }
}

impl Mount {
    fn from(&self) -> Option<VertexId> {
        match &self.kind {
            MountKind::Bind { from, .. } => Some(*from),
            MountKind::Cache(cache) => cache.seed.as_ref().map(|(from, _)| *from),
            MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Script { .. } => None,
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
