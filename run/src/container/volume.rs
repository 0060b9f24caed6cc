//! Volumes: directories that outlive what is mounted over them.
//!
//! ```text
//!   volumes/NAME/_data          what containers see
//!   volumes/NAME/volume.json    when it was made, for whom
//! ```
//!
//! A volume appears whole, with what the image has at its place: it is filled in `tmp/` and renamed.
//! Only one that exists already and is still empty is filled where it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Area, Placed, Store, Temporary};

use super::directory::{Directory, Names, ids, read, write};
use super::error::ContainerError;
use super::id::ContainerId;
use super::mount::{Lifetime, MountSource, check_volume_name};
use super::seed::Seed;

/// What is known about a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name: 64 hex digits if it is anonymous.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is anonymous.
    pub lifetime: Lifetime,
    /// What was said about it.
    pub labels: BTreeMap<String, String>,
}

impl Volume {
    /// Where its files are.
    pub fn path(&self, store: &Store) -> PathBuf {
        data(store, &self.name)
    }
}

/// Makes a volume, empty; the one of that name if there is one. Without a name it gets one of 64 digits.
///
/// # Errors
/// If the name cannot be one.
pub fn create(store: &Store, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<Volume, ContainerError> {
    let (name, lifetime) = match name {
        Some(name) => (check_volume_name(name)?, Lifetime::OwnName),
        None => (fresh_name(store)?, Lifetime::Container),
    };
    let volume = Volume { name, created: Timestamp::now(), lifetime, labels };
    provide(store, volume, None)
}

/// Finds a volume.
///
/// # Errors
/// If there is none of that name.
pub fn find(store: &Store, name: &str) -> Result<Volume, ContainerError> {
    let missing = || ContainerError::NoSuchVolume(name.to_owned());
    let name = check_volume_name(name).map_err(|_| missing())?;
    read(&home(store, &name).join("volume.json"))?.ok_or_else(missing)
}

/// All volumes, by name.
///
/// # Errors
/// If the store cannot be read.
pub fn list(store: &Store) -> Result<Vec<Volume>, ContainerError> {
    let path = store.dir(Area::Volumes);
    let entries = fs::read_dir(&path).map_err(ContainerError::io("list", path))?;
    let mut volumes = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        volumes.extend(read::<Volume>(&entry.path().join("volume.json"))?);
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(volumes)
}

/// Removes a volume that no container has.
///
/// # Errors
/// If there is none, or a container has it.
pub fn remove(store: &Store, name: &str) -> Result<(), ContainerError> {
    let volume = find(store, name)?;
    let grave = {
        // Containers come to be under the same lock.
        let _names = Names::lock(store)?;
        if let Some(user) = users(store, &volume.name)?.first() {
            return Err(ContainerError::VolumeInUse { volume: volume.name, container: user.short() });
        }
        bury(store, &volume.name)?
    };
    drop(grave);
    Ok(())
}

/// The containers that have a volume.
///
/// # Errors
/// If a container's record cannot be read.
pub fn users(store: &Store, name: &str) -> Result<Vec<ContainerId>, ContainerError> {
    let mut users = Vec::new();
    for id in ids(store)? {
        let mounts = match Directory::of(store, id).config() {
            Ok(config) => config.map(|config| config.mounts).unwrap_or_default(),
            // It can never run again, so it uses nothing.
            Err(ContainerError::Record { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_it = |source: &MountSource| matches!(source, MountSource::Volume { name: other, .. } if other == name);
        if mounts.iter().any(|mount| is_it(&mount.source)) {
            users.push(id);
        }
    }
    Ok(users)
}

/// Finds or makes a volume, and fills it from the image if it is new or empty.
pub(super) fn provide(store: &Store, volume: Volume, seed: Option<(&Seed, &str)>) -> Result<Volume, ContainerError> {
    if let Some(existing) = read::<Volume>(&home(store, &volume.name).join("volume.json"))? {
        fill_if_empty(store, &existing, seed)?;
        return Ok(existing);
    }
    let name = volume.name.clone();
    match draft(store, &volume, seed)?.place(store)? {
        Placed::Now => Ok(volume),
        Placed::Already => find(store, &name),
    }
}

/// A volume that is whole and not yet in its place; gone when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    directory: Temporary,
    name: String,
}

impl Draft {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it its place, unless there is one of that name.
    pub(super) fn place(self, store: &Store) -> Result<Placed, ContainerError> {
        Ok(store.place_directory(self.directory, &home(store, &self.name))?)
    }
}

/// Makes a volume that appears later.
pub(super) fn draft(store: &Store, volume: &Volume, seed: Option<(&Seed, &str)>) -> Result<Draft, ContainerError> {
    let directory = store.temporary()?;
    let data = directory.path().join("_data");
    fs::create_dir(&data).map_err(ContainerError::io("make", &data))?;
    if let Some((seed, target)) = seed {
        seed.fill(target, &data)?;
    }
    write(&directory.path().join("volume.json"), volume)?;
    Ok(Draft { directory, name: volume.name.clone() })
}

/// Takes a volume away whoever has it; its files go when the grave is dropped.
pub(super) fn bury(store: &Store, name: &str) -> Result<Temporary, ContainerError> {
    let grave = store.temporary()?;
    let from = home(store, name);
    match fs::rename(&from, grave.path().join("volume")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ContainerError::io("remove", from)(error)),
        _ => Ok(grave),
    }
}

/// A name for an anonymous volume.
pub(super) fn fresh_name(store: &Store) -> Result<String, ContainerError> {
    let id = ContainerId::random().map_err(ContainerError::io("name a volume in", store.dir(Area::Volumes)))?;
    Ok(id.to_string())
}

fn fill_if_empty(store: &Store, volume: &Volume, seed: Option<(&Seed, &str)>) -> Result<(), ContainerError> {
    let data = volume.path(store);
    let mut entries = fs::read_dir(&data).map_err(ContainerError::io("list", &data))?;
    match seed.filter(|_| entries.next().is_none()) {
        Some((seed, target)) => seed.fill(target, &data),
        None => Ok(()),
    }
}

fn home(store: &Store, name: &str) -> PathBuf {
    store.dir(Area::Volumes).join(name)
}

fn data(store: &Store, name: &str) -> PathBuf {
    home(store, name).join("_data")
}
