//! Where a registry is reached.
//!
//! A [`Host`] is a registry's name as references spell it. Docker Hub has four names and a fifth
//! for its credentials; they are told apart here and nowhere else. Plain HTTP is for loopback, or
//! for whoever asks for it.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The text names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a registry: expected HOST or HOST:PORT")]
pub struct HostError(String);

/// A registry: `docker.io`, `harbor.example.com`, `localhost:5000`, `[::1]:5000`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// Reads a host as people write it to `login`: a scheme and a `/v1/` or `/v2/` behind it are
    /// dropped, and every name of Docker Hub becomes `docker.io`.
    pub fn new(text: &str) -> Result<Self, HostError> {
        let bare = without_scheme(text);
        let name = ["/v1", "/v2"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
        let name = if is_hub(name) { "docker.io" } else { name };
        let fits = Url::parse(&format!("https://{name}/")).is_ok_and(|url| {
            url.path() == "/" && url.username().is_empty() && url.password().is_none() && url.host_str().is_some()
        });
        let plain = !name.is_empty() && !name.contains(['/', '?', '#', '@', '\\']) && name.is_ascii();
        if fits && plain { Ok(Self(name.to_ascii_lowercase())) } else { Err(HostError(text.to_owned())) }
    }

    /// The name as references spell it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the registry's programming interface answers.
    pub(crate) fn address(&self) -> &str {
        if self.is_docker_hub() { "registry-1.docker.io" } else { &self.0 }
    }

    /// The name under which Docker keeps the registry's credentials.
    pub(crate) fn credentials_key(&self) -> &str {
        if self.is_docker_hub() { "https://index.docker.io/v1/" } else { &self.0 }
    }

    /// Whether this is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == "docker.io"
    }

    /// Whether the registry runs on this machine, so that nobody else can listen.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.origin(Scheme::Https))
    }

    /// Where requests go when the given scheme is spoken.
    pub(crate) fn origin(&self, scheme: Scheme) -> Url {
        let url = format!("{}://{}/", scheme.as_str(), self.address());
        Url::parse(&url).expect("a host was checked to fit into a URL when it was made")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// Whether a URL leads to this machine by its name alone, whatever a name server says.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default();
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// What is left of a registry's address, or of a key in a credentials file, without its scheme and
/// without slashes at the end.
pub(crate) fn without_scheme(text: &str) -> &str {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    bare.trim_end_matches('/')
}

/// Whether the name is one of Docker Hub's.
pub(crate) fn is_hub(name: &str) -> bool {
    matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for (text, name) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("Harbor.Example.com", "harbor.example.com"),
            ("https://harbor.example.com/", "harbor.example.com"),
            ("localhost:5000", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(Host::new(text).map(|host| host.0), Ok(name.to_owned()), "{text}");
        }
        for text in ["", "a b", "user@host", "host/path", "host:port", "http://", "a?b", "ünïcode.example"] {
            assert!(Host::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.8.9.1:80", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("128.0.0.1", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(Host::new(text).unwrap().is_loopback(), expected, "{text}");
        }
    }
}
