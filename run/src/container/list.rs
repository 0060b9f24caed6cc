//! Which containers there are.

use std::time::Duration;

use jiff::Timestamp;
use store::Store;

use super::container::Container;
use super::directory::ids;
use super::error::ContainerError;
use super::health::Status;
use super::mount::MountSource;
use super::options::After;
use super::port::ContainerPort;
use super::record::{Exited, Phase, Seen, State};
use super::remove::{AnonymousVolumes, remove_ended};

/// Which containers are wanted, as `docker ps` filters them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whether those that do not run are wanted, too (`-a`).
    pub all: bool,
    /// Conditions; several of one kind are alternatives, but for labels.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The id begins so.
    Id(String),
    /// The name contains this.
    Name(String),
    /// The label is there, with this value if one is given.
    Label(String, Option<String>),
    /// Docker's word for its state; implies all.
    Status(String),
    /// It ended with this code; implies all.
    Exited(u8),
    /// It is of this image: the name that the user gave, or the beginning of its id.
    Ancestor(String),
    /// It is that well: `starting`, `healthy`, `unhealthy`, or `none` if nobody looks.
    Health(String),
    /// It mounts this volume, or something at this target.
    Volume(String),
    /// It was made before this container.
    Before(String),
    /// It was made after this container.
    Since(String),
    /// Its network is called so.
    Network(String),
    /// It publishes one of these ports of its own.
    Publish(Vec<ContainerPort>),
    /// It declares or publishes one of these ports.
    Expose(Vec<ContainerPort>),
    /// It is a task of a swarm, which no container of kiln's is.
    IsTask(bool),
}

/// A container and how it is.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The container.
    pub container: Container,
    /// How it is.
    pub state: State,
}

impl Condition {
    /// Reads the value of one `--filter`.
    ///
    /// # Errors
    /// If it is no filter of containers.
    pub fn parse(text: &str) -> Result<Self, ContainerError> {
        let error = || ContainerError::Value { what: "filter", value: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(error)?;
        let value = value.to_owned();
        Ok(match key {
            "id" => Self::Id(value),
            "name" => Self::Name(value.trim_start_matches('/').to_owned()),
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "status" if matches!(value.as_str(), "created" | "running" | "paused" | "restarting" | "exited") => {
                Self::Status(value)
            }
            // States that Docker knows and no container of kiln's is in.
            "status" if matches!(value.as_str(), "removing" | "dead") => Self::Status(value),
            "health" if matches!(value.as_str(), "none" | "starting" | "healthy" | "unhealthy") => Self::Health(value),
            "exited" => Self::Exited(value.parse().map_err(|_| error())?),
            "ancestor" => Self::Ancestor(value),
            "volume" => Self::Volume(value),
            "before" => Self::Before(value),
            "since" => Self::Since(value),
            "network" => Self::Network(value),
            "publish" => Self::Publish(ContainerPort::parse_range(&value).map_err(|_| error())?),
            "expose" => Self::Expose(ContainerPort::parse_range(&value).map_err(|_| error())?),
            "is-task" => Self::IsTask(match value.as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(error()),
            }),
            _ => return Err(error()),
        })
    }

    fn holds(&self, listed: &Listed) -> bool {
        let config = listed.container.config();
        match self {
            Self::Id(prefix) => config.id.to_string().starts_with(prefix.as_str()),
            Self::Name(part) => config.name.as_str().contains(part.as_str()),
            Self::Label(name, None) => config.labels.contains_key(name),
            Self::Label(name, Some(value)) => config.labels.get(name) == Some(value),
            Self::Status(word) => listed.state.status() == word,
            Self::Health(word) => listed.state.health.as_ref().map_or("none", |health| health.status.word()) == word,
            Self::Exited(code) => listed.state.exited().is_some_and(|exited| exited.code == *code),
            Self::Ancestor(image) => {
                let id = config.image.to_string();
                let digits = id.trim_start_matches("sha256:");
                config.image_name == *image || id == *image || (!image.is_empty() && digits.starts_with(image.as_str()))
            }
            Self::Volume(text) => config.mounts.iter().any(|mount| {
                let is_name = matches!(&mount.source, MountSource::Volume { name, .. } if name == text);
                is_name || mount.target == *text
            }),
            Self::Before(other) => made(listed, other).is_some_and(|time| config.created < time),
            Self::Since(other) => made(listed, other).is_some_and(|time| config.created > time),
            Self::Network(name) => config.network.mode.to_string() == *name,
            Self::Publish(ports) => config.network.ports.iter().any(|mapping| ports.contains(&mapping.container)),
            Self::Expose(ports) => config.ports().any(|port| ports.contains(&port)),
            Self::IsTask(is_task) => !is_task,
        }
    }
}

