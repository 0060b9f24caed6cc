//! What registries say when they say no (distribution-spec, "Error codes"; Harbor; Docker Hub).
//!
//! A [`Refusal`] keeps what was asked, what came back made printable, and the [`Cause`] that the
//! answer points to, with the way out of it. It does not decide whether to try again; `retry.rs`
//! does. The error document is read with `oci-client`'s type, which keeps codes it does not know.

use std::fmt;
use std::time::Duration;

use oci_client::errors::{OciEnvelope, OciErrorCode};

use crate::text::printable;

/// A registry, or its token service, did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub host: String,
    /// What it was asked for, as in `push the manifest app:v1`.
    pub doing: String,
    /// The HTTP status.
    pub status: u16,
    /// What it said, made printable; may be empty.
    pub message: String,
    /// What that means.
    pub cause: Cause,
    pub(crate) retry_after: Option<Duration>,
}

/// Why a registry refuses, as far as its answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It wants credentials, and there are none for it.
    NotLoggedIn,
    /// It does not accept the credentials.
    CredentialsRefused,
    /// The user may not do this here; or the project does not exist, which Harbor answers alike.
    NoRight,
    /// There is no such repository.
    RepositoryUnknown,
    /// The repository has no such tag or digest.
    ManifestUnknown,
    /// A blob is not there.
    BlobUnknown,
    /// The project's storage is used up.
    QuotaExceeded,
    /// The tag is protected against being moved.
    ImmutableTag,
    /// The project forbids pulling images that are unsigned or have vulnerabilities.
    PolicyViolation,
    /// The project only mirrors another registry.
    ProxyProject,
    /// The registry takes nothing at the moment.
    ReadOnly,
    /// Something in between does not let bodies of this size through.
    TooLarge,
    /// Too many requests.
    RateLimited,
    /// The name breaks the registry's rules; Harbor wants `project/repository`.
    NameInvalid,
    /// The registry, or something before it, is in trouble.
    ServerTrouble,
    /// The answer explains nothing.
    Unexplained,
}

