//! Devices of the host that a container may use: `--device`.
//!
//! A directory stands for all devices in it, as they are when the container starts. What a container may do
//! with one is said by the owner and permissions of its node, which are the host's in the container's own ids,
//! and, where less than reading and writing is granted, by its cgroup.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sandbox::{Access, Mount, Source};

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The node, or a directory of nodes, of the host.
    pub source: PathBuf,
    /// Where it is inside.
    pub target: PathBuf,
    /// What may be done with it, of `rwm`.
    pub access: String,
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The text describes none.
    #[error("invalid device {0:?}: PATH[:TARGET][:rwm], with absolute paths")]
    Form(String),
    /// A name of the Container Device Interface.
    #[error(
        "device {0:?} is a name of the Container Device Interface (CDI), which kiln does not have: give the path of a node"
    )]
    Interface(String),
    /// It is not there, or no device.
    #[error("{} is no device of this machine", .0.display())]
    None(PathBuf),
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with('/') && text.contains('=') {
            return Err(DeviceError::Interface(text.to_owned()));
        }
        let words: Vec<&str> = text.split(':').collect();
        let (source, target, access) = match words[..] {
            [source] => (source, source, "rwm"),
            [source, access] if is_access(access) => (source, source, access),
            [source, target] => (source, target, "rwm"),
            [source, target, access] if is_access(access) => (source, target, access),
            _ => return Err(DeviceError::Form(text.to_owned())),
        };
        if !source.starts_with('/') || !target.starts_with('/') {
            return Err(DeviceError::Form(text.to_owned()));
        }
        Ok(Self { source: source.into(), target: target.into(), access: access.to_owned() })
    }
}

fn is_access(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| b"rwm".contains(&byte))
}

impl Device {
    /// In Docker's keys.
    pub(super) fn inspected(&self) -> Value {
        json!({
            "PathOnHost": self.source.to_string_lossy(),
            "PathInContainer": self.target.to_string_lossy(),
            "CgroupPermissions": self.access,
        })
    }
}

/// A node that a container gets.
#[derive(Debug)]
pub(super) struct Node {
    source: PathBuf,
    target: PathBuf,
    access: String,
    number: String,
}

impl Node {
    /// As the sandbox takes it.
    pub(super) fn mount(&self) -> Mount {
        let source = Source::Device { path: self.source.clone() };
        Mount { target: self.target.clone(), source, access: Access::ReadWrite }
    }
}

/// The nodes that are meant, as they are now.
pub(super) fn nodes(devices: &[Device]) -> Result<Vec<Node>, DeviceError> {
    let mut nodes = Vec::new();
    for device in devices {
        let before = nodes.len();
        if let Ok(metadata) = fs::metadata(&device.source) {
            collect(&device.source, &metadata, &device.target, &device.access, &mut nodes);
        }
        if nodes.len() == before {
            return Err(DeviceError::None(device.source.clone()));
        }
    }
    Ok(nodes)
}

/// Links below a directory are passed over: `/dev/fd` of the machine leads to whatever kiln has open.
fn collect(source: &Path, metadata: &Metadata, target: &Path, access: &str, nodes: &mut Vec<Node>) {
    let kind = metadata.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(source).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            collect(&entry.path(), &metadata, &target.join(entry.file_name()), access, nodes);
        }
    } else if kind.is_char_device() || kind.is_block_device() {
        let letter = if kind.is_char_device() { 'c' } else { 'b' };
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        nodes.push(Node {
            source: source.to_owned(),
            target: target.to_owned(),
            access: access.to_owned(),
            number: format!("{letter} {major}:{minor}"),
        });
    }
}

/// What the cgroup lets through, if some device is not for reading and writing: that, and what every `/dev` has.
pub(super) fn rules(nodes: &[Node]) -> Option<Vec<String>> {
    const USUAL: [&str; 11] = [
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:1 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
    ];
    let is_limited = |node: &Node| !node.access.contains('r') || !node.access.contains('w');
    nodes.iter().any(is_limited).then(|| {
        let own = nodes.iter().map(|node| format!("{} {}", node.number, node.access));
        USUAL.into_iter().map(str::to_owned).chain(own).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_as_docker_reads_them() {
        for (text, expected) in [
            ("/dev/fuse", Some("/dev/fuse /dev/fuse rwm")),
            ("/dev/fuse:r", Some("/dev/fuse /dev/fuse r")),
            ("/dev/fuse:/dev/x", Some("/dev/fuse /dev/x rwm")),
            ("/dev/fuse:/dev/x:rw", Some("/dev/fuse /dev/x rw")),
            ("/dev/fuse:/dev/x:rwx", None),
            ("fuse", None),
            ("vendor.com/class=name", None),
            ("/dev/fuse:x", None),
        ] {
            let parsed = text.parse::<Device>().ok();
            let shown = parsed.map(|it| format!("{} {} {}", it.source.display(), it.target.display(), it.access));
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn directories_are_their_devices_and_rules_come_with_limits() {
        let device =
            |access: &str| Device { source: "/dev/pts".into(), target: "/dev/x".into(), access: access.into() };
        let found = nodes(&[device("rw")]).unwrap();
        assert!(
            found.iter().any(|node| node.target == Path::new("/dev/x/ptmx") && node.number == "c 5:2"),
            "{found:?}"
        );
        assert_eq!(rules(&found), None);
        let rules = rules(&nodes(&[device("r")]).unwrap()).unwrap();
        assert!(rules.contains(&"c 5:2 r".to_owned()), "{rules:?}");
        assert!(nodes(&[Device { source: "/dev/none".into(), ..device("r") }]).is_err());
    }

    #[test]
    fn links_in_a_directory_are_no_devices() {
        let directory = tempfile::tempdir().unwrap();
        let links = [("null", "/dev/null"), ("around", "."), ("fd", "/proc/self/fd")];
        links.iter().for_each(|(name, to)| std::os::unix::fs::symlink(to, directory.path().join(name)).unwrap());
        let device = |source: &Path| Device { source: source.into(), target: "/dev/x".into(), access: "rwm".into() };
        assert!(nodes(&[device(directory.path())]).is_err());
        assert_eq!(nodes(&[device(&directory.path().join("null"))]).unwrap().len(), 1, "one that is named is followed");
    }
}
