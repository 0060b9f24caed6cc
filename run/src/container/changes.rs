//! What a container has changed in its root file system: listed, made an image, written out whole.
//!
//! What kiln itself put there is no change: `hosts`, `resolv.conf`, `hostname` and the mount points of
//! its own mounts. Those of the user's mounts are, and they are empty: what is mounted is not in it.

use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use store::capture::{CaptureError, CaptureOptions, Captured, Source};
use store::content::ContentError;
use store::layer::{RootTreeError, WriteLayerError, write_tar};
use store::oci::{ContainerConfig, History, ImageConfig};
use store::scan::Times;
use store::tree::{ChangeDirectory, ChangeEntry, Directory, Node, diff};
use store::{Contents, ImageId, RelPath, Tree};

use super::container::Container;
use super::error::ContainerError;
use super::health::Healthcheck;
use super::mount::{Lifetime, MountSource};
use super::record::Phase;
use super::signal::Signal;

/// Why the changes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// They cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The image's files are not known.
    #[error(transparent)]
    Root(#[from] RootTreeError),
    /// They do not fit on the image.
    #[error(transparent)]
    Apply(#[from] store::tree::ApplyError),
    /// They cannot be written.
    #[error(transparent)]
    Write(#[from] WriteLayerError),
    /// A content is missing.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// One path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What happened to it.
    pub kind: DifferenceKind,
    /// Relative to the root.
    pub path: RelPath,
}

/// What happened to a path. It prints as Docker's letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It was not there.
    Added,
    /// It, or something in it, is another.
    Changed,
    /// It is gone.
    Deleted,
}

impl std::fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Added => "A",
            Self::Changed => "C",
            Self::Deleted => "D",
        })
    }
}

/// What an image that is made of a container says beside its files.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who made it.
    pub author: String,
    /// What the history says.
    pub comment: String,
    /// How a container of it starts; see [`Container::image_config`].
    pub config: ContainerConfig,
}

impl Container {
    /// What it has changed, by path.
    ///
    /// # Errors
    /// If the root file system cannot be read.
    pub fn differences(&self) -> Result<Vec<Difference>, ContainerError> {
        let (lower, captured) = self.changes()?;
        let mut found = Vec::new();
        list(&captured.change.directory, Some(lower.directory()), &RelPath::root(), &mut found);
        Ok(found)
    }

    /// How a container of its image would start if it were to be like this one: the image's config
    /// under what was said when it was made.
    ///
    /// # Errors
    /// If its image is not whole.
    pub fn image_config(&self) -> Result<ImageConfig, ContainerError> {
        let own = self.config();
        let missing = || ContainerError::NoSuchImage(own.image_name.clone());
        let mut image = self.store().image(own.image)?.ok_or_else(missing)?.config;
        let config = &mut image.config;
        let process = &own.process;
        config.entrypoint.clone_from(&process.entrypoint);
        config.cmd.clone_from(&process.command);
        config.env.clone_from(&process.environment);
        config.user.clone_from(&process.user);
        if process.working_directory != "/" || !config.working_dir.is_empty() {
            config.working_dir.clone_from(&process.working_directory);
        }
        if process.stop_signal != Signal::TERM || !config.stop_signal.is_empty() {
            config.stop_signal = process.stop_signal.to_string();
        }
        config.healthcheck = own.healthcheck.as_ref().map(Healthcheck::to_image);
        config.labels.clone_from(&own.labels);
        config.exposed_ports.extend(own.ports().map(|port| port.to_string()));
        let is_anonymous =
            |source: &MountSource| matches!(source, MountSource::Volume { lifetime: Lifetime::Container, .. });
        let anonymous = own.mounts.iter().filter(|mount| is_anonymous(&mount.source));
        config.volumes.extend(anonymous.map(|mount| mount.target.clone()));
        Ok(image)
    }