impl Cause {
    /// What somebody can do about it; empty if nothing is known.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NotLoggedIn => "log in to the registry first: `kiln login HOST`",
            Self::CredentialsRefused => {
                "check the user name and password, or log in again; robot accounts and tokens expire"
            }
            Self::NoRight => "check that the project or repository exists and that this user has the right to do it",
            Self::RepositoryUnknown => "check the name; some registries also say this when a log-in is missing",
            Self::ManifestUnknown => "check the tag or digest",
            Self::BlobUnknown => "push the image again: the registry has lost a part of it, or has not received it",
            Self::QuotaExceeded => "delete old artifacts of the project, or have its quota raised",
            Self::ImmutableTag => "use another tag, or change the project's rule for immutable tags",
            Self::PolicyViolation => "the project's policy forbids this image until it is scanned, fixed or signed",
            Self::ProxyProject => "a proxy cache takes no pushes; use another project",
            Self::ReadOnly => "wait until the registry leaves its read-only mode",
            Self::TooLarge => "raise the body size limit of the proxy before the registry (client_max_body_size)",
            Self::RateLimited => "wait, or log in for a higher limit",
            Self::NameInvalid => "use lower-case names; Harbor wants at least project/repository",
            Self::ServerTrouble => "try again later",
            Self::Unexplained => "",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.status < 400 { "unexpectedly answers" } else { "answers" };
        write!(f, "cannot {}: {} {verb} with HTTP {}", self.doing, self.host, self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

/// What was asked and with what, which decides how an answer is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// No credentials are known for the host.
    Nothing,
    /// Credentials went straight to the registry, or to its token service.
    Credentials,
    /// A token that the registry's own service had given.
    Token,
}

impl Refusal {
    /// Reads an answer; `body` is as much of it as was read.
    pub(crate) fn read(
        host: &str,
        doing: &str,
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
        shown: Shown,
    ) -> Self {
        let envelope: Option<OciEnvelope> = serde_json::from_slice(body).ok();
        let (codes, message) = match &envelope {
            Some(envelope) => (codes(envelope), messages(envelope)),
            None => (Vec::new(), first_line(body)),
        };
        let cause = cause(status, &codes, &message.to_ascii_lowercase(), shown);
        Self { host: host.to_owned(), doing: doing.to_owned(), status, message, cause, retry_after }
    }
}

fn cause(status: u16, codes: &[String], message: &str, shown: Shown) -> Cause {
    let code = |wanted: &str| codes.iter().any(|code| code == wanted);
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    match status {
        401 => match shown {
            Shown::Nothing => Cause::NotLoggedIn,
            Shown::Credentials => Cause::CredentialsRefused,
            Shown::Token => Cause::NoRight,
        },
        403 if says(&["storage resource", "quota"]) => Cause::QuotaExceeded,
        403 | 405 if says(&["proxy project", "proxy cache", "proxy-cache"]) => Cause::ProxyProject,
        403 | 503 if says(&["read only", "read-only", "readonly"]) => Cause::ReadOnly,
        403 if shown == Shown::Nothing => Cause::NotLoggedIn,
        403 => Cause::NoRight,
        404 if code("MANIFEST_UNKNOWN") || code("NOT_FOUND") => Cause::ManifestUnknown,
        404 if code("BLOB_UNKNOWN") || code("MANIFEST_BLOB_UNKNOWN") => Cause::BlobUnknown,
        404 if code("NAME_UNKNOWN") => Cause::RepositoryUnknown,
        404 if says(&["manifest"]) => Cause::ManifestUnknown,
        404 => Cause::RepositoryUnknown,
        412 if says(&["immutable"]) => Cause::ImmutableTag,
        412 => Cause::PolicyViolation,
        413 => Cause::TooLarge,
        429 => Cause::RateLimited,
        400 if code("NAME_INVALID") => Cause::NameInvalid,
        400 if code("MANIFEST_BLOB_UNKNOWN") => Cause::BlobUnknown,
        500.. => Cause::ServerTrouble,
        _ => Cause::Unexplained,
    }
}

fn codes(envelope: &OciEnvelope) -> Vec<String> {
    envelope.errors.iter().map(|error| code_text(&error.code)).collect()
}

fn code_text(code: &OciErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn messages(envelope: &OciEnvelope) -> String {
    let one = |error: &oci_client::errors::OciError| match error.message.trim() {
        "" => code_text(&error.code),
        message => format!("{} ({})", message, code_text(&error.code)),
    };
    printable(envelope.errors.iter().map(one).collect::<Vec<_>>().join("; ").as_bytes())
}

/// A page of HTML says nothing that the status does not.
fn first_line(body: &[u8]) -> String {
    let body = body.trim_ascii();
    if body.starts_with(b"<") {
        return String::new();
    }
    printable(body.split(|byte| *byte == b'\n').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_explained() {
        use Cause::*;
        let oci = |code: &str, message: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        for (status, body, shown, expected) in [
            (401, oci("UNAUTHORIZED", "authentication required"), Shown::Nothing, NotLoggedIn),
            (401, oci("UNAUTHORIZED", "authentication required"), Shown::Credentials, CredentialsRefused),
            (401, oci("UNAUTHORIZED", "unauthorized to access repository: p/r, action: push"), Shown::Token, NoRight),
            (403, oci("DENIED", "requested access to the resource is denied"), Shown::Token, NoRight),
            (
                403,
                oci("DENIED", "adding 4 MiB of storage resource, which when updated to current usage of"),
                Shown::Token,
                QuotaExceeded,
            ),
            (403, oci("DENIED", "the system is in read only mode"), Shown::Token, ReadOnly),
            (405, oci("DENIED", "can not push artifact to a proxy project: p"), Shown::Token, ProxyProject),
            (404, oci("NAME_UNKNOWN", "repository name not known to registry"), Shown::Token, RepositoryUnknown),
            (404, oci("MANIFEST_UNKNOWN", "manifest unknown"), Shown::Token, ManifestUnknown),
            (404, oci("NOT_FOUND", "artifact p/r:v not found"), Shown::Token, ManifestUnknown),
            (404, oci("BLOB_UNKNOWN", "blob unknown to registry"), Shown::Token, BlobUnknown),
            (412, oci("PRECONDITION", "tag v1 configured as immutable"), Shown::Token, ImmutableTag),
            (412, oci("PROJECTPOLICYVIOLATION", "current image with 3 vulnerabilities"), Shown::Token, PolicyViolation),
            (413, "<html>413 Request Entity Too Large</html>".into(), Shown::Token, TooLarge),
            (429, oci("TOOMANYREQUESTS", "limit"), Shown::Nothing, RateLimited),
            (400, oci("NAME_INVALID", "invalid repository name"), Shown::Token, NameInvalid),
            (502, "bad gateway".into(), Shown::Token, ServerTrouble),
            (418, String::new(), Shown::Token, Unexplained),
        ] {
            let refusal = Refusal::read("h", "push", status, body.as_bytes(), None, shown);
            assert_eq!(refusal.cause, expected, "{status} {body}");
        }
    }

    #[test]
    fn nothing_raw_reaches_the_reader() {
        let bodies: [&[u8]; 2] =
            [br#"{"errors":[{"code":"DENIED","message":"\u001b]0;pwn\u0007"}]}"#, b"\x1b]0;pwn\x07\nforged line"];
        for body in bodies {
            let text = Refusal::read("h", "push", 403, body, None, Shown::Nothing).to_string();
            assert!(!text.contains(['\u{1b}', '\u{7}', '\n']) && text.contains("pwn"), "{text:?}");
        }
    }

    #[test]
    fn pages_are_not_quoted() {
        let refusal = Refusal::read("h", "push", 502, b"<html>\n<body>nginx", None, Shown::Nothing);
        assert_eq!(refusal.to_string(), "cannot push: h answers with HTTP 502");
    }
}
