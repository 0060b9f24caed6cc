//! The flags of `kiln build` that are about its RUN steps.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use builder::graph::{Access, Limits, Network, Privileges, Volume};
use builder::request::{BuildRequest, Entitlement, SshSource};
use run::container::limits::CgroupParent;
use run::container::mount::{self, MountRequest};
use run::container::options::Ulimit;
use run::sandbox::{CapabilitySet, Dns, EtcFile, HostAddress, Seccomp, Swap};
use store::RelPath;

use super::sandbox::{BoxArgs, NameServer};
use crate::command::swap;
use crate::format::units::{parse_host, parse_size, parse_ulimit};
use crate::report::{Failure, UsageError};

/// What RUN steps see, may do and may use up.
#[derive(Debug, clap::Args)]
pub(super) struct StepArgs {
    /// An SSH agent for RUN --mount=type=ssh: `default`, or `NAME[=SOCKET|KEY[,KEY]]`
    #[arg(long, value_name = "SPEC")]
    ssh: Vec<String>,
    /// The network of RUN steps: default, none, host
    #[arg(long, value_name = "MODE", default_value = "default")]
    network: String,
    /// Allow steps what they ask for: network.host, security.insecure
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// A line for /etc/hosts of RUN steps; `host-gateway` stands for this machine
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = parse_host_or_gateway)]
    add_hosts: Vec<(String, HostAddress)>,
    /// A name server of RUN steps; `none` leaves them the image's /etc/resolv.conf
    #[arg(long, value_name = "IP")]
    dns: Vec<NameServer>,
    /// A search domain of RUN steps
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// A resolver option of RUN steps
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// A directory or file of this machine that RUN steps see and that is not in the image
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET")]
    volumes: Vec<String>,
    #[command(flatten)]
    sandbox: BoxArgs,
    #[command(flatten, next_help_heading = "What RUN steps may do and use up")]
    privileges: PrivilegeArgs,
    #[command(flatten, next_help_heading = "What RUN steps may do and use up")]
    limits: LimitArgs,
}

#[derive(Debug, clap::Args)]
struct LimitArgs {
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shm_size: Option<u64>,
    /// Limit of a process in RUN steps: `nofile=1024:2048`
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = parse_ulimit)]
    ulimits: Vec<Ulimit>,
    /// Memory limit of a RUN step
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit of memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Weight against others
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<String>,
    /// Length of a period of processor time, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<String>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<String>,
    /// Processors that may be used, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// The cgroup in which RUN steps have theirs, from the top
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<CgroupParent>,
    /// The same limits in one: `memory=512m,cpu-quota=50000`
    #[arg(long = "resource", value_name = "NAME=VALUE,...")]
    resources: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct PrivilegeArgs {
    /// Grant RUN steps a capability
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Take a capability from RUN steps
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined
    #[arg(long = "security-opt", value_name = "OPTION")]
    security: Vec<String>,
    /// A further group of RUN steps' user
    #[arg(long = "group-add", value_name = "GROUP")]
    groups: Vec<String>,
}

impl StepArgs {
    /// Puts into a request what the flags ask for.
    pub(super) fn fill(&self, request: &mut BuildRequest) -> Result<(), Failure> {
        request.ssh = self.ssh.iter().map(|text| ssh(text)).collect::<Result<_, _>>()?;
        request.network = match self.network.as_str() {
            "default" => Network::default(),
            "none" => Network::None,
            "host" => Network::Host,
            other => return Err(UsageError::Unsupported(format!("--network {other}")).into()),
        };
        request.entitlements = self.allow.iter().map(|name| entitlement(name)).collect::<Result<_, _>>()?;
        request.hosts = self.add_hosts.clone();
        self.resolver(request)?;
        request.volumes = self.volumes.iter().map(|text| volume(text)).collect::<Result<_, _>>()?;
        request.limits = self.limits.limits()?;
        request.privileges = self.privileges.privileges()?;
        self.sandbox.fill(request)
    }

