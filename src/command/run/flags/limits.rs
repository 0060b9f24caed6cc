//! The limits of `kiln run` as typed: memory, processors, processes.

use run::container::options::{Limits, MemorySwap, PidsLimit, Ulimit};

use crate::command::swap;
use crate::format::units::{parse_size, parse_ulimit};
use crate::report::{Failure, UsageError};

#[derive(Debug, clap::Args)]
pub(super) struct LimitArgs {
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
    /// Memory nodes that may be used, as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// How gladly the kernel kills it for want of memory: -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    oom_score_adj: Option<i16>,
    /// How many processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Limit of a process: `nofile=1024:2048`
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    ulimits: Vec<Ulimit>,
}

impl LimitArgs {
    /// What they ask for; `shm_size_bytes` is a mount's flag.
    pub(super) fn limits(&self, shm_size_bytes: Option<u64>) -> Result<Limits, Failure> {
        const LEAST_MEMORY_BYTES: u64 = 6 << 20;
        if self.memory.is_some_and(|memory| memory != 0 && memory < LEAST_MEMORY_BYTES) {
            return Err(UsageError::wrong("the least memory limit is 6m"));
        }
        let memory_bytes = self.memory.filter(|memory| *memory != 0);
        check_memory(memory_bytes, self.memory_swap, self.memory_reservation)?;
        Ok(Limits {
            memory_bytes,
            // As with Docker 0 says nothing.
            memory_swap: self.memory_swap.filter(|swap| *swap != MemorySwap::TotalBytes(0)),
            oom_score: self.oom_score_adj,
            milli_cpus: self.cpus.filter(|cpus| *cpus != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpuset_cpus: self.cpuset_cpus.clone(),
            memory_reservation_bytes: self.memory_reservation.filter(|bytes| *bytes != 0),
            cpu_period_micros: self.cpu_period.filter(|period| *period != 0),
            cpu_quota_micros: self.cpu_quota.filter(|quota| *quota != 0),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: match self.pids_limit {
                None => PidsLimit::Default,
                Some(limit @ 1..) => PidsLimit::Max(limit.unsigned_abs()),
                Some(_) => PidsLimit::Unlimited,
            },
            ulimits: self.ulimits.clone(),
            shm_size_bytes,
        })
    }
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
