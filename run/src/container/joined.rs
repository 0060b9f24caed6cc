//! Other containers whose namespaces a container shares.
//!
//! When it is made they have to be there, and are written down by their ids; when it starts they have to run.
//! They are looked up anew at every start, as they may have been started again meanwhile.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use store::Store;

use super::container::Container;
use super::directory;
use super::error::ContainerError;
use super::namespaces::{IpcMode, NamespaceOptions, PidMode};
use super::options::{CreateOptions, NetworkMode, NetworkOptions};
use super::record::Config;
use super::resolve;
use crate::sandbox::UserNamespace;

/// Processes of the containers whose namespaces are shared, as they run now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) network: Option<i32>,
    pub(super) ipc: Option<i32>,
    pub(super) processes: Option<i32>,
}

impl Joined {
    /// Finds them.
    ///
    /// # Errors
    /// If one does not run.
    pub(super) fn find(store: &Store, config: &Config) -> Result<Self, ContainerError> {
        let pid = |name: Option<&str>| name.map(|name| Container::find(store, name)?.pid()).transpose();
        let [network, ipc, processes] = names(&config.network, &config.namespaces);
        Ok(Self { network: pid(network)?, ipc: pid(ipc)?, processes: pid(processes)? })
    }

    /// Whose users those are, if there are any: a container that joins another is in its user namespace.
    pub(super) fn users(&self) -> Option<UserNamespace> {
        let pid = [self.network, self.ipc, self.processes].into_iter().flatten().next()?;
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
        let is_host = of(&pid.to_string()) == of("self");
        Some(if is_host { UserNamespace::Host } else { UserNamespace::Mapped })
    }
}

/// The user namespace of the kiln that runs one of these containers. An ordinary user's kilns have one each, and
/// what one has made can be entered from there alone. The store is not opened: that takes a namespace already.
pub fn home_of(root: &Path, containers: &[&str]) -> Option<OwnedFd> {
    containers.iter().find_map(|name| {
        let monitor = directory::find_in(root, name)?.connect().ok()??;
        let pid = rustix::net::sockopt::socket_peercred(&monitor).ok()?.pid;
        let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
        let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        // It still listens, so the number was its own.
        is_open(&monitor).then_some(namespace)
    })
}

/// The same for those that these containers join.
pub fn home_of_joined(root: &Path, containers: &[String]) -> Option<OwnedFd> {
    containers.iter().find_map(|name| {
        let config = directory::find_in(root, name)?.config().ok()??;
        let joined: Vec<&str> = names(&config.network, &config.namespaces).into_iter().flatten().collect();
        home_of(root, &joined)
    })
}

fn is_open(socket: &UnixStream) -> bool {
    let mut descriptors = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut descriptors, Some(&now)).is_ok_and(|ready| ready == 0)
}

/// The other containers of a new one, by their ids, checked for whether they can be joined at all.
pub(super) fn by_id(
    store: &Store,
    options: &CreateOptions,
) -> Result<(NetworkOptions, NamespaceOptions), ContainerError> {
    let (mut network, mut namespaces) = (options.network.clone(), options.namespaces.clone());
    let mut hostname = None;
    if let NetworkMode::Container(name) = &mut network.mode {
        let other = Container::find(store, name)?;
        *name = other.id().to_string();
        hostname = Some(other.config().hostname());
    }
    if let PidMode::Container(name) = &mut namespaces.pid {
        *name = Container::find(store, name)?.id().to_string();
    }
    if let IpcMode::Container(name) = &mut namespaces.ipc {
        let other = Container::find(store, name)?;
        match other.config().namespaces.ipc {
            IpcMode::Shareable | IpcMode::Host => {}
            _ => return Err(ContainerError::NotShareable(other.name().clone())),
        }
        *name = other.id().to_string();
    }
    resolve::refuse_conflicts(options)?;
    network.hostname = hostname.or(network.hostname);
    Ok((network, namespaces))
}

/// The containers that are joined for network, memory and processes.
pub(super) fn names<'a>(network: &'a NetworkOptions, namespaces: &'a NamespaceOptions) -> [Option<&'a str>; 3] {
    let network = if let NetworkMode::Container(name) = &network.mode { Some(name.as_str()) } else { None };
    let ipc = if let IpcMode::Container(name) = &namespaces.ipc { Some(name.as_str()) } else { None };
    let processes = if let PidMode::Container(name) = &namespaces.pid { Some(name.as_str()) } else { None };
    [network, ipc, processes]
}
