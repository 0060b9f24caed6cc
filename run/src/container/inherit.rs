//! What a container takes over from others: `--volumes-from`.
//!
//! Volumes and binds are taken over as they are when the container is made; memory is each container's own.
//! What was read-only stays so whatever is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use store::Store;

use super::container::Container;
use super::error::ContainerError;
use super::mount::{Access, Mount, MountError, MountSource};

/// A wish for the mounts of another container: `CONTAINER[:ro|rw]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Its name, or the beginning of its id.
    pub container: String,
    /// Whether they may be changed, as far as the other container may do so.
    pub access: Access,
}

impl FromStr for VolumesFrom {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        let (container, options) = text.split_once(':').unwrap_or((text, "rw"));
        if container.is_empty() {
            return Err(MountError::NoSource(text.to_owned()));
        }
        let mut access = Access::ReadWrite;
        for option in options.split(',') {
            match option {
                "rw" => access = Access::ReadWrite,
                "ro" => access = Access::ReadOnly,
                // Labels for SELinux, as with `-v`.
                "z" | "Z" => {}
                other => return Err(MountError::Option { text: text.to_owned(), option: other.to_owned() }),
            }
        }
        Ok(Self { container: container.to_owned(), access })
    }
}

impl fmt::Display for VolumesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.access {
            Access::ReadWrite => f.write_str(&self.container),
            Access::ReadOnly => write!(f, "{}:ro", self.container),
        }
    }
}

/// The mounts by target; where two containers have the same, that of the later one.
pub(super) fn mounts(store: &Store, wishes: &[VolumesFrom]) -> Result<BTreeMap<String, Mount>, ContainerError> {
    let mut found = BTreeMap::new();
    for wish in wishes {
        let other = Container::find(store, &wish.container)?;
        let lasting = other.config().mounts.iter().filter(|mount| !matches!(mount.source, MountSource::Tmpfs(_)));
        found.extend(lasting.map(|mount| (mount.target.clone(), taken_over(mount, wish.access))));
    }
    Ok(found)
}

fn taken_over(mount: &Mount, access: Access) -> Mount {
    let access = if access == Access::ReadOnly { Access::ReadOnly } else { mount.access };
    Mount { access, ..mount.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_what_may_be_done() {
        for (text, shown) in [("web", "web"), ("web:rw", "web"), ("web:ro", "web:ro"), ("web:ro,z", "web:ro")] {
            assert_eq!(text.parse::<VolumesFrom>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", ":ro", "web:", "web:nocopy", "web:ro:rw"] {
            assert!(text.parse::<VolumesFrom>().is_err(), "{text}");
        }
    }
}
