//! Platforms: what an image runs on, normalised, and which of several images fits best.
//!
//! The rules are those that containerd and Docker follow: `aarch64` is `arm64`, `x86_64` is
//! `amd64`, `armhf` is `arm/v7`, and the variants that every machine of an architecture has
//! (`arm64/v8`, `amd64/v1`) are not written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on. Made by [`Platform::new`] or parsed it is normalised; deserialised from
/// somebody's index it is as it stands there, until [`Platform::normalized`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// The operating system: `linux`.
    pub os: String,
    /// Which Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What of Windows is needed.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Which kind of the processor: `v7`; empty for the one that all have.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// The text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: it should look like linux/amd64 or linux/arm/v7")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Normalises an operating system, an architecture and a variant, which may be empty.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalize(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Self { os, architecture, variant, os_version: String::new(), os_features: Vec::new() }
    }

    /// What programs on this machine run on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// The same platform by its normal names.
    pub fn normalized(&self) -> Self {
        let Self { architecture, os, variant, os_version, os_features } = self;
        Self {
            os_version: os_version.clone(),
            os_features: os_features.clone(),
            ..Self::new(os, architecture, variant)
        }
    }

    /// Whether this is the `unknown/unknown` of an attestation, which nothing runs on.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// How well an image for `offered` runs where `self` is asked for: 0 is exact, more is a lesser
    /// variant, `None` does not run.
    pub fn distance_to(&self, offered: &Self) -> Option<usize> {
        let (asked, offered) = (self.normalized(), offered.normalized());
        let is_same_kind = asked.os == offered.os && asked.architecture == offered.architecture;
        let is_same_version = asked.os_version.is_empty() || asked.os_version == offered.os_version;
        if !is_same_kind || !is_same_version {
            return None;
        }
        variants(&asked.architecture, &asked.variant).iter().position(|variant| **variant == offered.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// `os/architecture[/variant]`, or one of the two alone: the other is then the host's.
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let wrong = || ParsePlatformError(text.to_owned());
        let is_word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| is_word(part)) {
            return Err(wrong());
        }
        match parts[..] {
            [os] if is_known_os(os) => Ok(Self::new(os, std::env::consts::ARCH, "")),
            [architecture] if is_known_architecture(architecture) => Ok(Self::new("linux", architecture, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(wrong()),
        }
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64", variant) if cfg!(target_endian = "little") => ("ppc64le", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The variants that run where one is asked for, best first.
fn variants<'a>(architecture: &str, asked: &'a str) -> Vec<&'a str> {
    const ARM: [&str; 4] = ["v8", "v7", "v6", "v5"];
    const AMD64: [&str; 4] = ["v4", "v3", "v2", ""];
    let all: &[&'static str] = match architecture {
        "arm" => &ARM,
        "amd64" => &AMD64,
        // What every arm64 machine runs is written without a variant.
        "arm64" if !asked.is_empty() => return vec![asked, ""],
        _ => return vec![asked],
    };
    match all.iter().position(|variant| *variant == asked) {
        Some(at) => all[at..].to_vec(),
        None => vec![asked],
    }
}

fn is_known_os(text: &str) -> bool {
    matches!(text, "linux" | "windows" | "darwin" | "macos" | "freebsd" | "netbsd" | "openbsd" | "solaris" | "wasip1")
}

fn is_known_architecture(text: &str) -> bool {
    const NORMAL: [&str; 14] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
        "riscv64", "s390x", "wasm",
    ];
    NORMAL.contains(&normalize(&text.to_ascii_lowercase(), "").0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    /// B027: one name for every architecture.
    #[test]
    fn platforms_have_one_name() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("arm64", "linux/arm64"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        for text in ["", "/", "linux/", "a/b/c/d", "nonsense", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(platform("linux"), Platform::host());
    }

    #[test]
    fn lesser_variants_serve() {
        for (asked, offered, expected) in [
            ("linux/arm/v7", "linux/arm/v7", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v5", Some(2)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
        ] {
            assert_eq!(platform(asked).distance_to(&platform(offered)), expected, "{asked} {offered}");
        }
    }
}
