//! Who the box's first process becomes, and what it gives up for good.

use std::os::fd::OwnedFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet as Kernel, CapabilitySets};

use super::SandboxError;
use super::account::Account;
use super::capabilities::CapabilitySet;
use super::error::Doing;
use super::spec::Rlimit;
use crate::identity::IdMap;

/// Docker's names of resource limits.
const RLIMITS: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// Becomes the ids 0 of the namespace that was just entered.
pub(super) fn become_root(uids: &IdMap) -> rustix::io::Result<()> {
    if !uids.contains(0) {
        return Ok(());
    }
    set_groups(&[])?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Makes `uid` the owner of those of `files` that are pipes, and so kiln's own: opening `/dev/stdout` checks
/// that. What is not changed is no worse off than before.
pub(super) fn give_pipes(files: &[OwnedFd], uid: u32, gid: u32) {
    for file in files {
        let is_pipe = rustix::fs::fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_pipe {
            let _as_before = rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
}

/// Becomes `account`, keeping capabilities for the few steps that are left.
pub(super) fn become_user(account: &Account) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    set_groups(&groups)?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let permitted = rustix::thread::capabilities(None)?.permitted;
    set(CapabilitySets { effective: permitted, permitted, inheritable: Kernel::empty() })
}

/// Reduces capabilities to `kept`, for root; another user has none, but its set-user-ID programs can
/// have those.
pub(super) fn capabilities(kept: CapabilitySet, uid: u32) -> rustix::io::Result<()> {
    let kept = Kernel::from_bits_retain(kept.bits());
    for number in 0..u64::BITS {
        let capability = Kernel::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the last that this kernel knows.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let permitted = rustix::thread::capabilities(None)?.permitted;
    let own = if uid == 0 { kept & permitted } else { Kernel::empty() };
    set(CapabilitySets { effective: own, permitted: own, inheritable: Kernel::empty() })
}

/// Lowers a limit. A soft limit above the hard one that kiln has becomes that.
pub(super) fn rlimit(limit: &Rlimit) -> Result<(), SandboxError> {
    let known = RLIMITS.iter().find(|(name, _)| *name == limit.name);
    let (_, resource) = known.ok_or_else(|| SandboxError::UnknownRlimit(limit.name.clone()))?;
    let asked = |value: Option<u64>| value.unwrap_or(u64::MAX);
    if asked(limit.soft) > asked(limit.hard) {
        return Err(SandboxError::SoftAboveHard(limit.name.clone()));
    }
    lower(*resource, asked(limit.soft), asked(limit.hard)).doing(|| format!("set the resource limit {}", limit.name))
}

/// Limits the processes of this user namespace, where no cgroup does.
pub(super) fn limit_processes(most: u64) -> nix::Result<()> {
    lower(Resource::RLIMIT_NPROC, most, most)
}

fn lower(resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(resource)?;
    let hard = hard.min(most);
    setrlimit(resource, soft.min(hard), hard)
}

fn set_groups(groups: &[Gid]) -> rustix::io::Result<()> {
    match rustix::thread::set_thread_groups(groups) {
        // A user namespace with a single id has no say in groups (user_namespaces(7), setgroups).
        Err(Errno::PERM) => Ok(()),
        other => other,
    }
}

fn set(sets: CapabilitySets) -> rustix::io::Result<()> {
    rustix::thread::set_capabilities(None, sets)
}
