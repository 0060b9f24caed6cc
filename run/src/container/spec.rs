//! From a container's config to the sandbox's spec.
//!
//! Pure but for the facts of this start that it is given: where the root file system and the volumes
//! are, which process has the network to join, how large the terminal is.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::sandbox::{
    AbstractSockets, Access as BoxAccess, Belonging, CapabilitySet, Command, Dns, Etc, Freezer, HostAddress, Init,
    Limits as BoxLimits, Mount as BoxMount, MountPoints, Network, PidsLimit as BoxPids, Privileges, Rlimit, Rootfs,
    Seccomp as BoxSeccomp, Sharing, Source, Spec, Swap, Terminal, UserNamespace, Visit,
};

use super::attach::frame::Exec;
use super::device::{self, Node};
use super::error::ContainerError;
use super::joined::Joined;
use super::limits::LimitError;
use super::mount::{Access, Mount, MountSource};
use super::namespaces::{IpcMode, NamespaceOptions, PidMode, Space};
use super::options::{Limits, MemorySwap, NetworkMode, PidsLimit, Seccomp};
use super::record::Config;
use super::terminal::Size;

/// What a start adds to the config.
pub(super) struct Facts {
    /// The root file system.
    pub(super) rootfs: Rootfs,
    /// Where volumes are: their parent directory.
    pub(super) volumes: PathBuf,
    /// Processes of the containers whose namespaces are shared.
    pub(super) joined: Joined,
    /// How large the terminal is, if there is one.
    pub(super) size: Size,
}

/// The spec of a container's sandbox.
pub(super) fn spec(config: &Config, facts: Facts) -> Result<Spec, ContainerError> {
    let Facts { rootfs, volumes, joined, size } = facts;
    let argv = config.argv().map(Into::into).collect();
    let mut spec = Spec::new(rootfs, argv);
    spec.capabilities = CapabilitySet::changed(&config.isolation.cap_add, &config.isolation.cap_drop)?;
    if config.isolation.privileged {
        spec = spec.privileged();
    }
    spec.rootfs_access = if config.isolation.read_only { BoxAccess::ReadOnly } else { BoxAccess::ReadWrite };
    spec.command = command(config);
    spec.hostname = config.hostname();
    spec.etc = etc(config);
    spec.mounts = config.mounts.iter().map(|mount| mount_of(mount, &volumes)).collect();
    let devices = device::nodes(&config.devices)?;
    spec.limits.devices = device::rules(&devices);
    spec.mounts.extend(devices.iter().map(Node::mount));
    spec.mount_points = MountPoints::Kept;
    spec.network = network(config, joined.network);
    spec.sharing = sharing(&config.namespaces, joined);
    spec.shm_bytes = match config.namespaces.ipc {
        IpcMode::None => 0,
        _ => config.limits.shm_size_bytes.unwrap_or(spec.shm_bytes),
    };
    spec.domain.clone_from(&config.namespaces.domain);
    spec.sysctls = config.namespaces.sysctls.clone().into_iter().collect();
    spec.user_namespace = users(config, joined);
    if config.isolation.seccomp == Seccomp::Unconfined {
        spec.seccomp = BoxSeccomp::Unconfined;
    }
    spec.no_new_privileges = config.isolation.no_new_privileges;
    spec.rlimits = config
        .limits
        .ulimits
        .iter()
        .map(|limit| Rlimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
        .collect();
    spec.limits = BoxLimits { devices: spec.limits.devices, ..limits(&config.limits)? };
    spec.oom_score = config.limits.oom_score;
    if config.process.terminal {
        spec.terminal = Terminal::Console { rows: size.rows, columns: size.columns };
    }
    spec.init = if config.process.init { Init::Reaper } else { Init::Command };
    Ok(spec)
}

/// A further command in a container's sandbox: what it does not say is the container's.
pub(super) fn visit(config: &Config, exec: &Exec) -> Visit {
    let options = &exec.options;
    let mut own = command(config);
    own.argv = options.argv.iter().map(Into::into).collect();
    own.env = environment(config, &options.environment, options.terminal);
    if let Some(directory) = &options.working_directory {
        own.cwd = directory.into();
    }
    if let Some(user) = &options.user {
        own.user.clone_from(user);
    }
    let size = exec.size.unwrap_or(Size { rows: 24, columns: 80 });
    let terminal = match options.terminal {
        true => Terminal::Console { rows: size.rows, columns: size.columns },
        false => Terminal::Pipes,
    };
    let privileges = if options.privileged { Privileges::All } else { Privileges::OfTheBox };
    Visit { command: own, terminal, privileges }
}

/// The container's variables with those that override them; the last one of a name counts.
fn environment(config: &Config, over: &[String], has_terminal: bool) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in config.process.environment.iter().chain(over).filter_map(|text| text.split_once('=')) {
        env.retain(|(other, _)| *other != *name);
        env.push((name.into(), value.into()));
    }
    let mut default = |name: &str, value: String| {
        if env.iter().all(|(other, _)| *other != *name) {
            env.push((name.into(), value.into()));
        }
    };
    default("HOSTNAME", config.hostname());
    if has_terminal {
        default("TERM", "xterm".to_owned());
    }
    env
}

