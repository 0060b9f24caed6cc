//! One request, and every way in which it can fail.
//!
//! A [`Call`] is a request as data, so that it can be sent again. [`RequestError`] is what comes of
//! it at worst; its texts hold no URL, since a URL may hold a signature, and nothing raw from the
//! server.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use store::Cancelled;

use crate::answer::Refusal;
use crate::credentials::CredentialsError;
use crate::retry::Outlook;

/// A request whose body, if any, is in memory.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// What it is for, in words that complete "cannot ...".
    pub(crate) doing: String,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url, doing: impl Into<String>) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Vec::new(), doing: doing.into() }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values are digests, media types and numbers");
        self.headers.append(name, value);
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The registry, or its token service, refused.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// No connection could be made.
    #[error("cannot reach {host} to {doing}: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What was to be done.
        doing: String,
        /// The system's words.
        reason: String,
    },
    /// The host's certificate is not one to be trusted.
    #[error(
        "the certificate of {host} is not trusted: {reason}; put its CA as ca.crt into \
         /etc/docker/certs.d/{host}/, or give --tls-verify=false"
    )]
    Untrusted {
        /// The host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS is spoken, but not so that both sides agree.
    #[error("cannot agree on TLS with {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// The TLS library's words.
        reason: String,
    },
    /// TLS is not spoken.
    #[error("{host} does not speak TLS; give --tls-verify=false if that is as it should be")]
    NoTls {
        /// The host.
        host: String,
    },
    /// The connection broke.
    #[error("the connection to {host} broke while it was to {doing}: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// What was being done.
        doing: String,
        /// The system's words.
        reason: String,
    },
    /// Nothing, or next to nothing, came for too long.
    #[error("{host} stalled for {} s when asked to {doing}", .after.as_secs())]
    Stalled {
        /// The host.
        host: String,
        /// What was being done.
        doing: String,
        /// How long it was waited.
        after: Duration,
    },
    /// An answer is larger than any honest one.
    #[error("the answer of {host} when asked to {doing} is longer than {limit_bytes} bytes")]
    TooLong {
        /// The host.
        host: String,
        /// What was asked.
        doing: String,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// An answer breaks the protocol.
    #[error("the answer of {host} when asked to {doing} {problem}")]
    Protocol {
        /// The host.
        host: String,
        /// What was asked.
        doing: String,
        /// What is wrong with it, completing "the answer ...".
        problem: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects a request to {doing} {problem}; this is not followed")]
    Redirect {
        /// The host that redirects.
        host: String,
        /// What was asked.
        doing: String,
        /// Why not.
        problem: &'static str,
    },
    /// The registry names a token service that its credentials do not belong to.
    #[error(
        "{host} wants its credentials to be sent to {realm}, which does not belong to it; \
         without them it refuses to {doing}"
    )]
    ForeignRealm {
        /// The registry.
        host: String,
        /// The token service's host.
        realm: String,
        /// What was to be done.
        doing: String,
    },
    /// The credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A file of the TLS configuration cannot be used.
    #[error("cannot use the certificates in {path}: {reason}")]
    Certificates {
        /// The file or directory.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

impl RequestError {
    /// Sorts what the HTTP library reports.
    pub(crate) fn from_transport(host: &str, doing: &str, error: &reqwest::Error) -> Self {
        let (host, doing, reason) = (host.to_owned(), doing.to_owned(), innermost(error));
        match causes(error).find_map(as_rustls) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NoTls { host },
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Self::Untrusted { host, reason }
            }
            Some(_) => Self::Tls { host, reason },
            None if error.is_connect() && !was_connected(error) => Self::Unreachable { host, doing, reason },
            None => Self::Broken { host, doing, reason },
        }
    }

    /// The same refusal, in a box.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }

    /// Whether it may pass.
    pub(crate) fn outlook(&self) -> Outlook {
        match self {
            Self::Refused(refusal) => match (refusal.status, refusal.retry_after) {
                (429 | 503, Some(wait)) => Outlook::After(wait),
                // A success of the wrong kind was said by something in between.
                (200..300 | 408 | 429 | 500 | 502 | 503 | 504, _) => Outlook::MayPass,
                _ => Outlook::Hopeless,
            },
            Self::Broken { .. } | Self::Stalled { .. } | Self::Unreachable { .. } => Outlook::MayPass,
            Self::Untrusted { .. }
            | Self::Tls { .. }
            | Self::NoTls { .. }
            | Self::TooLong { .. }
            | Self::Protocol { .. }
            | Self::Redirect { .. }
            | Self::ForeignRealm { .. }
            | Self::Credentials(_)
            | Self::Certificates { .. }
            | Self::Cancelled(_) => Outlook::Hopeless,
        }
    }

    /// What was being done, for messages about another attempt.
    pub(crate) fn doing(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.doing,
            Self::Unreachable { doing, .. }
            | Self::Broken { doing, .. }
            | Self::Stalled { doing, .. }
            | Self::TooLong { doing, .. }
            | Self::Protocol { doing, .. }
            | Self::Redirect { doing, .. }
            | Self::ForeignRealm { doing, .. } => doing,
            Self::Untrusted { .. } | Self::Tls { .. } | Self::NoTls { .. } => "connect",
            Self::Credentials(_) => "read the credentials",
            Self::Certificates { .. } => "read the certificates",
            Self::Cancelled(_) => "go on",
        }
    }

    /// What somebody can do about it, if anything is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.cause.advice()).filter(|advice| !advice.is_empty()),
            Self::Unreachable { .. } => Some(
                "check the host's name and the network; `kiln load` and `kiln import` bring images where no registry is",
            ),
            _ => None,
        }
    }

    /// The refusal, if that is what it is.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The HTTP status, if the server answered with one.
    pub(crate) fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }
}

/// Whether there was a connection before it broke, as in the middle of a TLS handshake.
fn was_connected(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

/// rustls errors travel inside of `io::Error`s, inside of others, which do not name them as their source.
fn as_rustls<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inside = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.downcast_ref().or_else(|| inside.and_then(|inner| as_rustls(inner)))
}

fn innermost(error: &reqwest::Error) -> String {
    let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
    crate::text::printable(last.as_bytes())
}

/// What is under the library's own error, whose text would show the URL.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}
