//! Programs that keep credentials: `docker-credential-NAME` with `get`, `store` or `erase`
//! (docker/docker-credential-helpers). Secrets cross on stdin and stdout only.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Credential, CredentialsError, Secret};
use crate::text::printable;

/// A helper that is called by its name on the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// With this user name the secret is an identity token.
const TOKEN_USER: &str = "<token>";

impl Helper {
    /// A helper by the name that a credentials file gives it; it may not hold a slash.
    pub(super) fn new(name: &str) -> Result<Self, CredentialsError> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if plain { Ok(Self { name: name.to_owned() }) } else { Err(CredentialsError::HelperName(name.to_owned())) }
    }

    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// What the helper knows of a server; `None` if it says that it knows nothing.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, CredentialsError> {
        let answer = self.run("get", server, server.as_bytes())?;
        let answer = match answer {
            Answer::Output(bytes) => bytes,
            Answer::NotFound => return Ok(None),
        };
        let stored: Stored = serde_json::from_slice(&answer).map_err(|error| CredentialsError::Syntax {
            place: format!("the answer of {}", self.program()),
            line: error.line(),
            column: error.column(),
        })?;
        let secret = Secret(stored.secret);
        Ok(match (stored.username.as_str(), secret.expose()) {
            (_, "") => None,
            (TOKEN_USER, _) => Some(Credential::IdentityToken(secret)),
            _ => Some(Credential::Password { username: stored.username, password: secret }),
        })
    }

    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<(), CredentialsError> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) | Credential::RegistryToken(token) => (TOKEN_USER, token),
        };
        let stored =
            Stored { server_url: server.to_owned(), username: username.to_owned(), secret: secret.expose().to_owned() };
        let input = serde_json::to_vec(&stored).expect("three strings are always JSON");
        self.run("store", server, &input).map(drop)
    }

    pub(super) fn erase(&self, server: &str) -> Result<(), CredentialsError> {
        self.run("erase", server, server.as_bytes()).map(drop)
    }

    fn run(&self, doing: &'static str, server: &str, input: &[u8]) -> Result<Answer, CredentialsError> {
        let missing = |source| CredentialsError::HelperMissing { helper: self.program(), source };
        let mut child = Command::new(self.program())
            .arg(doing)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(missing)?;
        // A helper that ends without reading its input has still answered.
        let _ = child.stdin.take().expect("stdin is piped").write_all(input);
        let mut output = Vec::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        stdout.take(Self::LIMIT_BYTES).read_to_end(&mut output).map_err(missing)?;
        let status = child.wait().map_err(missing)?;
        let message = printable(&output);
        if status.success() {
            Ok(Answer::Output(output))
        } else if doing != "store" && message.contains("credentials not found in native keychain") {
            Ok(Answer::NotFound)
        } else {
            let (helper, host) = (self.program(), server.to_owned());
            Err(CredentialsError::HelperFailed { helper, doing, host, message })
        }
    }

    const LIMIT_BYTES: u64 = 1 << 20;
}

enum Answer {
    Output(Vec<u8>),
    NotFound,
}
