//! Talking to one repository of one registry, with the right to do so.
//!
//! A [`Session`] adds what a bare request lacks: the authorization that the registry's challenge
//! asks for, one renewal when a token is refused (never two: no loops), redirects, refusals as
//! errors, and another attempt where a failure may pass. The authorization is added for the
//! registry's own origin alone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};

use crate::Host;
use crate::answer::{Refusal, Shown};
use crate::challenge::Challenge;
use crate::credentials::Credential;
use crate::event::Progress;
use crate::host::Scheme;
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::token::{Scope, Scopes, Token, TokenRequest, Wish, basic, bearer};
use crate::transport::{Clients, TlsVerify, host_of, redirect, same_origin};

/// A registry that answered: how it is spoken to, how it wants to be asked, and what tokens it gave.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) origin: Url,
    pub(crate) clients: Clients,
    /// Whether blobs must be sent in chunks, since a whole one was too large for something in between.
    pub(crate) wants_chunks: AtomicBool,
    challenge: Mutex<Option<Challenge>>,
    tokens: tokio::sync::Mutex<HashMap<Scopes, Token>>,
}

impl Endpoint {
    /// Finds out how a registry is spoken to: TLS always first, plain HTTP only where it is allowed
    /// and nobody answers by TLS. A bad certificate is never a reason to do without.
    pub(crate) async fn probe(host: &Host, clients: Clients, verify: TlsVerify) -> Result<Self, RequestError> {
        let may_be_plain = verify == TlsVerify::Never || host.is_loopback();
        let mut tried = Self::ask(host, &clients, Scheme::Https).await;
        let speaks_none = matches!(
            &tried,
            Err(RequestError::NoTls { .. } | RequestError::Unreachable { .. } | RequestError::Broken { .. })
        );
        if may_be_plain && speaks_none {
            // Where neither answers, the failure of TLS says more, except for a refused connection.
            tried = match Self::ask(host, &clients, Scheme::Http).await {
                Err(RequestError::Broken { .. }) => tried,
                other => other,
            };
        }
        let (origin, challenge) = tried?;
        Ok(Self {
            host: host.clone(),
            origin,
            clients,
            wants_chunks: AtomicBool::new(false),
            challenge: Mutex::new(challenge),
            tokens: tokio::sync::Mutex::default(),
        })
    }

    async fn ask(host: &Host, clients: &Clients, scheme: Scheme) -> Result<(Url, Option<Challenge>), RequestError> {
        let origin = host.origin(scheme);
        let url = origin.join("v2/").expect("a constant path fits every origin");
        let call = Call::new(Method::GET, url, "speak the registry protocol");
        let response = clients.send_once(&origin, &call, None).await?;
        match response.status().as_u16() {
            // Some registries have no such page; the repositories then challenge for themselves.
            200 | 401 | 403 | 404 => Ok((origin, challenge(&response))),
            _ => Err(refusal(response, &call, Shown::Nothing, clients.timeouts().stall).await),
        }
    }

    /// How the registry wants to be asked.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Turns an answer to somebody who shows credentials into an error.
    pub(crate) async fn refusal(&self, response: Response, call: &Call) -> RequestError {
        refusal(response, call, Shown::Credentials, self.clients.timeouts().stall).await
    }

    fn set_challenge(&self, challenge: Challenge) {
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge);
    }
}

