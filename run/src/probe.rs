//! What this kernel and this user allow: which tier of sandbox there is.
//!
//! [`Tier`] is the little that [`crate::sandbox::plan`] needs to know and is read from `/proc` in
//! microseconds. [`probe`] tries things out, for `kiln info`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::identity::{IdMap, IdRange, Standing};
use crate::sandbox::CgroupLayout;
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
