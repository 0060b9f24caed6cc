//! Connections: TLS, proxies, and sending one [`Call`].
//!
//! Async stays in here, in `net.rs` and in `session.rs`. No redirect is followed by itself: where one may lead is decided here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, Identity, Response, Url};

use crate::Host;
use crate::host::is_loopback;
use crate::request::{Call, RequestError};

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer.
    pub answer: Duration,
    /// For an answer after the whole of a large body was sent: registries hash and copy it first.
    pub commit: Duration,
    /// For the next bytes of a body, in either direction.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            commit: Duration::from_secs(600),
            stall: Duration::from_secs(30),
        }
    }
}

/// Whether a registry's identity is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVerify {
    /// Certificates are checked, and plain HTTP is for this machine only.
    #[default]
    Always,
    /// Any certificate will do, and plain HTTP where TLS is not spoken.
    Never,
}

/// The clients that speak to one registry, and to where it redirects.
#[derive(Debug)]
pub(crate) struct Clients {
    /// For the registry itself; shows a client certificate where one is configured.
    own: Client,
    /// For other hosts.
    foreign: OnceLock<Client>,
    trust: Trust,
    timeouts: Timeouts,
}

#[derive(Debug, Clone)]
struct Trust {
    verify: TlsVerify,
    roots: Vec<Certificate>,
    proxies: Proxies,
}

#[derive(Debug, Clone, Copy)]
enum Proxies {
    FromEnvironment,
    None,
}

impl Clients {
    pub(crate) fn new(
        host: &Host,
        verify: TlsVerify,
        directories: &[PathBuf],
        timeouts: &Timeouts,
    ) -> Result<Self, RequestError> {
        let roots = read_roots(directories)?;
        // As Go's clients: a proxy is never asked for this machine.
        let proxies = if host.is_loopback() { Proxies::None } else { Proxies::FromEnvironment };
        let trust = Trust { verify, roots, proxies };
        let own = trust.client(read_identity(directories)?, timeouts);
        Ok(Self { own, foreign: OnceLock::new(), trust, timeouts: timeouts.clone() })
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The client for a URL, which is the registry's own only on its own origin.
    pub(crate) fn of(&self, origin: &Url, url: &Url) -> &Client {
        if same_origin(origin, url) {
            return &self.own;
        }
        self.foreign.get_or_init(|| {
            Trust { proxies: Proxies::FromEnvironment, ..self.trust.clone() }.client(None, &self.timeouts)
        })
    }

    /// Sends a call and waits for the head of the answer.
    pub(crate) async fn send_once(
        &self,
        origin: &Url,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RequestError> {
        let host = host_of(&call.url);
        let mut request = self.of(origin, &call.url).request(call.method.clone(), call.url.clone());
        request = request.headers(call.headers.clone());
        if let Some(value) = authorization.filter(|_| may_see_credentials(origin, &call.url)) {
            request = request.header(AUTHORIZATION, value);
        }
        if !call.body.is_empty() || matches!(call.method.as_str(), "POST" | "PUT" | "PATCH") {
            request = request.body(call.body.clone());
        }
        match tokio::time::timeout(self.timeouts.answer, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(RequestError::from_transport(&host, &call.doing, &error)),
            Err(_) => Err(RequestError::Stalled { host, doing: call.doing.clone(), after: self.timeouts.answer }),
        }
    }
}

impl Trust {
    fn client(&self, identity: Option<Identity>, timeouts: &Timeouts) -> Client {
        let build = |only: bool| {
            let mut builder = Client::builder()
                .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(timeouts.connect)
                .tcp_nodelay(true);
            builder = match only {
                true => builder.tls_certs_only(self.roots.clone()),
                false => builder.tls_certs_merge(self.roots.clone()),
            };
            if self.verify == TlsVerify::Never {
                builder = builder.tls_danger_accept_invalid_certs(true);
            }
            if let Proxies::None = self.proxies {
                builder = builder.no_proxy();
            }
            if let Some(identity) = identity.clone() {
                builder = builder.identity(identity);
            }
            builder.build()
        };
        // A machine without a CA bundle can still speak to registries with a CA of their own, or
        // without TLS; every other certificate is then unknown to it.
        build(false).or_else(|_| build(true)).expect("a client without roots of the system can always be made")
    }
}

/// Where a redirect leads; `None` if the answer is none.
pub(crate) fn redirect(response: &Response, call: &Call) -> Result<Option<Url>, RequestError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let host = host_of(&call.url);
    let refuse = |problem| RequestError::Redirect { host: host.clone(), doing: call.doing.clone(), problem };
    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let url = target.and_then(|target| call.url.join(target).ok()).ok_or_else(|| refuse("to nowhere"))?;
    match astray(&call.url, &url) {
        Some(problem) => Err(refuse(problem)),
        None => Ok(Some(url)),
    }
}

/// Why a server at one URL may not send us to another; `None` if it may.
pub(crate) fn astray(from: &Url, to: &Url) -> Option<&'static str> {
    match to.scheme() {
        "https" => {}
        "http" if from.scheme() == "http" => {}
        "http" => return Some("from https to http"),
        _ => return Some("to something that is not HTTP"),
    }
    let is_inside = is_link_local(to) || (is_loopback(to) && !is_loopback(from));
    is_inside.then_some("to an address that only this machine can mean")
}

