//! What lies elsewhere: files by their URL and commits of git repositories.
//!
//! ```text
//!   text --address--> Remote --fetch--> layer of the store
//!                       |                 known: the checksum, the server's validators, or the commit say so
//!                       `-- url: through ImageSource, git: through the program
//! ```
//!
//! A remote thing becomes a layer with an action of its own, so that it is kept, collected and
//! shared as everything else. Its key holds what names the content: a checksum, or the URL (the
//! validators stand in the result), or the commit. Whoever copies from it has the content in the key.

pub mod address;
mod checksum;
mod error;
mod fetch;
mod git;
mod text;
mod url;

pub use address::{AddressError, GitDirectory, GitSource, Remote, Submodules, UrlSource};
pub use checksum::Checksum;
pub use error::RemoteError;
pub use fetch::{Fetched, Fetcher};
pub use text::redacted;