    /// Makes an image of its image and one layer with what it has changed.
    ///
    /// # Errors
    /// If the root file system cannot be read, or the store not be written.
    pub fn commit(&self, commit: &Commit) -> Result<ImageId, ContainerError> {
        let (_, captured) = self.changes()?;
        let mut image = self.image_config()?;
        let created = Some(Timestamp::now().to_string());
        let is_empty = captured.change.is_empty();
        if !is_empty {
            let layer = self.store().write_layer(&captured.change, &captured.contents).map_err(ChangesError::from)?;
            image.rootfs.diff_ids.push(layer.diff_id());
        }
        image.history.push(History {
            created: created.clone(),
            created_by: self.config().argv().collect::<Vec<_>>().join(" "),
            author: commit.author.clone(),
            comment: commit.comment.clone(),
            empty_layer: is_empty,
            ..History::default()
        });
        image.created = created;
        image.author.clone_from(&commit.author);
        image.config = commit.config.clone();
        Ok(self.store().put_image(&image.to_bytes())?)
    }

    /// Writes its whole root file system as a tar, without what is mounted into it.
    ///
    /// # Errors
    /// If it cannot be read, or the tar not be written.
    pub fn export(&self, output: impl Write) -> Result<(), ContainerError> {
        let (lower, captured) = self.changes()?;
        let tree = captured.change.apply(&lower).map_err(ChangesError::from)?;
        let whole = diff(&Tree::empty(store::tree::Timestamp::default()), &tree);
        let below = Contents::of_layers(self.store(), &self.config().layers).map_err(ChangesError::from)?;
        Ok(write_tar(&whole, &below.merge(captured.contents), output).map_err(ChangesError::from)?)
    }

    /// The bytes that its changes take, and those of its whole root file system.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn sizes(&self) -> Result<Sizes, ContainerError> {
        let (_, captured) = self.changes()?;
        let writable_bytes = bytes_in(&captured.change.directory);
        let mut root_bytes = writable_bytes;
        for layer in &self.config().layers {
            root_bytes += self.store().layer(*layer)?.map_or(0, |layer| layer.size_bytes());
        }
        Ok(Sizes { writable_bytes, root_bytes })
    }

    fn changes(&self) -> Result<(Arc<Tree>, Captured), ContainerError> {
        let lower = self.store().root_tree(&self.config().layers).map_err(ChangesError::from)?;
        let snapshot = super::root::snapshot(self.store(), self.directory(), self.config())?;
        let exclude = self.stubs()?;
        let options = CaptureOptions { times: Times::Preserve, exclude: &exclude, source: Source::Kept };
        let captured = self.store().capture(&snapshot, &lower, &options).map_err(ChangesError::from)?;
        Ok((lower, captured))
    }

    /// Mount points that are kiln's own.
    fn stubs(&self) -> Result<Vec<RelPath>, ContainerError> {
        let state = self.state()?;
        let stubs = match &state.phase {
            Phase::Created => return Ok(Vec::new()),
            Phase::Running(running) => &running.stubs,
            Phase::Exited(exited) | Phase::Restarting(exited) => &exited.stubs,
        };
        Ok(stubs.iter().filter_map(|path| RelPath::clean(path.as_os_str().as_encoded_bytes()).ok()).collect())
    }
}

/// How much a container holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// What it has changed.
    pub writable_bytes: u64,
    /// That and its image.
    pub root_bytes: u64,
}

fn bytes_in(directory: &ChangeDirectory) -> u64 {
    let size = |entry: &ChangeEntry| match entry {
        ChangeEntry::Leaf(_, store::tree::Leaf::File { size_bytes, .. }) => *size_bytes,
        ChangeEntry::Directory { directory, .. } => bytes_in(directory),
        _ => 0,
    };
    directory.entries.values().map(size).sum()
}

fn list(change: &ChangeDirectory, lower: Option<&Arc<Directory>>, at: &RelPath, found: &mut Vec<Difference>) {
    for (name, entry) in &change.entries {
        let path = at.join(name);
        let below = lower.and_then(|lower| lower.get(name.as_bytes()));
        let kind = match (entry, below) {
            (ChangeEntry::Removed, _) => DifferenceKind::Deleted,
            (_, Some(_)) => DifferenceKind::Changed,
            (_, None) => DifferenceKind::Added,
        };
        found.push(Difference { kind, path: path.clone() });
        if let ChangeEntry::Directory { directory, .. } = entry {
            let below = below.and_then(|entry| match &entry.node {
                Node::Directory(directory) => Some(directory),
                Node::Leaf(_) => None,
            });
            list(directory, below, &path, found);
        }
    }
}
