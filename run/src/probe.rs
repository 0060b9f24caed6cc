//! What this kernel and this user allow: which tier of sandbox there is.
//!
//! [`Tier`] is the little that [`crate::sandbox::plan`] needs to know and is read from `/proc` in
//! microseconds. [`probe`] tries things out, for `kiln info`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::identity::{IdMap, IdRange, Standing};
use crate::network;
use crate::sandbox::{self, CgroupLayout, Durability, Lower, Rootfs, SandboxError, Spec, UserNamespace};
use crate::sys;

/// What a plan depends on besides the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Who kiln is.
    pub standing: Standing,
    /// The user ids that exist for kiln.
    pub uids: IdMap,
    /// The group ids that exist for kiln.
    pub gids: IdMap,
    /// The newest Landlock ABI; 6 has scopes.
    pub landlock_abi: u32,
    /// Where cgroups are.
    pub cgroups: CgroupLayout,
}

impl Tier {
    /// Reads it for this process.
    pub fn of_this_process() -> Self {
        Self {
            standing: Standing::of_this_process(),
            uids: IdMap::read(Path::new("/proc/self/uid_map")),
            gids: IdMap::read(Path::new("/proc/self/gid_map")),
            landlock_abi: sys::landlock_abi(),
            cgroups: CgroupLayout::of_this_process(),
        }
    }

    /// The tier of root on an ordinary machine with cgroup v2: what tests of plans start from.
    pub fn root() -> Self {
        let all = IdMap(vec![IdRange { inside: 0, outside: 0, count: u32::MAX }]);
        Self {
            standing: Standing::Root,
            uids: all.clone(),
            gids: all,
            landlock_abi: 7,
            cgroups: CgroupLayout::Unified { path: "/".into() },
        }
    }
}

/// What `kiln info` says about sandboxes here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The kernel's release.
    pub kernel: String,
    /// What plans depend on.
    pub tier: Tier,
    /// How many user ids a box can have.
    pub ids: u64,
    /// How root inside relates to root outside.
    pub isolation: Isolation,
    /// The cgroup controllers of limits that can be used: memory, cpu, cpuset, pids.
    pub limits: Vec<String>,
    /// Ways out of a private network, best first; what they need is installed and permitted.
    pub egress: Vec<String>,
    /// Whether system calls can be filtered on this architecture.
    pub filters_system_calls: bool,
}

/// The best box that a trial could make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Isolation {
    /// With a user namespace, and the image's ids on disk.
    Mapped,
    /// Without: root inside is root outside.
    Host {
        /// What stands in the way of more.
        why: SandboxError,
    },
    /// None at all.
    Impossible {
        /// What stands in the way.
        why: SandboxError,
    },
}

/// Tries out what this machine and this user allow, with root filesystems below `directory` (the store's
/// `tmp/`, so that the trial is on the file system that counts).
pub fn probe(directory: &Path) -> Probe {
    let tier = Tier::of_this_process();
    Probe {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        ids: tier.uids.nested().count(),
        isolation: isolation(directory, &tier),
        limits: sandbox::usable_controllers(&tier.cgroups),
        egress: network::means(tier.standing),
        filters_system_calls: sandbox::filters_system_calls(),
        tier,
    }
}

fn isolation(directory: &Path, tier: &Tier) -> Isolation {
    match trial(directory, tier, UserNamespace::Mapped) {
        None => Isolation::Mapped,
        Some(why) => match trial(directory, tier, UserNamespace::Host) {
            None => Isolation::Host { why },
            Some(why) => Isolation::Impossible { why },
        },
    }
}

/// Makes a box without any program in it: if nothing but the program is missing, boxes work.
fn trial(directory: &Path, tier: &Tier, user_namespace: UserNamespace) -> Option<SandboxError> {
    let place = directory.join(format!("probe-{}", std::process::id()));
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| place.join(name));
    for path in [&lower, &upper, &work] {
        if let Err(error) = std::fs::create_dir_all(path) {
            return Some(SandboxError::RootFilesystem { source: error.into() });
        }
    }
    let lowers = vec![Lower::direct(lower)];
    let rootfs = Rootfs::Overlay { lowers, data: None, upper, work, durability: Durability::Durable };
    let spec = Spec { user_namespace, ..Spec::new(rootfs, vec!["/kiln-probe".into()]) };
    let error = sandbox::fails_to_start(&spec, tier);
    let _litter = std::fs::remove_dir_all(&place);
    error.filter(|error| !matches!(error, SandboxError::CommandNotFound { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let probe = probe(directory.path());
        if probe.tier.standing == Standing::Root {
            assert_eq!(probe.isolation, Isolation::Mapped);
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 0);
        assert!(probe.filters_system_calls || !cfg!(target_arch = "x86_64"));
    }
}
