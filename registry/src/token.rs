//! Tokens (distribution-spec's "Token authentication"; Docker's token and OAuth2 specifications).
//!
//! A token is for a set of [`Scope`]s and is asked for by GET with a password, or by POST with an
//! identity token. Credentials go to the registry's own token service only: same host, or a host
//! of the same domain, and by TLS if the registry speaks TLS.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use crate::answer::{Refusal, Shown};
use crate::credentials::{Credential, Secret};
use crate::request::{Call, RequestError};
use crate::session::read_bounded;
use crate::transport::{Clients, host_of};

/// A right in a repository, as a token grants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) access: Access,
}

/// What one wants to do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Access {
    Pull,
    PullAndPush,
}

/// The scopes of one token, in an order of their own.
pub(crate) type Scopes = BTreeSet<Scope>;

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = match self.access {
            Access::Pull => "pull",
            Access::PullAndPush => "pull,push",
        };
        write!(f, "repository:{}:{actions}", self.repository)
    }
}

/// A token that was given, and until when it is good.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    value: Secret,
    fresh_until: Instant,
    /// An identity token that came with it, if one was asked for.
    pub(crate) refresh: Option<Secret>,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        bearer(&self.value)
    }
}

/// The header that shows a token; `None` if the token holds what no header can.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    sensitive(format!("Bearer {}", token.expose()))
}

/// The header that shows a password.
pub(crate) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.expose()));
    sensitive(format!("Basic {pair}"))
}

fn sensitive(value: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a request for a token should also bring an identity token, as `login` wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Token,
    IdentityTokenToo,
}

/// Everything that a token is asked for with.
pub(crate) struct TokenRequest<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) origin: &'a Url,
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a Scopes,
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) wish: Wish,
    pub(crate) doing: &'a str,
}

impl TokenRequest<'_> {
    /// Asks the token service.
    pub(crate) async fn send(&self) -> Result<Token, RequestError> {
        let realm = self.realm()?;
        let credential = match self.credential {
            Some(credential) if may_see_credentials(self.origin, &realm) => Some(credential),
            Some(_) => return Err(self.foreign(&realm)),
            None => None,
        };
        match credential {
            Some(Credential::IdentityToken(token)) => {
                self.post(&realm, "refresh_token", ("refresh_token", token), None).await
            }
            Some(Credential::Password { username, password }) => {
                match self.get(&realm, basic(username, password)).await {
                    // A service that only knows OAuth2 does not know the GET.
                    Err(error) if matches!(error.status(), Some(404 | 405)) => {
                        self.post(&realm, "password", ("password", password), Some(username)).await
                    }
                    other => other,
                }
            }
            Some(Credential::RegistryToken(_)) | None => self.get(&realm, None).await,
        }
    }

    fn realm(&self) -> Result<Url, RequestError> {
        let url = self.origin.join(self.realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| RequestError::Protocol {
            host: host_of(self.origin),
            doing: self.doing.to_owned(),
            problem: "names a token service that is no URL".to_owned(),
        })
    }

    fn foreign(&self, realm: &Url) -> RequestError {
        RequestError::ForeignRealm { host: host_of(self.origin), realm: host_of(realm), doing: self.doing.to_owned() }
    }

    async fn get(&self, realm: &Url, authorization: Option<HeaderValue>) -> Result<Token, RequestError> {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope.to_string())));
            if let Some(Credential::Password { username, .. }) = self.credential {
                query.append_pair("account", username);
            }
            if self.wish == Wish::IdentityTokenToo {
                query.append_pair("client_id", CLIENT).append_pair("offline_token", "true");
            }
        }
        let shown = if authorization.is_some() { Shown::Credentials } else { Shown::Nothing };
        let call = Call::new(Method::GET, url, self.doing);
        self.answer(realm, &call, authorization, shown).await
    }

    async fn post(
        &self,
        realm: &Url,
        grant: &str,
        (name, secret): (&str, &Secret),
        username: Option<&String>,
    ) -> Result<Token, RequestError> {
        let mut form = realm.clone();
        {
            let mut pairs = form.query_pairs_mut();
            pairs.clear().append_pair("grant_type", grant).append_pair(name, secret.expose());
            pairs.append_pair("client_id", CLIENT);
            pairs.extend_pairs(self.service.map(|service| ("service", service)));
            pairs.extend_pairs(username.map(|username| ("username", username)));
            if !self.scopes.is_empty() {
                let all: Vec<_> = self.scopes.iter().map(ToString::to_string).collect();
                pairs.append_pair("scope", &all.join(" "));
            }
            if self.wish == Wish::IdentityTokenToo {
                pairs.append_pair("access_type", "offline");
            }
        }
        let body = form.query().unwrap_or_default().as_bytes().to_vec();
        let call = Call::new(Method::POST, realm.clone(), self.doing)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        self.answer(realm, &call, None, Shown::Credentials).await
    }

    /// A token service answers itself: no redirect of it is followed, since the request carries a
    /// secret.
    async fn answer(
        &self,
        realm: &Url,
        call: &Call,
        authorization: Option<HeaderValue>,
        shown: Shown,
    ) -> Result<Token, RequestError> {
        let response = self.clients.send_once(realm, call, authorization.as_ref()).await?;
        let status = response.status();
        if status.is_redirection() {
            let problem = "elsewhere although it is a token service";
            return Err(RequestError::Redirect { host: host_of(realm), doing: self.doing.to_owned(), problem });
        }
        let retry_after = crate::session::retry_after_of(&response);
        let body = self.body(realm, response).await?;
        if !status.is_success() {
            let refusal = Refusal::read(&host_of(realm), self.doing, status.as_u16(), &body, retry_after, shown);
            return Err(RequestError::refused(refusal));
        }
        let given: Given = serde_json::from_slice(&body).map_err(|_| self.no_token(realm))?;
        given.token().ok_or_else(|| self.no_token(realm))
    }

    async fn body(&self, realm: &Url, response: Response) -> Result<Vec<u8>, RequestError> {
        const LIMIT_BYTES: u64 = 1 << 20;
        read_bounded(response, LIMIT_BYTES, &host_of(realm), self.doing, self.clients.timeouts().stall).await
    }

    fn no_token(&self, realm: &Url) -> RequestError {
        RequestError::Protocol {
            host: host_of(realm),
            doing: self.doing.to_owned(),
            problem: "holds no token".to_owned(),
        }
    }
}

