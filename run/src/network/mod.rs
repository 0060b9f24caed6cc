//! A box's own network: interfaces up, a way out, and the files that describe it.

mod files;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::identity::Standing;
use crate::sys;

pub(crate) use files::files;

/// Why a box has no way out.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// No means that is installed and permitted.
    #[error("neither NAT nor slirp4netns nor pasta is to be had")]
    Nothing,
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
    interface: Option<Interface>,
    name_servers: Vec<IpAddr>,
}

impl Egress {
    /// Makes a way out of the network namespace of `pid`, by the best means there is.
    pub fn attach(_pid: Pid, _standing: Standing) -> Result<Self, EgressError> {
        Err(EgressError::Nothing)
    }

    /// What is to be configured inside, if the means leaves that to the box.
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// Addresses of the box, by interface.
    pub fn addresses(&self) -> BTreeMap<String, IpAddr> {
        self.interface.iter().map(|interface| (interface.name.clone(), interface.address.into())).collect()
    }

    /// Name servers that can be reached through it, if they are not the host's.
    pub fn name_servers(&self) -> &[IpAddr] {
        &self.name_servers
    }
}

/// Brings up the loopback interface, and `interface` if the box has one, in the caller's namespace.
pub(crate) fn up(_interface: Option<&Interface>) -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    sys::interface_up(c"lo", std::os::fd::AsFd::as_fd(&socket))
}
