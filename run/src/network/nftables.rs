//! A table of nftables for one box, by the kernel's own messages (nfnetlink): no program is needed.
//!
//! The table belongs to the socket that made it, so that the kernel destroys it however its maker ends;
//! a kernel before 5.12 knows no owners, and there it is deleted when dropped. What the messages
//! are is a pure function; what the kernel answers is read in one place. Nothing here knows of boxes.
//!
//! Names of constants are those of `linux/netfilter/nf_tables.h` (NFT_*, NFTA_*), `linux/netfilter/nfnetlink.h`
//! (NFNL_*), `linux/netfilter_ipv4.h` (NF_IP_*) and `linux/netlink.h` (NLM_*, NLA_*).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::netlink::{self, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, attribute, terminated};

const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 1 << 15;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_IPV4: u8 = 2;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NF_IP_POST_ROUTING: u32 = 4;
const NF_IP_PRI_NAT_SRC: u32 = 100;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_REG_1: u32 = 1;

const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
/// Where the source address is in an IPv4 header (RFC 791, section 3.1), and how long.
const SOURCE_ADDRESS: (u32, u32) = (12, 4);

const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;

const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;

const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_OIFNAME: u32 = 7;
const IFNAMSIZ: usize = 16;

/// The one chain of a table.
const CHAIN: &str = "out";

/// A message that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    message: &'static str,
    #[source]
    source: io::Error,
}

/// What a table does: packets from `network` leave by other interfaces than `interface` under the host's address.
/// The table is called as the interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masquerade<'a> {
    pub(super) interface: &'a str,
    pub(super) network: Ipv4Addr,
    pub(super) prefix: u8,
}

/// A table that exists until this is dropped, or, where the kernel can say so, until this process ends.
#[derive(Debug)]
pub(super) struct Table {
    socket: OwnedFd,
    name: String,
}

/// Who sees to it that a table goes, if it is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The kernel, when the socket closes (Linux 5.12).
    Socket,
    Nobody,
}

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    name: &'static str,
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Table {
    /// Makes the table in the caller's network namespace. One of the same name is in nobody's use, as the
    /// interface is not, and is replaced.
    pub(super) fn masquerade(rule: Masquerade<'_>) -> Result<Self, Refused> {
        let table = Self { socket: open()?, name: rule.interface.to_owned() };
        let make = |owner| send(&table.socket, &masquerade(rule, owner));
        let made = match make(Owner::Socket) {
            // Only then, as the kernel takes milliseconds over a deletion that it refuses.
            Err(refused) if refused.is(&[Errno::EXIST]) => table.delete().and_then(|()| make(Owner::Socket)),
            other => other,
        };
        match made {
            // EINVAL is what kernels without owners say, EOPNOTSUPP what one says that knows other flags.
            Err(refused) if refused.is(&[Errno::INVAL, Errno::OPNOTSUPP]) => make(Owner::Nobody)?,
            other => other?,
        }
        Ok(table)
    }

    fn delete(&self) -> Result<(), Refused> {
        send(&self.socket, &[delete_table(&self.name)])
    }
}

/// Whether the kernel has nftables, and this process may use them.
pub(super) fn available() -> bool {
    open().is_ok_and(|socket| send(&socket, &[]).is_ok())
}

impl Drop for Table {
    fn drop(&mut self) {
        // Owned ones, too: the kernel destroys what is deleted when it has time, but what a closed socket
        // leaves at once, which takes it several grace periods.
        let _gone_already = self.delete();
    }
}

impl Refused {
    fn is(&self, numbers: &[Errno]) -> bool {
        numbers.iter().any(|number| self.source.raw_os_error() == Some(number.raw_os_error()))
    }
}

fn open() -> Result<OwnedFd, Refused> {
    let flags = SocketFlags::CLOEXEC;
    let opened = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER));
    opened.map_err(|error| Refused { message: "NETLINK_NETFILTER", source: error.into() })
}

/// Sends a batch, of which the kernel does all or nothing, and reads what it says to each message.
fn send(socket: &OwnedFd, messages: &[Message]) -> Result<(), Refused> {
    let because = |message, source: io::Error| Refused { message, source };
    let sent = rustix::net::send(socket, &batch(messages), SendFlags::empty());
    sent.map_err(|error| because("NFNL_MSG_BATCH_BEGIN", error.into()))?;
    // The kernel has answered when the call returns: an error, or an acknowledgement of every message.
    let (mut done, mut refused, mut answer) = (0, None, [0; 4096]);
    while let Ok((read, _)) = rustix::net::recv(socket, &mut answer[..], RecvFlags::DONTWAIT) {
        let (sequence, outcome) = netlink::outcome(&answer[..read]);
        let of = usize::try_from(sequence).ok().and_then(|number| messages.get(number.checked_sub(1)?));
        match outcome {
            Ok(()) => done += 1,
            // All are read, so that none is taken for an answer to the next batch; the first says why.
            Err(error) => {
                refused.get_or_insert(because(of.map_or("NFNL_MSG_BATCH_BEGIN", |message| message.name), error));
            }
        }
    }
    match (refused, messages.get(done)) {
        (Some(refused), _) => Err(refused),
        (None, Some(unanswered)) => Err(because(unanswered.name, io::Error::other("the kernel does not answer"))),
        (None, None) => Ok(()),
    }
}

