//! Limits as files of a cgroup and what they say, on either version.

use std::fs;
use std::io;
use std::path::Path;

use super::{Controller, Version};
use crate::sandbox::disks::{OomKiller, Throttle, Throttled};
use crate::sandbox::spec::{DEFAULT_PIDS, Limits, PidsLimit, Swap};

/// A version that has it in another file, which another setting writes.
const ELSEWHERE: &str = "";

/// A version that does not have it.
const MISSING: &str = "-";

/// The kernel's period of processor time.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// One file to write a limit to; of several names, with bars between, the first that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    one: &'static str,
    two: &'static str,
    value_of_one: String,
    value_of_two: String,
    pub(super) wish: Wish,
}

/// What it means that a limit cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Asked,
    Default,
}

impl Setting {
    /// Writes it.
    pub(super) fn write(&self, version: Version, directory: &Path) -> io::Result<()> {
        let (files, value) = match version {
            Version::One => (self.one, &self.value_of_one),
            Version::Two => (self.two, &self.value_of_two),
        };
        if files == ELSEWHERE {
            return Ok(());
        }
        let found = files.split('|').map(|file| directory.join(file)).find(|path| path.exists());
        fs::write(found.ok_or(io::ErrorKind::Unsupported)?, value)
    }
}

impl Throttled {
    /// The file of version 1, and the key in `io.max` of version 2.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::BytesRead => ("blkio.throttle.read_bps_device", "rbps"),
            Self::BytesWritten => ("blkio.throttle.write_bps_device", "wbps"),
            Self::Reads => ("blkio.throttle.read_iops_device", "riops"),
            Self::Writes => ("blkio.throttle.write_iops_device", "wiops"),
        }
    }
}

/// All that is to be written for these limits, in order.
pub(super) fn settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, one, two, value_of_one: String, value_of_two: String, wish| {
        settings.push(Setting { controller, one, two, value_of_one, value_of_two, wish });
    };
    if let Some(memory) = limits.memory_bytes {
        set(
            Controller::Memory,
            "memory.limit_in_bytes",
            "memory.max",
            memory.to_string(),
            memory.to_string(),
            Wish::Asked,
        );
    }
    // Like Docker: as much swap as memory, unless told otherwise and where swap is accounted.
    let (total, wish) = match limits.swap {
        Swap::Total(total) => (Some(total), Wish::Asked),
        Swap::AsMemory => (limits.memory_bytes.map(|memory| memory.saturating_mul(2)), Wish::Default),
        // A new cgroup has no limit of swap.
        Swap::Unlimited => (None, Wish::Default),
    };
    if let Some(total) = total {
        let swap = total.saturating_sub(limits.memory_bytes.unwrap_or(0));
        let one = "memory.memsw.limit_in_bytes";
        set(Controller::Memory, one, "memory.swap.max", total.to_string(), swap.to_string(), wish);
    }
    if let Some(period) = limits.cpu_period_us {
        set(Controller::Cpu, "cpu.cfs_period_us", ELSEWHERE, period.to_string(), String::new(), Wish::Asked);
    }
    let quota = limits.cpu_quota_us.or(limits.milli_cpus.map(|milli| (milli * 100).max(1000)));
    if quota.is_some() || limits.cpu_period_us.is_some() {
        let of_one = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
        let of_two = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let of_two = format!("{of_two} {}", limits.cpu_period_us.unwrap_or(DEFAULT_PERIOD_US));
        set(Controller::Cpu, "cpu.cfs_quota_us", "cpu.max", of_one, of_two, Wish::Asked);
    }
    if let Some(kept) = limits.memory_reservation_bytes {
        let one = "memory.soft_limit_in_bytes";
        set(Controller::Memory, one, "memory.low", kept.to_string(), kept.to_string(), Wish::Asked);
    }
    if let Some(shares) = limits.cpu_shares {
        let shares = shares.clamp(2, 262_144);
        let weight = 1 + (shares - 2) * 9999 / 262_142;
        set(Controller::Cpu, "cpu.shares", "cpu.weight", shares.to_string(), weight.to_string(), Wish::Asked);
    }
    if let Some(cpus) = &limits.cpuset {
        set(Controller::Cpuset, "cpuset.cpus", "cpuset.cpus", cpus.clone(), cpus.clone(), Wish::Asked);
    }
    if let Some(nodes) = &limits.cpuset_mems {
        set(Controller::Cpuset, "cpuset.mems", "cpuset.mems", nodes.clone(), nodes.clone(), Wish::Asked);
    }
    if let Some(rules) = &limits.devices {
        // Version 2 has programs instead of a file, and kiln has none: there it fails for want of the controller.
        for (file, rule) in
            std::iter::once(("devices.deny", "a")).chain(rules.iter().map(|rule| ("devices.allow", &**rule)))
        {
            set(Controller::Devices, file, MISSING, rule.to_owned(), String::new(), Wish::Asked);
        }
    }
    if let Some(swappiness) = limits.swappiness {
        set(Controller::Memory, "memory.swappiness", MISSING, swappiness.to_string(), String::new(), Wish::Asked);
    }
    if limits.oom_killer == OomKiller::Off {
        set(Controller::Memory, "memory.oom_control", MISSING, "1".to_owned(), String::new(), Wish::Asked);
    }
    for (file, value) in
        [("cpu.rt_period_us", limits.realtime_period_us), ("cpu.rt_runtime_us", limits.realtime_runtime_us)]
    {
        if let Some(value) = value {
            set(Controller::Cpu, file, MISSING, value.to_string(), String::new(), Wish::Asked);
        }
    }
    if let Some(weight) = limits.disk_weight {
        // The kernel's own scale goes to 10,000; that of its scheduler BFQ to 1,000, as Docker's.
        let (one, two) = ("blkio.weight|blkio.bfq.weight", "io.bfq.weight");
        set(Controller::Blkio, one, two, weight.to_string(), weight.to_string(), Wish::Asked);
    }
    for Throttle { device: (major, minor), what, most } in &limits.throttles {
        let (one, key) = what.names();
        let (value_of_one, value_of_two) = (format!("{major}:{minor} {most}"), format!("{major}:{minor} {key}={most}"));
        set(Controller::Blkio, one, "io.max", value_of_one, value_of_two, Wish::Asked);
    }
    let pids = match limits.pids {
        PidsLimit::Default => Some((DEFAULT_PIDS, Wish::Default)),
        PidsLimit::Max(most) => Some((most, Wish::Asked)),
        PidsLimit::Unlimited => None,
    };
    if let Some((most, wish)) = pids {
        set(Controller::Pids, "pids.max", "pids.max", most.to_string(), most.to_string(), wish);
    }
    settings
}