const CLIENT: &str = "kiln";

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Given {
    fn token(self) -> Option<Token> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let value = Secret::new(filled(self.token).or(filled(self.access_token))?);
        // The specification's default is a minute; a fifth is left for the way.
        let lifetime = Duration::from_secs(self.expires_in.unwrap_or(60).min(86_400)) * 4 / 5;
        let refresh = filled(self.refresh_token).map(Secret::new);
        Some(Token { value, fresh_until: Instant::now() + lifetime, refresh })
    }
}

/// Whether a token service may see what is meant for a registry: it is on the same host or, as
/// Docker Hub's and GitLab's are, on one with which it shares a domain.
fn may_see_credentials(origin: &Url, realm: &Url) -> bool {
    if origin.scheme() == "https" && realm.scheme() != "https" {
        return false;
    }
    let (Some(registry), Some(service)) = (origin.host_str(), realm.host_str()) else { return false };
    registry == service || share_domain(registry, service)
}

fn share_domain(a: &str, b: &str) -> bool {
    let is_address = |name: &str| name.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok();
    let common = a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b).count();
    !is_address(a) && !is_address(b) && common >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_print_as_the_specification_says() {
        let scope = |access| Scope { repository: "a/b".into(), access }.to_string();
        assert_eq!(scope(Access::Pull), "repository:a/b:pull");
        assert_eq!(scope(Access::PullAndPush), "repository:a/b:pull,push");
    }

    #[test]
    fn credentials_stay_with_the_registry() {
        for (origin, realm, expected) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", true),
            ("https://harbor.example.com/", "https://harbor.example.com/service/token", true),
            ("https://harbor.example.com:8443/", "https://harbor.example.com/service/token", true),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000/", "http://127.0.0.2:5001/token", false),
            ("https://harbor.example.com/", "http://harbor.example.com/service/token", false),
            ("https://harbor.example.com/", "https://evil.example.org/token", false),
            ("https://10.0.0.1/", "https://10.9.0.1/token", false),
            ("https://a.com/", "https://b.com/token", false),
        ] {
            let (origin, realm) = (Url::parse(origin).unwrap(), Url::parse(realm).unwrap());
            assert_eq!(may_see_credentials(&origin, &realm), expected, "{origin} {realm}");
        }
    }

    #[test]
    fn both_names_of_a_token_are_read() {
        for (json, expected) in [
            (r#"{"token":"a"}"#, Some("a")),
            (r#"{"access_token":"b","expires_in":300}"#, Some("b")),
            (r#"{"token":"","access_token":"b"}"#, Some("b")),
            (r#"{"details":"no"}"#, None),
        ] {
            let given: Given = serde_json::from_str(json).unwrap();
            let token = given.token();
            assert_eq!(token.as_ref().map(|token| token.value.expose()), expected, "{json}");
        }
    }
}