fn command(config: &Config) -> Command {
    let process = &config.process;
    Command {
        argv: config.argv().map(Into::into).collect(),
        env: environment(config, &[], process.terminal),
        cwd: process.working_directory.clone().into(),
        user: process.user.clone(),
        additional_groups: process.groups.clone(),
    }
}

fn etc(config: &Config) -> Etc {
    let network = &config.network;
    let dns = Dns {
        servers: network.dns_servers.clone(),
        search: network.dns_search.clone(),
        options: network.dns_options.clone(),
    };
    let hosts = network.extra_hosts.iter().map(|(name, address)| (name.clone(), HostAddress::At(*address))).collect();
    Etc::Generated { access: BoxAccess::ReadWrite, hosts, dns, kept: Vec::new() }
}

fn mount_of(mount: &Mount, volumes: &std::path::Path) -> BoxMount {
    let source = match &mount.source {
        MountSource::Bind(path) => Source::Path { path: path.clone() },
        MountSource::Volume { name, .. } => Source::Path { path: volumes.join(name).join("_data") },
        MountSource::Tmpfs(options) => {
            Source::Tmpfs { size_bytes: options.size_bytes, mode: options.mode, executables: options.executable }
        }
    };
    let access = match mount.access {
        Access::ReadOnly => BoxAccess::ReadOnly,
        Access::ReadWrite => BoxAccess::ReadWrite,
    };
    BoxMount { target: mount.target.clone().into(), source, access }
}

fn network(config: &Config, joined: Option<i32>) -> Network {
    match (&config.network.mode, joined) {
        (NetworkMode::Container(_), Some(pid)) => Network::Join { pid },
        // Without its process there is nothing to join; the caller has said so before.
        (NetworkMode::None | NetworkMode::Container(_), _) => Network::None,
        (NetworkMode::Private, _) => Network::Private,
        (NetworkMode::Host, _) => Network::Host { abstract_sockets: AbstractSockets::Reachable },
    }
}

fn sharing(namespaces: &NamespaceOptions, joined: Joined) -> Sharing {
    let of = |pid: Option<i32>| pid.map_or(Belonging::Own, |pid| Belonging::Of { pid });
    let space = |space| if space == Space::Host { Belonging::Host } else { Belonging::Own };
    Sharing {
        ipc: if namespaces.ipc == IpcMode::Host { Belonging::Host } else { of(joined.ipc) },
        processes: if namespaces.pid == PidMode::Host { Belonging::Host } else { of(joined.processes) },
        names: space(namespaces.uts),
        cgroups: space(namespaces.cgroup),
    }
}

/// Those of the container whose namespaces are shared; the host's where asked for, or where what else is
/// the host's would be of no use without.
fn users(config: &Config, joined: Joined) -> UserNamespace {
    let is_host = config.isolation.host_users
        || config.isolation.privileged
        || config.network.mode == NetworkMode::Host
        || config.namespaces.need_host_users();
    let own = if is_host { UserNamespace::Host } else { UserNamespace::Mapped };
    joined.users().unwrap_or(own)
}

/// What a container may use up, as the sandbox takes it.
pub(super) fn limits(limits: &Limits) -> Result<BoxLimits, LimitError> {
    let mut own = BoxLimits {
        memory_bytes: limits.memory_bytes,
        swap: match limits.memory_swap {
            Some(MemorySwap::TotalBytes(bytes)) => Swap::Total(bytes),
            Some(MemorySwap::Unlimited) => Swap::Unlimited,
            None => Swap::AsMemory,
        },
        milli_cpus: limits.milli_cpus,
        cpu_shares: limits.cpu_shares,
        cpuset: limits.cpuset_cpus.clone(),
        memory_reservation_bytes: limits.memory_reservation_bytes,
        cpu_period_us: limits.cpu_period_micros,
        cpu_quota_us: limits.cpu_quota_micros,
        cpuset_mems: limits.cpuset_mems.clone(),
        pids: match limits.pids {
            PidsLimit::Default => BoxPids::Default,
            PidsLimit::Max(count) => BoxPids::Max(count),
            PidsLimit::Unlimited => BoxPids::Unlimited,
        },
        freezer: Freezer::Wanted,
        parent: limits.cgroup_parent.as_ref().map(|parent| parent.as_str().to_owned()),
        ..BoxLimits::default()
    };
    limits.fine.add_to(&mut own)?;
    Ok(own)
}
