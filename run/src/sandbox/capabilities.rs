//! Capabilities by name, and Docker's default set.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The names of `include/uapi/linux/capability.h` without `CAP_`, at their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default: what root in a container can do.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

impl Capability {
    /// Every capability that kiln knows, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }

    /// Its name with `CAP_`.
    pub fn name(self) -> String {
        format!("CAP_{}", NAMES[usize::from(self.0)])
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// Reads a name as Docker does: with or without `CAP_`, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == short);
        number.map(|number| Self(number as u8)).ok_or_else(|| UnknownCapability(name.to_owned()))
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// Docker's set, changed in Docker's order: additions first, then what is dropped, `ALL` either way.
    pub fn changed(add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let is_all = |name: &String| name.eq_ignore_ascii_case("all");
        let mut set = match (add.iter().any(is_all), drop.iter().any(is_all)) {
            (true, _) => Self::all(),
            (false, true) => Self::EMPTY,
            (false, false) => Self::docker_default(),
        };
        for name in add.iter().filter(|name| !is_all(name)) {
            set = set.with(name.parse()?);
        }
        for name in drop.iter().filter(|name| !is_all(name)) {
            set = set.without(name.parse()?);
        }
        Ok(set)
    }

    /// None at all.
    pub const EMPTY: Self = Self(0);

    /// The 14 that Docker gives by default.
    pub fn docker_default() -> Self {
        DEFAULT.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// All that kiln knows.
    pub fn all() -> Self {
        Capability::all().collect()
    }

    /// Whether `capability` is in the set.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// The set with `capability`.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// The set without `capability`.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability.0))
    }

    /// What is in it, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::all().filter(move |capability| self.contains(*capability))
    }

    /// One bit a capability, as in `/proc/PID/status`.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether `name`, as the seccomp policy writes it, is in the set.
    pub(crate) fn has(self, name: &str) -> bool {
        name.parse().is_ok_and(|capability| self.contains(capability))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}

impl From<CapabilitySet> for Vec<String> {
    fn from(set: CapabilitySet) -> Self {
        set.iter().map(Capability::name).collect()
    }
}

impl TryFrom<Vec<String>> for CapabilitySet {
    type Error = UnknownCapability;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownCapability> {
        names.iter().map(|name| name.parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_mask_that_docker_shows() {
        assert_eq!(CapabilitySet::docker_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn names_are_read_in_any_form() {
        for name in ["CAP_SYS_ADMIN", "sys_admin", "Cap_Sys_Admin"] {
            assert_eq!(name.parse::<Capability>().map(Capability::number), Ok(21));
        }
        assert!("CAP_FLY".parse::<Capability>().is_err());
    }
}