    fn resolver(&self, request: &mut BuildRequest) -> Result<(), Failure> {
        if self.dns.contains(&NameServer::OfImage) {
            if self.dns.len() > 1 || !self.dns_search.is_empty() || !self.dns_option.is_empty() {
                return Err(UsageError::wrong("--dns=none leaves the image's file: it takes no other --dns flag"));
            }
            request.kept_files.push(EtcFile::ResolvConf);
            return Ok(());
        }
        let address = |server: &NameServer| match server {
            NameServer::At(address) => Some(*address),
            NameServer::OfImage => None,
        };
        let servers = self.dns.iter().filter_map(address).collect();
        request.dns = Dns { servers, search: self.dns_search.clone(), options: self.dns_option.clone() };
        Ok(())
    }
}

impl LimitArgs {
    fn limits(&self) -> Result<Limits, Failure> {
        let flags = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ];
        let mut limits = Limits {
            shm_bytes: self.shm_size,
            cgroup_parent: self.cgroup_parent.as_ref().map(|parent| parent.as_str().to_owned()),
            ulimits: self.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
            ..Limits::default()
        };
        for field in self.resources.iter().flat_map(|text| text.split(',')) {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| UsageError::wrong(format!("invalid resource {field:?}: NAME=VALUE")))?;
            limit(&mut limits, name, value)?;
        }
        for (name, value) in flags {
            value.as_ref().map_or(Ok(()), |value| limit(&mut limits, name, value))?;
        }
        let total = match limits.swap {
            Swap::Total(total) => Some(total),
            Swap::AsMemory | Swap::Unlimited => None,
        };
        swap::check(limits.memory_bytes, total)?;
        Ok(limits)
    }
}

/// One limit by its name. Zero is none, as in Docker.
fn limit(limits: &mut Limits, name: &str, value: &str) -> Result<(), Failure> {
    let number = || {
        let number = value.parse().map_err(|_| UsageError::wrong(format!("invalid {name} {value:?}: a number")));
        number.map(|number: u64| Some(number).filter(|number| *number != 0))
    };
    let size = || parse_size(value).map(|size| Some(size).filter(|size| *size != 0)).map_err(UsageError::wrong);
    match name {
        "memory" => limits.memory_bytes = size()?,
        "memory-swap" if value == "-1" => limits.swap = Swap::Unlimited,
        "memory-swap" => limits.swap = size()?.map_or(Swap::AsMemory, Swap::Total),
        "cpu-shares" => limits.cpu_shares = number()?,
        "cpu-period" => limits.cpu_period_us = number()?,
        "cpu-quota" => limits.cpu_quota_us = number()?,
        "cpuset-cpus" => limits.cpuset = Some(value.to_owned()),
        "cpuset-mems" => limits.cpuset_mems = Some(value.to_owned()),
        _ => return Err(UsageError::wrong(format!("unknown resource {name:?}"))),
    }
    Ok(())
}

impl PrivilegeArgs {
    fn privileges(&self) -> Result<Privileges, Failure> {
        let capabilities = CapabilitySet::changed(&self.cap_add, &self.cap_drop)
            .map_err(|error| UsageError::wrong(error.to_string()))?;
        let mut privileges = Privileges { capabilities, groups: self.groups.clone(), ..Privileges::default() };
        for option in &self.security {
            match option.replacen(':', "=", 1).as_str() {
                "no-new-privileges" | "no-new-privileges=true" => privileges.no_new_privileges = true,
                "no-new-privileges=false" => privileges.no_new_privileges = false,
                "seccomp=unconfined" => privileges.seccomp = Seccomp::Unconfined,
                "seccomp=builtin" => privileges.seccomp = Seccomp::Default,
                // kiln has neither AppArmor nor SELinux confine anything.
                "apparmor=unconfined" | "label=disable" => {}
                _ => return Err(UsageError::Unsupported(format!("--security-opt {option}")).into()),
            }
        }
        Ok(privileges)
    }
}

