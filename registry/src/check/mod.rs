//! A preflight: whether an image could be pushed to a repository, found out in seconds.
//!
//! ```text
//!   reach --> authorize --> push right --> chunks       each aspect asks one question; what it needs of
//!                  |            |                        the ones before is an argument, so an aspect that
//!                  `-> scope    `-> mount, referrers     cannot be asked does not exist
//!                                   Harbor: project, quota
//! ```
//!
//! An upload is opened and cancelled again: nothing is left in the repository but a scope that was
//! asked for. What a registry does not tell is reported as not known, never guessed.

mod harbor;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use store::{Digest, Repository};

use crate::challenge::Challenge;
use crate::credentials::Credential;
use crate::event::Progress;
use crate::host::{Host, HostError};
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::session::Session;
use crate::token::Access;
use crate::upload::location;
use harbor::Harbor;

/// One question of the preflight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Does something answer that speaks the registry protocol, and how?
    Reachable,
    /// As whom does kiln come, and is that accepted?
    Credentials,
    /// Does the token hold the rights that were asked for?
    Scope,
    /// Does the project exist? (Harbor)
    Project,
    /// Does the registry open an upload?
    PushRight,
    /// Does it take a blob in parts?
    Chunks,
    /// Does it answer a mount as the specification wants?
    Mount,
    /// Does it list what refers to an image?
    Referrers,
    /// How much storage is left? (Harbor)
    Quota,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reachable => "reachable",
            Self::Credentials => "credentials",
            Self::Scope => "scope",
            Self::Project => "project",
            Self::PushRight => "push right",
            Self::Chunks => "chunked upload",
            Self::Mount => "mount",
            Self::Referrers => "referrers",
            Self::Quota => "quota",
        })
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Verdict {
    /// It is well; with what was seen.
    Good(String),
    /// It is not as one would like, but a push does without.
    Lacking(String),
    /// The registry does not tell.
    Unknown(String),
    /// A push would fail for this.
    Bad(RequestError),
}

/// A question and its answer.
#[derive(Debug)]
pub struct Finding {
    /// What was asked.
    pub aspect: Aspect,
    /// What came of it.
    pub verdict: Verdict,
}

impl Registry {
    /// Asks everything that a push to the repository depends on; tells each answer when it is there.
    /// Says whether a push may succeed.
    pub fn check(
        &self,
        repository: &Repository,
        progress: Progress<'_>,
        tell: &mut dyn FnMut(Finding),
    ) -> Result<bool, HostError> {
        let host = Host::new(repository.host())?;
        let mut told_bad = false;
        let mut tell = |aspect, verdict| {
            told_bad |= matches!(verdict, Verdict::Bad(_));
            tell(Finding { aspect, verdict });
        };
        match self.session(&host, repository.path(), Access::PullAndPush, &[], progress) {
            Ok(session) => Preflight { session: &session, tell: &mut tell }.all(),
            Err(error) => tell(Aspect::Reachable, Verdict::Bad(error)),
        }
        Ok(!told_bad)
    }
}

struct Preflight<'a> {
    session: &'a Session<'a>,
    tell: &'a mut dyn FnMut(Aspect, Verdict),
}

impl Preflight<'_> {
    fn all(&mut self) {
        self.say(Aspect::Reachable, Verdict::Good(self.reached()));
        let header = match self.session.registry.net().wait(self.session.authorization("push")) {
            Ok(header) => header,
            Err(error) => return self.say(Aspect::Credentials, Verdict::Bad(error)),
        };
        self.say(Aspect::Credentials, Verdict::Good(self.known_as()));
        if let Some(granted) = header.as_ref().and_then(Granted::of) {
            self.say(Aspect::Scope, granted.verdict(&self.session.repository));
        }
        if let Some(harbor) = Harbor::behind(self.session) {
            self.say(Aspect::Project, harbor.project());
            self.push_right();
            return self.say(Aspect::Quota, harbor.quota());
        }
        self.push_right();
    }

    fn reached(&self) -> String {
        let origin = &self.session.endpoint.origin;
        let asks = match self.session.endpoint.challenge() {
            None => "wants no credentials".to_owned(),
            Some(Challenge::Basic) => "wants a password".to_owned(),
            Some(Challenge::Bearer { realm, .. }) => format!("wants tokens of {}", realm_host(origin, &realm)),
        };
        format!("by {}, {asks}", if origin.scheme() == "https" { "TLS" } else { "plain HTTP" })
    }

    fn known_as(&self) -> String {
        match (self.session.credential(), self.session.endpoint.challenge()) {
            (None, _) => "none: as anybody".to_owned(),
            (Some(_), None) => "not asked for".to_owned(),
            (Some(Credential::Password { username, .. }), _) => {
                format!("accepted for {}", crate::text::printable(username.as_bytes()))
            }
            (Some(Credential::IdentityToken(_)), _) => "the identity token of a login is accepted".to_owned(),
            (Some(Credential::RegistryToken(_)), _) => "a token for the registry".to_owned(),
        }
    }

    fn push_right(&mut self) {
        let url = match begin(self.session, None) {
            Ok(begun) => begun,
            Err(error) => return self.say(Aspect::PushRight, Verdict::Bad(error)),
        };
        self.say(Aspect::PushRight, Verdict::Good("an upload was opened, and cancelled".to_owned()));
        let chunks = chunk(self.session, url);
        self.say(Aspect::Chunks, chunks);
        let mount = mount(self.session);
        self.say(Aspect::Mount, mount);
        let referrers = referrers(self.session);
        self.say(Aspect::Referrers, referrers);
    }

    fn say(&mut self, aspect: Aspect, verdict: Verdict) {
        (self.tell)(aspect, verdict);
    }
}

