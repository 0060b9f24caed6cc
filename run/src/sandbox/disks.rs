//! Limits that few ask for, as data: how fast disks are, and what happens without memory.

use serde::{Deserialize, Serialize};

/// How much of something a box gets of one disk a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Major and minor number of the disk.
    pub device: (u32, u32),
    /// What is counted.
    pub what: Throttled,
    /// So many a second.
    pub most: u64,
}

/// What is counted of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Throttled {
    /// `--device-read-bps`
    BytesRead,
    /// `--device-write-bps`
    BytesWritten,
    /// `--device-read-iops`
    Reads,
    /// `--device-write-iops`
    Writes,
}

/// What happens when a box has no more memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OomKiller {
    /// The kernel kills one of its processes.
    #[default]
    On,
    /// They wait until there is some (`--oom-kill-disable`).
    Off,
}
