//! Names that are computed from what they name.
//!
//! Two families that never mix: sha256 at the OCI edge ([`Digest`] and its meanings [`DiffId`],
//! [`ImageId`], [`ChainId`]) and BLAKE3 inside ([`ObjectId`], [`DirectoryId`], [`TreeId`],
//! [`ActionKey`]). All are 32 bytes, `Copy`, ordered by their bytes, and print as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The text is not the name of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// The algorithm before the colon is not one that kiln reads.
    #[error("digest {0:?} does not start with `sha256:`")]
    Algorithm(String),
    /// What follows is not 64 lower-case hexadecimal digits.
    #[error("digest {0:?} is not 64 lower-case hexadecimal digits")]
    Hex(String),
}

/// The sha256 of bytes, as the OCI specifications name blobs, configs and manifests
/// (image-spec, descriptor.md, "Digests").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes bytes that are all in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps a finished sha256.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first twelve digits, as `docker images` shows them.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let digits = text.strip_prefix("sha256:").ok_or_else(|| ParseDigestError::Algorithm(text.to_owned()))?;
        unhex(digits).map(Self).ok_or_else(|| ParseDigestError::Hex(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! meaning_of_digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl $name {
            /// The digest that this name is.
            pub const fn digest(&self) -> Digest {
                self.0
            }

            /// The 64 hexadecimal digits, without the algorithm.
            pub fn hex(&self) -> String {
                self.0.hex()
            }

            /// The first twelve digits, for people.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                text.parse().map(Self)
            }
        }
    };
}

meaning_of_digest! {
    /// Names a layer: the digest of its uncompressed tar (image-spec, config.md, "Layer DiffID").
    DiffId
}
meaning_of_digest! {
    /// Names an image: the digest of its config (image-spec, config.md, "ImageID").
    ImageId
}
meaning_of_digest! {
    /// Names a stack of layers in order (image-spec, config.md, "Layer ChainID").
    ChainId
}

impl ChainId {
    /// Folds layers, lowest first, into the name of their stack; `None` for no layers.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        Some(rest.iter().fold(Self(first.0), |below, layer| Self(Digest::of(format!("{below} {layer}").as_bytes()))))
    }
}

macro_rules! blake3_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps a finished BLAKE3 hash.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the hash.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hexadecimal digits.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }

            /// The first twelve digits, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..6])
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(hash.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                unhex(text).map(Self).ok_or_else(|| ParseDigestError::Hex(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

blake3_id! {
    /// Names the content of one regular file, and nothing else about it.
    ObjectId
}
blake3_id! {
    /// Names a directory's entries with everything under them, but not the directory's own metadata.
    DirectoryId
}
blake3_id! {
    /// Names a [`Tree`](crate::Tree): its root's metadata, everything under it, and its hard links.
    TreeId
}
blake3_id! {
    /// Names what would be computed: an operation and what its inputs contain.
    ActionKey
}

impl ObjectId {
    /// Hashes a content that is all in memory.
    pub fn of(content: &[u8]) -> Self {
        blake3::hash(content).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_print_as_they_parse() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), text);
        assert_eq!(text.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn only_canonical_digests_parse() {
        for text in ["", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../x", "sha512:00"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let upper = format!("sha256:{}", Digest::of(b"").hex().to_uppercase());
        assert!(upper.parse::<Digest>().is_err());
    }

    /// B022: names of stacks of layers.
    #[test]
    fn a_chain_of_one_layer_is_that_layer() {
        let layer = DiffId(Digest::of(b"layer"));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(&[layer]), Some(ChainId(layer.0)));
        assert_eq!(ChainId::of(&[layer, layer]).unwrap().0, Digest::of(format!("{layer} {layer}").as_bytes()));
    }
}
