//! The processes of a running container, as the host sees them.
//!
//! They are found by descent: the monitor, which lives as long as the container does, has a supervisor, whose
//! children the container's first process and further commands are. So no number is believed that may have
//! been another process's before, and a user whose kiln may not look into namespaces sees them as well.

use std::collections::BTreeMap;
use std::fs;

use super::record::Running;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id on the host.
    pub pid: i32,
    parent: i32,
    /// How many threads it has.
    pub threads: u64,
    /// Processor time that it has used, in the kernel's ticks ([`ticks_per_second`]).
    pub ticks: u64,
    /// What it has in memory.
    pub resident_bytes: u64,
}

/// The processes of a container that was seen running, by id.
pub fn of(running: &Running) -> Vec<Process> {
    let everybody = all();
    let Ok(monitor) = i32::try_from(running.monitor_pid) else { return Vec::new() };
    let supervisors: Vec<i32> = everybody.values().filter(|one| one.parent == monitor).map(|one| one.pid).collect();
    let depth = supervisors.first().map_or(0, |pid| namespaces(*pid));
    if namespaces(running.pid) <= depth {
        // It shares the processes of the host; its mounts are its own all the same.
        let of_it = mounts(running.pid);
        return everybody.into_values().filter(|one| of_it.is_some() && mounts(one.pid) == of_it).collect();
    }
    let is_inside = |process: &&Process| {
        let ancestors = std::iter::successors(Some(*process), |one| everybody.get(&one.parent));
        // A helper of the supervisor's, as for the network, is in no namespace of processes but the host's.
        ancestors.skip(1).take(everybody.len()).any(|one| supervisors.contains(&one.pid))
            && namespaces(process.pid) > depth
    };
    everybody.values().filter(is_inside).cloned().collect()
}

/// The kernel's ticks, in which it tells processor time (`proc_pid_stat(5)`): the same on every machine.
pub fn ticks_per_second() -> u64 {
    100
}

/// Bytes that have come to and gone from a container over its network's interfaces, but for the loopback's.
pub fn network_bytes(running: &Running) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{}/net/dev", running.pid)).unwrap_or_default();
    let of_line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        (name.trim() != "lo").then_some((*numbers.first()?, *numbers.get(8)?))
    };
    text.lines().filter_map(of_line).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Bytes that processes have read from and written to disks, as far as this user may know.
pub fn disk_bytes(processes: &[Process]) -> (u64, u64) {
    let of = |process: &Process| {
        let text = fs::read_to_string(format!("/proc/{}/io", process.pid)).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some((field("read_bytes:")?, field("write_bytes:")?))
    };
    processes.iter().filter_map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn all() -> BTreeMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

fn read(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A line of `proc_pid_stat(5)`; fields count from the one after the name, which may hold anything.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
        threads: number(17)?,
        resident_bytes: number(21)? * rustix::param::page_size() as u64,
    })
}

/// Which mount namespace a process is in.
fn mounts(pid: i32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// How deep in namespaces of processes one is.
fn namespaces(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.map_or(0, |line| line.split_ascii_whitespace().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_process_is_no_trap() {
        let stat = "7 (a) 1 (b)) S 3 7 7 0 -1 4194560 100 0 0 0 5 6 0 0 20 0 2 0 99 1000 9 1";
        let process = parse(7, stat).unwrap();
        assert_eq!((process.parent, process.ticks, process.threads), (3, 11, 2));
        assert_eq!(process.resident_bytes, 9 * rustix::param::page_size() as u64);
    }
}
