//! Extended attributes, through descriptors only.
//!
//! A symbolic link or a device node cannot carry an attribute that an image may hold (`user.*` is
//! for files and directories, xattr(7), and `security.capability` for files), so a descriptor that
//! was opened for reading is always at hand.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

/// The names of a file's attributes; none where the file system has no attributes.
pub fn list_xattrs(fd: impl AsFd) -> Result<Vec<Box<[u8]>>> {
    let mut buffer = [0u8; 1024];
    match rustix::fs::flistxattr(&fd, &mut buffer[..]) {
        Ok(length) => Ok(split(&buffer[..length])),
        Err(Errno::RANGE) => list_many(fd),
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}

/// The value of an attribute; `None` if the file has no such attribute.
pub fn get_xattr(fd: impl AsFd, name: &[u8]) -> Result<Option<Box<[u8]>>> {
    let name = OsStr::from_bytes(name);
    // The kernel's limit for one value (XATTR_SIZE_MAX) is 64 KiB; few have more than 256 bytes.
    let mut small = [0u8; 256];
    match rustix::fs::fgetxattr(&fd, name, &mut small[..]) {
        Ok(length) => return Ok(Some(small[..length].into())),
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0u8; 64 * 1024];
    let length = rustix::fs::fgetxattr(&fd, name, &mut large[..])?;
    Ok(Some(large[..length].into()))
}

/// Gives a file an attribute, in place of one of that name.
pub fn set_xattr(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty())
}

/// Takes an attribute away; it need not be there.
pub fn remove_xattr(fd: impl AsFd, name: &[u8]) -> Result<()> {
    match rustix::fs::fremovexattr(fd, OsStr::from_bytes(name)) {
        Err(Errno::NODATA) => Ok(()),
        result => result,
    }
}

fn list_many(fd: impl AsFd) -> Result<Vec<Box<[u8]>>> {
    let mut buffer = vec![0u8; 64 * 1024];
    let length = rustix::fs::flistxattr(&fd, &mut buffer[..])?;
    Ok(split(&buffer[..length]))
}

fn split(list: &[u8]) -> Vec<Box<[u8]>> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(Box::from).collect()
}
