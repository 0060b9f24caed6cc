//! From a tar of a root file system to an image.

use std::io::Read;

use super::ArchiveError;
use crate::compress;
use crate::oci::{ContainerConfig, History, ImageConfig};
use crate::store::Store;
use crate::{ImageId, Platform};

/// What an imported image says beside its files.
#[derive(Debug, Clone)]
pub struct Import {
    /// How a container of it starts.
    pub config: ContainerConfig,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as in RFC 3339.
    pub created: String,
    /// What its history says.
    pub comment: String,
}

impl Store {
    /// Makes an image of one layer from a tar of any compression.
    pub fn import(&self, tar: impl Read + Send, import: &Import) -> Result<ImageId, ArchiveError> {
        let read = |source| ArchiveError::Read { what: "the root file system".to_owned(), source };
        let layer = self.import_layer(compress::decompress(tar).map_err(read)?, None)?;
        let mut config = ImageConfig::empty(&import.platform);
        config.created = Some(import.created.clone());
        config.config = import.config.clone();
        config.history =
            vec![History { created: config.created.clone(), comment: import.comment.clone(), ..History::default() }];
        config.rootfs.diff_ids = vec![layer.diff_id()];
        Ok(self.put_image(&config.to_bytes())?)
    }
}
