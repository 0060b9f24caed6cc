//! The other side of the wire: credentials, pull, push, and files by their URL.
//!
//! ```text
//!   Reference --resolve--> manifest --pull--> layers of the store, tag last
//!                                   --note--> an image whose layers are elsewhere --bring--> layers of the store
//!   image of the store --push--> blobs (HEAD, mount, upload), manifest last
//!
//!   pull, push, resolve, login         what is done
//!      |
//!   Session                            one repository: authorization, retries, refusals
//!      |-- Endpoint, token, challenge  one registry: its scheme, its challenge, its tokens
//!      |-- retry, answer               what may pass, and what a refusal means
//!      `-- transport                   connections, TLS, one request
//!   credentials, host                  who one is; where registries are
//! ```
//!
//! `oci-client` is trusted with the registries' error documents ([`Refusal`]), and is a witness in the
//! tests: an independent client that pulls what kiln has pushed. Requests do not go through it, since
//! it reads answers of any length into memory, drops the headers of refusals (`Retry-After`, the
//! challenge of a 401), lets its HTTP library follow redirects from https to http, forgets the upload
//! that a refused mount opens, asks for tokens of one repository only, and has no client certificates.
//!
//! The face is blocking, bytes cross as [`std::io::Read`]; async stays in `net`, `transport`, `session`
//! and `token`. Nothing here prints: see [`Event`]. `builder` and `run` do not know this crate.

mod answer;
mod arrival;
mod blob;
mod bring;
mod challenge;
mod check;
mod chunks;
mod credentials;
mod download;
mod event;
mod host;
mod login;
mod net;
mod parallel;
mod pull;
mod push;
mod registry;
mod request;
mod resolve;
mod retry;
mod session;
mod tags;
mod text;
mod token;
mod transport;
mod upload;

pub use answer::{Cause, Refusal};
pub use blob::BlobError;
pub use bring::{BringError, FromError};
pub use check::{Aspect, Finding, Verdict};
pub use chunks::Uploads;
pub use credentials::{Credential, Credentials, CredentialsError, Erased, Kept, Secret};
pub use download::{Download, DownloadError, Downloaded, Received, Watch};
pub use event::{BlobState, Event, Progress};
pub use host::{Host, HostError};
pub use login::LoginError;
pub use pull::{News, PullError, Pulled, note};
pub use push::{Family, PushError, PushOptions, Pushed, Reuse};
pub use registry::{Options, Registry};
pub use request::RequestError;
pub use resolve::{RemoteDocument, RemoteImage, ResolveError};
pub use retry::Patience;
pub use transport::{Timeouts, TlsVerify};
pub use upload::UploadError;