/// Whether two URLs have scheme, host and port in common.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// The host and port of a URL, for messages.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The registry's own origin only; and never in the clear what was meant for TLS (CVE-2020-15157).
fn may_see_credentials(origin: &Url, url: &Url) -> bool {
    same_origin(origin, url)
}

fn is_link_local(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default();
    match name.trim_matches(['[', ']']).parse().map(|address: IpAddr| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_link_local() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || address.is_unspecified(),
        Err(_) => false,
    }
}

/// `*.crt` are authorities (docker docs, "Verify repository client with certificates").
fn read_roots(directories: &[PathBuf]) -> Result<Vec<Certificate>, RequestError> {
    let mut roots = Vec::new();
    for path in directories.iter().flat_map(|directory| files(directory, "crt")) {
        roots.extend(Certificate::from_pem_bundle(&read(&path)?).map_err(|error| bad(&path, &error))?);
    }
    Ok(roots)
}

/// The first `*.cert` with the `*.key` of the same name.
fn read_identity(directories: &[PathBuf]) -> Result<Option<Identity>, RequestError> {
    let Some(path) = directories.iter().flat_map(|directory| files(directory, "cert")).next() else { return Ok(None) };
    let both = [read(&path)?, read(&path.with_extension("key"))?].join(&b'\n');
    Identity::from_pem(&both).map(Some).map_err(|error| bad(&path, &error))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Vec<u8>, RequestError> {
    std::fs::read(path).map_err(|error| bad(path, &error))
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> RequestError {
    RequestError::Certificates { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_do_not_lead_astray() {
        for (from, to, expected) in [
            ("https://r.example/v2/", "https://cdn.example/x", true),
            ("http://r.example/v2/", "http://cdn.example/x", true),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/", true),
            ("https://r.example/", "http://r.example/", false),
            ("https://r.example/", "https://169.254.169.254/latest", false),
            ("https://r.example/", "https://[fe80::1]/", false),
            ("https://r.example/", "https://[::ffff:169.254.169.254]/", false),
            ("https://r.example/", "https://localhost/", false),
            ("https://r.example/", "https://0.0.0.0/", false),
            ("http://127.0.0.1:5000/", "http://169.254.169.254/", false),
            ("https://r.example/", "ftp://r.example/", false),
        ] {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            assert_eq!(astray(&from, &to).is_none(), expected, "{from} {to}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = Url::parse("https://r.example/").unwrap();
        for (url, expected) in [
            ("https://r.example:443/v2/x?y", true),
            ("https://r.example:8443/", false),
            ("http://r.example/", false),
            ("https://r.example.evil.org/", false),
        ] {
            assert_eq!(same_origin(&origin, &Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