/// `default`, `NAME`, `NAME=SOCKET` or `NAME=KEY,KEY`; without a place it is the user's own agent.
fn ssh(text: &str) -> Result<(String, SshSource), Failure> {
    let (id, places) = text.split_once('=').map_or((text, ""), |(id, places)| (id, places));
    let places: Vec<&str> = places.split(',').filter(|place| !place.is_empty()).collect();
    if let Some(raw) = places.iter().find(|place| place.starts_with("raw=")) {
        return Err(UsageError::Unsupported(format!("--ssh {raw}")).into());
    }
    let is_socket = |path: &&str| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let source = match places[..] {
        [] => match std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
            Some(path) => SshSource::Agent(path.into()),
            None => {
                return Err(UsageError::wrong(format!(
                    "--ssh {text}: no agent is running here (SSH_AUTH_SOCK is not set); name a socket or key files"
                )));
            }
        },
        [place] if is_socket(&place) => SshSource::Agent(place.into()),
        _ => SshSource::Keys(places.into_iter().map(PathBuf::from).collect()),
    };
    Ok((if id.is_empty() { "default" } else { id }.to_owned(), source))
}

fn entitlement(name: &str) -> Result<Entitlement, Failure> {
    match name {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        other if other.starts_with("device") => Err(UsageError::Unsupported(format!("--allow {other}")).into()),
        other => Err(UsageError::wrong(format!("unknown entitlement {other:?}: network.host, security.insecure"))),
    }
}

fn volume(text: &str) -> Result<Volume, Failure> {
    let absolute = super::super::run::flags::absolute_volume(text)?;
    match MountRequest::parse_volume(&absolute)? {
        MountRequest::Bind { source, target, access, .. } => {
            let target = RelPath::clean(target.as_bytes())
                .map_err(|_| UsageError::wrong(format!("invalid volume {text:?}: its target leads nowhere")))?;
            let access = match access {
                mount::Access::ReadOnly => Access::ReadOnly,
                mount::Access::ReadWrite => Access::ReadWrite,
            };
            Ok(Volume { source, target, access })
        }
        MountRequest::Volume { .. } | MountRequest::Tmpfs { .. } => {
            Err(UsageError::Unsupported(format!("--volume {text} (other than /SOURCE:/TARGET)")).into())
        }
    }
}

/// What `host-gateway` is depends on the network that the machine gives a RUN.
fn parse_host_or_gateway(text: &str) -> Result<(String, HostAddress), String> {
    match text.split_once([':', '=']) {
        Some((name, "host-gateway")) if !name.is_empty() => Ok((name.to_owned(), HostAddress::Host)),
        _ => parse_host(text).map(|(name, address)| (name, HostAddress::At(address))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_by_flag_and_by_resource() {
        let mut limits = Limits::default();
        for (name, value) in [("memory", "512m"), ("memory-swap", "-1"), ("cpu-quota", "50000"), ("cpuset-cpus", "0-1")]
        {
            limit(&mut limits, name, value).unwrap_or_else(|_| panic!("{name}"));
        }
        assert_eq!((limits.memory_bytes, limits.cpu_quota_us), (Some(512 << 20), Some(50_000)));
        assert_eq!((limits.swap, limits.cpuset.as_deref()), (Swap::Unlimited, Some("0-1")));
        for (name, value) in [("memory", "x"), ("cpu-shares", "-1"), ("cpus", "1")] {
            assert!(limit(&mut limits, name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(parse_host_or_gateway("h:host-gateway"), Ok(("h".into(), HostAddress::Host)));
        assert_eq!(parse_host_or_gateway("h=10.0.0.1"), Ok(("h".into(), HostAddress::At([10, 0, 0, 1].into()))));
        assert!(parse_host_or_gateway(":host-gateway").is_err());
    }
}