/// A conversation about one repository.
pub(crate) struct Session<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) repository: String,
    pub(crate) progress: Progress<'a>,
    /// The rights that every token of this conversation is to have; the first is indispensable.
    scope: Scope,
    more_scopes: Mutex<Scopes>,
    credential: Option<Credential>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        endpoint: Arc<Endpoint>,
        scope: Scope,
        more_scopes: Scopes,
        credential: Option<Credential>,
        progress: Progress<'a>,
    ) -> Self {
        let repository = scope.repository.clone();
        Self { registry, endpoint, repository, progress, scope, more_scopes: Mutex::new(more_scopes), credential }
    }

    /// The URL of something in the repository: `manifests/v1`, `blobs/sha256:...`.
    pub(crate) fn url(&self, below: &str) -> Url {
        let path = format!("v2/{}/{below}", self.repository);
        self.endpoint.origin.join(&path).expect("repositories, tags and digests hold nothing that a URL does not")
    }

    /// As whom the registry is asked.
    pub(crate) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// What the repository is called in messages.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.endpoint.host, self.repository)
    }

    /// Makes a call, again where its failure may pass, and gives the answer if its status is one of
    /// those.
    pub(crate) fn call(&self, call: &Call, accepted: &[u16]) -> Result<Response, RequestError> {
        self.registry.options().patience.retry(self.registry.net(), self.progress, || self.call_once(call, accepted))
    }

    /// Makes a call a single time.
    pub(crate) fn call_once(&self, call: &Call, accepted: &[u16]) -> Result<Response, RequestError> {
        self.registry.net().wait(async {
            let response = self.send(call).await?;
            if accepted.contains(&response.status().as_u16()) {
                return Ok(response);
            }
            Err(self.refusal(response, call).await)
        })
    }

    /// Reads a body that must be short.
    pub(crate) fn read(&self, response: Response, limit_bytes: u64, doing: &str) -> Result<Vec<u8>, RequestError> {
        let host = host_of(response.url());
        let stall = self.endpoint.clients.timeouts().stall;
        self.registry.net().wait(read_bounded(response, limit_bytes, &host, doing, stall))
    }

    /// The same, for who waits for it.
    pub(crate) fn refused(&self, response: Response, call: &Call) -> RequestError {
        let Err(error) = self.registry.net().wait(async { Err::<Infallible, _>(self.refusal(response, call).await) });
        error
    }

    /// Turns an answer with an unwelcome status into an error.
    pub(crate) async fn refusal(&self, response: Response, call: &Call) -> RequestError {
        refusal(response, call, self.shown(), self.endpoint.clients.timeouts().stall).await
    }

    /// The header that authorizes a request to the registry itself.
    pub(crate) async fn authorization(&self, doing: &str) -> Result<Option<HeaderValue>, RequestError> {
        self.authorization_other_than(None, doing).await
    }

    /// A header other than one that was refused; `None` if there is no other.
    pub(crate) async fn renewed(
        &self,
        refused: Option<&HeaderValue>,
        answer: &Response,
        doing: &str,
    ) -> Result<Option<HeaderValue>, RequestError> {
        match (challenge(answer), refused) {
            // Harbor asks for a password once a token has too few rights: asking again gives the same.
            (Some(Challenge::Basic) | None, Some(_)) => return Ok(None),
            (Some(challenge), _) => self.endpoint.set_challenge(challenge),
            (None, None) => return Ok(None),
        }
        Ok(self.authorization_other_than(refused, doing).await?.filter(|header| Some(header) != refused))
    }

    async fn send(&self, call: &Call) -> Result<Response, RequestError> {
        let (origin, clients) = (&self.endpoint.origin, &self.endpoint.clients);
        let mut call = call.clone();
        let mut authorization = self.authorization(&call.doing).await?;
        let mut response = clients.send_once(origin, &call, authorization.as_ref()).await?;
        if response.status() == 401
            && same_origin(origin, &call.url)
            && let Some(renewed) = self.renewed(authorization.as_ref(), &response, &call.doing).await?
        {
            authorization = Some(renewed);
            response = clients.send_once(origin, &call, authorization.as_ref()).await?;
        }
        for _ in 0..MOST_REDIRECTS {
            let follows = matches!(call.method, Method::GET | Method::HEAD);
            match redirect(&response, &call)? {
                Some(url) if follows => call.url = url,
                _ => return Ok(response),
            }
            response = clients.send_once(origin, &call, authorization.as_ref()).await?;
        }
        let host = host_of(&call.url);
        Err(RequestError::Redirect { host, doing: call.doing, problem: "again and again" })
    }

    /// The header that authorizes a request, but not this one, which was refused.
    pub(crate) async fn authorization_other_than(
        &self,
        refused: Option<&HeaderValue>,
        doing: &str,
    ) -> Result<Option<HeaderValue>, RequestError> {
        if let Some(Credential::RegistryToken(token)) = &self.credential {
            return Ok(bearer(token));
        }
        match self.endpoint.challenge() {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(match &self.credential {
                Some(Credential::Password { username, password }) => basic(username, password),
                _ => None,
            }),
            Some(Challenge::Bearer { realm, service, .. }) => {
                self.token(&realm, service.as_deref(), refused, doing).await.map(|token| token.header())
            }
        }
    }

    /// A token of the cache, or a new one. Whoever comes while one is being asked for waits for it.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        refused: Option<&HeaderValue>,
        doing: &str,
    ) -> Result<Token, RequestError> {
        let mut tokens = self.endpoint.tokens.lock().await;
        let scopes = self.scopes();
        if let Some(token) = tokens.get(&scopes).filter(|token| token.is_fresh() && token.header().as_ref() != refused)
        {
            return Ok(token.clone());
        }
        let ask = async |scopes: &Scopes| {
            let (endpoint, credential) = (&self.endpoint, self.credential.as_ref());
            let (clients, origin) = (&endpoint.clients, &endpoint.origin);
            TokenRequest { clients, origin, realm, service, scopes, credential, wish: Wish::Token, doing }.send().await
        };
        let (scopes, token) = match ask(&scopes).await {
            // Rights in other repositories only spare work; some services refuse the whole for them.
            Err(RequestError::Refused(refusal))
                if scopes.len() > 1 && refusal.status < 500 && refusal.status != 429 =>
            {
                self.more_scopes.lock().unwrap_or_else(PoisonError::into_inner).clear();
                let scopes = self.scopes();
                let token = ask(&scopes).await?;
                (scopes, token)
            }
            other => (scopes, other?),
        };
        tokens.insert(scopes, token.clone());
        Ok(token)
    }

    fn scopes(&self) -> Scopes {
        let mut scopes = self.more_scopes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        scopes.insert(self.scope.clone());
        scopes
    }

    fn shown(&self) -> Shown {
        match (&self.credential, self.endpoint.challenge()) {
            (None, _) => Shown::Nothing,
            (Some(_), Some(Challenge::Bearer { .. })) => Shown::Token,
            (Some(_), _) => Shown::Credentials,
        }
    }
}

