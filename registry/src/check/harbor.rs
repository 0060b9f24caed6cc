//! What Harbor tells beside the registry protocol: whether a project exists, and its storage.

use reqwest::{Method, Response};
use serde::Deserialize;

use super::Verdict;
use crate::challenge::Challenge;
use crate::credentials::Credential;
use crate::request::{Call, RequestError};
use crate::session::Session;
use crate::token::basic;

/// Harbor's own interface, beside the registry protocol.
pub(super) struct Harbor<'a> {
    session: &'a Session<'a>,
    project: &'a str,
}

/// What Harbor tells of a project's storage; -1 stands for no limit.
#[derive(Deserialize)]
struct Summary {
    quota: Option<Quota>,
}

#[derive(Deserialize)]
struct Quota {
    hard: Storage,
    used: Storage,
}

#[derive(Deserialize)]
struct Storage {
    storage: i64,
}

impl<'a> Harbor<'a> {
    /// Harbor tells itself by the name of its token service.
    pub(super) fn behind(session: &'a Session<'a>) -> Option<Self> {
        match session.endpoint.challenge() {
            Some(Challenge::Bearer { service: Some(service), .. }) if service == "harbor-registry" => {
                let project = session.repository.split('/').next().unwrap_or_default();
                Some(Self { session, project })
            }
            _ => None,
        }
    }

    pub(super) fn project(&self) -> Verdict {
        if !self.session.repository.contains('/') {
            return Verdict::Lacking("Harbor wants PROJECT/REPOSITORY".to_owned());
        }
        match self.ask(&format!("projects/{}", self.project)) {
            Ok(_) => Verdict::Good(format!("{} exists", self.project)),
            Err(error) if error.status() == Some(404) => {
                Verdict::Lacking(format!("there is no project {}: have it made, or correct the name", self.project))
            }
            // Who may not see it is told the same whether it exists or not.
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }

    pub(super) fn quota(&self) -> Verdict {
        let limit_bytes = 1 << 20;
        let read = || -> Result<Summary, RequestError> {
            let doing = "read the quota";
            let response = self.ask(&format!("projects/{}/summary", self.project))?;
            let bytes = self.session.read(response, limit_bytes, doing)?;
            serde_json::from_slice(&bytes).map_err(|_| RequestError::Protocol {
                host: self.session.endpoint.host.to_string(),
                doing: doing.to_owned(),
                problem: "is no summary of a project".to_owned(),
            })
        };
        match read().map(|summary| summary.quota) {
            Ok(Some(Quota { hard, used })) if hard.storage < 0 => {
                Verdict::Good(format!("{} bytes used, without limit", used.storage))
            }
            Ok(Some(Quota { hard, used })) if used.storage >= hard.storage => {
                Verdict::Lacking(format!("all of {} bytes are used", hard.storage))
            }
            Ok(Some(Quota { hard, used })) => Verdict::Good(format!("{} of {} bytes used", used.storage, hard.storage)),
            Ok(None) => Verdict::Unknown("not told to this user".to_owned()),
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }

    /// Harbor's interface takes passwords, not the registry's tokens.
    fn ask(&self, path: &str) -> Result<Response, RequestError> {
        let endpoint = &self.session.endpoint;
        let url = endpoint.origin.join(&format!("api/v2.0/{path}")).expect("a path fits every origin");
        let call = Call::new(Method::GET, url, format!("ask Harbor about project {}", self.project));
        let header = match self.session.credential() {
            Some(Credential::Password { username, password }) => basic(username, password),
            _ => None,
        };
        self.session.registry.net().wait(async {
            let response = endpoint.clients.send_once(&endpoint.origin, &call, header.as_ref()).await?;
            if response.status() == 200 { Ok(response) } else { Err(endpoint.refusal(response, &call).await) }
        })
    }
}
