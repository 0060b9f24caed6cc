//! Which namespaces a container shares with the host or with another container: the flags, their names, and
//! the rules between them.
//!
//! A container is written down by its id, so that a change of names changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What of the namespaces is asked for beside network and users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// `--ipc`
    pub ipc: IpcMode,
    /// `--pid`
    pub pid: PidMode,
    /// `--uts`
    pub uts: Space,
    /// `--cgroupns`
    pub cgroup: Space,
    /// `--domainname`
    pub domain: Option<String>,
    /// `--sysctl`, by name with dots
    pub sysctls: BTreeMap<String, String>,
}

/// Queues and shared memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcMode {
    /// Its own.
    #[default]
    Private,
    /// Its own, which other containers may join.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// That of another container.
    Container(String),
}

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Those of another container.
    Container(String),
}

/// Its own or the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// The text is no such mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {flag} {text:?}: {modes}")]
pub struct ParseModeError {
    flag: &'static str,
    text: String,
    modes: &'static str,
}

impl FromStr for IpcMode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" | "private" => Self::Private,
            "shareable" => Self::Shareable,
            "none" => Self::None,
            "host" => Self::Host,
            _ => Self::Container(other_container(text).ok_or_else(|| ParseModeError {
                flag: "IPC mode",
                text: text.to_owned(),
                modes: "private, shareable, none, host, container:NAME",
            })?),
        })
    }
}

impl FromStr for PidMode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" | "private" => Self::Private,
            "host" => Self::Host,
            _ => Self::Container(other_container(text).ok_or_else(|| ParseModeError {
                flag: "PID mode",
                text: text.to_owned(),
                modes: "private, host, container:NAME",
            })?),
        })
    }
}

impl FromStr for Space {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(ParseModeError { flag: "namespace", text: text.to_owned(), modes: "private, host" }),
        }
    }
}

fn other_container(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

impl fmt::Display for IpcMode {
    /// As Docker names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(other) => write!(f, "container:{other}"),
        }
    }
}

impl fmt::Display for PidMode {
    /// As Docker names it: nothing, if they are its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(other) => write!(f, "container:{other}"),
        }
    }
}

/// Why a kernel parameter is not a container's to set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SysctlError {
    /// No `=`.
    #[error("invalid kernel parameter {0:?}: NAME=VALUE")]
    Form(String),
    /// It is the whole machine's.
    #[error(
        "kernel parameter {0:?} is not allowed: only kernel.msg*, kernel.sem, kernel.shm*, fs.mqueue.* and net.* are a container's own"
    )]
    NotOwn(String),
    /// Its namespace is the host's or another container's.
    #[error("kernel parameter {name:?} is not allowed: the {namespace} namespace is not the container's own")]
    Shared {
        /// The parameter.
        name: String,
        /// Which namespace.
        namespace: &'static str,
    },
}

/// `NAME=VALUE` of a parameter that belongs to some namespace; slashes in the name are dots.
pub fn parse_sysctl(text: &str) -> Result<(String, String), SysctlError> {
    let form = || SysctlError::Form(text.to_owned());
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(form)?;
    let name = name.replace('/', ".");
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !is_plain || name.contains("..") || namespace_of(&name).is_none() {
        return Err(SysctlError::NotOwn(name));
    }
    Ok((name, value.to_owned()))
}

/// Which namespace a parameter belongs to.
fn namespace_of(name: &str) -> Option<&'static str> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if name.starts_with("net.") {
        return Some("network");
    }
    (IPC.contains(&name) || name.starts_with("fs.mqueue.")).then_some("IPC")
}

impl NamespaceOptions {
    /// Whether every parameter is of a namespace that the container has to itself.
    pub(super) fn check_sysctls(&self, has_own_network: bool) -> Result<(), SysctlError> {
        let has_own_ipc = matches!(self.ipc, IpcMode::Private | IpcMode::Shareable | IpcMode::None);
        for name in self.sysctls.keys() {
            match namespace_of(name) {
                Some("network") if has_own_network => {}
                Some("IPC") if has_own_ipc => {}
                Some(namespace) => return Err(SysctlError::Shared { name: name.clone(), namespace }),
                None => return Err(SysctlError::NotOwn(name.clone())),
            }
        }
        Ok(())
    }

    /// Whether processes or memory are the host's: then so are the users, or the container could do nothing there.
    pub(super) fn need_host_users(&self) -> bool {
        self.pid == PidMode::Host || self.ipc == IpcMode::Host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_docker_writes_them() {
        for text in ["private", "shareable", "none", "host", "container:x"] {
            assert_eq!(text.parse::<IpcMode>().unwrap().to_string(), text);
        }
        for text in ["", "host", "container:x"] {
            assert_eq!(text.parse::<PidMode>().unwrap().to_string(), text);
        }
        for text in ["x", "container:", "shareable "] {
            assert!(text.parse::<IpcMode>().is_err() && text.parse::<PidMode>().is_err(), "{text}");
        }
        assert!("container:x".parse::<Space>().is_err());
    }

    #[test]
    fn parameters_of_namespaces_alone() {
        let parsed = |text: &str| parse_sysctl(text).map(|(name, value)| format!("{name}={value}"));
        assert_eq!(parsed("net/ipv4/ip_forward=1").unwrap(), "net.ipv4.ip_forward=1");
        assert_eq!(parsed("kernel.sem=1 2 3 4").unwrap(), "kernel.sem=1 2 3 4");
        for text in ["net.ipv4.ip_forward", "=1", "kernel.panic=1", "vm.swappiness=1", "net.../panic=1", "net.\u{e9}=1"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
        let with = |text: &str| {
            let (name, value) = parse_sysctl(text).unwrap();
            NamespaceOptions { sysctls: [(name, value)].into(), ..NamespaceOptions::default() }
        };
        assert!(with("net.core.somaxconn=1").check_sysctls(true).is_ok());
        assert!(with("net.core.somaxconn=1").check_sysctls(false).is_err());
        assert!(with("fs.mqueue.msg_max=1").check_sysctls(false).is_ok());
        assert!(NamespaceOptions { ipc: IpcMode::Host, ..with("kernel.msgmax=1") }.check_sysctls(true).is_err());
    }
}
