//! The flags of `kiln run` that say which namespaces the container shares.

use run::container::namespaces::{IpcMode, NamespaceOptions, PidMode, Space, parse_sysctl};

/// What is shared with the host or another container, beside network and users.
#[derive(Debug, clap::Args)]
pub(super) struct NamespaceArgs {
    /// Queues and shared memory: private, shareable, none, host, container:NAME
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    ipc: IpcMode,
    /// Processes: host, container:NAME
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pid: PidMode,
    /// `host` for the host's name
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    uts: Space,
    /// What paths of cgroups begin at: private, host
    #[arg(long, value_name = "MODE", default_value = "private", hide_default_value = true)]
    cgroupns: Space,
    /// The domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Set a kernel parameter of the container's own namespaces
    #[arg(long = "sysctl", value_name = "NAME=VALUE", value_parser = parse_sysctl)]
    sysctls: Vec<(String, String)>,
}

impl NamespaceArgs {
    /// The containers that are named.
    pub(super) fn joined(&self) -> impl Iterator<Item = &str> {
        let ipc = if let IpcMode::Container(name) = &self.ipc { Some(name.as_str()) } else { None };
        let pid = if let PidMode::Container(name) = &self.pid { Some(name.as_str()) } else { None };
        ipc.into_iter().chain(pid)
    }

    /// What they ask for.
    pub(super) fn options(&self) -> NamespaceOptions {
        NamespaceOptions {
            ipc: self.ipc.clone(),
            pid: self.pid.clone(),
            uts: self.uts,
            cgroup: self.cgroupns,
            domain: self.domainname.clone().filter(|name| !name.is_empty()),
            sysctls: self.sysctls.iter().cloned().collect(),
        }
    }
}
