//! The flags of `kiln run` as typed, and what they ask for.

mod limits;
mod mounts;

pub(crate) use self::limits::ChangeableArgs;
pub(crate) use self::mounts::absolute_volume;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use run::container::SignalProxy;
use run::container::device::Device;
use run::container::options::{After, CreateOptions, Isolation, NetworkMode, NetworkOptions, ProcessOptions, Seccomp};
use run::container::port::{ContainerPort, PortMapping};
use run::container::restart::RestartPolicy;
use store::{ImageId, Platform};

use self::limits::LimitArgs;
use self::mounts::MountArgs;
use super::health::HealthArgs;
use super::namespaces::NamespaceArgs;
use crate::command::environment::{EnvironmentArgs, lines_of};
use crate::containers::Client;
use crate::format::units::parse_host;
use crate::report::{Failure, UsageError};

/// Run a command in a new container
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Show this help (`-h` is the host name, as in docker)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// The image: a name, or the beginning of an id
    pub(crate) image: String,
    /// What runs in it instead of the image's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    mounts: MountArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    isolation: IsolationArgs,
    #[command(flatten)]
    namespaces: NamespaceArgs,
    #[command(flatten)]
    health: HealthArgs,
}

/// What concerns this command rather than the container.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// Leave the container running in the background and print its id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The keys that leave an attached container running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Pass the signals that this command gets on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Stay with this stream alone: stdin, stdout or stderr
    #[arg(short, long = "attach", value_name = "STREAM", conflicts_with = "detach", value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    attach: Vec<String>,
    /// When to start it again by itself: no, `on-failure[:NUMBER]`, always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    restart: RestartPolicy,
    /// What the container is called
    #[arg(long)]
    name: Option<String>,
    /// Add a label to the container
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Read labels from a file, one a line
    #[arg(long = "label-file", value_name = "FILE")]
    label_files: Vec<PathBuf>,
    /// Write the container's id to a file that must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// When to ask the registry for the image: missing, always, never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: Pull,
    /// The platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Say nothing of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// When the registry is asked for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pull {
    /// If the store does not have it.
    Missing,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

#[derive(Debug, clap::Args)]
struct ProcessArgs {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    environment: EnvironmentArgs,
    /// The user: name or id, with group after a colon
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// A further group
    #[arg(long = "group-add", value_name = "GROUP")]
    groups: Vec<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Have an init as process 1, which reaps orphans and passes signals on
    #[arg(long)]
    init: bool,
    /// The signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct NetworkArgs {
    /// The network: bridge (its own, with a way out), none, host, container:NAME
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge")]
    network: String,
    /// Publish a port
    #[arg(short, long = "publish", value_name = "[[IP:]HOST:]PORT[/PROTOCOL]")]
    publish: Vec<String>,
    /// Publish all ports that the image declares
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Declare a port
    #[arg(long, value_name = "PORT[-PORT][/PROTOCOL]")]
    expose: Vec<String>,
    /// The host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// A line for /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = parse_host)]
    add_hosts: Vec<(String, IpAddr)>,
    /// A name server
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// A search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// A resolver option
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct IsolationArgs {
    /// Grant a capability
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Take a capability
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Grant everything
    #[arg(long)]
    privileged: bool,
    /// Use a device of the host, or all in a directory
    #[arg(long = "device", value_name = "PATH[:TARGET][:rwm]")]
    devices: Vec<Device>,
    /// no-new-privileges, seccomp=unconfined
    #[arg(long = "security-opt", value_name = "OPTION")]
    security: Vec<String>,
    /// `host` for the host's users
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
}

impl Args {
    /// What the flags ask for, for an image that was found.
    pub(crate) fn options(&self, image: ImageId) -> Result<CreateOptions, Failure> {
        let mut options = CreateOptions::new(image, self.image.clone());
        options.name = self.client.name.as_deref().map(str::parse).transpose()?;
        options.process = self.process.options(&self.command)?;
        options.mounts = self.mounts.requests()?;
        options.volumes_from = self.mounts.volumes_from.clone();
        options.network = self.network.options()?;
        options.limits = self.limits.limits(self.mounts.shm_size)?;
        options.isolation = self.isolation.isolation(self.mounts.read_only)?;
        options.devices = self.isolation.devices.clone();
        options.namespaces = self.namespaces.options();
        options.after = if self.client.rm { After::Remove } else { After::Keep };
        options.restart = self.client.restart;
        options.healthcheck = self.health.healthcheck()?;
        options.labels = self.client.labels()?;
        Ok(options)
    }

