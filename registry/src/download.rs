//! Files by their URL: what ADD and contexts name.
//!
//! A download goes into a file of the caller's, is begun anew where a failure may pass, and is
//! spared altogether where the server says that nothing has changed. Redirects are followed as far
//! as [`transport`](crate::transport) lets them; a name and password in the URL are shown to its own
//! origin only and are in no message, nor is its query, which may be a signature.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Response, Url};
use store::Cancel;

use crate::answer::Shown;
use crate::blob::Pace;
use crate::host::Host;
use crate::registry::Registry;
use crate::request::{Call, RequestError};
use crate::session::refusal;
use crate::text::printable;
use crate::transport::{Clients, host_of, redirect};

/// How many redirects are followed, as with Go's clients.
const MOST_REDIRECTS: usize = 10;

/// What to get.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// An http or https URL.
    pub url: &'a str,
    /// A value for the `Authorization` header, for the URL's own origin.
    pub authorization: Option<&'a str>,
    /// The `ETag` of what is known already.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` of what is known already.
    pub modified: Option<&'a str>,
    /// The most bytes that are taken.
    pub limit_bytes: u64,
    /// What ends it.
    pub cancel: &'a Cancel,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downloaded {
    /// What is known already is what the server has.
    Unchanged,
    /// The file is here.
    Received(Received),
}

/// What the server said of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`
    pub modified: Option<String>,
    /// The same in seconds since 1970, if it is a date.
    pub modified_secs: Option<i64>,
    /// Whether the file was unchanged for long enough that its time tells it from later ones
    /// (RFC 9110, section 8.8.2.2).
    pub is_settled: bool,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It is no URL that can be fetched.
    #[error("{0:?} is no http or https URL")]
    Url(String),
    /// The server does not give it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It cannot be written down.
    #[error("cannot write what was downloaded")]
    Write(#[source] io::Error),
}

/// Told how many bytes are here, of how many.
pub type Watch<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

impl Registry {
    /// Downloads a file, which begins and ends at the start of `into`.
    pub fn download(
        &self,
        wanted: &Download<'_>,
        into: &mut File,
        watch: Watch<'_>,
    ) -> Result<Downloaded, DownloadError> {
        let url = parse(wanted.url)?;
        let host = Host::new(&host_of(&url)).map_err(|_| DownloadError::Url(shown(&url)))?;
        let options = self.options();
        // What is for registries alone (`certificate_directory`) is not shown here.
        let of_host: Vec<_> = options.certificates.iter().map(|directory| directory.join(host.as_str())).collect();
        let clients = Clients::new(&host, options.tls, &of_host, &options.timeouts)?;
        let authorization = authorization(&url, wanted.authorization)?;
        let registry = &self.ending_with(wanted.cancel);
        let mut fetch = Fetch { registry, clients, wanted, url: bare(&url), authorization, into, watch };
        let mut failures = 0;
        loop {
            let error = match fetch.attempt() {
                Err(DownloadError::Request(error)) => error,
                other => return other,
            };
            failures += 1;
            let Some(wait) = self.options().patience.wait(failures, error.outlook()) else { return Err(error.into()) };
            // A host that cannot be reached at all is more likely misspelt than restarting.
            if matches!(error, RequestError::Unreachable { .. }) {
                return Err(error.into());
            }
            registry.net().sleep(wait).map_err(RequestError::from)?;
        }
    }
}

struct Fetch<'a> {
    registry: &'a Registry,
    clients: Clients,
    wanted: &'a Download<'a>,
    url: Url,
    authorization: Option<HeaderValue>,
    into: &'a mut File,
    watch: Watch<'a>,
}

