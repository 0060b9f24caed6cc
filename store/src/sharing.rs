//! How root filesystems are put together on this machine, and how large contents are shared.
//!
//! Found out by trying, never assumed; remembered in the store for one kernel and one kind of
//! privilege. What is tried rests on these facts (Linux 6.18; ext4; as root, as an ordinary user
//! in a user namespace with one id and with 65,536):
//!
//! - overlayfs mounts with `userxattr` as root and, where the mount namespace belongs to it, in a
//!   user namespace (5.11). Whiteouts are character devices 0:0, which anybody may make (5.8);
//!   a directory that replaces one has `user.overlay.opaque=y`. What a process in the mount calls
//!   `user.overlay.x` is `user.overlay.overlay.x` in the upper directory (6.7).
//! - `userxattr` refuses an explicit `redirect_dir=off` (`nofollow` is what it implies and allows);
//!   `index=off`, `xino=off`, `metacopy=off` and `volatile` are accepted.
//! - A regular file in a lower directory with `user.overlay.metacopy` (empty) and
//!   `user.overlay.redirect=/ab/cdef` shows its own owner, mode, size and attributes and the content
//!   of `ab/cdef` in a data-only layer (`datadir+`), with `userxattr` and without `metacopy=on`, also
//!   over idmapped mounts (6.16). A change of owner or mode copies the whole content up, and leaves
//!   neither attribute in the upper directory. `st_nlink` and `st_ino` are the lower file's.
//! - Such a file works only in the *last* of the other lower directories: one further up is EPERM
//!   ("refusing to follow metacopy origin"), since it is looked for below with `metacopy` off, which
//!   `userxattr` demands. So every layer with stubs but the lowest gets a read-only overlay of its own
//!   over the data-only layer, and the root filesystem stacks those: two levels, which is as deep as
//!   overlays go (in a third one, mounted inside, such a file system cannot be a lower directory).
//! - The inner overlay shows `user.overlay.overlay.x` as `user.overlay.x`, so an opaque directory that
//!   the outer one is to read has `user.overlay.overlay.opaque=y` (6.7). Removals could be written so
//!   too, as empty files with `user.overlay.overlay.whiteout`, but a directory that such removals have
//!   emptied cannot be removed: `rmdir` counts them (ENOTEMPTY). So the removals of a nested layer are a
//!   directory of their own, of character devices 0:0, which is stacked as it is just below the layer.
//! - The layers of the outer overlay are then several file systems. With `xino=off` a file had
//!   another `st_dev` than the directory that it is in (`du -x` and `cp -x` left it out); with
//!   `xino=on` there is one `st_dev`, and inodes of the nested layers have the layer's number in their
//!   top bits. Link counts, inodes of hard links, capabilities and attributes are as without nesting.
//! - A nested mount costs 0.08 ms to make and as much to tear down: 8 layers 1.6 ms, 30 layers 5 ms.
//! - In a user namespace over idmapped mounts the data-only layer must be mounted idmapped as well:
//!   objects are 0400. Such mounts must be attached in the mount namespace that the user namespace
//!   owns: overlayfs on a detached mount of another namespace is EPERM, and one that is mounted by
//!   the initial root over an idmapped upper directory is read-only (`work/work` cannot be made).
//! - Copied-up files have `user.overlay.origin`; the upper root `user.overlay.impure` and `.uuid`.
//! - A rename of a directory that has a lower part is EXDEV, so `mv` copies it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::fs::{Dir, set_xattr};
use crate::store::{Area, Store, StoreError};
use crate::{Name, RelPath};

/// How a root filesystem comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootDriver {
    /// Checkouts stacked by overlayfs under a fresh upper directory.
    Overlay,
    /// A copy of all files: where overlayfs does not mount, as on a store that lies on overlayfs.
    Copy,
}

/// How checkouts hold large contents that are objects already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Files share their blocks with the objects (btrfs, XFS, bcachefs).
    Reflink,
    /// Files are stubs that name an object in a data-only layer of overlayfs.
    Stubs,
    /// Files are copies.
    Copy,
}

/// What the machine offers to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanism {
    /// How root filesystems come about.
    pub root: RootDriver,
    /// How large contents are shared.
    pub sharing: Sharing,
}

