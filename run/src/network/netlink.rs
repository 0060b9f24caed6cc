//! The few messages of rtnetlink(7) that a box's network needs, and nothing else.

use std::ffi::CStr;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;

const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const INET: u8 = 2;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const UNICAST: u8 = 1;

/// A socket to the kernel's routing tables.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens one for the caller's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // The default protocol of this family is NETLINK_ROUTE.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Self { socket })
    }

    /// Makes a pair of interfaces: `name` here, `peer` in the network namespace of `pid`.
    pub(super) fn veth(&self, name: &str, peer: &str, pid: i32) -> io::Result<()> {
        let mut other = link_header();
        attribute(&mut other, 3, &terminated(peer));
        attribute(&mut other, 19, &pid.to_ne_bytes());
        let data = nested(1, &other);
        let mut info = nested(1, b"veth");
        info.extend(nested(2, &data));
        let mut message = link_header();
        attribute(&mut message, 3, &terminated(name));
        attribute(&mut message, 18, &info);
        self.ask(NEW_LINK, CREATE | EXCLUSIVE, &message)
    }

    /// Removes the interface `name`, and with it its peer.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let mut message = link_header();
        attribute(&mut message, 3, &terminated(name));
        self.ask(DELETE_LINK, 0, &message)
    }

    /// Gives the interface `name` an address.
    pub(super) fn address(&self, name: &CStr, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = vec![INET, prefix, 0, 0];
        message.extend(self.index(name)?.to_ne_bytes());
        attribute(&mut message, 2, &address.octets());
        attribute(&mut message, 1, &address.octets());
        self.ask(NEW_ADDRESS, CREATE | EXCLUSIVE, &message)
    }

    /// Sends all that has no other way to `gateway`.
    pub(super) fn default_route(&self, name: &CStr, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = vec![INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, 0, UNICAST, 0, 0, 0, 0];
        attribute(&mut message, 5, &gateway.octets());
        attribute(&mut message, 4, &self.index(name)?.to_ne_bytes());
        self.ask(NEW_ROUTE, CREATE | EXCLUSIVE, &message)
    }

    fn index(&self, name: &CStr) -> io::Result<u32> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        Ok(netdevice::name_to_index(socket, &name.to_string_lossy())?)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | ACKNOWLEDGE | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (read, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        outcome(&answer[..read])
    }
}

/// Reads an acknowledgement: an error message whose number is 0.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let malformed = || io::Error::other("the kernel's answer is no netlink message");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, number) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(number)) => Err(io::Error::from_raw_os_error(-number)),
        _ => Err(malformed()),
    }
}

/// An empty `struct ifinfomsg`.
fn link_header() -> Vec<u8> {
    vec![0; 16]
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(nested(kind, value));
}

/// One attribute, padded to four bytes.
fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded() {
        assert_eq!(nested(3, b"lo\0"), [&7u16.to_ne_bytes()[..], &3u16.to_ne_bytes(), b"lo\0\0"].concat());
    }

    #[test]
    fn answers_are_read() {
        let answer =
            |number: i32| [&36u32.to_ne_bytes()[..], &2u16.to_ne_bytes(), &[0; 10], &number.to_ne_bytes()].concat();
        assert!(outcome(&answer(0)).is_ok());
        assert_eq!(outcome(&answer(-17)).map_err(|error| error.raw_os_error()), Err(Some(17)));
        assert!(outcome(b"").is_err());
    }
}