fn realm_host(origin: &Url, realm: &str) -> String {
    origin.join(realm).map_or_else(|_| "a service that is no URL".to_owned(), |url| crate::transport::host_of(&url))
}

/// The rights in a token, where it is a JSON web token that says them (distribution's "Token
/// authentication specification"). Harbor gives tokens without rights for projects that do not exist.
#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    access: Vec<GrantedAccess>,
}

#[derive(Deserialize)]
struct GrantedAccess {
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

impl Granted {
    fn of(header: &HeaderValue) -> Option<Self> {
        let token = header.to_str().ok()?.strip_prefix("Bearer ")?;
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    fn verdict(&self, repository: &str) -> Verdict {
        let actions: Vec<_> =
            self.access.iter().filter(|access| access.name == repository).flat_map(|access| &access.actions).collect();
        let has = |action: &str| actions.iter().any(|granted| *granted == action || *granted == "*");
        match (has("pull"), has("push")) {
            (true, true) => Verdict::Good("the token grants pull and push".to_owned()),
            (true, false) => Verdict::Lacking("the token grants pull, but no push".to_owned()),
            (false, true) => Verdict::Lacking("the token grants push, but no pull".to_owned()),
            (false, false) => Verdict::Lacking("the token grants nothing in this repository".to_owned()),
        }
    }
}

/// Opens an upload; with a mount that cannot succeed if a blob is named.
fn begin(session: &Session<'_>, mounted: Option<Digest>) -> Result<Url, RequestError> {
    let mut url = session.url("blobs/uploads/");
    if let Some(digest) = mounted {
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", &session.repository);
    }
    let call = Call::new(Method::POST, url, format!("push to {}", session.name()));
    let response = session.call(&call, &[202])?;
    location(&response, &call).ok_or_else(|| RequestError::Protocol {
        host: session.endpoint.host.to_string(),
        doing: call.doing.clone(),
        problem: "names no place to send it to".to_owned(),
    })
}

/// Sends one byte of a blob that never comes to be, and cancels the upload.
fn chunk(session: &Session<'_>, url: Url) -> Verdict {
    let call = Call::new(Method::PATCH, url.clone(), "send a part of a blob")
        .header(CONTENT_RANGE, "0-0")
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(b"k".to_vec());
    let answer = session.call_once(&call, &[202]);
    let next = answer.as_ref().ok().and_then(|response| location(response, &call)).unwrap_or(url);
    cancel(session, next);
    match answer {
        Ok(_) => Verdict::Good("taken".to_owned()),
        Err(error) => Verdict::Lacking(format!("not taken: {error}")),
    }
}

/// A registry that does not have the blob opens an upload instead.
fn mount(session: &Session<'_>) -> Verdict {
    match begin(session, Some(nothing())) {
        Ok(url) => {
            cancel(session, url);
            Verdict::Good("what cannot be mounted becomes an upload".to_owned())
        }
        Err(error) => Verdict::Lacking(format!("refused, so blobs are sent: {error}")),
    }
}

/// A blob that nobody has.
fn nothing() -> Digest {
    Digest::of(b"kiln asks whether this blob, which nobody has, could be mounted")
}

/// Where cancelling is not allowed the registry forgets uploads by itself after some time.
fn cancel(session: &Session<'_>, url: Url) {
    let call = Call::new(Method::DELETE, url, "cancel an upload");
    drop(session.call_once(&call, &[202, 204]));
}

fn referrers(session: &Session<'_>) -> Verdict {
    let call = Call::new(Method::GET, session.url(&format!("referrers/{}", nothing())), "list referrers");
    match session.call(&call, &[200]) {
        Ok(_) => Verdict::Good("listed by the registry".to_owned()),
        Err(error) if error.status() == Some(404) => {
            Verdict::Lacking("not listed by the registry: kept under a tag instead".to_owned())
        }
        Err(error) => Verdict::Unknown(error.to_string()),
    }
}