/// The messages that make a table with its chain and rule.
fn masquerade(rule: Masquerade<'_>, owner: Owner) -> [Message; 3] {
    let flags = if owner == Owner::Socket { NFT_TABLE_F_OWNER } else { 0 };
    let table = [string(NFTA_TABLE_NAME, rule.interface), number(NFTA_TABLE_FLAGS, flags)].concat();
    let hook = [number(NFTA_HOOK_HOOKNUM, NF_IP_POST_ROUTING), number(NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_SRC)].concat();
    let chain = [
        string(NFTA_CHAIN_TABLE, rule.interface),
        string(NFTA_CHAIN_NAME, CHAIN),
        string(NFTA_CHAIN_TYPE, "nat"),
        nest(NFTA_CHAIN_HOOK, &hook),
    ];
    let expressions: Vec<u8> =
        rule.expressions().iter().flat_map(|expression| nest(NFTA_LIST_ELEM, expression)).collect();
    let rule = [
        string(NFTA_RULE_TABLE, rule.interface),
        string(NFTA_RULE_CHAIN, CHAIN),
        nest(NFTA_RULE_EXPRESSIONS, &expressions),
    ];
    let new = |name, kind, flags, body| Message { name, kind, flags: NLM_F_CREATE | flags, body };
    [
        new("NFT_MSG_NEWTABLE", NFT_MSG_NEWTABLE, NLM_F_EXCL, table),
        new("NFT_MSG_NEWCHAIN", NFT_MSG_NEWCHAIN, NLM_F_EXCL, chain.concat()),
        new("NFT_MSG_NEWRULE", NFT_MSG_NEWRULE, NLM_F_APPEND, rule.concat()),
    ]
}

impl Masquerade<'_> {
    /// `ip saddr NETWORK/PREFIX oifname != INTERFACE masquerade`, for the kernel's machine of registers.
    fn expressions(self) -> [Vec<u8>; 6] {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        let mut interface = self.interface.as_bytes().to_vec();
        interface.resize(IFNAMSIZ, 0);
        [
            expression(
                "payload",
                &[
                    number(NFTA_PAYLOAD_DREG, NFT_REG_1),
                    number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER),
                    number(NFTA_PAYLOAD_OFFSET, SOURCE_ADDRESS.0),
                    number(NFTA_PAYLOAD_LEN, SOURCE_ADDRESS.1),
                ],
            ),
            expression(
                "bitwise",
                &[
                    number(NFTA_BITWISE_SREG, NFT_REG_1),
                    number(NFTA_BITWISE_DREG, NFT_REG_1),
                    number(NFTA_BITWISE_LEN, SOURCE_ADDRESS.1),
                    data(NFTA_BITWISE_MASK, &mask.to_be_bytes()),
                    data(NFTA_BITWISE_XOR, &[0; 4]),
                ],
            ),
            compare(NFT_CMP_EQ, &self.network.octets()),
            expression("meta", &[number(NFTA_META_KEY, NFT_META_OIFNAME), number(NFTA_META_DREG, NFT_REG_1)]),
            compare(NFT_CMP_NEQ, &interface),
            expression("masq", &[]),
        ]
    }
}

fn delete_table(name: &str) -> Message {
    let body = string(NFTA_TABLE_NAME, name);
    Message { name: "NFT_MSG_DELTABLE", kind: NFT_MSG_DELTABLE, flags: 0, body }
}

/// A batch as it is sent: the messages are numbered from 1.
fn batch(messages: &[Message]) -> Vec<u8> {
    let bound = |kind, sequence| netlink::message(kind, 0, sequence, &header(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES));
    let mut bytes = bound(NFNL_MSG_BATCH_BEGIN, 0);
    let mut sequence = 0;
    for message in messages {
        sequence += 1;
        let body = [&header(NFPROTO_IPV4, 0)[..], &message.body].concat();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | message.kind;
        bytes.extend(netlink::message(kind, NLM_F_ACK | message.flags, sequence, &body));
    }
    bytes.extend(bound(NFNL_MSG_BATCH_END, sequence + 1));
    bytes
}

/// `struct nfgenmsg`, of version 0.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn compare(operation: u32, with: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(NFTA_CMP_SREG, NFT_REG_1), number(NFTA_CMP_OP, operation), data(NFTA_CMP_DATA, with)])
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    [string(NFTA_EXPR_NAME, name), nest(NFTA_EXPR_DATA, &attributes.concat())].concat()
}

fn data(kind: u16, value: &[u8]) -> Vec<u8> {
    nest(kind, &attribute(NFTA_DATA_VALUE, value))
}

fn nest(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(NLA_F_NESTED | kind, attributes)
}

fn string(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &terminated(value))
}

/// Numbers of nftables are in the network's order.
fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

#[cfg(test)]
mod tests;
