//! From text to image: Dockerfile, graph, solved graph, image.
//!
//! ```text
//!   bytes --dockerfile::parse--> Dockerfile --plan--> Graph --solve--> Solution --image--> config
//!                                                       per vertex: ActionKey -> hit | why not
//!                                                       miss: execute -> Change -> layer -> record
//! ```
//!
//! Each arrow is one function from value to value. Nothing left of `solve` does IO. The crate knows
//! no registry, no terminal and no command line: images and files come through an [`ImageSource`], commands
//! run through an [`Executor`], and what happens is told to a [`Progress`].

pub mod build;
pub mod context;
pub mod copy;
pub mod diagnostic;
pub mod dockerfile;
pub mod edits;
pub mod error;
pub mod executor;
pub mod expand;
pub mod graph;
pub mod ignore;
pub mod image;
pub mod key;
pub mod lint;
pub mod missing;
pub mod outline;
pub mod pattern;
pub mod plan;
pub mod progress;
pub mod record;
pub mod remote;
pub mod request;
pub mod solve;
pub mod source;
pub mod squash;
pub mod ssh;
pub mod suggest;

pub use build::{Built, build, dry_run};
pub use error::BuildError;
pub use executor::Executor;
pub use executor::sandbox::SandboxExecutor;
pub use progress::{Cancel, Event, Progress};
pub use request::BuildRequest;
pub use source::{ImageSource, ResolvedImage, SourceError};