impl Fetch<'_> {
    fn attempt(&mut self) -> Result<Downloaded, DownloadError> {
        let response = self.answer()?;
        if response.status().as_u16() == 304 {
            return Ok(Downloaded::Unchanged);
        }
        let received = received(&response);
        self.body(response)?;
        Ok(Downloaded::Received(received))
    }

    /// The answer at the end of all redirects.
    fn answer(&self) -> Result<Response, RequestError> {
        let doing = format!("download {}", shown(&self.url));
        let mut call = Call::new(Method::GET, self.url.clone(), doing);
        for (name, value) in self.conditions() {
            call.headers.append(name, value);
        }
        self.registry.net().wait(async {
            for _ in 0..=MOST_REDIRECTS {
                let response = self.clients.send_once(&self.url, &call, self.authorization.as_ref()).await?;
                match response.status().as_u16() {
                    200 => return Ok(response),
                    304 if !call.headers.is_empty() => return Ok(response),
                    _ => {}
                }
                match redirect(&response, &call)? {
                    Some(url) => call.url = bare(&url),
                    None => {
                        let stall = self.clients.timeouts().stall;
                        let shown = if self.authorization.is_some() { Shown::Credentials } else { Shown::Nothing };
                        return Err(refusal(response, &call, shown, stall).await);
                    }
                }
            }
            Err(RequestError::Redirect { host: host_of(&call.url), doing: call.doing.clone(), problem: "in a circle" })
        })
    }

    /// An `ETag` says more than a time, which is asked about only where there is none.
    fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let etag = self.wanted.etag.map(|etag| (IF_NONE_MATCH, etag));
        let condition = etag.or(self.wanted.modified.map(|modified| (IF_MODIFIED_SINCE, modified)));
        condition.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?)))
    }

    fn body(&mut self, mut response: Response) -> Result<(), DownloadError> {
        self.into.rewind().and_then(|()| self.into.set_len(0)).map_err(DownloadError::Write)?;
        let (host, doing) = (host_of(response.url()), format!("download {}", shown(&self.url)));
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut pace = Pace::new(self.clients.timeouts().stall);
        let mut received_bytes = 0;
        loop {
            (self.watch)(received_bytes, length);
            let started = Instant::now();
            let stalled = || RequestError::Stalled { host: host.clone(), doing: doing.clone(), after: pace.window };
            let chunk =
                match self.registry.net().wait_within(pace.window, response.chunk()).map_err(RequestError::from)? {
                    Some(chunk) => chunk.map_err(|error| RequestError::from_transport(&host, &doing, &error))?,
                    None => return Err(stalled().into()),
                };
            let Some(chunk) = chunk else { break };
            received_bytes += chunk.len() as u64;
            if received_bytes > self.wanted.limit_bytes {
                let limit_bytes = self.wanted.limit_bytes;
                return Err(RequestError::TooLong { host, doing, limit_bytes }.into());
            }
            if pace.is_too_slow(started.elapsed(), chunk.len()) {
                let after = pace.window;
                return Err(RequestError::Stalled { host, doing, after }.into());
            }
            self.into.write_all(&chunk).map_err(DownloadError::Write)?;
        }
        if length.is_some_and(|length: u64| length != received_bytes) {
            let reason = "it ended early".to_owned();
            return Err(RequestError::Broken { host, doing, reason }.into());
        }
        self.into.rewind().map_err(DownloadError::Write)
    }
}

fn parse(text: &str) -> Result<Url, DownloadError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| DownloadError::Url(without_userinfo(text)))
}

/// What is sent: neither name and password, nor a fragment.
fn bare(url: &Url) -> Url {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

/// What is shown: no query either.
fn shown(url: &Url) -> String {
    let mut url = bare(url);
    if url.query().is_some() {
        url.set_query(None);
        return format!("{url}?...");
    }
    url.to_string()
}

fn without_userinfo(text: &str) -> String {
    let text = printable(text.as_bytes());
    text.rsplit_once('@').map_or(text.clone(), |(_, rest)| rest.to_owned())
}

/// The header of a secret, else that of the URL's own name and password.
fn authorization(url: &Url, given: Option<&str>) -> Result<Option<HeaderValue>, DownloadError> {
    let text = match given {
        Some(given) => given.to_owned(),
        None if url.username().is_empty() && url.password().is_none() => return Ok(None),
        None => {
            let pair = [&unescaped(url.username())[..], b":", &unescaped(url.password().unwrap_or_default())].concat();
            format!("Basic {}", STANDARD.encode(pair))
        }
    };
    let bad = |_| RequestError::Protocol {
        host: host_of(url),
        doing: AUTHORIZATION.to_string(),
        problem: "cannot be asked for with such credentials".into(),
    };
    let mut value = HeaderValue::from_str(&text).map_err(bad)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A text with its `%41`s taken for what they stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]).1,
            None => (bytes.push(*first), rest = after).1,
        }
    }
    bytes
}

fn received(response: &Response) -> Received {
    let text = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let (etag, modified) = (text(ETAG), text(LAST_MODIFIED));
    let modified_secs = modified.as_deref().and_then(seconds);
    let sent_secs = text(DATE).as_deref().and_then(seconds);
    let is_settled = matches!((modified_secs, sent_secs), (Some(modified), Some(sent)) if sent > modified + 1);
    Received { etag, modified, modified_secs, is_settled }
}

/// An HTTP date (RFC 9110, section 5.6.7) in seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    Some(jiff::fmt::rfc2822::parse(date.trim()).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_in_no_text() {
        for (text, expected) in [
            ("https://u:p@h.example/a?sig=1#x", "https://h.example/a?..."),
            ("http://u@h.example:81/a", "http://h.example:81/a"),
            ("http://h.example/a#frag", "http://h.example/a"),
        ] {
            assert_eq!(shown(&parse(text).unwrap()), expected);
        }
        let refused = parse("ftp://u:secret@h.example/a").unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }

    #[test]
    fn a_name_and_password_become_a_header() {
        let url = parse("https://me:p%40ss@h.example/").unwrap();
        let value = authorization(&url, None).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), format!("Basic {}", STANDARD.encode("me:p@ss")));
        assert_eq!(authorization(&url, Some("Bearer x")).unwrap().unwrap(), "Bearer x");
        assert_eq!(authorization(&parse("https://h.example/").unwrap(), None).unwrap(), None);
    }

    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds("Fri, 13 Feb 2009 23:31:30 GMT"), Some(1_234_567_890));
        assert_eq!(seconds("yesterday"), None);
    }
}
