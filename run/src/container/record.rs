//! What is written down about a container: `config.json`, which says what it is, and `state.json`,
//! which says how it is.
//!
//! The config is written when the container is made and changes only with its name. The state is
//! written by whoever holds the monitor's lock (`directory.rs`), and by nobody else. Times, the
//! process and the boot are facts to check against the present, never to be believed alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::boot::BootId;
use store::{DiffId, ImageId};

use super::device::Device;
use super::health::{Health, Healthcheck};
use super::id::ContainerId;
use super::mount::Mount;
use super::name::ContainerName;
use super::namespaces::{NamespaceOptions, Space};
use super::options::{After, Isolation, Limits, NetworkOptions};
use super::port::{ContainerPort, PublishedPort};
use super::restart::RestartPolicy;
use super::signal::Signal;
use crate::sandbox::CgroupPlace;

/// The version of both files.
pub const VERSION: u32 = 1;

/// What a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The version of this record.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was made.
    pub created: Timestamp,
    /// Its image.
    pub image: ImageId,
    /// What the user called the image.
    pub image_name: String,
    /// The image's layers, lowest first.
    pub layers: Vec<DiffId>,
    /// What runs in it.
    pub process: ProcessConfig,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// The containers that some of it was taken over from, as the user named them.
    #[serde(default)]
    pub volumes_from: Vec<String>,
    /// Its network; the image's declared ports are among `expose`.
    pub network: NetworkOptions,
    /// What it may use up.
    pub limits: Limits,
    /// What keeps it apart from the host.
    pub isolation: Isolation,
    /// Devices of the host that it may use.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Which namespaces it shares.
    #[serde(default)]
    pub namespaces: NamespaceOptions,
    /// What becomes of it when its process has ended.
    pub after: After,
    /// Its labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// When it is started again by itself.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How to find out whether it is well.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// The image's shell, in which a health check may be written; `/bin/sh -c` if it is empty.
    #[serde(default)]
    pub shell: Vec<String>,
}

/// What runs in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// The first words of the command line.
    pub entrypoint: Vec<String>,
    /// The words after it.
    pub command: Vec<String>,
    /// The environment, `NAME=value` each.
    pub environment: Vec<String>,
    /// `user[:group]`; root if empty.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// The working directory.
    pub working_directory: String,
    /// Whether standard input stays open.
    pub stdin_open: bool,
    /// Whether there is a terminal.
    pub terminal: bool,
    /// What `stop` sends first.
    pub stop_signal: Signal,
    /// How long `stop` then waits.
    pub stop_timeout: Duration,
    /// Whether process 1 is kiln's init.
    pub init: bool,
}

impl Config {
    /// The command line: entrypoint and command.
    pub fn argv(&self) -> impl Iterator<Item = &str> {
        self.process.entrypoint.iter().chain(&self.process.command).map(String::as_str)
    }

    /// The host name inside.
    pub fn hostname(&self) -> String {
        if self.namespaces.uts == Space::Host {
            return rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        self.network.hostname.clone().unwrap_or_else(|| self.id.short())
    }

    /// Whether a port is declared or published.
    pub fn ports(&self) -> impl Iterator<Item = ContainerPort> + '_ {
        self.network.expose.iter().copied().chain(self.network.ports.iter().map(|mapping| mapping.container))
    }
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of this record.
    pub version: u32,
    /// The boot of the machine in which this was written.
    pub boot: BootId,
    /// Where it is in its life.
    pub phase: Phase,
    /// What `start` could not do, or what ended it.
    pub error: Option<String>,
    /// How often its restart policy has started it again since it was started by somebody.
    #[serde(default)]
    pub restarts: u32,
    /// How well it is, if somebody looks or has looked.
    #[serde(default)]
    pub health: Option<Health>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It never ran.
    Created,
    /// It runs.
    Running(Running),
    /// It ran, and will again in a moment: its restart policy says so.
    Restarting(Exited),
    /// It ran.
    Exited(Exited),
}

/// What is true of a container while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When it was started.
    pub started: Timestamp,
    /// Its first process, as the host numbers it. Valid while the monitor lives.
    pub pid: i32,
    /// The monitor, as the host numbers it.
    pub monitor_pid: u32,
    /// Ports of the host that lead into it.
    pub ports: Vec<PublishedPort>,
    /// Its addresses by interface.
    pub addresses: BTreeMap<String, IpAddr>,
    /// What it does not have although it was asked for.
    pub notices: Vec<String>,
    /// Mount points that kiln made in its root file system, relative to it: no change of the container's.
    #[serde(default)]
    pub stubs: Vec<PathBuf>,
    /// Whether its processes stand still.
    #[serde(default)]
    pub paused: bool,
    /// Where its processes are counted.
    #[serde(default)]
    pub cgroups: Vec<CgroupPlace>,
}

/// What is true of a container that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// When it was started; `None` if it could not be.
    pub started: Option<Timestamp>,
    /// When it ended, or was found to have.
    pub finished: Timestamp,
    /// Its exit code: 128 and the signal if one ended it.
    pub code: u8,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Whether its end was seen by its monitor.
    pub seen: Seen,
    /// Mount points of kiln's that may still be in its root file system.
    #[serde(default)]
    pub stubs: Vec<PathBuf>,
}

/// Who saw a container end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// Its monitor: the exit code is its own.
    ByMonitor,
    /// Nobody: the monitor was lost, and the container with it.
    MonitorLost,
    /// Nobody: the machine was restarted.
    LostAtReboot,
}

impl State {
    /// The state of a container that never ran.
    pub fn created(boot: BootId) -> Self {
        Self { version: VERSION, boot, phase: Phase::Created, error: None, restarts: 0, health: None }
    }

    /// What is true of it if it runs.
    pub fn running(&self) -> Option<&Running> {
        match &self.phase {
            Phase::Running(running) => Some(running),
            Phase::Created | Phase::Restarting(_) | Phase::Exited(_) => None,
        }
    }

    /// Whether it has a monitor: it runs, or will again by itself.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Restarting(_))
    }

    /// How it ended, if it did.
    pub fn exited(&self) -> Option<&Exited> {
        match &self.phase {
            Phase::Exited(exited) | Phase::Restarting(exited) => Some(exited),
            Phase::Created | Phase::Running(_) => None,
        }
    }

    /// Docker's word for it.
    pub fn status(&self) -> &'static str {
        match &self.phase {
            Phase::Created => "created",
            Phase::Running(running) if running.paused => "paused",
            Phase::Running(_) => "running",
            Phase::Restarting(_) => "restarting",
            Phase::Exited(_) => "exited",
        }
    }
}
