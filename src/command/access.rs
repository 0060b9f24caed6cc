//! How a command reaches registries: the flags that buildah and podman have for it, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use builder::dockerfile::go_duration;
use registry::{Credential, Credentials, Host, Options, Registry, Secret, TlsVerify};

use super::wire::TlsArgs;
use crate::report::{Failure, UsageError};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessArgs {
    #[command(flatten)]
    tls: TlsArgs,
    /// The credentials of this file and of no other place
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Who one is for the registry that is named here; others on this machine can see it
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<String>,
    /// Authorities (*.crt) and the client's certificate (*.cert, *.key) for every registry
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// How often a registry that does not answer is asked again [default: 5]
    #[arg(long, value_name = "TIMES")]
    retry: Option<u32>,
    /// How long to wait before that; it doubles each time [default: 500ms]
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    retry_delay: Option<Duration>,
}

/// What the flags come to; the default is what holds without any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    tls: TlsVerify,
    authfile: Option<PathBuf>,
    credential: Option<(Host, Credential)>,
    certificates: Option<PathBuf>,
    retries: Option<u32>,
    first_wait: Option<Duration>,
}

impl AccessArgs {
    /// What the flags ask for. A password is for one registry: the one that all of `named` are of.
    pub(crate) fn access<'a>(&self, named: impl Iterator<Item = &'a str>) -> Result<Access, Failure> {
        if let Some(file) = &self.authfile {
            std::fs::metadata(file).map_err(store::StoreError::io("read the credentials file", file))?;
        }
        if let Some(directory) = &self.cert_dir {
            std::fs::read_dir(directory).map_err(store::StoreError::io("read the certificates in", directory))?;
        }
        let credential = self.creds.as_deref().map(|creds| Ok::<_, Failure>((only(named)?, password(creds)?)));
        Ok(Access {
            tls: self.tls.verify(),
            authfile: self.authfile.clone(),
            credential: credential.transpose()?,
            certificates: self.cert_dir.clone(),
            retries: self.retry,
            first_wait: self.retry_delay,
        })
    }
}

impl Access {
    /// All registries, reached so.
    pub(crate) fn registry(&self) -> std::io::Result<Registry> {
        let mut options =
            Options { tls: self.tls, certificate_directory: self.certificates.clone(), ..Options::default() };
        if let Some(retries) = self.retries {
            options.patience.attempts = retries.saturating_add(1);
        }
        if let Some(wait) = self.first_wait {
            options.patience.first_wait = wait;
            options.patience.longest_wait = options.patience.longest_wait.max(wait);
        }
        let credentials = match &self.authfile {
            Some(file) => Credentials::in_file(file),
            None => Credentials::from_environment(),
        };
        let credentials = match self.credential.clone() {
            Some((host, credential)) => credentials.with(host, credential),
            None => credentials,
        };
        Registry::new(options, credentials)
    }

    /// The same, but certificates are not checked, and plain HTTP will do.
    #[must_use]
    pub(crate) fn insecurely(&self) -> Self {
        Self { tls: TlsVerify::Never, ..self.clone() }
    }
}

impl From<TlsVerify> for Access {
    fn from(tls: TlsVerify) -> Self {
        Self { tls, ..Self::default() }
    }
}

/// The one registry that names are of.
fn only<'a>(mut named: impl Iterator<Item = &'a str>) -> Result<Host, Failure> {
    let first = named.next();
    match first.filter(|first| named.all(|other| other == *first)) {
        Some(host) => Ok(Host::new(host)?),
        None => Err(UsageError::wrong(
            "--creds is for one registry, the one that the image's names are of: give it such a name, or use `kiln login` \
             or --authfile",
        )),
    }
}

fn password(text: &str) -> Result<Credential, Failure> {
    let (username, password) = text
        .split_once(':')
        .filter(|(username, _)| !username.is_empty())
        .ok_or_else(|| UsageError::wrong("--creds takes USER:PASSWORD"))?;
    Ok(Credential::Password { username: username.to_owned(), password: Secret::new(password) })
}

/// A wait: `2s`, or seconds.
fn delay(text: &str) -> Result<Duration, String> {
    let seconds = || text.parse().ok().map(Duration::from_secs);
    go_duration(text).or_else(seconds).ok_or_else(|| format!("invalid duration {text:?}: as 2s or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule C034: a password leaves for no registry that the user did not name.
    #[test]
    fn a_password_is_for_one_registry() {
        let host = |named: &[&str]| only(named.iter().copied()).ok().map(|host| host.to_string());
        assert_eq!(host(&["r.example:5000", "r.example:5000"]).as_deref(), Some("r.example:5000"));
        assert_eq!(host(&["r.example", "docker.io"]), None);
        assert_eq!(host(&[]), None);
        assert!(password("u:p:q").is_ok() && password(":p").is_err() && password("u").is_err());
    }

    /// Rule C035.
    #[test]
    fn waits_are_read() {
        assert_eq!(delay("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(delay("2"), Ok(Duration::from_secs(2)));
        assert!(delay("x").is_err());
    }
}
