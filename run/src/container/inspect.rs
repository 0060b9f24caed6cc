//! A container as `docker inspect` prints it: Docker's keys, with what kiln knows behind them.

use serde_json::{Map, Value, json};
use store::Area;

use super::container::Container;
use super::device::Device;
use super::error::ContainerError;
use super::health::{Health, Healthcheck};
use super::limits;
use super::list::Listed;
use super::mount::{Access, Mount, MountSource};
use super::namespaces::Space;
use super::options::{After, MemorySwap, PidsLimit, Seccomp};
use super::port::{HostPort, PortMapping, PublishedPort};
use super::record::{Config, Phase, State};

/// What Docker prints for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Container {
    /// Everything about it in Docker's keys (one element of the array that `docker inspect` prints).
    ///
    /// # Errors
    /// If it was removed, or its record cannot be read.
    pub fn inspect(&self) -> Result<Value, ContainerError> {
        let state = self.state()?;
        Ok(value(&Listed { container: self.clone(), state }))
    }
}

fn value(listed: &Listed) -> Value {
    let Listed { container, state } = listed;
    let config = container.config();
    let argv: Vec<&str> = config.argv().collect();
    let path = |name: &str| container.directory().path().join(name).to_string_lossy().into_owned();
    json!({
        "Id": config.id.to_string(),
        "Name": format!("/{}", config.name),
        "Created": config.created.to_string(),
        "Path": argv.first().copied().unwrap_or_default(),
        "Args": argv.get(1..).unwrap_or_default(),
        "State": state_value(state),
        "Image": config.image.to_string(),
        "LogPath": path("log"),
        "RestartCount": state.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "Mounts": config.mounts.iter().map(|mount| mount_value(container, mount)).collect::<Vec<_>>(),
        "Config": config_value(config),
        "HostConfig": host_config_value(config),
        "NetworkSettings": network_value(config, state),
        "RootFS": { "Type": "layers", "Layers": config.layers.iter().map(ToString::to_string).collect::<Vec<_>>() },
        "GraphDriver": { "Name": "overlay", "Data": { "UpperDir": path("root/upper"), "WorkDir": path("root/work") } },
    })
}

fn state_value(state: &State) -> Value {
    let running = state.running();
    let exited = state.exited();
    let started = running.map(|running| running.started).or_else(|| exited.and_then(|exited| exited.started));
    let time = |time: Option<jiff::Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    json!({
        "Status": state.status(),
        "Running": state.is_live(),
        "Paused": running.is_some_and(|running| running.paused),
        "Restarting": matches!(state.phase, Phase::Restarting(_)),
        "OOMKilled": exited.is_some_and(|exited| exited.oom_killed),
        "Dead": false,
        "Pid": running.map_or(0, |running| running.pid),
        "ExitCode": exited.map_or(0, |exited| exited.code),
        "Error": state.error.as_deref().unwrap_or_default(),
        "StartedAt": time(started),
        "FinishedAt": time(exited.map(|exited| exited.finished)),
        "Health": state.health.as_ref().map(health_value),
    })
}

fn health_value(health: &Health) -> Value {
    let results = health.log.iter().map(|result| {
        json!({
            "Start": result.start.to_string(),
            "End": result.end.to_string(),
            "ExitCode": result.exit_code,
            "Output": result.output,
        })
    });
    json!({
        "Status": health.status.word(),
        "FailingStreak": health.failing_streak,
        "Log": results.collect::<Vec<_>>(),
    })
}

