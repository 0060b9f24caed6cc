//! Which run of the machine this is, from power-on to power-off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kernel's boot id (`/proc/sys/kernel/random/boot_id`): bytes that were not synced survive as
/// long as it stays the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// The id of the running system, or what `KILN_BOOT_ID` says instead, which lets a test start
    /// the machine anew. Where neither can be read, an id that no later process shares.
    pub fn current() -> Self {
        let kernel = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let text = std::env::var("KILN_BOOT_ID").ok().or_else(kernel);
        text.and_then(|text| text.trim().parse().ok()).unwrap_or_else(Self::unknown)
    }

    /// Reads the 32 hexadecimal digits of a UUID, with or without hyphens.
    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|character| *character != '-').collect();
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(|number| Self(number.to_be_bytes()))
    }

    fn unknown() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self((now << 32 | u128::from(std::process::id())).to_be_bytes())
    }
}

/// The text is no boot id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a boot id")]
pub struct ParseBootIdError(String);

impl FromStr for BootId {
    type Err = ParseBootIdError;

    fn from_str(text: &str) -> Result<Self, ParseBootIdError> {
        Self::parse(text).ok_or_else(|| ParseBootIdError(text.to_owned()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BootId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
