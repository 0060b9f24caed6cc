//! Limits that few ask for: the cgroup above, disks, swappiness, real-time processors, no killing.
//!
//! A disk is written down by its path; its number is looked up at each start.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::options::{Limits, parse_bytes};
use crate::sandbox::{Limits as BoxLimits, OomKiller, Throttle, Throttled};

/// The path of a cgroup, from the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupParent(String);

/// What is limited besides the usual; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FineLimits {
    /// 0 to 100 (`--memory-swappiness`)
    pub swappiness: Option<u8>,
    /// Whether its processes wait for memory instead of being killed (`--oom-kill-disable`)
    pub oom_kill_disable: bool,
    /// Microseconds (`--cpu-rt-period`)
    pub realtime_period_micros: Option<u64>,
    /// Microseconds (`--cpu-rt-runtime`)
    pub realtime_runtime_micros: Option<u64>,
    /// 10 to 1000 (`--blkio-weight`)
    pub disk_weight: Option<u16>,
    /// `--device-read-bps`
    pub read_bytes: Vec<DiskRate>,
    /// `--device-write-bps`
    pub written_bytes: Vec<DiskRate>,
    /// `--device-read-iops`
    pub reads: Vec<DiskRate>,
    /// `--device-write-iops`
    pub writes: Vec<DiskRate>,
}

/// So much of a disk a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRate {
    /// Its node.
    pub path: PathBuf,
    /// Bytes, or operations.
    pub rate: u64,
}

/// A limit that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The text describes no rate.
    #[error("invalid rate {0:?}: PATH:NUMBER, with the absolute path of a disk and, for bytes, a unit")]
    Rate(String),
    /// The path is none of a cgroup.
    #[error("invalid cgroup {0:?}: a path from the top, without dots")]
    Parent(String),
    /// There is no such disk.
    #[error("{} is no disk of this machine", .0.display())]
    Disk(PathBuf),
}

impl FromStr for CgroupParent {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = text.split('/').filter(|name| !name.is_empty()).peekable();
        let is_path = names.peek().is_some() && names.all(|name| name != "." && name != ".." && !name.contains('\0'));
        is_path.then(|| Self(text.to_owned())).ok_or_else(|| LimitError::Parent(text.to_owned()))
    }
}

impl CgroupParent {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DiskRate {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || LimitError::Rate(text.to_owned());
        let (path, rate) = text.split_once(':').filter(|(path, _)| path.starts_with('/')).ok_or_else(wrong)?;
        let rate = parse_bytes(rate).filter(|rate| *rate > 0).ok_or_else(wrong)?;
        Ok(Self { path: path.into(), rate })
    }
}

impl FineLimits {
    /// Puts them among the sandbox's.
    pub(super) fn add_to(&self, limits: &mut BoxLimits) -> Result<(), LimitError> {
        limits.swappiness = self.swappiness;
        limits.oom_killer = if self.oom_kill_disable { OomKiller::Off } else { OomKiller::On };
        limits.realtime_period_us = self.realtime_period_micros;
        limits.realtime_runtime_us = self.realtime_runtime_micros;
        limits.disk_weight = self.disk_weight;
        for (rates, what) in self.rates() {
            for rate in rates {
                limits.throttles.push(Throttle { device: number(&rate.path)?, what, most: rate.rate });
            }
        }
        Ok(())
    }

    fn rates(&self) -> [(&[DiskRate], Throttled); 4] {
        [
            (&self.read_bytes, Throttled::BytesRead),
            (&self.written_bytes, Throttled::BytesWritten),
            (&self.reads, Throttled::Reads),
            (&self.writes, Throttled::Writes),
        ]
    }
}

fn number(path: &Path) -> Result<(u32, u32), LimitError> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device());
    let number = metadata.map(|metadata| (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())));
    number.ok_or_else(|| LimitError::Disk(path.to_owned()))
}

/// In Docker's keys of `HostConfig`.
pub(super) fn inspected(limits: &Limits) -> Map<String, Value> {
    let fine = &limits.fine;
    let rates = |rates: &[DiskRate]| match rates {
        [] => Value::Null,
        rates => rates.iter().map(|rate| json!({ "Path": rate.path.to_string_lossy(), "Rate": rate.rate })).collect(),
    };
    let values = [
        ("CgroupParent", json!(limits.cgroup_parent.as_ref().map_or("", CgroupParent::as_str))),
        ("MemorySwappiness", json!(fine.swappiness)),
        ("OomKillDisable", json!(fine.oom_kill_disable)),
        ("CpuRealtimePeriod", json!(fine.realtime_period_micros.unwrap_or(0))),
        ("CpuRealtimeRuntime", json!(fine.realtime_runtime_micros.unwrap_or(0))),
        ("BlkioWeight", json!(fine.disk_weight.unwrap_or(0))),
        ("BlkioDeviceReadBps", rates(&fine.read_bytes)),
        ("BlkioDeviceWriteBps", rates(&fine.written_bytes)),
        ("BlkioDeviceReadIOps", rates(&fine.reads)),
        ("BlkioDeviceWriteIOps", rates(&fine.writes)),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_parents() {
        for (text, rate) in [
            ("/dev/sda:1mb", Some(1 << 20)),
            ("/dev/sda:7", Some(7)),
            ("sda:1", None),
            ("/dev/sda", None),
            ("/dev/sda:0", None),
        ] {
            assert_eq!(text.parse::<DiskRate>().ok().map(|it| it.rate), rate, "{text}");
        }
        for (text, fits) in [("/a/b", true), ("a.slice", true), ("/", false), ("", false), ("/a/../b", false)] {
            assert_eq!(text.parse::<CgroupParent>().is_ok(), fits, "{text}");
        }
        assert_eq!(number(Path::new("/dev/null")), Err(LimitError::Disk("/dev/null".into())));
    }
}