fn mount_value(container: &Container, mount: &Mount) -> Value {
    let writable = mount.access == Access::ReadWrite;
    let mode = if writable { "" } else { "ro" };
    match &mount.source {
        MountSource::Bind(path) => json!({
            "Type": "bind", "Source": path.to_string_lossy(), "Destination": mount.target,
            "Mode": mode, "RW": writable, "Propagation": "rprivate",
        }),
        MountSource::Volume { name, .. } => json!({
            "Type": "volume", "Name": name, "Driver": "local", "Destination": mount.target,
            "Source": container.store().dir(Area::Volumes).join(name).join("_data").to_string_lossy(),
            "Mode": mode, "RW": writable, "Propagation": "",
        }),
        MountSource::Tmpfs(_) => json!({
            "Type": "tmpfs", "Source": "", "Destination": mount.target,
            "Mode": mode, "RW": writable, "Propagation": "",
        }),
    }
}

fn config_value(config: &Config) -> Value {
    let process = &config.process;
    let exposed: Map<String, Value> = config.ports().map(|port| (port.to_string(), json!({}))).collect();
    let volumes = config.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Volume { .. }));
    let volumes: Map<String, Value> = volumes.map(|mount| (mount.target.clone(), json!({}))).collect();
    json!({
        "Hostname": config.hostname(),
        "Domainname": config.namespaces.domain.as_deref().unwrap_or_default(),
        "User": process.user,
        "AttachStdin": process.stdin_open,
        "Tty": process.terminal,
        "OpenStdin": process.stdin_open,
        "Env": process.environment,
        "Cmd": process.command,
        "Entrypoint": if process.entrypoint.is_empty() { Value::Null } else { json!(process.entrypoint) },
        "Image": config.image_name,
        "ExposedPorts": exposed,
        "Volumes": if volumes.is_empty() { Value::Null } else { Value::Object(volumes) },
        "WorkingDir": process.working_directory,
        "Labels": config.labels,
        "StopSignal": process.stop_signal.to_string(),
        "StopTimeout": process.stop_timeout.as_secs(),
        "Healthcheck": config.healthcheck.as_ref().map(Healthcheck::to_image),
    })
}

fn host_config_value(config: &Config) -> Value {
    let mut value = usual_host_config(config);
    let from = Some(&config.volumes_from).filter(|from| !from.is_empty());
    value["VolumesFrom"] = from.map_or(Value::Null, |from| json!(from));
    value.as_object_mut().into_iter().for_each(|value| value.extend(limits::inspected(&config.limits)));
    value
}

fn usual_host_config(config: &Config) -> Value {
    let (limits, isolation) = (&config.limits, &config.isolation);
    let mut bindings: Map<String, Value> = Map::new();
    for mapping in &config.network.ports {
        let list = bindings.entry(mapping.container.to_string()).or_insert_with(|| json!([]));
        list.as_array_mut().into_iter().for_each(|list| list.push(binding_value(mapping)));
    }
    json!({
        "Binds": binds(config),
        "NetworkMode": config.network.mode.to_string(),
        "PortBindings": bindings,
        "PublishAllPorts": config.network.publish_all,
        "RestartPolicy": { "Name": config.restart.name(), "MaximumRetryCount": config.restart.most().unwrap_or(0) },
        "AutoRemove": config.after == After::Remove,
        "LogConfig": { "Type": "json-file", "Config": {} },
        "CapAdd": isolation.cap_add,
        "CapDrop": isolation.cap_drop,
        "Privileged": isolation.privileged,
        "ReadonlyRootfs": isolation.read_only,
        "SecurityOpt": security_options(config),
        "Devices": config.devices.iter().map(Device::inspected).collect::<Vec<_>>(),
        "IpcMode": config.namespaces.ipc.to_string(),
        "PidMode": config.namespaces.pid.to_string(),
        "UTSMode": if config.namespaces.uts == Space::Host { "host" } else { "" },
        "CgroupnsMode": if config.namespaces.cgroup == Space::Host { "host" } else { "private" },
        "Sysctls": if config.namespaces.sysctls.is_empty() { Value::Null } else { json!(config.namespaces.sysctls) },
        "UsernsMode": if isolation.host_users { "host" } else { "" },
        "GroupAdd": config.process.groups,
        "Init": config.process.init,
        "Dns": config.network.dns_servers,
        "DnsSearch": config.network.dns_search,
        "DnsOptions": config.network.dns_options,
        "ExtraHosts": config.network.extra_hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect::<Vec<_>>(),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "MemorySwap": match limits.memory_swap {
            None => limits.memory_bytes.map_or(json!(0), |bytes| json!(bytes.saturating_mul(2))),
            Some(MemorySwap::TotalBytes(bytes)) => json!(bytes),
            Some(MemorySwap::Unlimited) => json!(-1),
        },
        "OomScoreAdj": limits.oom_score.unwrap_or(0),
        "NanoCpus": limits.milli_cpus.unwrap_or(0).saturating_mul(1_000_000),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "CpuPeriod": limits.cpu_period_micros.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_micros.unwrap_or(0),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "PidsLimit": match limits.pids {
            PidsLimit::Default => Value::Null,
            PidsLimit::Max(count) => json!(count),
            PidsLimit::Unlimited => json!(-1),
        },
        "Ulimits": limits.ulimits.iter().map(|limit| json!({
            "Name": limit.name,
            "Soft": limit.soft.map_or(json!(-1), |value| json!(value)),
            "Hard": limit.hard.map_or(json!(-1), |value| json!(value)),
        })).collect::<Vec<_>>(),
        "ShmSize": limits.shm_size_bytes.unwrap_or(crate::sandbox::DEFAULT_SHM_BYTES),
    })
}

