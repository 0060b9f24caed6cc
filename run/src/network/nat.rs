//! A way out by a pair of interfaces and address translation: root's, and the fastest.
//!
//! Every box has a network of four addresses and a pair of interfaces of its own; the interface's name
//! is the claim to the network, and the kernel lets only one have it. The rules are in a table of
//! our own (nftables) or are removed one by one (iptables). Forwarding is switched on for the
//! interfaces concerned only, and stays on for the host's.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use rustix::process::Pid;

use super::netlink::Netlink;
use super::{EgressError, Interface, program};
use crate::sys;

/// Networks to take four addresses from, the first that the host has no other use for.
const RANGES: [[u8; 2]; 4] = [[10, 231], [10, 89], [172, 29], [192, 168]];

/// How many networks of four addresses a range has.
const NETWORKS: u16 = 1 << 14;

/// Name of the interface inside, as Docker's.
const INSIDE: &str = "eth0";

/// Interfaces and rules, removed when dropped. (The pair goes with the box's network namespace.)
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) interface: Interface,
    undo: Vec<Vec<String>>,
}

/// The four addresses of one box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    range: [u8; 2],
    number: u16,
}

impl Nat {
    /// Connects the network namespace of `pid`.
    pub(super) fn attach(pid: Pid) -> Result<Self, EgressError> {
        let nft = program::find("nft");
        let iptables = program::find("iptables");
        if nft.is_none() && iptables.is_none() {
            return Err(EgressError::Missing("nft or iptables"));
        }
        let out = default_interface().ok_or(EgressError::NoDefaultRoute)?;
        let network = claim(pid).map_err(EgressError::Interface)?;
        let nat = Self { interface: network.interface(), undo: Vec::new() };
        let connected = nat.connect(network, &out, nft.as_deref(), iptables.as_deref());
        if connected.is_err() {
            // The next means must not find the pair in its way.
            let _gone_with_the_box = Netlink::open().and_then(|netlink| netlink.remove(&network.name()));
        }
        connected
    }

    fn connect(
        mut self,
        network: Network,
        out: &str,
        nft: Option<&Path>,
        iptables: Option<&Path>,
    ) -> Result<Self, EgressError> {
        forward(&network.name()).and_then(|()| forward(out)).map_err(EgressError::Forwarding)?;
        match nft {
            Some(nft) => self.add_table(nft, network)?,
            None => self.add_rule(&network.masquerade())?,
        }
        // Docker drops what it does not forward itself; its administrators' chain comes first.
        if iptables.is_some() && Path::new("/sys/class/net/docker0").exists() {
            for direction in ["-i", "-o"] {
                self.add_rule(&["DOCKER-USER", direction, &network.name(), "-j", "ACCEPT"].map(str::to_owned))?;
            }
        }
        Ok(self)
    }

    fn add_table(&mut self, nft: &Path, network: Network) -> Result<(), EgressError> {
        let (name, addresses) = (network.name(), network.cidr());
        let rules = format!(
            "table ip {name} {{\n chain out {{\n  type nat hook postrouting priority 100;\n  \
             ip saddr {addresses} oifname != \"{name}\" masquerade\n }}\n}}\n"
        );
        program::run(nft, ["-f", "-"], rules.as_bytes())?;
        self.undo.push(["nft", "delete", "table", "ip", &name].map(str::to_owned).into());
        Ok(())
    }

    fn add_rule(&mut self, rule: &[String]) -> Result<(), EgressError> {
        let iptables = program::find("iptables").ok_or(EgressError::Missing("iptables"))?;
        let with = |action: &str| -> Vec<String> {
            let table = if rule.first().is_some_and(|chain| chain == "POSTROUTING") { "nat" } else { "filter" };
            ["-w", "-t", table, action].map(str::to_owned).into_iter().chain(rule.iter().cloned()).collect()
        };
        program::run(&iptables, with("-I"), b"")?;
        self.undo.push(std::iter::once("iptables".to_owned()).chain(with("-D")).collect());
        Ok(())
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        for command in self.undo.drain(..).rev() {
            if let Some((name, arguments)) = command.split_first()
                && let Some(path) = program::find(name)
            {
                let _gone_already = program::run(&path, arguments, b"");
            }
        }
    }
}

impl Network {
    fn name(self) -> String {
        format!("kiln{}", self.number)
    }

    fn at(self, offset: u16) -> Ipv4Addr {
        let [high, low] = (self.number * 4 + offset).to_be_bytes();
        Ipv4Addr::new(self.range[0], self.range[1], high, low)
    }

    fn cidr(self) -> String {
        format!("{}/30", self.at(0))
    }

    fn interface(self) -> Interface {
        Interface { name: INSIDE.to_owned(), address: self.at(2), prefix: 30, gateway: self.at(1) }
    }

    fn masquerade(self) -> Vec<String> {
        let (addresses, name) = (self.cidr(), self.name());
        ["POSTROUTING", "-s", &addresses, "!", "-o", &name, "-j", "MASQUERADE"].map(str::to_owned).into()
    }
}

/// Makes the pair for a network that is free, and brings its outer end up.
fn claim(pid: Pid) -> io::Result<Network> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let range = RANGES.into_iter().find(|range| !is_used(&routes, *range)).unwrap_or(RANGES[0]);
    let pid = pid.as_raw_nonzero().get();
    let netlink = Netlink::open()?;
    let first = pid as u16 % NETWORKS;
    for number in (first..NETWORKS).chain(0..first) {
        let network = Network { range, number };
        match netlink.veth(&network.name(), INSIDE, pid) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        }
        let name = CString::new(network.name())?;
        netlink.address(&name, network.at(1), 30)?;
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
        sys::interface_up(&name, std::os::fd::AsFd::as_fd(&socket))?;
        return Ok(network);
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn forward(interface: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net/ipv4/conf").join(interface).join("forwarding");
    if fs::read(&path)?.starts_with(b"1") { Ok(()) } else { fs::write(path, "1") }
}

/// Where the host's default route goes, of `/proc/net/route`.
fn default_interface() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let mut fields = routes.lines().skip(1).map(|line| line.split_ascii_whitespace());
    fields.find_map(|mut fields| {
        let (interface, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then(|| interface.to_owned())
    })
}

/// Whether something other than kiln has a route into a range.
fn is_used(routes: &str, range: [u8; 2]) -> bool {
    routes.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let interface = fields.next().unwrap_or_default();
        let destination = fields.next().and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
        let [first, second, ..] = destination.to_ne_bytes();
        !interface.starts_with("kiln") && [first, second] == range
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_do_not_overlap() {
        let network = |number| Network { range: [10, 231], number };
        assert_eq!(network(0).cidr(), "10.231.0.0/30");
        assert_eq!(network(64).at(2), Ipv4Addr::new(10, 231, 1, 2));
        assert_eq!(network(NETWORKS - 1).at(3), Ipv4Addr::new(10, 231, 255, 255));
        assert!(network(NETWORKS - 1).name().len() < 16);
    }

    #[test]
    fn ranges_in_use_are_seen() {
        let routes = "Iface\tDestination\nkiln7\t0000E70A\neth0\t0000590A\n";
        assert!(!is_used(routes, [10, 231]));
        assert!(is_used(routes, [10, 89]));
    }
}