impl Filter {
    fn accepts(&self, listed: &Listed) -> bool {
        let wants_all = |condition: &Condition| matches!(condition, Condition::Status(_) | Condition::Exited(_));
        if !self.all && !self.conditions.iter().any(wants_all) && !listed.state.is_live() {
            return false;
        }
        self.conditions.iter().all(|condition| {
            let alternatives = |other: &&Condition| match condition {
                Condition::Label(..) => *other == condition,
                _ => std::mem::discriminant(*other) == std::mem::discriminant(condition),
            };
            self.conditions.iter().filter(alternatives).any(|condition| condition.holds(listed))
        })
    }
}

/// The containers that a filter lets through, newest first. Lost ones are found out here, and removed
/// if that is what was to become of them.
///
/// # Errors
/// If the store cannot be read. A container that is removed meanwhile is none.
pub fn list(store: &Store, filter: &Filter) -> Result<Vec<Listed>, ContainerError> {
    for condition in &filter.conditions {
        if let Condition::Before(name) | Condition::Since(name) = condition {
            Container::find(store, name)?;
        }
    }
    let mut listed = Vec::new();
    for id in ids(store)? {
        match look(store, id) {
            Ok(Some(found)) if filter.accepts(&found) => listed.push(found),
            // One whose record a power cut has taken must not hide the others; `tidy` removes it.
            Ok(_) | Err(ContainerError::NoSuchContainer(_) | ContainerError::Record { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.container.config().created));
    Ok(listed)
}

/// When the container was made that a filter names.
fn made(listed: &Listed, name: &str) -> Option<Timestamp> {
    Container::find(listed.container.store(), name).ok().map(|other| other.config().created)
}

fn look(store: &Store, id: super::id::ContainerId) -> Result<Option<Listed>, ContainerError> {
    let container = Container::open(store, id)?;
    let state = container.state()?;
    let lost = state.exited().is_some_and(|exited| exited.seen != Seen::ByMonitor);
    if lost && container.config().after == After::Remove {
        drop(remove_ended(store, container.directory(), container.config(), AnonymousVolumes::Remove)?);
        return Ok(None);
    }
    Ok(Some(Listed { container, state }))
}

/// The `STATUS` column of `docker ps`: `Up 5 minutes`, `Exited (0) 3 seconds ago`, `Created`.
pub fn status_text(state: &State, now: Timestamp) -> String {
    let since = |time: Timestamp| Duration::try_from(now.duration_since(time)).unwrap_or_default();
    match &state.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running(running) => {
            let note = match &state.health {
                _ if running.paused => " (Paused)".to_owned(),
                Some(health) if health.status == Status::Starting => " (health: starting)".to_owned(),
                Some(health) => format!(" ({})", health.status.word()),
                None => String::new(),
            };
            format!("Up {}{note}", human(since(running.started)))
        }
        Phase::Restarting(exited) => {
            format!("Restarting ({}) {} ago", exited.code, human(since(exited.finished)))
        }
        Phase::Exited(exited) => {
            let ago = human(since(exited.finished));
            format!("Exited ({}) {ago} ago{}", exited.code, how_lost(exited))
        }
    }
}

fn how_lost(exited: &Exited) -> &'static str {
    match exited.seen {
        Seen::ByMonitor => "",
        Seen::MonitorLost => " (monitor lost)",
        Seen::LostAtReboot => " (lost at reboot)",
    }
}

/// A duration as Docker words it.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let hours = (seconds + 1800) / 3600;
    match (seconds, hours) {
        (0, _) => "Less than a second".to_owned(),
        (1, _) => "1 second".to_owned(),
        (2..60, _) => format!("{seconds} seconds"),
        (60..120, _) => "About a minute".to_owned(),
        (120..2760, _) => format!("{} minutes", seconds / 60),
        (_, 0..=1) => "About an hour".to_owned(),
        (_, 2..48) => format!("{hours} hours"),
        (_, 48..336) => format!("{} days", hours / 24),
        (_, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_docker_words_them() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (45 * 60, "45 minutes"),
            (46 * 60, "About an hour"),
            (3600 * 2, "2 hours"),
            (3600 * 47, "47 hours"),
            (3600 * 48, "2 days"),
            (3600 * 24 * 14, "2 weeks"),
            (3600 * 24 * 60, "2 months"),
            (3600 * 24 * 365 * 2, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(Condition::parse("label=a=b").unwrap(), Condition::Label("a".into(), Some("b".into())));
        assert_eq!(Condition::parse("name=/web").unwrap(), Condition::Name("web".into()));
        let ports = |text: &str| ContainerPort::parse_range(text).unwrap();
        assert_eq!(Condition::parse("publish=80").unwrap(), Condition::Publish(ports("80/tcp")));
        assert_eq!(Condition::parse("expose=80-81/udp").unwrap(), Condition::Expose(ports("80-81/udp")));
        for text in ["", "name", "status=odd", "exited=x", "publish=0", "is-task=x", "colour=red"] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
