//! A container's root file system: its image's layers under a directory of its own.

use store::snapshot::SnapshotRoot;
use store::{Snapshot, Store};

use super::directory::Directory;
use super::error::ContainerError;
use super::record::Config;
use crate::sandbox::{Durability, Lower, Rootfs, Stacking};

/// Makes the root file system ready to be mounted: layers are unpacked if they are not, and what the
/// container has changed so far is found again.
pub(super) fn prepare(store: &Store, directory: &Directory, config: &Config) -> Result<Rootfs, ContainerError> {
    let snapshot = snapshot(store, directory, config)?;
    Ok(match snapshot.root().clone() {
        SnapshotRoot::Overlay { lowers, data, upper, work } => {
            let lowers = lowers.into_iter().map(lower).collect();
            Rootfs::Overlay { lowers, data, upper, work, durability: Durability::Durable }
        }
        SnapshotRoot::Copy { path } => Rootfs::Directory { path },
    })
}

fn lower(layer: store::Lower) -> Lower {
    let stacking = match layer.stacking {
        store::Stacking::Direct => Stacking::Direct,
        store::Stacking::Nested => Stacking::Nested,
    };
    Lower { path: layer.path, stacking }
}

/// The root file system as the store sees it.
pub(super) fn snapshot(store: &Store, directory: &Directory, config: &Config) -> Result<Snapshot, ContainerError> {
    let home = directory.root();
    if !home.exists() {
        std::fs::create_dir(&home).map_err(ContainerError::io("make", &home))?;
    }
    Ok(store.snapshot_in(&config.layers, &home)?)
}
