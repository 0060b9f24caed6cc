//! What of `/proc` and `/sys` a box cannot see, and what it can only read.
//!
//! All is looked up in the file system that kiln has just mounted, by its own descriptor: no path of
//! the image is involved, and nothing can be put between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::{mount, paths};
use crate::sys::Reach;

/// Docker's list, and what else tells a program of one box about the kernel or about others.
const MASKED_IN_PROC: [&str; 19] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "kallsyms",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "vmallocinfo",
    "slabinfo",
    "buddyinfo",
    "modules",
    "kmsg",
];

const READ_ONLY_IN_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

const MASKED_IN_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Hides and protects what is listed.
pub(super) fn apply(proc: BorrowedFd<'_>, sys: BorrowedFd<'_>, null: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut masks = Masks { null, directory: None };
    for name in READ_ONLY_IN_PROC {
        make_read_only(proc, name)?;
    }
    for name in MASKED_IN_PROC {
        masks.hide(proc, name)?;
    }
    for name in MASKED_IN_SYS.map(str::to_owned).into_iter().chain(thermal_throttles()) {
        masks.hide(sys, &name)?;
    }
    Ok(())
}

/// Sets a kernel parameter of the namespaces that this process is in; its name has dots.
pub(super) fn sysctl(proc: BorrowedFd<'_>, name: &str, value: &str) -> std::io::Result<()> {
    let path = format!("sys/{}", name.replace('.', "/"));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    // In one call, as the kernel takes it.
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}

/// What things are hidden with: `/dev/null`, and one empty directory.
struct Masks<'a> {
    null: BorrowedFd<'a>,
    directory: Option<OwnedFd>,
}

impl Masks<'_> {
    fn hide(&mut self, filesystem: BorrowedFd<'_>, name: &str) -> std::io::Result<()> {
        let Some(place) = find(filesystem, name)? else { return Ok(()) };
        if paths::kind(place.as_fd())? != FileType::Directory {
            let cover = mount::copy_of(self.null, Reach::Single, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            return Ok(mount::attach(cover, place)?);
        }
        match &self.directory {
            Some(empty) => {
                mount::attach(mount::copy_of(empty.as_fd(), Reach::Single, MountAttrFlags::empty())?, place)?
            }
            None => {
                // A mount can be copied once it is in place: the first is the original of the others.
                let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                    | MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                let empty = mount::tmpfs(0o555, Some(4096), attributes)?;
                mount::attach(&empty, place)?;
                self.directory = Some(empty);
            }
        }
        Ok(())
    }
}

fn make_read_only(filesystem: BorrowedFd<'_>, name: &str) -> std::io::Result<()> {
    let Some(place) = find(filesystem, name)? else { return Ok(()) };
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let cover = mount::copy_of(place.as_fd(), Reach::Recursive, attributes)?;
    Ok(mount::attach(cover, place)?)
}

fn find(filesystem: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(filesystem, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

fn thermal_throttles() -> impl Iterator<Item = String> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..processors).map(|number| format!("devices/system/cpu/cpu{number}/thermal_throttle"))
}
