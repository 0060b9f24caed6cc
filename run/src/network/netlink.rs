//! The few messages of rtnetlink(7) that a box's network needs, and what all messages of netlink(7) share.
//!
//! Names of constants are those of the kernel's headers: `linux/netlink.h` (NLM*), `linux/rtnetlink.h` (RT*),
//! `linux/if_link.h` (IFLA_*), `linux/veth.h` and `linux/if_addr.h` (IFA_*).

use std::ffi::CStr;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x001;
pub(super) const NLM_F_ACK: u16 = 0x004;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const AF_INET: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

/// An empty `struct ifinfomsg`.
const LINK_HEADER: [u8; 16] = [0; 16];

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
        let other = [
            &LINK_HEADER[..],
            &attribute(IFLA_IFNAME, &terminated(peer)),
            &attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes()),
        ];
        let data = attribute(VETH_INFO_PEER, &other.concat());
        let info = [attribute(IFLA_INFO_KIND, b"veth"), attribute(IFLA_INFO_DATA, &data)].concat();
        let message = [&LINK_HEADER[..], &attribute(IFLA_IFNAME, &terminated(name)), &attribute(IFLA_LINKINFO, &info)];
        self.ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message.concat())
    }

    /// Removes the interface `name`, and with it its peer.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let message = [&LINK_HEADER[..], &attribute(IFLA_IFNAME, &terminated(name))];
        self.ask(RTM_DELLINK, 0, &message.concat())
    }

    /// Gives the interface `name` an address.
    pub(super) fn address(&self, name: &CStr, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let message = [
            &[AF_INET, prefix, 0, 0][..],
            &self.index(name)?.to_ne_bytes(),
            &attribute(IFA_LOCAL, &address.octets()),
            &attribute(IFA_ADDRESS, &address.octets()),
        ];
        self.ask(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message.concat())
    }

    /// Sends all that has no other way to `gateway`.
    pub(super) fn default_route(&self, name: &CStr, gateway: Ipv4Addr) -> io::Result<()> {
        let message = [
            &[AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0][..],
            &attribute(RTA_GATEWAY, &gateway.octets()),
            &attribute(RTA_OIF, &self.index(name)?.to_ne_bytes()),
        ];
        self.ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &message.concat())
    }

    fn index(&self, name: &CStr) -> io::Result<u32> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        Ok(netdevice::name_to_index(socket, &name.to_string_lossy())?)
    }

    /// Sends one request and waits for the kernel's answer to it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, &message(kind, NLM_F_ACK | flags, 0, body), SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (read, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        outcome(&answer[..read]).1
    }
}

/// One request, with its `struct nlmsghdr`. Messages and attributes are made of multiples of four bytes.
pub(super) fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// One attribute, padded to four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A string as attributes hold it.
pub(super) fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Reads an acknowledgement, an error message whose number is 0, and which request it is for.
pub(super) fn outcome(answer: &[u8]) -> (u32, io::Result<()>) {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let sequence = answer.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    let outcome = match (kind, number) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(io::Error::from_raw_os_error(-number)),
        _ => Err(io::Error::other("the kernel's answer is no netlink message")),
    };
    (sequence, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded() {
        assert_eq!(attribute(3, b"lo\0"), [&7u16.to_ne_bytes()[..], &3u16.to_ne_bytes(), b"lo\0\0"].concat());
    }

    #[test]
    fn answers_are_read() {
        let answer = |number: i32| {
            let sequence = 5u32.to_ne_bytes();
            let head = [&36u32.to_ne_bytes()[..], &2u16.to_ne_bytes(), &[0; 2], &sequence, &[0; 4]].concat();
            [head, number.to_ne_bytes().to_vec()].concat()
        };
        assert!(matches!(outcome(&answer(0)), (5, Ok(()))));
        assert_eq!(outcome(&answer(-17)).1.map_err(|error| error.raw_os_error()), Err(Some(17)));
        assert!(outcome(b"").1.is_err());
    }
}
