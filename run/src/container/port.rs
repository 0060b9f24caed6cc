//! Ports of containers and where the host shows them: the words of `-p` and `EXPOSE`.
//!
//! `[IP:][HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]`, IPv6 addresses in brackets (Docker reference,
//! `docker run --publish`). A range becomes one [`PortMapping`] a port. This is text only; sockets
//! are in [`super::forward`].

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text publishes no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// No port number between 1 and 65535, or a range that runs backwards.
    #[error("invalid port {0:?}: a number from 1 to 65535 or a range of such")]
    Number(String),
    /// The address before the ports is none.
    #[error("invalid address {0:?} to publish a port on")]
    Address(String),
    /// Neither TCP nor UDP.
    #[error("publishing {0} ports is not supported: tcp and udp are")]
    Protocol(String),
    /// Ranges of different lengths.
    #[error("the port ranges {host} and {container} differ in length")]
    Lengths {
        /// The range of the host.
        host: String,
        /// The range of the container.
        container: String,
    },
}

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port inside the container, printed as `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContainerPort {
    /// The number, never 0.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
}

/// Which port of the host shall be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPort {
    /// Whichever is free.
    Any,
    /// This one or none.
    Exactly(u16),
    /// The first that is free of these.
    OneOf(RangeInclusive<u16>),
}

/// A wish to publish one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address to listen on; `None` is every address, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// The port to listen on.
    pub host_port: HostPort,
    /// Where what arrives goes to.
    pub container: ContainerPort,
}

/// A port that is published: the address is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Where what arrives goes to.
    pub container: ContainerPort,
    /// The address that is listened on.
    pub host_ip: IpAddr,
    /// The port that is listened on.
    pub host_port: u16,
}

impl PortMapping {
    /// Reads the value of one `-p`.
    pub fn parse(text: &str) -> Result<Vec<Self>, PortError> {
        let (address, protocol) = split_protocol(text)?;
        let (host_ip, ports) = split_address(address)?;
        let (host, container) = match ports.rsplit_once(':') {
            Some((host, container)) => (host, container),
            None => ("", ports),
        };
        let containers = parse_range(container)?;
        let hosts = match host {
            "" | "0" => vec![HostPort::Any; containers.len()],
            range => host_ports(parse_range(range)?, &containers)
                .ok_or_else(|| PortError::Lengths { host: host.to_owned(), container: container.to_owned() })?,
        };
        let mapping = |(number, host_port)| Self { host_ip, host_port, container: ContainerPort { number, protocol } };
        Ok(containers.zip(hosts).map(mapping).collect())
    }

    /// Publishes a port on whichever port of the host is free, as `-P` does.
    pub fn anywhere(container: ContainerPort) -> Self {
        Self { host_ip: None, host_port: HostPort::Any, container }
    }
}

impl ContainerPort {
    /// Reads `80`, `80/udp` or `80-90/tcp`: one port, or several that follow each other.
    pub fn parse_range(text: &str) -> Result<Vec<Self>, PortError> {
        let (numbers, protocol) = split_protocol(text)?;
        Ok(parse_range(numbers)?.map(|number| Self { number, protocol }).collect())
    }
}

impl FromStr for ContainerPort {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, protocol) = split_protocol(text)?;
        Ok(Self { number: parse_number(number)?, protocol })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// As `docker ps` shows it: `0.0.0.0:4000->80/tcp`.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}->{}", self.host_port, self.container),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}->{}", self.host_port, self.container),
        }
    }
}

impl From<ContainerPort> for String {
    fn from(port: ContainerPort) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for ContainerPort {
    type Error = PortError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), PortError> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((ports, Protocol::Tcp)),
        "udp" => Ok((ports, Protocol::Udp)),
        _ => Err(PortError::Protocol(protocol.to_owned())),
    }
}

fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), PortError> {
    let split = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None if text.matches(':').count() >= 2 => text.split_once(':'),
        None => return Ok((None, text)),
    };
    let (address, ports) = split.ok_or_else(|| PortError::Address(text.to_owned()))?;
    if address.is_empty() {
        return Ok((None, ports));
    }
    let ip = address.parse().map_err(|_| PortError::Address(address.to_owned()))?;
    Ok((Some(ip), ports))
}

/// Pairs host ports with container ports: one each, or a range of choices for a single port.
fn host_ports(hosts: RangeInclusive<u16>, containers: &RangeInclusive<u16>) -> Option<Vec<HostPort>> {
    match (hosts.len(), containers.len()) {
        (host, container) if host == container => Some(hosts.map(HostPort::Exactly).collect()),
        (_, 1) => Some(vec![HostPort::OneOf(hosts)]),
        _ => None,
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, PortError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = parse_number(first)?..=parse_number(last)?;
    if range.is_empty() { Err(PortError::Number(text.to_owned())) } else { Ok(range) }
}

fn parse_number(text: &str) -> Result<u16, PortError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().unwrap_or(0) } else { 0 };
    if number == 0 { Err(PortError::Number(text.to_owned())) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        let one = |mapping: PortMapping| {
            let ip = mapping.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            let host = match mapping.host_port {
                HostPort::Any => "any".to_owned(),
                HostPort::Exactly(port) => port.to_string(),
                HostPort::OneOf(ports) => format!("{}..{}", ports.start(), ports.end()),
            };
            format!("{ip} {host} {}", mapping.container)
        };
        match PortMapping::parse(text) {
            Ok(mappings) => mappings.into_iter().map(one).collect::<Vec<_>>().join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn publishing_as_docker_writes_it() {
        for (text, expected) in [
            ("80", "* any 80/tcp"),
            ("4000:80", "* 4000 80/tcp"),
            ("0:80", "* any 80/tcp"),
            (":80", "* any 80/tcp"),
            ("4000:80/udp", "* 4000 80/udp"),
            ("53:53/UDP", "* 53 53/udp"),
            ("127.0.0.1:4000:80", "127.0.0.1 4000 80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 any 80/tcp"),
            ("[::1]:4000:80", "::1 4000 80/tcp"),
            ("[::1]::80", "::1 any 80/tcp"),
            ("4000-4001:80-81", "* 4000 80/tcp, * 4001 81/tcp"),
            ("80-81", "* any 80/tcp, * any 81/tcp"),
            ("4000-4009:80", "* 4000..4009 80/tcp"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn what_publishes_nothing_says_why() {
        for text in [
            "",
            "0",
            "65536",
            "x",
            "-1",
            "80:",
            "81-80",
            "+80:80",
            "4000:80-81",
            "1.2.3:4:5",
            "[::1:80",
            "80/sctp",
            "80/",
        ] {
            assert!(PortMapping::parse(text).is_err(), "{text}: {}", show(text));
        }
        assert_eq!(show("1-3:1-2"), "the port ranges 1-3 and 1-2 differ in length");
        assert_eq!(show("80/sctp"), "publishing sctp ports is not supported: tcp and udp are");
    }
}
