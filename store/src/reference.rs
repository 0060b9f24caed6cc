//! Names of images: `host/repository:tag@digest`, parsed and normalised once, as Docker does.
//!
//! The rules are those of Docker's reference grammar: the first component is a host only if it holds
//! a dot or a colon, is `localhost`, or has an upper-case letter; without one the host is
//! `docker.io`, where a single component stands under `library/`; without tag and digest the tag is
//! `latest`. A value of these types is normalised by construction; nothing here knows the network.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, digest::ParseDigestError};

/// The host that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// How long a repository with its host may be.
const NAME_LIMIT: usize = 255;

/// Why text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A part breaks the grammar.
    #[error("invalid reference format: {part} {text:?}")]
    Format {
        /// Which part: `host`, `repository`, `tag`.
        part: &'static str,
        /// The part's text.
        text: String,
    },
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal digits name an image by its id and nothing else.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    ImageId(String),
    /// The name is longer than registries allow.
    #[error("repository name {0:?} is longer than {NAME_LIMIT} characters")]
    TooLong(String),
    /// `scratch` is the empty base of a Dockerfile and no image.
    #[error("'scratch' is a reserved name")]
    Scratch,
    /// The part after `@` is no digest that kiln knows.
    #[error("invalid reference format: {0}")]
    Digest(#[from] ParseDigestError),
}

/// Where images of one name are kept: a host and a path there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: Box<str>,
    path: Box<str>,
}

impl Repository {
    /// The host as in the name, with its port: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host that answers for the name: the API of Docker Hub lives elsewhere than its name says.
    pub fn api_host(&self) -> &str {
        if self.is_docker_hub() { "registry-1.docker.io" } else { &self.host }
    }

    /// The path on the host: `library/python`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the host is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        &*self.host == DOCKER_HUB
    }

    /// As people write it: without `docker.io/` and `library/`, unless the rest would read as another host's.
    pub fn familiar(&self) -> String {
        if !self.is_docker_hub() || split_host(&self.path) != (DOCKER_HUB, &*self.path) {
            return self.to_string();
        }
        match self.path.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.to_string(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (host, path) = split_host(text);
        check_host(host)?;
        check_path(path)?;
        let is_official = host == DOCKER_HUB && !path.contains('/');
        let path = if is_official { format!("library/{path}") } else { path.to_owned() };
        if host.len() + 1 + path.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        if host == DOCKER_HUB && path == "library/scratch" {
            return Err(ReferenceError::Scratch);
        }
        Ok(Self { host: host.into(), path: path.into() })
    }
}

/// The name of an image: a repository with a tag, a digest, or both (the digest then decides).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

impl Reference {
    /// The host and path.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag; `None` only beside a digest. Beside a digest it informs and does not decide.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest after `@`.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The reference as a pinned one, if it has a digest.
    pub fn pinned(&self) -> Option<PinnedReference> {
        self.digest.map(|digest| PinnedReference { repository: self.repository.clone(), digest })
    }

    /// The same name and tag, with that digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same name and tag, without a digest; `latest` if there was no tag.
    pub fn without_digest(&self) -> Self {
        Self { tag: Some(self.tag.clone().unwrap_or_else(|| "latest".into())), digest: None, ..self.clone() }
    }

    /// What a registry is asked for: the digest, else the tag.
    pub fn manifest_name(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// As people write it: without `docker.io/` and `library/`, with the tag.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.repository.familiar(), Suffix(self))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.repository, Suffix(self))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::ImageId(text.to_owned()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(name);
        tag.map(check_tag).transpose()?;
        let tag = tag.or(digest.is_none().then_some("latest"));
        Ok(Self { repository: name.parse()?, tag: tag.map(Into::into), digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A reference that names bytes and cannot move: a repository and a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedReference {
    /// Where the bytes can be had.
    pub repository: Repository,
    /// What they are.
    pub digest: Digest,
}

impl fmt::Display for PinnedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

impl From<PinnedReference> for Reference {
    fn from(pinned: PinnedReference) -> Self {
        Self { repository: pinned.repository, tag: None, digest: Some(pinned.digest) }
    }
}

impl FromStr for PinnedReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let missing = || ReferenceError::Format { part: "digest", text: text.to_owned() };
        text.parse::<Reference>()?.pinned().ok_or_else(missing)
    }
}

impl Serialize for PinnedReference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PinnedReference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `:tag@digest`, as far as there is one.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        match self.0.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some(("index.docker.io", path)) => (DOCKER_HUB, path),
        Some((host, path)) if is_host_like(host) => (host, path),
        _ => (DOCKER_HUB, text),
    }
}

fn is_host_like(component: &str) -> bool {
    component == "localhost" || component.contains(|c: char| c == '.' || c == ':' || c.is_ascii_uppercase())
}

/// Takes off what follows the last colon, unless a slash comes after it (then it is a port).
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    }
}

fn check_host(host: &str) -> Result<(), ReferenceError> {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let (name, is_good_port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, is_port(port)),
        _ => (host, true),
    };
    let is_address =
        |inner: &str| !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    let is_good_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => is_address(inner),
        None => name.split('.').all(is_host_label),
    };
    let wrong = || ReferenceError::Format { part: "host", text: host.to_owned() };
    (is_good_name && is_good_port).then_some(()).ok_or_else(wrong)
}

fn is_host_label(label: &str) -> bool {
    let is_edge_good = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    is_edge_good(bytes.first())
        && is_edge_good(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(path.to_owned()));
    }
    let wrong = || ReferenceError::Format { part: "repository", text: path.to_owned() };
    path.split('/').all(is_path_component).then_some(()).ok_or_else(wrong)
}

/// Lower-case words joined by one dot, one or two underscores, or any number of hyphens.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_edged = component.starts_with(is_word) && component.ends_with(is_word);
    let mut separators = component.split(is_word).filter(|separator| !separator.is_empty());
    is_edged && separators.all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = tag.bytes().next().is_some_and(is_word);
    let is_good =
        starts_well && tag.len() <= 128 && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    is_good.then_some(()).ok_or_else(|| ReferenceError::Format { part: "tag", text: tag.to_owned() })
}
