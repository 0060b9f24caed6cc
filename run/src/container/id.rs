//! The id of a container: 256 random bits, printed as 64 hex digits, the first 12 of which people use.
//!
//! Unlike the ids of `store::digest` it names no content. It also becomes the host name of the
//! container and of its directory in the store.

use std::fmt;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// The text is no container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a container id: 64 hex digits")]
pub struct ParseContainerIdError(String);

/// The id of a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// Draws a fresh id.
    ///
    /// # Errors
    /// Only if the kernel has no random numbers to give.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(Self(bytes))
    }

    /// The first 12 digits: what lists show and the default host name.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }

    /// Draws one of `count` possibilities that this id decides; different `salt`s decide independently.
    pub(super) fn choose(&self, salt: usize, count: usize) -> usize {
        let start = (salt * 4) % 28;
        let word = u32::from_le_bytes(std::array::from_fn(|index| self.0[start + index]));
        word as usize % count
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

impl FromStr for ContainerId {
    type Err = ParseContainerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseContainerIdError(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ContainerId {
    type Error = ParseContainerIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse() {
        let id = ContainerId::random().unwrap();
        assert_ne!(id, ContainerId::random().unwrap());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), &id.to_string()[..12]);
    }

    #[test]
    fn only_64_lower_case_digits_are_an_id() {
        let text = "a".repeat(64);
        assert!(text.parse::<ContainerId>().is_ok());
        for bad in [&text[..63], &format!("{text}0"), &text.to_uppercase(), "../x", &"é".repeat(32)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
