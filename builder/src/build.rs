//! The one way in: a request goes in, an image comes out.
//!
//! A build parses, plans, solves and assembles. It reads the Dockerfile's bytes from the request,
//! the user's directories from disk, images from an [`ImageSource`](crate::ImageSource), and
//! everything else from the store. It tags nothing and syncs nothing: whoever calls it does that
//! before saying that all is well.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use store::oci::ImageConfig;
use store::{DiffId, ImageId, Platform, Reference};

use crate::diagnostic::Diagnostic;
use crate::graph::{Limits, Network};
use crate::progress::{Cancel, Miss, Outcome, Step};

/// All that a build depends on beside the machine.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// The build context; `None` for a Dockerfile without one.
    pub context: Option<ContextDirectory>,
    /// `--build-context`, by name in lower case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--target`: a stage's name or number.
    pub target: Option<String>,
    /// `--build-arg`, and what else is passed on as one: proxies, `SOURCE_DATE_EPOCH`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// `--platform`; `None` is the machine's, or what the base image is.
    pub platform: Option<Platform>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--network`
    pub network: Network,
    /// `--add-host`
    pub hosts: Vec<(String, IpAddr)>,
    /// `--shm-size`, `--ulimit`, `--memory` and the like.
    pub limits: Limits,
    /// `--timestamps`
    pub timestamps: Timestamps,
    /// `--no-cache`, `--no-cache-filter`
    pub cache: CacheUse,
    /// `--jobs`: how many steps at once.
    pub jobs: NonZeroUsize,
    /// Stops the build when somebody sets it.
    pub cancel: Cancel,
}

/// A Dockerfile as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileText {
    /// Its name, for messages.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A directory of the user, and what of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// The ignore file that was found beside the Dockerfile; `None` means the `.dockerignore` in the
    /// directory, if there is one.
    pub ignore_file: Option<DockerfileText>,
}

/// What `--build-context name=value` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(ContextDirectory),
    /// An image (`docker-image://`).
    Image(Reference),
}

/// Where a secret comes from. It is read when a step needs it, and not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of kiln's own environment.
    Environment(String),
}

/// What becomes of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// The build's clock is `SOURCE_DATE_EPOCH`, or 1980-01-01.
    #[default]
    Clamp,
    /// Docker's way: times are kept, clocks are read.
    Preserve,
}

/// Whether earlier results may be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// They may.
    #[default]
    All,
    /// None may.
    None,
    /// None of these stages.
    NotStages(Vec<String>),
}

impl BuildRequest {
    /// A build of a Dockerfile without a context, with every option at its default.
    pub fn new(dockerfile: DockerfileText) -> Self {
        Self {
            dockerfile,
            context: None,
            contexts: BTreeMap::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: None,
            secrets: BTreeMap::new(),
            network: Network::default(),
            hosts: Vec::new(),
            limits: Limits::default(),
            timestamps: Timestamps::default(),
            cache: CacheUse::default(),
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            cancel: Cancel::default(),
        }
    }
}

/// What came of a build.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image's id.
    pub image: ImageId,
    /// Its config, which is in the store as a blob.
    pub config: ImageConfig,
    /// Its layers, lowest first, all in the store.
    pub layers: Vec<DiffId>,
    /// What came of each step.
    pub steps: Vec<StepReport>,
    /// What there is to say about the Dockerfile.
    pub diagnostics: Vec<Diagnostic>,
    /// The directory of this build's record and logs.
    pub record: PathBuf,
}

/// What came of one step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was executed, if it was.
    pub miss: Option<Miss>,
    /// The layer that it made or found.
    pub layer: Option<DiffId>,
    /// How long it took now.
    pub took: Duration,
}
