//! Who kiln is: root, or root of a user namespace of its own.
//!
//! An ordinary user's kiln moves into a user namespace before it does anything else ([`enter`]).
//! There it may mount, and ids other than the user's own exist if the system gave the user some
//! (`/etc/subuid`, `newuidmap`). The store then holds such ids on disk.

use std::fs;
use std::path::Path;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

/// What kiln can do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Root of the machine (or of a privileged container): every id, idmapped mounts.
    Root,
    /// Root of a user namespace: the ids of that, no idmapped mounts of the store's file system.
    NamespaceRoot,
    /// Neither: no mounts, no namespaces but through [`enter`].
    Unprivileged,
}

impl Standing {
    /// What this process is.
    pub fn of_this_process() -> Self {
        let mounts = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID));
        if !mounts {
            return Self::Unprivileged;
        }
        if IdMap::read(Path::new("/proc/self/uid_map")).is_whole() { Self::Root } else { Self::NamespaceRoot }
    }
}

/// Ids inside of a user namespace and what they are outside: `/proc/PID/uid_map`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap(pub Vec<IdRange>);

/// One line of an [`IdMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many ids follow each other.
    pub count: u32,
}

impl IdMap {
    /// Reads a map of `/proc`; one that cannot be read is empty.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self(text.lines().filter_map(IdRange::parse).collect())
    }

    /// The map that a box gets below kiln's own: root's boxes live in the upper half of all ids, a
    /// user's in the ids that the user has.
    #[must_use]
    pub fn nested(&self) -> Self {
        if self.is_whole() {
            return Self(vec![IdRange { inside: 0, outside: 1 << 31, count: (1 << 31) - 1 }]);
        }
        Self(self.0.iter().map(|range| IdRange { outside: range.inside, ..*range }).collect())
    }

    /// Whether `id` exists inside.
    pub fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|range| range.inside <= id && id - range.inside < range.count)
    }

    /// The greatest id inside.
    pub fn greatest(&self) -> u32 {
        self.0.iter().map(|range| range.inside.saturating_add(range.count - 1)).max().unwrap_or(0)
    }

    /// How many ids there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.count)).sum()
    }

    fn is_whole(&self) -> bool {
        self.0 == [IdRange { inside: 0, outside: 0, count: u32::MAX }]
    }
}

impl IdRange {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        let range = Self { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? };
        (range.count > 0).then_some(range)
    }
}

impl std::fmt::Display for IdMap {
    /// As the kernel takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|range| writeln!(f, "{} {} {}", range.inside, range.outside, range.count))
    }
}
