//! Things and where they are kept.
//!
//! Everything that kiln knows lives in one content-addressed store of plain files:
//!
//! ```text
//!   tar bytes --layer::import--> layer file + objects + Change        (a pulled or loaded layer)
//!   Tree, Tree --tree::diff--> Change --layer::write--> layer file    (a built layer)
//!   directory --scan--> Tree                                          (a build context)
//!   layers --checkout--> directories --snapshot--> root filesystem    (for the sandbox)
//!   upper directory --capture--> Change                               (what a RUN changed)
//!   ActionKey --action--> ActionResult                                (what was computed before)
//!   refs, roots, leases --gc--> what may go
//! ```
//!
//! The store knows no Dockerfile, no registry protocol and no sandbox. It never prints.

pub mod action;
pub mod archive;
mod area;
pub mod blob;
pub mod boot;
pub mod bundle;
pub mod cancel;
pub mod capture;
pub mod checkout;
pub mod compress;
pub mod content;
pub mod digest;
mod error;
pub mod export;
pub mod fs;
pub mod gc;
pub mod image;
mod inventory;
pub mod layer;
mod lease;
pub mod lock;
pub mod object;
pub mod oci;
pub mod path;
pub mod platform;
pub mod record;
pub mod reference;
pub mod refs;
pub mod root;
pub mod scan;
mod session;
pub mod sharing;
pub mod snapshot;
pub mod stat_cache;
pub mod store;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod usage;
pub mod verify;

pub use action::{Action, ActionResult, KeyRecord};
pub use blob::BlobWriter;
pub use boot::BootId;
pub use bundle::{Bundle, Member};
pub use cancel::{Cancel, Cancelled};
pub use capture::{CaptureError, CaptureOptions, Captured};
pub use compress::Encoding;
pub use content::Contents;
pub use digest::{ActionKey, ChainId, DiffId, Digest, DirectoryId, ImageId, ObjectId, TreeId};
pub use image::{Image, ImageRecord};
pub use layer::{Layer, LayerBlob};
pub use path::{Name, RelPath};
pub use platform::Platform;
pub use reference::{PinnedReference, Reference, Repository};
pub use refs::TaggedImage;
pub use root::Thing;
pub use scan::{Scan, ScanOptions, scan};
pub use session::{Temporary, TemporaryFile};
pub use sharing::{Mechanism, RootDriver, Sharing};
pub use snapshot::{Lower, Snapshot, SnapshotError, SnapshotRoot, Stacking};
pub use stat_cache::StatCache;
pub use store::{Area, OpenError, Placed, Presence, Store, StoreError};
pub use tree::{Change, Tree};
