//! Containers: a sandbox with a name, a state, a log and a monitor.
//!
//! There is no daemon. `create` writes a container down; `start` executes kiln again as its *monitor*,
//! which starts the sandbox and outlives the command that asked for it. Whoever wants something of a
//! running container asks its monitor over a socket, and so does `kiln run`, which is its first client:
//!
//! ```text
//!   kiln run ──start──> monitor ──> supervisor ──> the container's process
//!      │  frames: stdin, stdout, stderr,     │  writes log and state, forwards ports,
//!      └─ size; then the exit ───────────────┘  serves attach, stop, kill, wait; cleans up
//!   kiln stop, kill, wait, attach, logs -f ──> containers/ID/socket
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`namespaces`], [`device`], [`limits`], [`mount`], [`port`], [`signal`] | what can be asked for, as data |
//! | [`exec`] | a further command in a running container |
//! | [`health`] | whether a container is well, and when that is looked at |
//! | [`restart`] | when an ended container is started again |
//! | [`processes`] | what runs in a container, as the host sees it |
//! | [`record`] | what is written down about a container: its config and its state |
//! | [`id`], [`name`] | what containers are called |
//! | [`log`] | what a container said |
//! | [`mod@list`] | which containers there are |
//! | [`volume`] | directories that outlive what is mounted over them |
//! | [`terminal`] | the user's terminal while a container has it |
//! | [`forward`] | published ports |
//! | [`changes`] | what a container has changed: diff, commit, export |
//! | [`files`] | files into and out of a container: cp |

pub mod changes;
pub mod device;
pub mod exec;
pub mod files;
pub mod forward;
pub mod health;
pub mod id;
pub mod limits;
pub mod list;
pub mod log;
pub mod mount;
pub mod name;
pub mod namespaces;
pub mod options;
pub mod port;
pub mod processes;
pub mod record;
pub mod restart;
pub mod signal;
pub mod terminal;
pub mod volume;

mod attach;
#[allow(clippy::module_inception, reason = "the type that the module is about")]
mod container;
mod create;
mod directory;
mod error;
mod inherit;
mod inspect;
mod joined;
mod monitor;
mod remove;
mod resolve;
mod root;
mod seed;
mod signals;
mod spec;

pub use attach::{Attachment, Ended, Patience, SignalProxy};
pub use container::{Container, Follow, Force};
pub use create::create;
pub use error::ContainerError;
pub use exec::ExecOptions;
pub use id::ContainerId;
pub use inherit::VolumesFrom;
pub use joined::{home_of, home_of_joined};
pub use list::list;
pub use name::ContainerName;
pub use options::CreateOptions;
pub use record::State;
pub use remove::{AnonymousVolumes, tidy};
pub use signal::Signal;

pub(crate) use files::FILES;
pub(crate) use monitor::MONITOR;
