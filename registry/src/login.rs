//! Logging in and out.
//!
//! A login is tried at the registry before it is written anywhere. Where the token service hands
//! out an identity token, that is kept in place of the password.

use reqwest::Method;

use crate::Host;
use crate::challenge::Challenge;
use crate::credentials::{Credential, CredentialsError, Erased, Kept};
use crate::event::Progress;
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::session::Endpoint;
use crate::token::{Scopes, TokenRequest, Wish, basic, bearer};

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The registry could not be asked, or refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The credential was good but could not be kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl LoginError {
    /// What went wrong with a request, if that was it.
    pub fn request(&self) -> Option<&RequestError> {
        match self {
            Self::Request(error) => Some(error),
            Self::Credentials(_) => None,
        }
    }
}

impl Registry {
    /// Shows a credential to a registry and keeps it if it is accepted.
    pub fn login(&self, host: &Host, credential: &Credential, progress: Progress<'_>) -> Result<Kept, LoginError> {
        let endpoint = self.endpoint(host, progress)?;
        let accepted =
            self.options().patience.retry(self.net(), progress, || self.net().wait(accept(&endpoint, credential)))?;
        Ok(self.credentials().save(host, &accepted)?)
    }

    /// Forgets what `login` kept. The registry is not asked.
    pub fn logout(&self, host: &Host) -> Result<Erased, CredentialsError> {
        self.credentials().erase(host)
    }
}

/// Gives what is to be kept: the credential itself or an identity token in its place.
async fn accept(endpoint: &Endpoint, credential: &Credential) -> Result<Credential, RequestError> {
    let doing = "log in";
    let (header, keep) = match (endpoint.challenge(), credential) {
        (_, Credential::RegistryToken(token)) => (bearer(token), credential.clone()),
        (Some(Challenge::Bearer { realm, service, .. }), _) => {
            let (clients, origin, scopes) = (&endpoint.clients, &endpoint.origin, &Scopes::new());
            let (realm, service, credential_shown) = (realm.as_str(), service.as_deref(), Some(credential));
            let request = TokenRequest {
                clients,
                origin,
                realm,
                service,
                scopes,
                credential: credential_shown,
                wish: Wish::IdentityTokenToo,
                doing,
            };
            let token = request.send().await?;
            let keep = token.refresh.clone().map_or_else(|| credential.clone(), Credential::IdentityToken);
            (token.header(), keep)
        }
        (_, Credential::Password { username, password }) => (basic(username, password), credential.clone()),
        (_, Credential::IdentityToken(_)) => (None, credential.clone()),
    };
    let url = endpoint.origin.join("v2/").expect("a constant path fits every origin");
    let call = Call::new(Method::GET, url, doing);
    let response = endpoint.clients.send_once(&endpoint.origin, &call, header.as_ref()).await?;
    match response.status().as_u16() {
        200 => Ok(keep),
        _ => Err(endpoint.refusal(response, &call).await),
    }
}
