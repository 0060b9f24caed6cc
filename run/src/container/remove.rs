//! Removing a container that does not run.
//!
//! The directory leaves `containers/` by one rename, and with it everything that says there is such a
//! container; what is deleted afterwards nobody can see. A crash in between leaves litter in `tmp/`, a
//! pin and a name that lead nowhere, which [`tidy`] removes. Anonymous volumes may hold what somebody
//! still wants: they go with their last container if that is said, and else by `volume prune`.

use store::{Store, Temporary};

use super::directory::{Directory, Locked, Names, ids};
use super::error::ContainerError;
use super::id::ContainerId;
use super::mount::{Lifetime, MountSource};
use super::options::After;
use super::record::Config;
use super::volume;

/// What is left of a removed container for a moment: its files are deleted when this is dropped.
#[must_use]
pub(super) struct Grave(#[expect(dead_code, reason = "held, not used")] Vec<Temporary>);

/// What becomes of a container's anonymous volumes when it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousVolumes {
    /// They stay, under their names.
    Keep,
    /// Those that no other container has go with it.
    Remove,
}

/// Removes the container, unless somebody has been faster.
pub(super) fn remove_ended(
    store: &Store,
    directory: &Directory,
    config: &Config,
    volumes: AnonymousVolumes,
) -> Result<Grave, ContainerError> {
    let Some(_lock) = directory.lock()? else { return Ok(Grave(Vec::new())) };
    if directory.state()?.is_some_and(|state| state.is_live()) {
        // Somebody has started it again.
        return Err(ContainerError::Running(config.name.clone()));
    }
    // Nobody comes to have a volume under this lock.
    let names = Names::lock(store)?;
    let mut graves = vec![bury(store, directory)?];
    names.release(&config.name, config.id);
    store.unpin(&pin_name(config.id))?;
    // Of `--rm` that was said at the start, whoever comes first.
    if volumes == AnonymousVolumes::Remove || config.after == After::Remove {
        bury_volumes(store, config, &mut graves)?;
    }
    Ok(Grave(graves))
}

/// Takes away the anonymous volumes that no container has any more.
fn bury_volumes(store: &Store, config: &Config, graves: &mut Vec<Temporary>) -> Result<(), ContainerError> {
    for mount in &config.mounts {
        if let MountSource::Volume { name, lifetime: Lifetime::Container } = &mount.source
            && volume::users(store, name)?.is_empty()
        {
            graves.push(volume::bury(store, name)?);
        }
    }
    Ok(())
}

/// Removes what a crash has left: containers without a readable config, and pins and names without a
/// container. Cheap where there is nothing of it.
///
/// # Errors
/// If the store cannot be read or written.
pub fn tidy(store: &Store) -> Result<(), ContainerError> {
    // Containers come and go under the same lock.
    let names = Names::lock(store)?;
    for id in ids(store)? {
        let directory = Directory::of(store, id);
        let is_damaged = matches!(directory.config(), Err(ContainerError::Record { .. }) | Ok(None));
        if is_damaged && !matches!(directory.try_lock_monitor()?, Locked::Busy) {
            drop(bury(store, &directory)?);
        }
    }
    names.forget_unowned()?;
    for pin in store.pins()? {
        let owner = pin.owner.strip_prefix(PIN_PREFIX).and_then(|id| id.parse().ok());
        if owner.is_some_and(|id| !Directory::of(store, id).path().exists()) {
            store.unpin(&pin.owner)?;
        }
    }
    Ok(())
}

/// Takes a container away from where containers are; its files go when the grave is dropped.
fn bury(store: &Store, directory: &Directory) -> Result<Temporary, ContainerError> {
    let grave = store.temporary()?;
    let from = directory.path();
    std::fs::rename(from, grave.path().join("container")).map_err(ContainerError::io("remove", from))?;
    Ok(grave)
}

const PIN_PREFIX: &str = "container-";

/// Under which name the container's image is kept from the collector.
pub(super) fn pin_name(id: ContainerId) -> String {
    format!("{PIN_PREFIX}{id}")
}