fn network_value(config: &Config, state: &State) -> Value {
    let running = state.running();
    let published = running.map_or(&[][..], |running| &running.ports[..]);
    let mut ports: Map<String, Value> = config.ports().map(|port| (port.to_string(), Value::Null)).collect();
    for port in published {
        let list = ports.entry(port.container.to_string()).or_insert(Value::Null);
        match list.as_array_mut() {
            Some(list) => list.push(published_value(port)),
            None => *list = json!([published_value(port)]),
        }
    }
    let address = running.and_then(|running| running.addresses.values().find(|ip| ip.is_ipv4() && !ip.is_loopback()));
    let address = address.map_or(String::new(), ToString::to_string);
    json!({
        "SandboxKey": running.map_or(String::new(), |running| format!("/proc/{}/ns/net", running.pid)),
        "Ports": ports,
        "IPAddress": address,
        "Networks": { config.network.mode.to_string(): { "IPAddress": address } },
    })
}

fn security_options(config: &Config) -> Vec<&'static str> {
    let unconfined = config.isolation.seccomp == Seccomp::Unconfined;
    let options = [(config.isolation.no_new_privileges, "no-new-privileges"), (unconfined, "seccomp=unconfined")];
    options.into_iter().filter(|(is_set, _)| *is_set).map(|(_, option)| option).collect()
}

fn binds(config: &Config) -> Vec<String> {
    let bind = |mount: &Mount| {
        let source = match &mount.source {
            MountSource::Bind(path) => path.to_string_lossy().into_owned(),
            MountSource::Volume { name, .. } => name.clone(),
            MountSource::Tmpfs(_) => return None,
        };
        let suffix = if mount.access == Access::ReadOnly { ":ro" } else { "" };
        Some(format!("{source}:{}{suffix}", mount.target))
    };
    config.mounts.iter().filter_map(bind).collect()
}

fn binding_value(mapping: &PortMapping) -> Value {
    let port = match &mapping.host_port {
        HostPort::Any => String::new(),
        HostPort::Exactly(port) => port.to_string(),
        HostPort::OneOf(ports) => format!("{}-{}", ports.start(), ports.end()),
    };
    json!({ "HostIp": mapping.host_ip.map_or(String::new(), |ip| ip.to_string()), "HostPort": port })
}

fn published_value(port: &PublishedPort) -> Value {
    json!({ "HostIp": port.host_ip.to_string(), "HostPort": port.host_port.to_string() })
}