    /// The containers whose namespaces are to be shared.
    pub(crate) fn joined(&self) -> Vec<&str> {
        let network = self.network.network.strip_prefix("container:");
        network.into_iter().chain(self.namespaces.joined()).collect()
    }

    /// How this command stays with the container.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let client = &self.client;
        let wants = |stream: &str| {
            client.attach.is_empty() || client.attach.iter().any(|named| named.eq_ignore_ascii_case(stream))
        };
        let signals = if client.sig_proxy { SignalProxy::Forward } else { SignalProxy::Keep };
        let streams = [self.process.interactive && wants("stdin"), wants("stdout"), wants("stderr")];
        Ok(Client { streams, detach_keys: client.detach_keys.parse()?, signals })
    }

    /// Whether the container gets a terminal.
    pub(crate) fn wants_terminal(&self) -> bool {
        self.process.tty
    }

    /// Whether standard input goes to the container.
    pub(crate) fn is_interactive(&self) -> bool {
        self.process.interactive
    }
}

impl ClientArgs {
    /// Labels of files, and over them those of the command line.
    fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut lines = Vec::new();
        for file in &self.label_files {
            lines.extend(lines_of(&std::fs::read_to_string(file).map_err(store::StoreError::io("read", file))?)?);
        }
        Ok(pairs(lines.iter().chain(&self.labels)))
    }
}

impl ProcessArgs {
    fn options(&self, command: &[String]) -> Result<ProcessOptions, Failure> {
        let entrypoint = |program: &String| if program.is_empty() { Vec::new() } else { vec![program.clone()] };
        Ok(ProcessOptions {
            entrypoint: self.entrypoint.as_ref().map(entrypoint),
            command: (!command.is_empty()).then(|| command.to_vec()),
            environment: self.environment.variables()?,
            user: self.user.clone(),
            groups: self.groups.clone(),
            working_directory: self.workdir.clone(),
            stdin_open: self.interactive,
            terminal: self.tty,
            stop_signal: self.stop_signal.as_deref().map(str::parse).transpose()?,
            stop_timeout: self.stop_timeout.map(Duration::from_secs),
            init: self.init,
        })
    }
}

impl NetworkArgs {
    fn options(&self) -> Result<NetworkOptions, Failure> {
        let mode = match self.network.as_str() {
            "bridge" | "default" | "private" => NetworkMode::Private,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            other => match other.strip_prefix("container:") {
                Some(name) if !name.is_empty() => NetworkMode::Container(name.to_owned()),
                _ => return Err(UsageError::Unsupported(format!("--network {other}")).into()),
            },
        };
        let mut ports = Vec::new();
        for text in &self.publish {
            ports.extend(PortMapping::parse(text)?);
        }
        let mut expose = Vec::new();
        for text in &self.expose {
            expose.extend(ContainerPort::parse_range(text)?);
        }
        Ok(NetworkOptions {
            mode,
            ports,
            expose,
            publish_all: self.publish_all,
            hostname: self.hostname.clone(),
            dns_servers: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            extra_hosts: self.add_hosts.clone(),
        })
    }
}

impl IsolationArgs {
    fn isolation(&self, read_only: bool) -> Result<Isolation, Failure> {
        let mut isolation = Isolation {
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            read_only,
            ..Isolation::default()
        };
        for option in &self.security {
            match option.replacen(':', "=", 1).as_str() {
                "no-new-privileges" | "no-new-privileges=true" => isolation.no_new_privileges = true,
                "no-new-privileges=false" => isolation.no_new_privileges = false,
                "seccomp=unconfined" => isolation.seccomp = Seccomp::Unconfined,
                "seccomp=builtin" => isolation.seccomp = Seccomp::Default,
                // kiln has neither AppArmor nor SELinux confine anything.
                "apparmor=unconfined" | "label=disable" => {}
                _ => return Err(UsageError::Unsupported(format!("--security-opt {option}")).into()),
            }
        }
        isolation.host_users = match self.userns.as_deref() {
            // Users of its own, which it has unless told otherwise, by the names that podman has for it.
            None | Some("" | "private" | "auto") => false,
            Some("host") => true,
            Some(other) => return Err(UsageError::Unsupported(format!("--userns {other}")).into()),
        };
        Ok(isolation)
    }
}

fn pairs<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let pair = |text: &'a String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    texts.map(pair).collect()
}
