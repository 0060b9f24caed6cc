//! The parts of a store, and what their directories are called.

/// The parts of a store, each a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Contents of large files, by [`ObjectId`](crate::ObjectId).
    Objects,
    /// Layer files and what stands beside them, by [`DiffId`](crate::DiffId).
    Layers,
    /// Layers as directories that overlayfs stacks; derived.
    Checkouts,
    /// Configs, manifests and compressed layers as registries have them, by [`Digest`](crate::Digest).
    Blobs,
    /// Action records, by [`ActionKey`](crate::ActionKey).
    Actions,
    /// One record an image that the store has, by [`ImageId`](crate::ImageId).
    Images,
    /// Tags.
    Refs,
    /// Pins of things that live as long as their owner: containers, the user's pins.
    Roots,
    /// Flocked files of the processes that use the store now.
    Leases,
    /// History: a record a build, and the logs of its steps.
    Builds,
    /// Lock files of steps that are being worked on.
    Locks,
    /// What scans of build contexts remember.
    Scans,
    /// Directories that steps keep between runs.
    CacheMounts,
    /// Named volumes.
    Volumes,
    /// Containers.
    Containers,
    /// Work in progress.
    Temporary,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Objects,
        Self::Layers,
        Self::Checkouts,
        Self::Blobs,
        Self::Actions,
        Self::Images,
        Self::Refs,
        Self::Roots,
        Self::Leases,
        Self::Builds,
        Self::Locks,
        Self::Scans,
        Self::CacheMounts,
        Self::Volumes,
        Self::Containers,
        Self::Temporary,
    ];

    /// The directory's name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Layers => "layers",
            Self::Checkouts => "checkouts",
            Self::Blobs => "blobs",
            Self::Actions => "actions",
            Self::Images => "images",
            Self::Refs => "refs",
            Self::Roots => "roots",
            Self::Leases => "leases",
            Self::Builds => "builds",
            Self::Locks => "locks",
            Self::Scans => "scans",
            Self::CacheMounts => "cache-mounts",
            Self::Volumes => "volumes",
            Self::Containers => "containers",
            Self::Temporary => "tmp",
        }
    }
}
