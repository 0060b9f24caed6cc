//! [`Registry`]: every registry there is, as one value.
//!
//! It holds the thread that drives connections, the credentials, and what is known of each host by
//! now, so that a second pull of the same process asks no question twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use store::Cancel;

use crate::Host;
use crate::chunks::Uploads;
use crate::credentials::Credentials;
use crate::event::Progress;
use crate::net::{Net, Waiter};
use crate::request::RequestError;
use crate::retry::Patience;
use crate::session::{Endpoint, Session};
use crate::token::{Access, Scope, Scopes};
use crate::transport::{Clients, Timeouts, TlsVerify};

/// How registries are dealt with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether certificates are checked.
    pub tls: TlsVerify,
    /// Directories with a directory a host in them: `*.crt` are authorities, `*.cert` and `*.key`
    /// the client's own certificate.
    pub certificates: Vec<PathBuf>,
    /// The same for every registry, before those of its host.
    pub certificate_directory: Option<PathBuf>,
    /// How blobs are sent.
    pub uploads: Uploads,
    /// How many blobs move at once.
    pub parallel: usize,
    /// How long to wait for answers.
    pub timeouts: Timeouts,
    /// When to try again.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let certificates = ["/etc/docker/certs.d".into(), "/etc/containers/certs.d".into()]
            .into_iter()
            .chain(home.map(|home| home.join(".config/containers/certs.d")))
            .collect();
        let (tls, timeouts, patience) = (TlsVerify::default(), Timeouts::default(), Patience::default());
        Self {
            tls,
            certificates,
            certificate_directory: None,
            uploads: Uploads::default(),
            parallel: 4,
            timeouts,
            patience,
        }
    }
}

/// The way to all registries.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    cancel: Cancel,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    credentials: Credentials,
    net: Net,
    endpoints: Mutex<HashMap<Host, Arc<Endpoint>>>,
}

impl Registry {
    /// Starts the thread that drives connections; nothing is connected yet. Fails if the system
    /// gives no thread.
    pub fn new(options: Options, credentials: Credentials) -> std::io::Result<Self> {
        let shared = Shared { options, credentials, net: Net::start()?, endpoints: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), cancel: Cancel::default() })
    }

    /// The same for work that ends when the flag is set: that of the store that it works for.
    pub(crate) fn ending_with(&self, cancel: &Cancel) -> Self {
        Self { shared: Arc::clone(&self.shared), cancel: cancel.clone() }
    }

    /// How registries are dealt with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    pub(crate) fn net(&self) -> Waiter<'_> {
        self.shared.net.waiter(&self.cancel)
    }

    /// Opens a conversation about a repository. `sources` are repositories of the same registry
    /// from which blobs may be taken over.
    pub(crate) fn session<'a>(
        &'a self,
        host: &Host,
        repository: &str,
        access: Access,
        sources: &[String],
        progress: Progress<'a>,
    ) -> Result<Session<'a>, RequestError> {
        let endpoint = self.endpoint(host, progress)?;
        let credential = self.shared.credentials.find(host, repository)?;
        let scope = Scope { repository: repository.to_owned(), access };
        let pull = |source: &String| Scope { repository: source.clone(), access: Access::Pull };
        let more: Scopes = sources.iter().filter(|source| *source != repository).map(pull).collect();
        Ok(Session::new(self, endpoint, scope, more, credential, progress))
    }

    /// What is known of a host; asks it the first time.
    pub(crate) fn endpoint(&self, host: &Host, progress: Progress<'_>) -> Result<Arc<Endpoint>, RequestError> {
        let mut endpoints = self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(host) {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Arc::new(self.probe(host, progress)?);
        endpoint.wants_chunks.store(self.shared.options.uploads == Uploads::InChunks, Ordering::Relaxed);
        endpoints.insert(host.clone(), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// A host that cannot be reached at all is more likely misspelt than restarting: it is asked
    /// once.
    fn probe(&self, host: &Host, progress: Progress<'_>) -> Result<Endpoint, RequestError> {
        let Options { tls, certificates, certificate_directory, timeouts, patience, .. } = &self.shared.options;
        let of_host = certificates.iter().map(|directory| directory.join(host.as_str()));
        let directories: Vec<PathBuf> = certificate_directory.iter().cloned().chain(of_host).collect();
        patience.retry(self.net(), progress, || {
            let clients = Clients::new(host, *tls, &directories, timeouts)?;
            match self.net().wait(Endpoint::probe(host, clients, *tls)) {
                Err(error @ RequestError::Unreachable { .. }) => Ok(Err(error)),
                other => other.map(Ok),
            }
        })?
    }
}