impl Mechanism {
    const ALL: [(&'static str, Self); 5] = [
        ("overlay reflink", Self { root: RootDriver::Overlay, sharing: Sharing::Reflink }),
        ("overlay stubs", Self { root: RootDriver::Overlay, sharing: Sharing::Stubs }),
        ("overlay copy", Self { root: RootDriver::Overlay, sharing: Sharing::Copy }),
        ("copy reflink", Self { root: RootDriver::Copy, sharing: Sharing::Reflink }),
        ("copy copy", Self { root: RootDriver::Copy, sharing: Sharing::Copy }),
    ];

    /// Its name, for people and files: `overlay stubs`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mechanism)| *mechanism == self).map_or("copy copy", |(name, _)| name)
    }
}

impl Store {
    /// What this machine offers to this store; tried once and then remembered.
    pub fn mechanism(&self) -> std::result::Result<Mechanism, StoreError> {
        let file = self.dir(Area::Checkouts).join("mechanism");
        let circumstances = circumstances();
        let remembered = self.read_file(&file)?.and_then(|text| recall(&text, &circumstances));
        if let Some(mechanism) = remembered {
            return Ok(mechanism);
        }
        let mechanism = self.probe()?;
        // That nothing mounts may change at any time: a privilege more, a module loaded.
        if mechanism.root == RootDriver::Overlay {
            self.write_file(&file, format!("{circumstances}\n{}\n", mechanism.name()).as_bytes())?;
        }
        Ok(mechanism)
    }

    fn probe(&self) -> std::result::Result<Mechanism, StoreError> {
        let place = self.temporary()?;
        let trial =
            Trial::prepare(place.path()).map_err(|errno| StoreError::io("probe in", place.path())(errno.into()))?;
        let root = if trial.overlay_works() { RootDriver::Overlay } else { RootDriver::Copy };
        let sharing = match root {
            _ if trial.reflinks_work() => Sharing::Reflink,
            RootDriver::Overlay if trial.stubs_work() => Sharing::Stubs,
            RootDriver::Overlay | RootDriver::Copy => Sharing::Copy,
        };
        Ok(Mechanism { root, sharing })
    }
}

/// The attribute that makes a lower file a stub.
pub(crate) const METACOPY: &[u8] = b"user.overlay.metacopy";
/// The attribute that says where a stub's content is.
pub(crate) const REDIRECT: &[u8] = b"user.overlay.redirect";
/// The attribute that hides what is below a directory.
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";
/// The same in a layer that is mounted by itself.
pub(crate) const NESTED_OPAQUE: &[u8] = b"user.overlay.overlay.opaque";

/// What a remembered answer depends on: the kernel, the ids, and the power to mount.
fn circumstances() -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let powers = rustix::thread::capabilities(None).map(|sets| sets.effective.bits()).unwrap_or_default();
    format!("{release} {} {powers:x}", ids.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn recall(text: &[u8], circumstances: &str) -> Option<Mechanism> {
    let (first, second) = std::str::from_utf8(text).ok()?.trim_end().split_once('\n')?;
    let same = first == circumstances;
    Mechanism::ALL.iter().find(|(name, _)| same && *name == second).map(|(_, mechanism)| *mechanism)
}

/// Two small layers, a data directory, and room for two mounts.
struct Trial {
    base: Dir,
}

const CONTENT: &[u8] = b"what a data-only layer holds";

impl Trial {
    fn prepare(path: &Path) -> Result<Self> {
        let base = Dir::open(path)?;
        for text in ["lower", "removals", "above", "data", "upper", "work"] {
            base.make_dir(&name(text))?;
        }
        let mut object = base.child(&name("data"))?.make_dir(&name("ab"))?.make_file(&name("cd"))?;
        object.write_all(CONTENT).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        base.child(&name("lower"))?.make_file(&name("removed"))?;
        Ok(Self { base })
    }

    /// Whether an overlay mounts and can be written to: on some file systems it mounts read-only.
    fn overlay_works(&self) -> bool {
        let attempt = || -> Result<()> {
            let root = mount(&self.parts(vec![("lowerdir", self.part("lower")?)])?, &[])?;
            root.make_file(&name("new"))?;
            root.make_dir(&name("directory"))?;
            root.remove_tree(&name("removed"))
        };
        attempt().is_ok()
    }

    /// Whether stubs of both layers show the content of the data-only layer, and what hides names between
    /// them does so.
    fn stubs_work(&self) -> bool {
        let attempt = || -> Result<bool> {
            // The first mount has left a whiteout in the upper directory.
            self.part("upper")?.remove_tree(&name("removed"))?;
            let (above, lower) = (self.part("above")?, self.part("lower")?);
            make_stub(&lower.make_file(&name("low"))?, CONTENT.len() as u64, b"/ab/cd")?;
            make_stub(&above.make_file(&name("high"))?, CONTENT.len() as u64, b"/ab/cd")?;
            lower.make_dir(&name("hidden"))?.make_file(&name("file"))?;
            set_xattr(above.make_dir(&name("hidden"))?, NESTED_OPAQUE, b"y")?;
            self.part("removals")?.make_whiteout(&name("removed"))?;
            let nested = mount_detached(&[("lowerdir+", above), ("datadir+", self.part("data")?)], &[])?;
            let stack = [opened(&nested)?, self.part("removals")?, lower].map(|layer| ("lowerdir+", layer));
            let lowers = stack.into_iter().chain([("datadir+", self.part("data")?)]).collect();
            let root = mount(&self.parts(lowers)?, &[("xino", "on")])?;
            let reads = |text: &str| -> Result<bool> {
                let mut read = Vec::new();
                Ok(root.file(&name(text))?.read_to_end(&mut read).is_ok() && read == CONTENT)
            };
            let absent = |at: &str| root.resolve_file(&path(at)).err() == Some(Errno::NOENT);
            Ok(reads("low")? && reads("high")? && absent("removed") && absent("hidden/file"))
        };
        attempt().unwrap_or(false)
    }

    fn reflinks_work(&self) -> bool {
        let attempt = || -> Result<()> {
            let object = self.base.resolve_file(&path("data/ab/cd"))?;
            let copy = self.base.make_file(&name("clone"))?;
            rustix::fs::ioctl_ficlone(&copy, &object)
        };
        attempt().is_ok()
    }

    fn part(&self, text: &str) -> Result<Dir> {
        self.base.child(&name(text))
    }

    /// The upper directory over these.
    fn parts<'a>(&self, mut lowers: Vec<(&'a str, Dir)>) -> Result<Vec<(&'a str, Dir)>> {
        lowers.extend([("upperdir", self.part("upper")?), ("workdir", self.part("work")?)]);
        Ok(lowers)
    }
}

