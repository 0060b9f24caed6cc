//! Roots: what stays because something beside a tag needs it, as long as that exists.
//!
//! A container pins its image, a user pins what must not be collected. A pin is a file of the
//! owner's name in `roots/`, which lists the things.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::files_below;
use crate::store::{Area, Store, StoreError};
use crate::{ActionKey, DiffId, Digest, ImageId};

/// Something that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thing {
    /// An image with its layers.
    Image(ImageId),
    /// A layer with its contents.
    Layer(DiffId),
    /// A blob.
    Blob(Digest),
    /// What an action resulted in.
    Action(ActionKey),
}

/// Who pins, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The owner's name: `container-4f2a..`.
    pub owner: String,
    /// What it needs.
    pub things: Vec<Thing>,
}

impl Store {
    /// Pins things for an owner, in place of what it pinned before. The owner's name is a file name.
    pub fn pin(&self, owner: &str, things: &[Thing]) -> Result<(), StoreError> {
        self.hold_things(things)?;
        self.write_record(&self.root_path(owner), &things)
    }

    /// Lets go of what an owner pinned; says whether there was anything.
    pub fn unpin(&self, owner: &str) -> Result<bool, StoreError> {
        self.remove_file(&self.root_path(owner))
    }

    /// All pins, in order of their owners.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for path in files_below(&self.dir(Area::Roots))? {
            let owner = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            pins.extend(self.read_record(&path)?.map(|(things, _)| Pin { owner, things }));
        }
        Ok(pins)
    }

    /// Appends things to this process's lease: what of them is there now stays while it lives.
    pub fn hold_things(&self, things: &[Thing]) -> Result<(), StoreError> {
        let paths: Vec<PathBuf> = things.iter().map(|thing| self.thing_path(*thing)).collect();
        self.hold(paths.iter().map(PathBuf::as_path))
    }

    fn thing_path(&self, thing: Thing) -> PathBuf {
        match thing {
            Thing::Image(id) => self.image_path(id),
            Thing::Layer(id) => self.layer_path(id),
            Thing::Blob(digest) => self.blob_path(digest),
            Thing::Action(key) => self.action_path(key),
        }
    }

    fn root_path(&self, owner: &str) -> PathBuf {
        let name: String = owner.chars().map(|c| if c == '/' || c == '\0' { '_' } else { c }).collect();
        self.dir(Area::Roots).join(name)
    }
}
