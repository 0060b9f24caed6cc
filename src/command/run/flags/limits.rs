//! The limits of `kiln run` as typed, and those that `kiln update` changes: memory, processors, processes, disks.

use run::container::limits::{CgroupParent, DiskRate};
use run::container::options::{Limits, MemorySwap, PidsLimit, Ulimit};

use crate::command::swap;
use crate::format::units::{parse_size, parse_ulimit};
use crate::report::{Failure, UsageError};

/// What can be changed while a container runs.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeableArgs {
    /// Memory limit
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Limit of memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_swap)]
    memory_swap: Option<MemorySwap>,
    /// How many processors' time, as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Weight against other containers
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Processors that may be used, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory that it may keep while the machine runs short
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_reservation: Option<u64>,
    /// Over how many microseconds the quota is counted
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    cpu_period: Option<u64>,
    /// How many microseconds of processor time it gets in each period
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "cpus")]
    cpu_quota: Option<u64>,
    /// Over how many microseconds the time of real-time processes is counted
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// How many microseconds real-time processes get in each period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<u64>,
    /// Memory nodes that may be used, as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// How many processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Weight against others at disks, 10 to 1000; 0 for none
    #[arg(long, value_name = "WEIGHT", value_parser = parse_weight)]
    blkio_weight: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub(super) struct LimitArgs {
    #[command(flatten)]
    changeable: ChangeableArgs,
    /// How gladly the kernel kills it for want of memory: -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    oom_score_adj: Option<i16>,
    /// Let it wait for memory instead of being killed
    #[arg(long)]
    oom_kill_disable: bool,
    /// How gladly its memory is swapped out: 0 to 100
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = clap::value_parser!(i8).range(-1..=100))]
    memory_swappiness: Option<i8>,
    /// The cgroup to make its own in, from the top
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<CgroupParent>,
    /// How fast it may read from a disk
    #[arg(long = "device-read-bps", value_name = "PATH:BYTES")]
    read_bytes: Vec<DiskRate>,
    /// How fast it may write to a disk
    #[arg(long = "device-write-bps", value_name = "PATH:BYTES")]
    written_bytes: Vec<DiskRate>,
    /// How often it may read from a disk
    #[arg(long = "device-read-iops", value_name = "PATH:NUMBER")]
    reads: Vec<DiskRate>,
    /// How often it may write to a disk
    #[arg(long = "device-write-iops", value_name = "PATH:NUMBER")]
    writes: Vec<DiskRate>,
    /// Limit of a process: `nofile=1024:2048`
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    ulimits: Vec<Ulimit>,
}

impl ChangeableArgs {
    /// Puts what is given over what was so far.
    pub(crate) fn change(&self, limits: &mut Limits) -> Result<(), Failure> {
        const LEAST_MEMORY_BYTES: u64 = 6 << 20;
        if self.memory.is_some_and(|memory| memory != 0 && memory < LEAST_MEMORY_BYTES) {
            return Err(UsageError::wrong("the least memory limit is 6m"));
        }
        fn put<T: PartialEq + Default + Clone>(given: &Option<T>, limit: &mut Option<T>) {
            if let Some(given) = given {
                // As with Docker 0 says nothing.
                *limit = Some(given.clone()).filter(|given| *given != T::default());
            }
        }
        put(&self.memory, &mut limits.memory_bytes);
        put(&self.memory_reservation, &mut limits.memory_reservation_bytes);
        put(&self.cpus, &mut limits.milli_cpus);
        put(&self.cpu_shares, &mut limits.cpu_shares);
        put(&self.cpu_period, &mut limits.cpu_period_micros);
        put(&self.cpu_quota, &mut limits.cpu_quota_micros);
        put(&self.cpuset_cpus, &mut limits.cpuset_cpus);
        put(&self.cpuset_mems, &mut limits.cpuset_mems);
        put(&self.cpu_rt_period, &mut limits.fine.realtime_period_micros);
        put(&self.cpu_rt_runtime, &mut limits.fine.realtime_runtime_micros);
        put(&self.blkio_weight, &mut limits.fine.disk_weight);
        if let Some(swap) = self.memory_swap {
            limits.memory_swap = Some(swap).filter(|swap| *swap != MemorySwap::TotalBytes(0));
        }
        match self.pids_limit {
            None => {}
            Some(limit @ 1..) => limits.pids = PidsLimit::Max(limit.unsigned_abs()),
            Some(_) => limits.pids = PidsLimit::Unlimited,
        }
        check_memory(limits.memory_bytes, limits.memory_swap, limits.memory_reservation_bytes)
    }

    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        let mut limits = Limits::default();
        let none = limits.clone();
        self.change(&mut limits).is_ok() && limits == none
    }
}

impl LimitArgs {
    /// What they ask for; `shm_size_bytes` is a mount's flag.
    pub(super) fn limits(&self, shm_size_bytes: Option<u64>) -> Result<Limits, Failure> {
        let mut limits = Limits { shm_size_bytes, ulimits: self.ulimits.clone(), ..Limits::default() };
        self.changeable.change(&mut limits)?;
        limits.oom_score = self.oom_score_adj;
        limits.cgroup_parent.clone_from(&self.cgroup_parent);
        limits.fine.oom_kill_disable = self.oom_kill_disable;
        // As with Docker -1 says nothing.
        limits.fine.swappiness = self.memory_swappiness.and_then(|swappiness| u8::try_from(swappiness).ok());
        limits.fine.read_bytes.clone_from(&self.read_bytes);
        limits.fine.written_bytes.clone_from(&self.written_bytes);
        limits.fine.reads.clone_from(&self.reads);
        limits.fine.writes.clone_from(&self.writes);
        Ok(limits)
    }
}

fn parse_weight(text: &str) -> Result<u16, String> {
    let weight = text.parse().ok().filter(|weight| matches!(weight, 0 | 10..=1000));
    weight.ok_or_else(|| format!("invalid weight {text:?}: 10 to 1000"))
}

/// The relations that Docker asks for between memory, swap and what is reserved.
fn check_memory(memory: Option<u64>, swap: Option<MemorySwap>, reserved: Option<u64>) -> Result<(), Failure> {
    let total = match swap {
        Some(MemorySwap::TotalBytes(total)) if total != 0 => Some(total),
        _ => None,
    };
    swap::check(memory, total)?;
    match (memory, reserved) {
        (Some(memory), Some(reserved)) if reserved > memory => {
            Err(UsageError::wrong("--memory-reservation is more than --memory"))
        }
        _ => Ok(()),
    }
}

fn parse_swap(text: &str) -> Result<MemorySwap, String> {
    if text == "-1" { Ok(MemorySwap::Unlimited) } else { parse_size(text).map(MemorySwap::TotalBytes) }
}

/// Processors as typed, in thousandths.
fn parse_cpus(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().map_err(|_| format!("invalid number of processors {text:?}"))?;
    if (0.0..1e6).contains(&number) {
        Ok((number * 1e3) as u64)
    } else {
        Err(format!("invalid number of processors {text:?}"))
    }
}
