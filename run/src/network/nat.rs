//! A way out by a pair of interfaces and address translation: root's, and the fastest.
//!
//! Every box has a network of four addresses and a pair of interfaces of its own; the interface's name
//! is the claim to the network, and the kernel lets only one have it. The rule is in a table of the box's
//! own (nftables), which the kernel removes even if kiln is killed; where there is no nftables, and for
//! Docker's chain, iptables's rules are removed one by one, and a kiln that is killed leaves them.
//! Forwarding is switched on where it is off, for the two interfaces concerned only: the box's and that
//! of the host's default route. The latter's stays on, as nobody can tell who else has come to rely on it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use rustix::process::Pid;

use super::netlink::Netlink;
use super::nftables::{Masquerade, Table};
use super::{EgressError, Interface, program};
use crate::sys;

/// Networks to take four addresses from, the first that the host has no other use for.
const RANGES: [[u8; 2]; 4] = [[10, 231], [10, 89], [172, 29], [192, 168]];

/// The prefix of a network of four addresses.
const PREFIX: u8 = 30;

/// How many networks of four addresses a range has.
const NETWORKS: u16 = 1 << 14;

/// Name of the interface inside, as Docker's.
const INSIDE: &str = "eth0";

/// Interfaces and rules, removed when dropped. (The pair goes with the box's network namespace.)
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) interface: Interface,
    table: Option<Table>,
    rules: Vec<Rule>,
}

/// A rule of iptables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    table: &'static str,
    chain: &'static str,
    matches: Vec<String>,
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
        let out = default_interface().ok_or(EgressError::NoDefaultRoute)?;
        let network = claim(pid).map_err(EgressError::Interface)?;
        let nat = Self { interface: network.interface(), table: None, rules: Vec::new() };
        let connected = nat.connect(network, &out);
        if connected.is_err() {
            // The next means must not find the pair in its way.
            let _gone_with_the_box = Netlink::open().and_then(|netlink| netlink.remove(&network.name()));
        }
        connected
    }

    fn connect(mut self, network: Network, out: &str) -> Result<Self, EgressError> {
        forward(&network.name()).and_then(|()| forward(out)).map_err(EgressError::Forwarding)?;
        let iptables = program::find("iptables");
        let masquerade = Masquerade { interface: &network.name(), network: network.at(0), prefix: PREFIX };
        match (Table::masquerade(masquerade), &iptables) {
            (Ok(table), _) => self.table = Some(table),
            (Err(_), Some(iptables)) => self.add(iptables, network.masquerade())?,
            (Err(refused), None) => return Err(EgressError::Nftables(refused)),
        }
        if let Some(iptables) = iptables.filter(|_| Path::new("/sys/class/net/docker0").exists()) {
            for rule in network.past_docker() {
                self.add(&iptables, rule)?;
            }
        }
        Ok(self)
    }

    fn add(&mut self, iptables: &Path, rule: Rule) -> Result<(), EgressError> {
        program::run(iptables, rule.arguments("-I"))?;
        self.rules.push(rule);
        Ok(())
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        let Some(iptables) = program::find("iptables") else { return };
        for rule in self.rules.drain(..).rev() {
            let _gone_already = program::run(&iptables, rule.arguments("-D"));
        }
    }
}

impl Rule {
    /// Of an `iptables` that waits for others of its kind.
    fn arguments(&self, action: &str) -> Vec<String> {
        let what = ["-w", "-t", self.table, action, self.chain].map(str::to_owned);
        what.into_iter().chain(self.matches.iter().cloned()).collect()
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
        format!("{}/{PREFIX}", self.at(0))
    }

    fn interface(self) -> Interface {
        Interface { name: INSIDE.to_owned(), address: self.at(2), prefix: PREFIX, gateway: self.at(1) }
    }

    /// The rule of nftables for iptables.
    fn masquerade(self) -> Rule {
        let matches = ["-s", &self.cidr(), "!", "-o", &self.name(), "-j", "MASQUERADE"].map(str::to_owned);
        Rule { table: "nat", chain: "POSTROUTING", matches: matches.into() }
    }

    /// Docker drops what it does not forward itself; its administrators' chain comes first.
    fn past_docker(self) -> [Rule; 2] {
        ["-i", "-o"].map(|direction| Rule {
            table: "filter",
            chain: "DOCKER-USER",
            matches: [direction, &self.name(), "-j", "ACCEPT"].map(str::to_owned).into(),
        })
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
        netlink.address(&name, network.at(1), PREFIX)?;
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
