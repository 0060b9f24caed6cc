//! From wishes to a config: what the flags and the image's config together mean.
//!
//! Pure: it reads no file and decides nothing about this machine. The rules are Docker's (reference of
//! `docker run`, "Overriding image defaults").

use std::collections::BTreeMap;
use std::time::Duration;

use store::RelPath;
use store::oci::ContainerConfig;

use super::error::ContainerError;
use super::mount::{Access, CopyUp, Mount, MountError, MountRequest};
use super::namespaces::Space;
use super::options::{CreateOptions, NetworkMode, NetworkOptions, ProcessOptions};
use super::port::{ContainerPort, PortMapping};
use super::record::ProcessConfig;
use super::signal::Signal;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What runs: an entrypoint given by the user drops the image's command.
pub(super) fn process(options: &ProcessOptions, image: &ContainerConfig) -> Result<ProcessConfig, ContainerError> {
    let entrypoint = options.entrypoint.clone().unwrap_or_else(|| image.entrypoint.clone());
    let image_command = if options.entrypoint.is_some() { Vec::new() } else { image.cmd.clone() };
    let command = options.command.clone().unwrap_or(image_command);
    if entrypoint.is_empty() && command.is_empty() {
        return Err(ContainerError::NoCommand);
    }
    Ok(ProcessConfig {
        entrypoint,
        command,
        environment: environment(&image.env, &options.environment),
        user: options.user.clone().unwrap_or_else(|| image.user.clone()),
        groups: options.groups.clone(),
        working_directory: working_directory(options, image)?,
        stdin_open: options.stdin_open,
        terminal: options.terminal,
        stop_signal: stop_signal(options, image)?,
        stop_timeout: stop_timeout(options, image),
        init: options.init,
    })
}

/// The network: the image's ports are declared, and all that are declared are published with `-P`.
pub(super) fn network(options: &NetworkOptions, image: &ContainerConfig) -> Result<NetworkOptions, ContainerError> {
    let mut network = options.clone();
    for port in &image.exposed_ports {
        match port.parse::<ContainerPort>() {
            Ok(port) => network.expose.push(port),
            // What an image declares binds nobody until it is to be published.
            Err(_) if !options.publish_all => {}
            Err(_) => return Err(ContainerError::Value { what: "port to publish", value: port.clone() }),
        }
    }
    network.expose.sort_unstable();
    network.expose.dedup();
    if network.publish_all {
        let published: Vec<ContainerPort> = network.ports.iter().map(|mapping| mapping.container).collect();
        let more = network.expose.iter().filter(|port| !published.contains(port)).copied();
        network.ports.extend(more.map(PortMapping::anywhere));
    }
    Ok(network)
}

/// The mounts: those of the flags, and an anonymous volume for each of the image's that neither a flag
/// nor something inherited covers.
pub(super) fn mounts(
    options: &CreateOptions,
    image: &ContainerConfig,
    inherited: &BTreeMap<String, Mount>,
) -> Result<Vec<MountRequest>, ContainerError> {
    let mut by_target = BTreeMap::new();
    for request in &options.mounts {
        if by_target.insert(request.target().to_owned(), request.clone()).is_some() {
            return Err(MountError::Duplicate(request.target().to_owned()).into());
        }
    }
    for volume in &image.volumes {
        let error = || ContainerError::Value { what: "volume of the image", value: volume.clone() };
        let path = RelPath::clean(volume.as_bytes()).map_err(|_| error())?;
        if path.is_root() {
            return Err(error());
        }
        let target = format!("/{}", String::from_utf8_lossy(path.as_bytes()));
        if inherited.contains_key(&target) {
            continue;
        }
        by_target.entry(target.clone()).or_insert(MountRequest::Volume {
            name: None,
            target,
            access: Access::ReadWrite,
            copy_up: CopyUp::Yes,
        });
    }
    Ok(by_target.into_values().collect())
}

/// The labels of the image, under those of the flags.
pub(super) fn labels(options: &CreateOptions, image: &ContainerConfig) -> BTreeMap<String, String> {
    let mut labels = image.labels.clone();
    labels.extend(options.labels.clone());
    labels
}

/// `NAME=value` sets and `NAME` alone takes away, each in its place, over the image's variables.
fn environment(image: &[String], own: &[String]) -> Vec<String> {
    let name_of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut variables: Vec<String> = Vec::new();
    for pair in [DEFAULT_PATH.to_owned()].iter().chain(image).chain(own) {
        let place = variables.iter().position(|old| name_of(old) == name_of(pair));
        match (place, pair.contains('=')) {
            (Some(index), true) => variables[index].clone_from(pair),
            (Some(index), false) => drop(variables.remove(index)),
            (None, true) => variables.push(pair.clone()),
            (None, false) => {}
        }
    }
    variables
}

fn working_directory(options: &ProcessOptions, image: &ContainerConfig) -> Result<String, ContainerError> {
    let directory = options.working_directory.clone().unwrap_or_else(|| image.working_dir.clone());
    match directory.as_str() {
        "" => Ok("/".to_owned()),
        absolute if absolute.starts_with('/') => Ok(directory),
        _ => Err(ContainerError::WorkingDirectory(directory)),
    }
}