const MOST_REDIRECTS: usize = 5;

/// What the registry wants to be shown.
fn challenge(response: &Response) -> Option<Challenge> {
    Challenge::best(response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// When the server wants to be asked again.
pub(crate) fn retry_after_of(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    crate::retry::retry_after(value, SystemTime::now())
}

/// Reads a body up to a limit of length and, so that it cannot drip for ever, of time.
pub(crate) async fn read_bounded(
    mut response: Response,
    limit_bytes: u64,
    host: &str,
    doing: &str,
    stall: Duration,
) -> Result<Vec<u8>, RequestError> {
    let (host, doing) = (host.to_owned(), doing.to_owned());
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit_bytes) {
        return Err(RequestError::TooLong { host, doing, limit_bytes });
    }
    let mut body = Vec::new();
    let all = async {
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit_bytes {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let limit = stall * 4;
    match tokio::time::timeout(limit, all).await {
        Ok(Ok(true)) => Ok(body),
        Ok(Ok(false)) => Err(RequestError::TooLong { host, doing, limit_bytes }),
        Ok(Err(error)) => Err(RequestError::from_transport(&host, &doing, &error)),
        Err(_) => Err(RequestError::Stalled { host, doing, after: limit }),
    }
}

pub(crate) async fn refusal(response: Response, call: &Call, shown: Shown, stall: Duration) -> RequestError {
    const LIMIT_BYTES: u64 = 64 << 10;
    let (host, status) = (host_of(response.url()), response.status().as_u16());
    let retry_after = retry_after_of(&response);
    // A refusal whose text cannot be read is still a refusal.
    let body = read_bounded(response, LIMIT_BYTES, &host, &call.doing, stall).await.unwrap_or_default();
    RequestError::refused(Refusal::read(&host, &call.doing, status, &body, retry_after, shown))
}
