//! A box's own network: interfaces up, a way out, and the files that describe it.
//!
//! The ways out, best first: as root a pair of interfaces and address translation; for others, or
//! where the host cannot translate, pasta and slirp4netns. None of them reaches the host's loopback.

mod files;
mod nat;
mod netlink;
mod nftables;
mod program;
mod usermode;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use self::nat::Nat;
use self::netlink::Netlink;
use self::nftables::Refused;
use self::usermode::Helper;
use crate::identity::Standing;
use crate::sys;

pub(crate) use files::files;
pub(crate) use program::find as find_program;

/// Why a box has no way out.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// A program is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// The device that networks in user space need.
    #[error("/dev/net/tun cannot be opened")]
    Tunnel(#[source] io::Error),
    /// The host itself has no way out.
    #[error("the host has no default route")]
    NoDefaultRoute,
    /// The pair of interfaces could not be made.
    #[error("cannot make a pair of interfaces")]
    Interface(#[source] io::Error),
    /// The host does not forward and cannot be told to.
    #[error("cannot switch forwarding on")]
    Forwarding(#[source] io::Error),
    /// The kernel takes no table of nftables, and there is no `iptables`.
    #[error("cannot translate addresses with nftables (iptables is not installed)")]
    Nftables(#[source] Refused),
    /// A program failed.
    #[error("{} failed: {why}", program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// Every means failed.
    #[error("{}", .0.join("; "))]
    Nothing(Vec<String>),
}

/// An interface that the box itself configures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name inside.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// Where everything else is sent.
    pub gateway: Ipv4Addr,
}

/// A way out of a network namespace; it is taken down when this is dropped.
#[derive(Debug)]
pub struct Egress {
    means: Means,
}

#[derive(Debug)]
enum Means {
    Nat(Nat),
    Helper(Helper),
}

/// One way of making a way out.
type Attempt = fn(Pid) -> Result<Means, EgressError>;

impl Egress {
    /// Makes a way out of the network namespace of `pid`, by the best means there is.
    pub fn attach(pid: Pid, standing: Standing) -> Result<Self, EgressError> {
        let nat: Attempt = |pid| Nat::attach(pid).map(Means::Nat);
        let slirp4netns: Attempt = |pid| Helper::slirp4netns(pid).map(Means::Helper);
        let pasta: Attempt = |pid| Helper::pasta(pid).map(Means::Helper);
        // Started by root, pasta gives up the right to enter the namespace.
        let attempts: &[Attempt] = match standing {
            Standing::Root => &[nat, slirp4netns],
            Standing::NamespaceRoot | Standing::Unprivileged => &[pasta, slirp4netns],
        };
        let mut reasons = Vec::new();
        for attempt in attempts {
            match attempt(pid) {
                Ok(means) => return Ok(Self { means }),
                Err(error) => reasons.push(described(&error)),
            }
        }
        Err(EgressError::Nothing(reasons))
    }

    /// What is to be configured inside, if the means leaves that to the box.
    pub fn interface(&self) -> Option<&Interface> {
        match &self.means {
            Means::Nat(nat) => Some(&nat.interface),
            Means::Helper(_) => None,
        }
    }

    /// The box's address, if it is known from outside.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.means {
            Means::Nat(nat) => Some(nat.interface.address.into()),
            Means::Helper(helper) => helper.address,
        }
    }

    /// The host's address for the box. Of a network stack in user space it is the one that the host has for
    /// others: slirp4netns leads there; pasta gives the box that very address, and so not to the host.
    pub fn host(&self) -> Option<IpAddr> {
        match &self.means {
            Means::Nat(nat) => Some(nat.interface.gateway.into()),
            Means::Helper(_) => outward_address(),
        }
    }

    /// Addresses of the box, by interface.
    pub fn addresses(&self) -> BTreeMap<String, IpAddr> {
        let name = self.interface().map_or("tap0", |interface| interface.name.as_str());
        self.address().map(|address| (name.to_owned(), address)).into_iter().collect()
    }

    /// Name servers that can be reached through it, if they are not the host's.
    pub fn name_servers(&self) -> &[IpAddr] {
        match &self.means {
            Means::Nat(_) => &[],
            Means::Helper(helper) => &helper.name_servers,
        }
    }
}

/// The address by which the host speaks to others. Connecting a datagram socket sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The ways out that are installed and that a kiln of `standing` may use, best first.
pub(crate) fn means(standing: Standing) -> Vec<String> {
    let tun = usermode::tunnel().is_ok();
    let installed = |name: &str| program::find(name).is_some();
    let nat = standing == Standing::Root && (nftables::available() || installed("iptables"));
    let pasta = standing != Standing::Root && tun && installed("pasta");
    let slirp4netns = tun && installed("slirp4netns");
    let means = [("nat", nat), ("pasta", pasta), ("slirp4netns", slirp4netns)];
    means.into_iter().filter(|(_, usable)| *usable).map(|(name, _)| name.to_owned()).collect()
}

/// Brings up the loopback interface, and `interface` if the box has one, in the caller's namespace.
pub(crate) fn up(interface: Option<&Interface>) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    sys::interface_up(c"lo", socket.as_fd())?;
    let Some(interface) = interface else { return Ok(()) };
    let name = CString::new(interface.name.as_str())?;
    let netlink = Netlink::open()?;
    netlink.address(&name, interface.address, interface.prefix)?;
    sys::interface_up(&name, socket.as_fd())?;
    netlink.default_route(&name, interface.gateway)
}

/// An error with its causes, in one line.
fn described(error: &EgressError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
