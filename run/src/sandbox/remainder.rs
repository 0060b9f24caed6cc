//! What is left of a box that shares its namespace of processes: the end of its first process ends no other.
//!
//! Its processes are known by its mount namespace, which is its own and is held open here, so that no later
//! one can be taken for it; whoever has left that is still in its cgroup.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroup;

/// How often is looked for processes that were born while others were killed.
const ROUNDS: usize = 1000;

/// The processes of a box, however they came about.
#[derive(Debug)]
pub(super) struct Remainder {
    mounts: OwnedFd,
}

impl Remainder {
    /// Those of the box whose first process `pid` is, which has not been waited for.
    pub(super) fn of(pid: Pid) -> rustix::io::Result<Self> {
        let path = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
        Ok(Self { mounts: rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())? })
    }

    /// Kills them.
    pub(super) fn kill(&self, cgroup: &Cgroup) {
        cgroup.kill();
        let Ok(own) = rustix::fs::fstat(&self.mounts).map(|stat| (stat.st_dev, stat.st_ino)) else { return };
        for _round in 0..ROUNDS {
            let found = pids().filter(|pid| kill_if(*pid, own)).count();
            if found == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Kills a process if it is in that mount namespace and not dead yet. It is looked at twice, as its number may
/// have become another's before it was held by a descriptor.
fn kill_if(pid: Pid, mounts: (u64, u64)) -> bool {
    let is_in_it = || {
        let path = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
        rustix::fs::stat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == mounts)
    };
    if !is_in_it() {
        return false;
    }
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    is_in_it() && pidfd_send_signal(process.as_fd(), Signal::KILL).is_ok()
}

fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
