//! An image's config (image-spec, config.md) with Docker's extensions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{DocumentError, null_is_empty, to_bytes};
use crate::platform::Platform;
use crate::tree::Timestamp;
use crate::{DiffId, Digest, ImageId};

type Unknown = BTreeMap<String, serde_json::Value>;

/// What an image is beside its files. Its bytes name the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor it runs on.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub architecture: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// How a container of it starts.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub config: ContainerConfig,
    /// When it was made, as in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How its layers came to be, in order.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The operating system it runs on.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub os: String,
    /// What of Windows it needs.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Which Windows it runs on.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Its layers.
    pub rootfs: RootFs,
    /// Which kind of processor it runs on.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Fields that kiln does not know, kept from a base.
    #[serde(flatten)]
    pub other: Unknown,
}

impl ImageConfig {
    /// An image of nothing, for a platform.
    pub fn empty(platform: &Platform) -> Self {
        let Platform { architecture, os, os_version, os_features, variant } = platform.clone();
        Self {
            architecture,
            author: String::new(),
            config: ContainerConfig::default(),
            created: None,
            history: Vec::new(),
            os,
            os_features,
            os_version,
            rootfs: RootFs::default(),
            variant,
            other: Unknown::new(),
        }
    }

    /// Reads a config. The image's id is the digest of these bytes, not of what [`to_bytes`](Self::to_bytes) makes of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { what: "image config", source })
    }

    /// The bytes that a new config is written as.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// The id of the image that has these bytes as its config.
    pub fn id(&self) -> ImageId {
        ImageId(Digest::of(&self.to_bytes()))
    }

    /// What it runs on, normalised.
    pub fn platform(&self) -> Platform {
        let platform = Platform::new(&self.os, &self.architecture, &self.variant);
        Platform { os_version: self.os_version.clone(), os_features: self.os_features.clone(), ..platform }
    }

    /// When it was made; `None` if it does not say, or not in a way that can be read.
    pub fn created_at(&self) -> Option<Timestamp> {
        let time: jiff::Timestamp = self.created.as_deref()?.parse().ok()?;
        let nanos = time.subsec_nanosecond();
        let (secs, nanos) =
            if nanos < 0 { (time.as_second() - 1, nanos + 1_000_000_000) } else { (time.as_second(), nanos) };
        Some(Timestamp { secs, nanos: nanos.unsigned_abs() })
    }
}

/// An image's layers, lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// The digests of the uncompressed tars.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<DiffId>,
    /// `layers`; there is no other kind.
    #[serde(rename = "type", default)]
    pub kind: RootFsKind,
}

/// The word `layers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootFsKind {
    /// A stack of layers.
    #[default]
    Layers,
}

/// How one layer, or one change of the config, came to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, as in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What its maker says.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Fields that kiln does not know, kept from a base.
    #[serde(flatten)]
    pub other: Unknown,
}

/// How a container of an image starts; what is empty is not said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Whether the first word of the command is already escaped (Windows).
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// The default arguments, or the command if there is no entrypoint.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The command.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The environment, `NAME=value` each, in the order of its making.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Ports that it listens on: `80/tcp`.
    #[serde(with = "names", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// How to find out whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What is said about it.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Instructions for an image that is built on it.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// What runs commands in shell form.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// What asks it to stop.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How many seconds it then has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// As whom it runs: `user[:group]`.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Directories that are kept apart from its file system.
    #[serde(with = "names", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Where it starts.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Fields that kiln does not know, kept from a base.
    #[serde(flatten)]
    pub other: Unknown,
}

impl ContainerConfig {
    /// The value of an environment variable; of several the last counts.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable: in its place if it has one, else at the end.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let is_it = |old: &&mut String| old.split('=').next() == Some(name);
        match self.env.iter_mut().find(is_it) {
            Some(old) => *old = pair,
            None => self.env.push(pair),
        }
    }
}

/// How to find out whether a container is well (Docker's extension). Times are in nanoseconds; 0 is Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ..]` or `["CMD-SHELL", ".."]`; empty inherits.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// The time between two looks.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long a look may take.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long a failure does not count at first.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// The time between two looks during that.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make it ill.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Fields that kiln does not know, kept from a base.
    #[serde(flatten)]
    pub other: Unknown,
}

/// A set that is written as a map to empty objects.
mod names {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(names: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(names.iter().map(|name| (name, BTreeMap::<(), ()>::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        String::from_utf8(ImageConfig::parse(text.as_bytes()).unwrap().to_bytes()).unwrap()
    }

    /// B023, B028: fields of other tools survive.
    #[test]
    fn a_config_survives_with_what_kiln_does_not_know() {
        let text = concat!(
            r#"{"architecture":"arm64","config":{"ArgsEscaped":true,"Cmd":["sh"],"Env":["A=1","B="],"ExposedPorts":{"53/udp":{},"80/tcp":{}},"#,
            r#""Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":7000000000,"Future":1},"Labels":{"a":"<&>","b":""},"OnBuild":["RUN x"],"Shell":["/bin/sh","-ec"],"#,
            r#""StopSignal":"SIGINT","User":"app","Volumes":{"/data":{}},"WorkingDir":"/srv","Domainname":"","Image":"sha256:x"},"created":"2011-03-13T07:06:40.5Z","#,
            r#""history":[{"created":"2011-03-13T07:06:40Z","created_by":"ADD x","future":[1]},{"created_by":"CMD","empty_layer":true}],"os":"linux","#,
            r#""rootfs":{"diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"type":"layers"},"variant":"v8","#,
            r#""container_config":{"z":1,"a":2},"docker_version":"20.10"}"#,
        );
        let once = rewritten(text);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&once).unwrap(),
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
        assert_eq!(rewritten(&once), once);
        assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap().platform().to_string(), "linux/arm64");
    }

    /// B026: what is empty is absent.
    #[test]
    fn nulls_of_go_programs_are_nothing() {
        let text = r#"{"architecture":"amd64","os":"linux","author":null,"created":null,"history":null,"config":{"Cmd":null,"Env":null,"Labels":null,"Volumes":null,"Healthcheck":null,"User":null},"rootfs":{"type":"layers","diff_ids":null}}"#;
        assert_eq!(
            rewritten(text),
            r#"{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}"#
        );
        let text = r#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{}}"#;
        assert_eq!(rewritten(text), rewritten(r#"{"architecture":"amd64","os":"linux","rootfs":{}}"#));
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for text in ["", "{}", "[]", r#"{"rootfs":{"type":"other"}}"#, r#"{"rootfs":{"diff_ids":["sha256:../x"]}}"#] {
            assert!(matches!(ImageConfig::parse(text.as_bytes()), Err(DocumentError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn variables_are_set_in_place() {
        let mut config = ContainerConfig::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "x=y")] {
            config.set_env(name, value);
        }
        assert_eq!(config.env, ["A=x=y", "B=2"]);
        assert_eq!((config.env("A"), config.env("C")), (Some("x=y"), None));
    }

    #[test]
    fn times_are_read() {
        let at = |text: &str| {
            ImageConfig { created: Some(text.into()), ..ImageConfig::empty(&Platform::host()) }.created_at()
        };
        assert_eq!(at("1980-01-01T00:00:00Z"), Some(Timestamp::from_secs(315_532_800)));
        assert_eq!(at("1969-12-31T23:59:59.25Z"), Some(Timestamp { secs: -1, nanos: 250_000_000 }));
        assert_eq!(at("2011-03-13T08:06:40+01:00"), Some(Timestamp::from_secs(1_300_000_000)));
        assert_eq!(at("yesterday"), None);
    }
}
