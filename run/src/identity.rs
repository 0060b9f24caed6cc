//! Who kiln is: root, or root of a user namespace of its own.
//!
//! An ordinary user's kiln moves into a user namespace before it does anything else ([`enter`]).
//! There it may mount, and ids other than the user's own exist if the system gave the user some
//! (`/etc/subuid`, `newuidmap`). The store then holds such ids on disk.

mod subordinate;

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::mount::MountPropagationFlags;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::sys::{self, Forked, Parent};
use crate::wire;

/// Why an ordinary user's kiln has no user namespace.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The kernel, or its administrator, refuses.
    #[error("cannot make a user namespace: {hint}")]
    Refused {
        /// What probably stands in the way, and the remedy.
        hint: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Ids could not be mapped.
    #[error("cannot map ids into kiln's user namespace")]
    Map(#[source] io::Error),
}

/// How an ordinary user's kiln came by its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entered {
    /// It is root, or root of a namespace, already.
    Already,
    /// With the user's subordinate ids.
    Subordinate,
    /// With the user's own id alone: `chown` to others fails.
    Single {
        /// Why there are no more.
        why: NoSubordinate,
    },
}

/// Why a user has no subordinate ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NoSubordinate {
    /// The programs that map them are not installed.
    #[error("newuidmap and newgidmap are not installed (Debian: uidmap; Fedora: shadow-utils)")]
    NotInstalled,
    /// The user has none.
    #[error("the user has no range in /etc/subuid and /etc/subgid (usermod --add-subuids --add-subgids)")]
    NotGranted,
    /// The programs refused.
    #[error("newuidmap or newgidmap refused the user's ranges")]
    Refused,
}

/// Moves an ordinary user's kiln into a user and mount namespace of its own, where it is root.
///
/// To be called first in `main` after [`crate::intercept`], while there is one thread; verbs that touch
/// neither the store nor a sandbox can do without. It keeps its process, its environment and its files.
pub fn enter() -> Result<Entered, IdentityError> {
    if Standing::of_this_process() != Standing::Unprivileged {
        return Ok(Entered::Already);
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let pid = rustix::process::getpid();
    let (ours, theirs) = UnixStream::pair().map_err(IdentityError::Map)?;
    // The mapping is written by a process that stays outside.
    let helper = match sys::fork(UnshareFlags::empty(), Parent::Caller, None).map_err(IdentityError::Map)? {
        Forked::Child => {
            drop(ours);
            sys::exit(subordinate::serve(&theirs, pid, uid, gid))
        }
        Forked::Parent(_, pidfd) => pidfd,
    };
    drop(theirs);
    let result = move_in(&ours, uid, gid);
    let _ended = rustix::process::waitid(
        rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&helper)),
        rustix::process::WaitIdOptions::EXITED,
    );
    result
}

/// Moves an ordinary user's kiln into a user namespace that an earlier one of the same user made, and into a
/// mount namespace of its own there: what was made below that namespace can be entered from there alone.
pub fn enter_other(user_namespace: BorrowedFd<'_>) -> Result<(), IdentityError> {
    rustix::thread::move_into_link_name_space(user_namespace, Some(LinkNameSpaceType::User))
        .map_err(|error| refused(error.into()))?;
    own_mounts()
}

fn move_in(helper: &UnixStream, uid: u32, gid: u32) -> Result<Entered, IdentityError> {
    sys::unshare(UnshareFlags::NEWUSER).map_err(refused)?;
    let protocol = |_| IdentityError::Map(io::ErrorKind::BrokenPipe.into());
    wire::send(helper, &(), &[]).map_err(protocol)?;
    let mapped = wire::receive::<Result<(), NoSubordinate>>(helper).map_err(IdentityError::Map)?;
    let entered = match mapped {
        Some((Ok(()), _)) => Entered::Subordinate,
        Some((Err(why), _)) => {
            map_single(uid, gid).map_err(IdentityError::Map)?;
            Entered::Single { why }
        }
        None => return Err(IdentityError::Map(io::ErrorKind::BrokenPipe.into())),
    };
    own_mounts()?;
    Ok(entered)
}

fn own_mounts() -> Result<(), IdentityError> {
    sys::unshare(UnshareFlags::NEWNS).map_err(refused)?;
    let receive_only = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", receive_only).map_err(|error| IdentityError::Map(error.into()))
}

fn map_single(uid: u32, gid: u32) -> io::Result<()> {
    // Without this an unprivileged process may not map its group (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

fn refused(source: io::Error) -> IdentityError {
    let restricted = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let hint = if restricted("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor allows it to listed programs only (kernel.apparmor_restrict_unprivileged_userns)"
    } else if restricted("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "it is switched off (kernel.unprivileged_userns_clone)"
    } else if restricted("/proc/sys/user/max_user_namespaces", "0") {
        "it is switched off (user.max_user_namespaces)"
    } else {
        "the kernel refuses it, as inside many containers"
    };
    IdentityError::Refused { hint, source }
}

/// What kiln can do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Root of the machine (or of a privileged container): every id, idmapped mounts.
    Root,
    /// Root of a user namespace: the ids of that, no idmapped mounts of the store's file system.
    NamespaceRoot,
    /// Neither: no mounts, no namespaces but through [`enter`].
    Unprivileged,
}

impl Standing {
    /// What this process is.
    pub fn of_this_process() -> Self {
        let mounts = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID));
        if !mounts {
            return Self::Unprivileged;
        }
        if IdMap::read(Path::new("/proc/self/uid_map")).is_whole() { Self::Root } else { Self::NamespaceRoot }
    }
}

/// Ids inside of a user namespace and what they are outside: `/proc/PID/uid_map`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap(pub Vec<IdRange>);

/// One line of an [`IdMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many ids follow each other.
    pub count: u32,
}

impl IdMap {
    /// Reads a map of `/proc`; one that cannot be read is empty.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self(text.lines().filter_map(IdRange::parse).collect())
    }

    /// The map that a box gets below kiln's own: root's boxes live in the upper half of all ids, a
    /// user's in the ids that the user has.
    #[must_use]
    pub fn nested(&self) -> Self {
        if self.is_whole() {
            return Self(vec![IdRange { inside: 0, outside: 1 << 31, count: (1 << 31) - 1 }]);
        }
        Self(self.0.iter().map(|range| IdRange { outside: range.inside, ..*range }).collect())
    }

    /// Whether `id` exists inside.
    pub fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|range| range.inside <= id && id - range.inside < range.count)
    }

    /// What an id inside is outside.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        let range = self.0.iter().find(|range| range.inside <= id && id - range.inside < range.count)?;
        range.outside.checked_add(id - range.inside)
    }

    /// What root inside is outside.
    pub(crate) fn outside_of_root(&self) -> Option<u32> {
        self.0.iter().find(|range| range.inside == 0).map(|range| range.outside)
    }

    /// The greatest id inside.
    pub fn greatest(&self) -> u32 {
        self.0.iter().map(|range| range.inside.saturating_add(range.count - 1)).max().unwrap_or(0)
    }

    /// How many ids there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.count)).sum()
    }

    fn is_whole(&self) -> bool {
        self.0 == [IdRange { inside: 0, outside: 0, count: u32::MAX }]
    }
}

impl IdRange {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        let range = Self { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? };
        (range.count > 0).then_some(range)
    }
}

impl std::fmt::Display for IdMap {
    /// As the kernel takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|range| writeln!(f, "{} {} {}", range.inside, range.outside, range.count))
    }
}
