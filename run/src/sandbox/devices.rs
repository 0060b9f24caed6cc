//! What is in `/dev`: nodes that are what they say, the usual links, and a terminal if there is one.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::{Errno, Result};
use rustix::mount::MountAttrFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::mount;
use super::plan::DEVICES;
use crate::sys::Reach;

/// Major and minor number of each of [`DEVICES`].
const NUMBERS: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// Links that programs expect.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// What a `/dev` of kiln's own makes: these are mounted there or linked, never copied from the host.
const OWN: [&str; 11] = ["fd", "stdin", "stdout", "stderr", "core", "ptmx", "pts", "shm", "mqueue", "console", "log"];

/// Makes the directories that file systems are mounted on, and the links.
pub(super) fn make_links(dev: BorrowedFd<'_>) -> Result<()> {
    for directory in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, directory, Mode::from_raw_mode(0o755))?;
    }
    LINKS.iter().try_for_each(|(name, target)| rustix::fs::symlinkat(*target, dev, *name))
}

/// Puts a tree that is one node of the host at `name`.
pub(super) fn bind(dev: BorrowedFd<'_>, name: &str, tree: &OwnedFd) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666))?);
    let place = rustix::fs::openat(dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    mount::attach(tree, place)
}

/// Makes the six usual nodes.
pub(super) fn make(dev: BorrowedFd<'_>) -> Result<()> {
    for (name, (major, minor)) in DEVICES.iter().zip(NUMBERS) {
        make_node(dev, Path::new(name), FileType::CharacterDevice, 0o666, makedev(major, minor))?;
    }
    Ok(())
}

/// Makes every node that the host's `/dev` has, except what belongs to a `/dev` itself.
pub(super) fn make_all_of(host: &Path, dev: BorrowedFd<'_>) -> Result<()> {
    let entries = fs::read_dir(host).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        if metadata.is_dir() {
            rustix::fs::mkdirat(dev, &name, Mode::from_raw_mode(0o755))?;
            let below = rustix::fs::openat(dev, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            make_all_of(&entry.path(), below.as_fd())?;
        } else if let Some(kind) = device_kind(&metadata) {
            make_node(dev, Path::new(&name), kind, metadata.mode(), metadata.rdev())?;
        }
    }
    Ok(())
}

/// The name of the only node of [`new_node`]'s file system.
pub(super) const NODE: &str = "node";

/// A file system in memory with a node of the same device as `path`, its owners as `outside` has them.
pub(super) fn new_node(
    path: &Path,
    outside: impl FnOnce(u32, u32) -> (Option<u32>, Option<u32>),
) -> std::io::Result<OwnedFd> {
    let metadata = fs::metadata(path)?;
    let kind = device_kind(&metadata).ok_or(Errno::NODEV)?;
    let files = mount::tmpfs(0o755, Some(4096), MountAttrFlags::empty())?;
    make_node(files.as_fd(), Path::new(NODE), kind, metadata.mode(), metadata.rdev())?;
    let (uid, gid) = outside(metadata.uid(), metadata.gid());
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(&files, NODE, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(files)
}

/// Whether `node` is the device of that name among [`DEVICES`]; others are taken as they are.
pub(super) fn is_genuine(path: &Path, node: BorrowedFd<'_>) -> Result<bool> {
    let status = rustix::fs::fstat(node)?;
    let kind = FileType::from_raw_mode(status.st_mode);
    let known = DEVICES.iter().position(|name| Path::new("/dev").join(name) == path);
    Ok(match known {
        Some(index) => {
            let (major, minor) = NUMBERS[index];
            kind == FileType::CharacterDevice && status.st_rdev == makedev(major, minor)
        }
        None => matches!(kind, FileType::CharacterDevice | FileType::BlockDevice),
    })
}

/// The two ends of a new terminal.
pub(super) struct Console {
    pub(super) master: OwnedFd,
    pub(super) terminal: OwnedFd,
}

/// Opens a terminal of the box's own devpts, and shows it as `/dev/console`.
pub(super) fn console(dev: BorrowedFd<'_>, rows: u16, columns: u16) -> std::io::Result<Console> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(dev, "pts/ptmx", flags, Mode::empty())?;
    let terminal = other_end(&master, rows, columns)?;
    let tree = mount::copy_of(terminal.as_fd(), Reach::Single, MountAttrFlags::empty())?;
    bind(dev, "console", &tree)?;
    Ok(Console { master, terminal })
}

/// The end of a new terminal that a process gets.
pub(super) fn other_end(master: &OwnedFd, rows: u16, columns: u16) -> std::io::Result<OwnedFd> {
    rustix::pty::unlockpt(master)?;
    let terminal =
        rustix::pty::ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size)?;
    Ok(terminal)
}

/// Whether `node` is what new terminals come from.
pub(super) fn is_ptmx(node: BorrowedFd<'_>) -> Result<bool> {
    let status = rustix::fs::fstat(node)?;
    let kind = FileType::from_raw_mode(status.st_mode);
    Ok(kind == FileType::CharacterDevice && status.st_rdev == makedev(5, 2))
}

fn device_kind(metadata: &fs::Metadata) -> Option<FileType> {
    let kind = metadata.file_type();
    if kind.is_char_device() {
        return Some(FileType::CharacterDevice);
    }
    kind.is_block_device().then_some(FileType::BlockDevice)
}

fn make_node(dev: BorrowedFd<'_>, name: &Path, kind: FileType, mode: u32, number: u64) -> Result<()> {
    rustix::fs::mknodat(dev, name, kind, Mode::from_raw_mode(mode & 0o777), number)?;
    rustix::fs::chmodat(dev, name, Mode::from_raw_mode(mode & 0o777), AtFlags::empty())
}
