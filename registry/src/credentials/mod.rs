//! Who one is, for which registry.
//!
//! [`Credentials`] finds what `docker login` or `podman login` wrote and writes what `kiln login`
//! is told, in the same files and through the same helpers. A [`Secret`] prints as `***`, so that
//! no error, log line or event can hold one. Credentials are looked up by host (and, in
//! containers' files, by a prefix of the repository) and never leave for another one; that is kept
//! in `session.rs`.

mod file;
mod helper;

use std::fmt;
use std::path::PathBuf;

use crate::Host;
use file::ConfigFile;

/// A password or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret so that it cannot be printed by accident.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a registry, or its token service, is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user, robot or access key with its password.
    Password {
        /// The user's name, verbatim (`robot$project+name`).
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token, as some clouds hand out at login.
    IdentityToken(Secret),
    /// A bearer token that is sent as it is.
    RegistryToken(Secret),
}

/// Why credentials could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file could not be read or written.
    #[error("cannot {doing} the credentials file {}", .path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not JSON of the known shape. The parser's message is left out: it may quote a secret.
    #[error("the credentials in {place} cannot be understood (line {line}, column {column})")]
    Syntax {
        /// The file or environment variable.
        place: String,
        /// Where in it.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// An entry's `auth` is not base64 of `user:password`.
    #[error("the entry for {host} in {place} is not base64 of user:password")]
    Entry {
        /// The file or environment variable.
        place: String,
        /// The entry's key.
        host: String,
    },
    /// A helper could not be run.
    #[error("cannot run the credential helper {helper}")]
    HelperMissing {
        /// The program.
        helper: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A helper failed.
    #[error("the credential helper {helper} cannot {doing} the credentials of {host}: {message}")]
    HelperFailed {
        /// The program.
        helper: String,
        /// `get`, `store` or `erase`.
        doing: &'static str,
        /// The registry.
        host: String,
        /// What the helper says, made printable.
        message: String,
    },
    /// A helper's name would leave the search path.
    #[error("{0:?} is not the name of a credential helper")]
    HelperName(String),
    /// No place to write to is known.
    #[error("no place for credentials: set HOME or DOCKER_CONFIG")]
    NoPlace,
}

/// Where credentials are looked up and kept.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    given: Option<(Host, Credential)>,
    inline: Option<String>,
    files: Vec<PathBuf>,
}

impl Credentials {
    /// No credentials at all: everything is anonymous and `login` has nowhere to write.
    pub fn none() -> Self {
        Self::default()
    }

    /// The places that the environment names, best first: the text of `DOCKER_AUTH_CONFIG`; then
    /// only the file `REGISTRY_AUTH_FILE` if that is set, otherwise Docker's `config.json` (below
    /// `DOCKER_CONFIG` or `~/.docker`) before containers' `auth.json`. The first file is the one
    /// that `login` writes, so that what was just written is also what is found.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = |name: &str| variable(name).map(PathBuf::from);
        let home = directory("HOME");
        let files = match directory("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => [
                directory("DOCKER_CONFIG")
                    .or(home.as_ref().map(|home| home.join(".docker")))
                    .map(|dir| dir.join("config.json")),
                directory("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
                directory("XDG_CONFIG_HOME")
                    .or(home.map(|home| home.join(".config")))
                    .map(|dir| dir.join("containers/auth.json")),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let inline = variable("DOCKER_AUTH_CONFIG").and_then(|text| text.into_string().ok());
        Self { given: None, inline, files }
    }

    /// One file and nothing else.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()], ..Self::default() }
    }

    /// These places, but a given credential for one host before them.
    pub fn with(mut self, host: Host, credential: Credential) -> Self {
        self.given = Some((host, credential));
        self
    }

    /// What to show to a registry when a repository of it is used; `None` means anonymous.
    pub fn find(&self, host: &Host, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        if let Some((_, credential)) = self.given.iter().find(|(given, _)| given == host) {
            return Ok(Some(credential.clone()));
        }
        if let Some(text) = &self.inline {
            let file = ConfigFile::parse(text.as_bytes(), "DOCKER_AUTH_CONFIG")?;
            if let Some(credential) = find_in(&file, "DOCKER_AUTH_CONFIG", host, repository)? {
                return Ok(Some(credential));
            }
        }
        for path in &self.files {
            let file = ConfigFile::read(path)?;
            if let Some(credential) = find_in(&file, &path.display().to_string(), host, repository)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// Keeps a credential: in the helper that the first file names for the host, otherwise in that
    /// file. Other people's keys in the file stay.
    pub fn save(&self, host: &Host, credential: &Credential) -> Result<Kept, CredentialsError> {
        let path = self.files.first().ok_or(CredentialsError::NoPlace)?;
        let mut file = ConfigFile::read(path)?;
        let kept = match file.helper(host)? {
            Some(helper) => {
                helper.store(host.credentials_key(), credential)?;
                file.mark(host);
                Kept::Helper(helper.program())
            }
            None => {
                file.insert(host, credential);
                Kept::File(path.clone())
            }
        };
        file.write(path)?;
        Ok(kept)
    }

    /// Forgets the credentials of a host wherever `login` may have put them. Says whether there
    /// were any.
    pub fn erase(&self, host: &Host) -> Result<Erased, CredentialsError> {
        let mut erased = Erased::Nothing;
        for path in &self.files {
            let mut file = ConfigFile::read(path)?;
            if let Some(helper) = file.helper(host)?
                && helper.get(host.credentials_key())?.is_some()
            {
                helper.erase(host.credentials_key())?;
                erased = Erased::Credentials;
            }
            if file.remove(host) {
                file.write(path)?;
                erased = Erased::Credentials;
            }
        }
        Ok(erased)
    }
}

/// Where [`Credentials::save`] put a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, readable by its owner only, but not encrypted.
    File(PathBuf),
    /// With this helper.
    Helper(String),
}

/// Whether [`Credentials::erase`] found anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// There were credentials, and they are gone.
    Credentials,
    /// There were none.
    Nothing,
}

/// Helpers before inline entries, as Docker does; a helper that knows nothing is no answer.
fn find_in(
    file: &ConfigFile,
    place: &str,
    host: &Host,
    repository: &str,
) -> Result<Option<Credential>, CredentialsError> {
    if let Some(helper) = file.helper(host)?
        && let Some(credential) = helper.get(host.credentials_key())?
    {
        return Ok(Some(credential));
    }
    file.entry(host, repository, place)
}

#[cfg(test)]
mod tests;
