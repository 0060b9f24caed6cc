//! Messages between the parts of kiln: length-prefixed JSON over a Unix socket, descriptors beside it.
//!
//! The two ends are always the same program, so the form needs no version. A message may be of any
//! size; at most [`BATCH`] descriptors go with one.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many descriptors one message may carry; the kernel's limit is 253.
pub(crate) const BATCH: usize = 250;

/// What a message must not exceed: the largest is a request with the bytes of its secrets.
const LIMIT_BYTES: usize = 64 << 20;

/// Sends `message` and copies of `descriptors`.
pub(crate) fn send(socket: &UnixStream, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut writer = socket;
    writer.write_all(&body)
}

/// Receives one message with its descriptors; `None` when the other end is closed.
pub(crate) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let (read, descriptors) = receive_head(socket.as_fd(), &mut length)?;
    if read == 0 {
        return Ok(None);
    }
    let mut reader = socket;
    reader.read_exact(&mut length[read..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LIMIT_BYTES {
        return Err(io::Error::other("a message between two parts of kiln is too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

fn receive_head(socket: BorrowedFd<'_>, head: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(head)];
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC));
    // A peer that died with our message unread resets the connection: for us that is its end.
    let bytes = match received {
        Err(rustix::io::Errno::CONNRESET) => 0,
        other => other?.bytes,
    };
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok((bytes, rights.flatten().collect()))
}
