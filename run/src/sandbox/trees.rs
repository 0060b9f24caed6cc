//! Files and directories of the host as detached mount trees, with ids and attributes set: the box gets
//! these and nothing else of the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::plan::{Below, From, Ids};
use super::{Notice, SandboxError, devices, lent, mount};
use crate::identity::IdMap;
use crate::sys::{self, Reach};

/// What trees are opened with.
pub(super) struct Opener<'a> {
    /// Descriptors that came with the request.
    pub(super) sources: &'a [OwnedFd],
    /// The box's first process in `/proc`.
    pub(super) process: &'a Path,
}

impl Opener<'_> {
    /// Opens one tree.
    pub(super) fn open(
        &self,
        from: &From,
        ids: Ids,
        below: Below,
        attributes: MountAttrFlags,
        notices: &mut Vec<Notice>,
    ) -> Result<OwnedFd, SandboxError> {
        let path = path_of(from);
        let failed = |source| SandboxError::MountSource { path: path.clone(), source };
        let tree = self.copy(from, below).map_err(|error| failed(error.into()))?;
        if let From::Device(device) = from {
            let genuine = devices::is_genuine(device, tree.as_fd()).map_err(|error| failed(error.into()))?;
            genuine.then_some(()).ok_or_else(|| failed(Errno::NODEV.into()))?;
        }
        let bits = u64::from(attributes.bits());
        if ids == Ids::Inside {
            match self.map(&tree, below, bits) {
                Ok(()) => return Ok(tree),
                Err(error) if matches!(from, From::Root(_)) => {
                    return Err(SandboxError::IdmapUnsupported { path, source: error.into() });
                }
                Err(_) => notices.push(Notice::UnmappedMount { path: path.clone() }),
            }
        }
        if bits != 0 {
            sys::mount_setattr(tree.as_fd(), below.reach(), bits, None).map_err(|error| failed(error.into()))?;
        }
        Ok(tree)
    }

    fn copy(&self, from: &From, below: Below) -> std::io::Result<OwnedFd> {
        let copy = |file: BorrowedFd<'_>| mount::copy_of(file, below.reach(), MountAttrFlags::empty());
        match from {
            From::Root(path) | From::Path(path) | From::Device(path) => copy(open(path)?.as_fd()),
            From::NodeOf(path) => self.new_node(path),
            From::OfHost(path) => copy(open(Path::new(path))?.as_fd()),
            From::Lent { pid, path } => lent::copy_of(*pid, path),
            From::Descriptor(index) => copy(self.sources.get(*index).ok_or(std::io::ErrorKind::InvalidInput)?.as_fd()),
        }
    }

    /// A file system in memory with nothing but the node.
    fn new_node(&self, path: &Path) -> std::io::Result<OwnedFd> {
        let map = |file: &str| IdMap::read(&self.process.join(file));
        let outside = |map: IdMap, id| map.outside(id).or_else(|| map.outside_of_root());
        devices::new_node(path, |uid, gid| (outside(map("uid_map"), uid), outside(map("gid_map"), gid)))
    }

    /// Maps ids, and sets attributes with the same call. What lies below may be unmappable alone.
    fn map(&self, tree: &OwnedFd, below: Below, attributes: u64) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(self.process.join("ns/user"), flags, Mode::empty())?;
        let map = |reach| sys::mount_setattr(tree.as_fd(), reach, attributes, Some(namespace.as_fd()));
        map(below.reach()).or_else(|error| {
            if below.reach() == Reach::Single {
                return Err(error);
            }
            map(Reach::Single)?;
            sys::mount_setattr(tree.as_fd(), Reach::Recursive, attributes, None)
        })
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn path_of(from: &From) -> PathBuf {
    match from {
        From::Root(path) | From::Path(path) | From::Device(path) | From::NodeOf(path) => path.clone(),
        From::OfHost(path) | From::Lent { path, .. } => (*path).into(),
        From::Descriptor(index) => format!("descriptor {index}").into(),
    }
}
