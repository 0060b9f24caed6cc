//! Names of containers: `[a-zA-Z0-9][a-zA-Z0-9_.-]+` as Docker has them, given or made up.
//!
//! A made-up name is an adjective and a thing of the potter's workshop. Whether a name is taken is
//! the registry's affair (`directory.rs`), which asks for the next candidate when it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::ContainerId;

/// The text cannot name a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid container name {0:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed")]
pub struct ParseContainerNameError(String);

/// The name of a container, unique in a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// What a container that was given no name is called if nobody is called so: `adjective_noun`.
    pub fn first_candidate(id: ContainerId) -> Self {
        Self::candidate(id, 0)
    }

    /// The candidates without end, the first of them first; later ones carry a number.
    pub fn candidates(id: ContainerId) -> impl Iterator<Item = Self> {
        (0..).map(move |attempt| Self::candidate(id, attempt))
    }

    fn candidate(id: ContainerId, attempt: usize) -> Self {
        let word = |list: &[&'static str], salt| list[id.choose(salt, list.len())];
        let (adjective, noun) = (word(ADJECTIVES, 2 * attempt), word(NOUNS, 2 * attempt + 1));
        match attempt {
            0 => Self(format!("{adjective}_{noun}")),
            more => Self(format!("{adjective}_{noun}{more}")),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = ParseContainerNameError;

    /// Accepts a leading slash, which Docker prints before names.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts_well && (2..=255).contains(&name.len()) && name.bytes().all(good) {
            Ok(Self(name.to_owned()))
        } else {
            Err(ParseContainerNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl TryFrom<String> for ContainerName {
    type Error = ParseContainerNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "amber", "ashen", "blue", "bold", "bright", "brisk", "brown", "burnished", "calm", "candid", "clear", "cobalt",
    "cool", "coral", "crisp", "curious", "deft", "dusty", "eager", "early", "earthen", "even", "fair", "fine",
    "fired", "fresh", "gentle", "gilded", "glad", "glazed", "golden", "green", "grey", "handy", "hardy", "honest",
    "ivory", "jolly", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild", "mossy", "neat", "nimble",
    "olive", "patient", "plain", "plucky", "polished", "proud", "quick", "quiet", "ready", "red", "robust", "round",
    "rustic", "sandy", "sharp", "silver", "simple", "sleek", "smooth", "snug", "sober", "solid", "spry", "steady",
    "stout", "sturdy", "sunny", "supple", "swift", "tidy", "trim", "true", "vivid", "warm", "white", "witty",
];

#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "amphora", "anvil", "apron", "ash", "basin", "beaker", "bellows", "bisque", "bowl", "brick", "brush", "burner",
    "bat", "candle", "caliper", "carafe", "celadon", "censer", "chalice", "chimney", "clay", "coil", "cone", "cruse",
    "crucible", "cup", "damper", "dish", "ember", "ewer", "faience", "feldspar", "flame", "flask", "flue", "foot",
    "glaze", "goblet", "granite", "grog", "hearth", "jar", "jug", "kaolin", "ladle", "lid", "loam", "lustre",
    "majolica", "marl", "mortar", "mug", "oven", "paddle", "pitcher", "plate", "porcelain", "potter", "pot", "quartz",
    "raku", "rib", "salver", "sand", "saucer", "shard", "shelf", "sieve", "slip", "spout", "stoneware", "tagine",
    "teapot", "terracotta", "tile", "tongs", "trowel", "tureen", "urn", "vase", "vessel", "wedge", "wheel", "whorl",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["ab", "A-b_c.d", "0x", "/leading"] {
            assert!(good.parse::<ContainerName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "a/b", "a b", "ü1", "//ab", &"a".repeat(256)] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn made_up_names_are_names_and_never_run_out() {
        let id = ContainerId::random().unwrap();
        let names: Vec<ContainerName> = ContainerName::candidates(id).take(100).collect();
        for name in &names {
            assert_eq!(name.as_str().parse().as_ref(), Ok(name));
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