fn stop_signal(options: &ProcessOptions, image: &ContainerConfig) -> Result<Signal, ContainerError> {
    match (options.stop_signal, image.stop_signal.as_str()) {
        (Some(signal), _) => Ok(signal),
        (None, "") => Ok(Signal::TERM),
        (None, text) => {
            text.parse().map_err(|_| ContainerError::Value { what: "stop signal of the image", value: text.to_owned() })
        }
    }
}

fn stop_timeout(options: &ProcessOptions, image: &ContainerConfig) -> Duration {
    let of_image = image.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    options.stop_timeout.or(of_image).unwrap_or(DEFAULT_STOP_TIMEOUT)
}

/// Flags that cannot go together, as Docker has it.
pub(super) fn refuse_conflicts(options: &CreateOptions) -> Result<(), ContainerError> {
    let CreateOptions { network: options, namespaces, .. } = options;
    let has_own_network = matches!(options.mode, NetworkMode::Private | NetworkMode::None);
    namespaces.check_sysctls(has_own_network)?;
    if namespaces.uts == Space::Host && (options.hostname.is_some() || namespaces.domain.is_some()) {
        return Err(ContainerError::Conflict("--hostname", "--uts host"));
    }
    let publishes = !options.ports.is_empty() || options.publish_all;
    match (&options.mode, publishes) {
        (NetworkMode::Host, true) => Err(ContainerError::Conflict("--publish", "--network host")),
        (NetworkMode::None, true) => Err(ContainerError::Conflict("--publish", "--network none")),
        (NetworkMode::Container(_), true) => Err(ContainerError::Conflict("--publish", "--network container:")),
        (NetworkMode::Container(_), false) if options.hostname.is_some() => {
            Err(ContainerError::Conflict("--hostname", "--network container:"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_overridden_as_docker_does() {
        let image = ContainerConfig { entrypoint: words("entry"), cmd: words("cmd arg"), ..ContainerConfig::default() };
        for (entrypoint, command, expected) in [
            (None, None, "entry cmd arg"),
            (None, Some("x y"), "entry x y"),
            (Some("own"), None, "own"),
            (Some("own"), Some("x"), "own x"),
            (Some(""), Some("x"), "x"),
        ] {
            let options = ProcessOptions {
                entrypoint: entrypoint.map(words),
                command: command.map(words),
                ..ProcessOptions::default()
            };
            let process = process(&options, &image).unwrap();
            assert_eq!([process.entrypoint, process.command].concat().join(" "), expected);
        }
        let nothing = ProcessOptions { entrypoint: Some(Vec::new()), ..ProcessOptions::default() };
        assert!(matches!(process(&nothing, &image), Err(ContainerError::NoCommand)));
    }

    #[test]
    fn variables_are_set_in_place_and_taken_away() {
        for (image, own, expected) in [
            ("", "", DEFAULT_PATH),
            ("PATH=/bin A=1", "", "PATH=/bin A=1"),
            ("PATH=/bin A=1 B=2", "A=3 C=", "PATH=/bin A=3 B=2 C="),
            ("PATH=/bin A=1", "A", "PATH=/bin"),
            ("PATH=/bin", "GONE", "PATH=/bin"),
        ] {
            assert_eq!(environment(&words(image), &words(own)), words(expected), "{image} + {own}");
        }
    }

    #[test]
    fn stopping_is_the_images_unless_said() {
        let image =
            ContainerConfig { stop_signal: "SIGRTMIN+3".into(), stop_timeout: Some(3), ..ContainerConfig::default() };
        let by_image = ProcessOptions { command: Some(words("x")), ..ProcessOptions::default() };
        let process_of = |options: &ProcessOptions, image| process(options, image).unwrap();
        let process = process_of(&by_image, &image);
        assert_eq!((process.stop_signal.number(), process.stop_timeout.as_secs()), (37, 3));
        let process = process_of(&by_image, &ContainerConfig::default());
        assert_eq!((process.stop_signal, process.stop_timeout), (Signal::TERM, DEFAULT_STOP_TIMEOUT));
    }

    #[test]
    fn all_declared_ports_are_published_once() {
        let image = ContainerConfig {
            exposed_ports: ["80/tcp", "53/udp"].map(str::to_owned).into(),
            ..ContainerConfig::default()
        };
        let ports = PortMapping::parse("8080:80").unwrap();
        let options = NetworkOptions { ports, publish_all: true, ..NetworkOptions::default() };
        let network = network(&options, &image).unwrap();
        let published: Vec<String> = network.ports.iter().map(|mapping| mapping.container.to_string()).collect();
        assert_eq!(published, ["80/tcp", "53/udp"]);
    }

    #[test]
    fn conflicts_are_named() {
        let ports = PortMapping::parse("80").unwrap();
        let mut options = CreateOptions::new(store::ImageId(store::Digest::of(b"")), "busybox");
        options.network = NetworkOptions { mode: NetworkMode::Host, ports, ..NetworkOptions::default() };
        let error = refuse_conflicts(&options).unwrap_err();
        assert_eq!(error.to_string(), "conflicting options: --publish and --network host");
    }
}
