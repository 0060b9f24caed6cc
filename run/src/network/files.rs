//! `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname` of a box.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::Egress;
use crate::sandbox::{Dns, Etc, EtcFile, HostAddress, Network, Spec};

/// What the host's resolver reads, best first: a stub on the host's loopback is of no use elsewhere, and
/// systemd keeps the real servers beside it.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// Docker's choice where the host has no server that can be reached from elsewhere.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The files to mount and what they say; none if the image's own are to stay.
pub(crate) fn files(spec: &Spec, egress: Option<&Egress>) -> Vec<(PathBuf, Vec<u8>)> {
    let Etc::Generated { hosts, dns, kept, .. } = &spec.etc else { return Vec::new() };
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let shares_host = matches!(spec.network, Network::Host { .. });
    let reach = if shares_host { Reach::Loopback } else { Reach::Elsewhere };
    let resolv_conf = resolv_conf(&read(HOST_RESOLV_CONF), || read(SYSTEMD_RESOLV_CONF), reach, dns, egress);
    let own = egress.and_then(Egress::address);
    let host = egress.and_then(Egress::host).unwrap_or(Ipv4Addr::LOCALHOST.into());
    let added: Vec<_> = hosts.iter().map(|(name, address)| (name.clone(), address.seen_from_box(host))).collect();
    let all = [
        (EtcFile::ResolvConf, resolv_conf),
        (EtcFile::Hosts, hosts_file(&names(spec), own, &added)),
        (EtcFile::Hostname, format!("{}\n", spec.hostname)),
    ];
    let generated = all.into_iter().filter(|(file, _)| !kept.contains(file));
    generated.map(|(file, text)| (file.path().into(), text.into_bytes())).collect()
}

impl HostAddress {
    fn seen_from_box(self, host: IpAddr) -> IpAddr {
        match self {
            Self::At(address) => address,
            Self::Host => host,
        }
    }
}

/// The host name, before it the whole name if there is a domain.
fn names(spec: &Spec) -> String {
    match &spec.domain {
        Some(domain) => format!("{0}.{domain} {0}", spec.hostname),
        None => spec.hostname.clone(),
    }
}

/// Whether servers on the host's loopback can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Loopback,
    Elsewhere,
}

/// What one `resolv.conf` says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.servers.extend(words.next()),
                // Of several such lines the last counts (resolv.conf(5)).
                Some("search" | "domain") => resolver.search = words.collect(),
                Some("options") => resolver.options.extend(words),
                _ => {}
            }
        }
        resolver
    }

    fn without_loopback(mut self) -> Self {
        self.servers.retain(|server| !is_loopback(server));
        self
    }
}

fn resolv_conf(
    host: &str,
    behind_stub: impl FnOnce() -> String,
    reach: Reach,
    dns: &Dns,
    egress: Option<&Egress>,
) -> String {
    let mut resolver = Resolver::parse(host);
    if reach == Reach::Elsewhere {
        if resolver.servers.iter().all(|server| server == "127.0.0.53") {
            let real = Resolver::parse(&behind_stub());
            resolver = if real.servers.is_empty() { resolver } else { real };
        }
        resolver = resolver.without_loopback();
        let given = egress.map(Egress::name_servers).unwrap_or_default();
        if !given.is_empty() {
            resolver.servers = given.iter().map(ToString::to_string).collect();
        }
        if resolver.servers.is_empty() {
            resolver.servers = FALLBACK_SERVERS.map(str::to_owned).into();
        }
    } else if dns == &Dns::default() {
        // With the host's network the host's file holds as it is, comments and all.
        return host.to_owned();
    }
    override_with(dns, &mut resolver);
    resolver.to_string()
}

fn override_with(dns: &Dns, resolver: &mut Resolver) {
    if !dns.servers.is_empty() {
        resolver.servers = dns.servers.iter().map(ToString::to_string).collect();
    }
    if !dns.search.is_empty() {
        resolver.search = if dns.search == ["."] { Vec::new() } else { dns.search.clone() };
    }
    if !dns.options.is_empty() {
        resolver.options.clone_from(&dns.options);
    }
}

impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        self.servers.iter().try_for_each(|server| writeln!(f, "nameserver {server}"))?;
        if self.options.is_empty() { Ok(()) } else { writeln!(f, "options {}", self.options.join(" ")) }
    }
}

fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or(server);
    address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn hosts_file(hostname: &str, own: Option<IpAddr>, added: &[(String, IpAddr)]) -> String {
    let local = if own.is_none() { format!("localhost {hostname}") } else { "localhost".to_owned() };
    let mut text = format!("127.0.0.1\t{local}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    for (name, address) in added {
        let _infallible = writeln!(text, "{address}\t{name}");
    }
    if let Some(own) = own {
        let _infallible = writeln!(text, "{own}\t{hostname}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolv(host: &str, behind: &str, reach: Reach, dns: &Dns) -> String {
        resolv_conf(host, || behind.to_owned(), reach, dns, None)
    }

    #[test]
    fn the_host_s_network_has_the_host_s_file() {
        let host = "# made by hand\nnameserver 127.0.0.53\n";
        assert_eq!(resolv(host, "", Reach::Loopback, &Dns::default()), host);
    }

    #[test]
    fn servers_elsewhere_are_reachable_ones() {
        let rows = [
            ("nameserver 10.0.0.1\nsearch a b\n", "", "search a b\nnameserver 10.0.0.1\n"),
            ("nameserver 127.0.0.53\noptions edns0\n", "nameserver 10.0.0.2\n", "nameserver 10.0.0.2\n"),
            ("nameserver 127.0.0.1\nnameserver 10.0.0.3\n", "", "nameserver 10.0.0.3\n"),
            ("nameserver ::1\n", "", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
            ("", "", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        ];
        for (host, behind, expected) in rows {
            assert_eq!(resolv(host, behind, Reach::Elsewhere, &Dns::default()), expected, "{host:?}");
        }
    }

    #[test]
    fn flags_override() {
        let dns = Dns {
            servers: vec!["1.1.1.1".parse().expect("an address")],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        let expected = "nameserver 1.1.1.1\noptions ndots:2\n";
        for reach in [Reach::Loopback, Reach::Elsewhere] {
            assert_eq!(resolv("nameserver 10.0.0.1\nsearch a\n", "", reach, &dns), expected);
        }
    }

    #[test]
    fn hosts_name_the_box() {
        let added = [("db".to_owned(), "10.1.1.1".parse().expect("an address"))];
        assert!(hosts_file("web", None, &[]).starts_with("127.0.0.1\tlocalhost web\n"));
        let text = hosts_file("web", Some("10.0.0.2".parse().expect("an address")), &added);
        assert!(text.ends_with("10.1.1.1\tdb\n10.0.0.2\tweb\n"), "{text}");
    }
}
