//! Removing a container that does not run.
//!
//! The directory leaves `containers/` by one rename, and with it everything that says there is such a
//! container; what is deleted afterwards nobody can see. A crash in between leaves litter in `tmp/`, a
//! pin and a name that lead nowhere, all of which the next command passes over.

use store::Store;

use super::directory::{Directory, Names};
use super::error::ContainerError;
use super::mount::{Lifetime, MountSource};
use super::record::Config;
use super::volume;

/// Removes the container, unless somebody has been faster.
pub(super) fn remove_ended(store: &Store, directory: &Directory, config: &Config) -> Result<(), ContainerError> {
    let Some(_lock) = directory.lock()? else { return Ok(()) };
    if directory.state()?.is_some_and(|state| state.running().is_some()) {
        // Somebody has started it again.
        return Err(ContainerError::Running(config.name.clone()));
    }
    let grave = store.temporary()?;
    {
        let names = Names::lock(store)?;
        let from = directory.path();
        std::fs::rename(from, grave.path().join("container")).map_err(ContainerError::io("remove", from))?;
        names.release(&config.name, config.id);
    }
    store.unpin(&pin_name(config))?;
    for mount in &config.mounts {
        if let MountSource::Volume { name, lifetime: Lifetime::Container } = &mount.source {
            volume::discard(store, name)?;
        }
    }
    Ok(())
}

/// Under which name the container's image is kept from the collector.
pub(super) fn pin_name(config: &Config) -> String {
    format!("container-{}", config.id)
}
