//! The host's side of published ports: sockets bound before the container starts.
//!
//! "Every address" is two sockets, `0.0.0.0` and `::` (the latter for IPv6 only), on the same port. A
//! host without IPv6 gets the first alone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::container::port::{ContainerPort, HostPort, PortMapping, Protocol, PublishedPort};

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("cannot publish {container} on {address}: the port is already allocated")]
    Taken {
        /// What was to be published.
        container: ContainerPort,
        /// Where it was to be published.
        address: SocketAddr,
    },
    /// A port below 1024, and no right to it.
    #[error("cannot publish {container} on {address}: ports below net.ipv4.ip_unprivileged_port_start need root")]
    Privileged {
        /// What was to be published.
        container: ContainerPort,
        /// Where it was to be published.
        address: SocketAddr,
    },
    /// All ports of the range are taken.
    #[error("cannot publish {container}: no port of the range {first}-{last} is free")]
    RangeTaken {
        /// What was to be published.
        container: ContainerPort,
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
    /// The kernel refuses otherwise.
    #[error("cannot publish {container} on {address}")]
    Socket {
        /// What was to be published.
        container: ContainerPort,
        /// Where it was to be published.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A published port with its socket in the host's network namespace.
#[derive(Debug)]
pub struct Bound {
    /// What is published where.
    pub published: PublishedPort,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Binds all ports or none.
///
/// # Errors
/// The first that cannot be had.
pub fn bind(mappings: &[PortMapping]) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for mapping in mappings {
        bound.extend(bind_mapping(mapping)?);
    }
    Ok(bound)
}

fn bind_mapping(mapping: &PortMapping) -> Result<Vec<Bound>, BindError> {
    match &mapping.host_port {
        HostPort::Exactly(port) => bind_port(mapping, *port),
        HostPort::Any => bind_any(mapping),
        HostPort::OneOf(ports) => {
            for port in ports.clone() {
                match bind_port(mapping, port) {
                    Err(BindError::Taken { .. }) => {}
                    other => return other,
                }
            }
            let (first, last) = (*ports.start(), *ports.end());
            Err(BindError::RangeTaken { container: mapping.container, first, last })
        }
    }
}

/// The kernel chooses a port for one family; the other family may have it taken, then it chooses again.
fn bind_any(mapping: &PortMapping) -> Result<Vec<Bound>, BindError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bind_port(mapping, 0) {
            Err(BindError::Taken { .. }) if attempts < 32 => {}
            other => return other,
        }
    }
}

fn bind_port(mapping: &PortMapping, port: u16) -> Result<Vec<Bound>, BindError> {
    let container = mapping.container;
    if let Some(ip) = mapping.host_ip {
        return Ok(vec![bind_address(container, SocketAddr::new(ip, port))?]);
    }
    let first = bind_address(container, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
    let second = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), first.published.host_port);
    match bind_address(container, second) {
        Ok(second) => Ok(vec![first, second]),
        Err(BindError::Socket { source, .. }) if no_ipv6(&source) => Ok(vec![first]),
        Err(error) => Err(error),
    }
}

fn bind_address(container: ContainerPort, address: SocketAddr) -> Result<Bound, BindError> {
    let bound = match container.protocol {
        Protocol::Tcp => listen(address).and_then(|socket| Ok((socket.local_addr()?.port(), Socket::Tcp(socket)))),
        Protocol::Udp => receive(address).and_then(|socket| Ok((socket.local_addr()?.port(), Socket::Udp(socket)))),
    };
    let (host_port, socket) = bound.map_err(|source| match Errno::from_io_error(&source) {
        Some(Errno::ADDRINUSE) => BindError::Taken { container, address },
        Some(Errno::ACCESS) => BindError::Privileged { container, address },
        _ => BindError::Socket { container, address, source },
    })?;
    Ok(Bound { published: PublishedPort { container, host_ip: address.ip(), host_port }, socket })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 4096)?;
    Ok(socket.into())
}

fn receive(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(address, SocketType::DGRAM)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

pub(super) fn new_socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}
