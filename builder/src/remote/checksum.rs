//! `--checksum`: what a file must contain.

use std::fmt;

use super::address::AddressError;

/// A digest of a file, by one of the algorithms that BuildKit takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The digest in hexadecimal.
    pub hex: String,
}

/// A digest's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Checksum {
    /// Reads `sha256:...`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let algorithm = |name: &str| match name {
            "sha256" => Some((Algorithm::Sha256, 64)),
            "sha384" => Some((Algorithm::Sha384, 96)),
            "sha512" => Some((Algorithm::Sha512, 128)),
            _ => None,
        };
        let parsed = text.split_once(':').and_then(|(name, hex)| {
            let (algorithm, digits) = algorithm(name)?;
            let is_hex = hex.len() == digits && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex.then(|| Self { algorithm, hex: hex.to_owned() })
        });
        parsed.ok_or_else(|| AddressError::Checksum(text.to_owned()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        };
        write!(f, "{name}:{}", self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_of_three_kinds() {
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let text = format!("{algorithm}:{}", "0a".repeat(digits / 2));
            assert_eq!(Checksum::parse(&text).unwrap().to_string(), text);
        }
        for text in ["", "sha256:", "md5:00", "sha256:XYZ", &format!("sha256:{}", "A".repeat(64))] {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }
}