/// Makes an empty file stand for a content of the data-only layer, at a path from its root.
pub(crate) fn make_stub(file: impl AsFd, size_bytes: u64, at: &[u8]) -> Result<()> {
    rustix::fs::ftruncate(&file, size_bytes)?;
    set_xattr(&file, METACOPY, b"")?;
    set_xattr(&file, REDIRECT, at)
}

/// Mounts an overlay of directories given by option, detached: nothing can see it but through what
/// comes back, and it is gone with that.
pub(crate) fn mount(parts: &[(&str, Dir)], options: &[(&str, &str)]) -> Result<Dir> {
    opened(&mount_detached(parts, options)?)
}

/// The same as a mount that another overlay can stack.
pub(crate) fn mount_detached(parts: &[(&str, Dir)], options: &[(&str, &str)]) -> Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&context, "userxattr")?;
    for (option, part) in parts {
        // An option's value is 256 bytes at most; a descriptor's name is always short enough.
        fsconfig_set_string(&context, *option, format!("/proc/self/fd/{}", part.as_fd().as_raw_fd()))?;
    }
    for (option, value) in options {
        fsconfig_set_string(&context, *option, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A mount's root, opened so that it can be listed.
pub(crate) fn opened(mount: &OwnedFd) -> Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(mount, ".", flags, Mode::empty()).map(Dir::from_fd)
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap_or_else(|_| unreachable!("{text} is a name"))
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a store believe that this is what the machine offers.
    pub(crate) fn pretend(store: &Store, mechanism: &str) {
        let file = store.dir(Area::Checkouts).join("mechanism");
        std::fs::write(file, format!("{}\n{mechanism}\n", circumstances())).unwrap();
    }

    #[test]
    fn what_was_found_is_remembered_for_the_same_circumstances_only() {
        for (text, mechanism) in Mechanism::ALL {
            assert_eq!(mechanism.name(), text);
            assert_eq!(recall(format!("here\n{text}\n").as_bytes(), "here"), Some(mechanism));
            assert_eq!(recall(format!("here\n{text}\n").as_bytes(), "there"), None);
        }
        assert_eq!(recall(b"here\nmagic\n", "here"), None);
    }

    #[test]
    fn probing_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("store")).unwrap();
        let mechanism = store.mechanism().unwrap();
        assert_eq!(store.mechanism().unwrap(), mechanism);
        eprintln!("found: {}", mechanism.name());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(base.path().to_str().unwrap()));
    }
}
