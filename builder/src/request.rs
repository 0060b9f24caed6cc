//! What a build is asked for.
//!
//! A request is data: nothing here reads a file, a variable or the network, but a secret when a
//! step asks for it. It does not know the command line that it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use run::sandbox::{Dns, EtcFile, HostAddress};
use store::tree::Timestamp;
use store::{DiffId, Platform, Reference};

use crate::edits::Edits;
use crate::graph::{Limits, Network, Privileges, Volume};
use crate::progress::Cancel;
use crate::remote::Remote;
use crate::squash::Squash;

/// All that a build depends on beside the machine.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// The build context; `None` for a Dockerfile without one.
    pub context: Option<MainContext>,
    /// When the context was made, if it is one that says so: the commit, the file on its server, the newest file of
    /// the archive.
    pub context_time: Option<Timestamp>,
    /// `--build-context`, by name in lower case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--target`: a stage's name or number.
    pub target: Option<String>,
    /// `--build-arg`, and what else is passed on as one: proxies, `SOURCE_DATE_EPOCH`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, `--env` and the like.
    pub edits: Edits,
    /// `--from`: what the first stage starts from, whatever the file says.
    pub first_base: Option<String>,
    /// `--squash`, `--squash-all`
    pub squash: Squash,
    /// `--skip-unused-stages`
    pub stages: StageChoice,
    /// `--platform`; `None` is the machine's, or what the base image is.
    pub platform: Option<Platform>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--allow`
    pub entitlements: BTreeSet<Entitlement>,
    /// `--network`
    pub network: Network,
    /// `--ssh`, by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// `--add-host`
    pub hosts: Vec<(String, HostAddress)>,
    /// `--dns`, `--dns-search`, `--dns-option`
    pub dns: Dns,
    /// `--no-hosts`, `--no-hostname`, `--dns none`: what RUN sees of the image's own `/etc`.
    pub kept_files: Vec<EtcFile>,
    /// `--cap-add`, `--cap-drop`, `--security-opt`, `--group-add`, `--userns`, `--pid` and the like, `--device`
    pub privileges: Privileges,
    /// `--volume`
    pub volumes: Vec<Volume>,
    /// `--shm-size`, `--ulimit`, `--memory` and the like.
    pub limits: Limits,
    /// `--timestamps`
    pub timestamps: Timestamps,
    /// `--no-cache`, `--no-cache-filter`
    pub cache: CacheUse,
    /// `--cache-ttl`: how old the result of a command may be.
    pub cache_ttl: Option<Duration>,
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

/// The build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainContext {
    /// A directory of the user.
    Directory(ContextDirectory),
    /// What was fetched or unpacked: a layer of the store, all of which counts (docs/dockerfile.md, A177).
    Layer {
        /// The layer.
        layer: DiffId,
        /// Where it came from, for messages.
        name: String,
    },
}

impl MainContext {
    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&ContextDirectory> {
        match self {
            Self::Directory(directory) => Some(directory),
            Self::Layer { .. } => None,
        }
    }

    /// What a person would call it.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(directory) => directory.path.display().to_string(),
            Self::Layer { name, .. } => name.clone(),
        }
    }
}

impl From<ContextDirectory> for MainContext {
    fn from(directory: ContextDirectory) -> Self {
        Self::Directory(directory)
    }
}

/// What `--build-context name=value` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(ContextDirectory),
    /// An image (`docker-image://`).
    Image(Reference),
    /// Nothing (`docker-image://scratch`).
    Scratch,
    /// A repository, or an archive by its URL; fetched if something needs it.
    Remote(Remote),
}

/// Where a secret comes from. It is read when a step needs it, and not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of kiln's own environment.
    Environment(String),
}

impl SecretSource {
    /// Reads the secret.
    pub(crate) fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path),
            Self::Environment(name) => {
                use std::os::unix::ffi::OsStringExt;
                let value = std::env::var_os(name).ok_or_else(|| std::io::Error::other("it is not set"))?;
                Ok(value.into_vec())
            }
        }
    }
}

/// Which SSH agent a build's steps reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshSource {
    /// The user's, by its socket.
    Agent(PathBuf),
    /// One of kiln's own that has these private keys, which are read when a step needs them.
    Keys(Vec<PathBuf>),
}

/// What a build may do only if somebody says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entitlement {
    /// `RUN --network=host`: the host's abstract sockets, too.
    NetworkHost,
    /// `RUN --security=insecure`
    SecurityInsecure,
}

/// What becomes of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// The build's clock is `SOURCE_DATE_EPOCH`, or 1980-01-01.
    #[default]
    Clamp,
    /// Everything new has the build's clock as its time (buildah's `--timestamp`).
    Exact,
    /// Docker's way: times are kept, clocks are read.
    Preserve,
}

/// Which stages are built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StageChoice {
    /// Those that the target needs.
    #[default]
    Needed,
    /// All up to the target.
    All,
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
            context_time: None,
            contexts: BTreeMap::new(),
            target: None,
            build_args: BTreeMap::new(),
            edits: Edits::default(),
            first_base: None,
            squash: Squash::default(),
            stages: StageChoice::default(),
            platform: None,
            secrets: BTreeMap::new(),
            entitlements: BTreeSet::new(),
            network: Network::default(),
            ssh: BTreeMap::new(),
            hosts: Vec::new(),
            dns: Dns::default(),
            kept_files: Vec::new(),
            privileges: Privileges::default(),
            volumes: Vec::new(),
            limits: Limits::default(),
            timestamps: Timestamps::default(),
            cache: CacheUse::default(),
            cache_ttl: None,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            cancel: Cancel::default(),
        }
    }
}
