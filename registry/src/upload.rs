//! Bringing a blob to a repository: found there, mounted from another, or sent.
//!
//! A blob that is sent goes in one streamed PUT with its length announced, or in chunks
//! (`chunks.rs`) at a registry that has once refused a body as too large. A broken upload is
//! begun anew, after asking whether the blob has arrived after all; the bytes come from a source
//! that can be opened again.

use std::io::{self, Read};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, Url};
use store::Digest;
use tokio::sync::mpsc;

use crate::event::{BlobState, Event};
use crate::request::{Call, RequestError};
use crate::retry::Outlook;
use crate::session::Session;
use crate::transport::{astray, same_origin};

/// Why a blob did not reach its repository.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The registry could not be asked, or refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The bytes to send could not be read.
    #[error("cannot read blob {digest} to send it")]
    Source {
        /// Which blob.
        digest: Digest,
        /// What failed.
        source: io::Error,
    },
    /// There are fewer or more bytes than the blob should have.
    #[error("blob {digest} should have {expected_bytes} bytes, but its source has {actual_bytes}")]
    SourceSize {
        /// Which blob.
        digest: Digest,
        /// How many were announced.
        expected_bytes: u64,
        /// How many could be read.
        actual_bytes: u64,
    },
}

/// A blob for a repository.
pub(crate) struct Upload<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
}

/// Opens the bytes of a blob; called once an attempt.
pub(crate) type Source<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>;

/// An upload that the registry has opened.
pub(crate) struct Begun {
    pub(crate) location: Url,
    /// The least that every chunk but the last must have, if it is sent in chunks.
    pub(crate) least_chunk_bytes: usize,
}

/// A registry that wants larger chunks than that would have them all in our memory.
const MOST_CHUNK_BYTES: usize = 64 << 20;

/// What came of the attempt to take a blob over from another repository.
pub(crate) enum Mount {
    /// It is there.
    Done,
    /// It was not to be had, but the registry opened an upload, which is at this URL.
    Opened(Url),
    /// It was not to be had.
    Refused,
}

impl Upload<'_> {
    /// Whether the repository has the blob.
    pub(crate) fn is_there(&self) -> Result<bool, RequestError> {
        let doing = format!("push blob {} to {}", self.digest.short(), self.session.name());
        let call = Call::new(Method::HEAD, self.session.url(&format!("blobs/{}", self.digest)), doing);
        // Redirects are followed: some registries keep blobs elsewhere even for a HEAD.
        let response = self.session.call(&call, &[200, 404])?;
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // Another length means that something in between has answered.
        Ok(response.status() == 200 && length.is_none_or(|length| length == self.size_bytes))
    }

    /// Asks the registry to take the blob over from one of its repositories. Every refusal only
    /// means that it must be sent.
    pub(crate) fn mount(&self, from: &str) -> Result<Mount, RequestError> {
        let mut url = self.session.url("blobs/uploads/");
        url.query_pairs_mut().append_pair("mount", &self.digest.to_string()).append_pair("from", from);
        let call = Call::new(Method::POST, url, format!("mount blob {} from {from}", self.digest.short()));
        match self.session.call(&call, &[201, 202]) {
            Ok(response) if response.status() == 201 => {
                self.tell(BlobState::Mounted { from: from.to_owned() });
                Ok(Mount::Done)
            }
            Ok(response) => Ok(location(&response, &call).map_or(Mount::Refused, Mount::Opened)),
            Err(error) if error.status().is_some_and(|status| status < 500 && status != 429) => Ok(Mount::Refused),
            Err(error) => Err(error),
        }
    }

    /// Sends the blob, again where a failure may pass; in chunks where it is too large for a proxy.
    pub(crate) fn send(&self, mut opened: Option<Url>, source: Source<'_>) -> Result<(), UploadError> {
        let (mut failures, mut broken) = (0, 0);
        let mut refused: Option<HeaderValue> = None;
        self.tell(BlobState::Uploading);
        loop {
            // What broke off twice as a whole goes in parts, of which only the last is lost.
            let in_chunks = broken > 1 || self.session.endpoint.wants_chunks.load(Ordering::Relaxed);
            let attempt = match in_chunks {
                true => self.send_in_chunks(source).map_err(Attempt::from),
                false => self.attempt(opened.take(), refused.as_ref(), source),
            };
            let error = match attempt {
                Ok(()) => break,
                Err(Attempt::Failed(error)) if !in_chunks && is_too_large(&error) => {
                    self.session.endpoint.wants_chunks.store(true, Ordering::Relaxed);
                    continue;
                }
                Err(Attempt::Unauthorized(header, _)) if refused.is_none() => {
                    refused = Some(header);
                    continue;
                }
                Err(Attempt::Failed(error) | Attempt::Unauthorized(_, error)) => *error,
            };
            failures += 1;
            let UploadError::Request(request) = &error else { return Err(error) };
            broken += u32::from(matches!(request, RequestError::Broken { .. } | RequestError::Stalled { .. }));
            let patience = &self.session.registry.options().patience;
            let Some(wait) = patience.wait(failures, outlook(request, failures)) else { return Err(error) };
            (self.session.progress)(Event::Retrying { doing: self.doing(), because: error.to_string(), wait });
            self.session.registry.net().sleep(wait).map_err(RequestError::from)?;
            if self.is_there()? {
                break;
            }
        }
        self.tell(BlobState::Uploaded);
        Ok(())
    }

    fn attempt(&self, opened: Option<Url>, refused: Option<&HeaderValue>, source: Source<'_>) -> Result<(), Attempt> {
        let mut url = match opened {
            Some(url) => url,
            None => self.begin()?.location,
        };
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let call = Call::new(Method::PUT, url, self.doing());
        let authorization = self.authorization(&call.url, refused)?;
        let response = self.stream(&call, authorization.as_ref(), source)?;
        match (response.status().as_u16(), authorization) {
            (201 | 204, _) => Ok(()),
            (401, Some(header)) => {
                let error = self.session.refused(response, &call);
                Err(Attempt::Unauthorized(header, Box::new(error.into())))
            }
            _ => Err(self.session.refused(response, &call).into()),
        }
    }

    /// Opens an upload.
    pub(crate) fn begin(&self) -> Result<Begun, RequestError> {
        let call = Call::new(Method::POST, self.session.url("blobs/uploads/"), self.doing());
        let response = self.session.call(&call, &[202])?;
        let least = response.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let least_chunk_bytes = least.unwrap_or(0).min(MOST_CHUNK_BYTES);
        let location = location(&response, &call).ok_or_else(|| RequestError::Protocol {
            host: self.session.endpoint.host.to_string(),
            doing: self.doing(),
            problem: "names no place to send it to".to_owned(),
        })?;
        Ok(Begun { location, least_chunk_bytes })
    }

    /// An upload may be elsewhere, and then the registry's token has no business there.
    fn authorization(&self, url: &Url, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>, RequestError> {
        if !same_origin(&self.session.endpoint.origin, url) {
            return Ok(None);
        }
        self.session.registry.net().wait(self.session.authorization_other_than(refused, &self.doing()))
    }

    /// Sends the request and, from this thread, its body.
    fn stream(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        source: Source<'_>,
    ) -> Result<Response, UploadError> {
        let endpoint = &self.session.endpoint;
        let net = self.session.registry.net();
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(2);
        let body = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let client = endpoint.clients.of(&endpoint.origin, &call.url);
        let mut request = client
            .put(call.url.clone())
            .header(CONTENT_LENGTH, self.size_bytes)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Body::wrap_stream(body));
        if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header);
        }
        let answer = net.spawn(request.send());
        let fed = self.feed(sender, source);
        if fed.is_err() {
            answer.abort();
        }
        fed?;
        let (host, doing, after) = (endpoint.host.to_string(), self.doing(), endpoint.clients.timeouts().commit);
        let broken = |reason: String| RequestError::Broken { host: host.clone(), doing: doing.clone(), reason };
        let abort = answer.abort_handle();
        let answered = net.wait_within(after, answer).inspect_err(|_| abort.abort()).map_err(RequestError::from)?;
        match answered {
            Some(Ok(Ok(response))) => Ok(response),
            Some(Ok(Err(error))) => Err(RequestError::from_transport(&host, &doing, &error).into()),
            Some(Err(stopped)) => Err(broken(stopped.to_string()).into()),
            None => Err(RequestError::Stalled { host, doing, after }.into()),
        }
    }

    /// Reads the source and hands it over piece by piece. That nobody takes a piece any more means
    /// that the answer is there already.
    fn feed(&self, sender: mpsc::Sender<io::Result<Bytes>>, source: Source<'_>) -> Result<(), UploadError> {
        let digest = self.digest;
        let failed = |source| UploadError::Source { digest, source };
        let (net, stall) = (self.session.registry.net(), self.session.endpoint.clients.timeouts().stall);
        let mut reader = source().map_err(failed)?;
        let mut sent_bytes = 0;
        loop {
            let chunk = read_chunk(&mut reader, PIECE_BYTES).map_err(failed)?;
            if chunk.is_empty() {
                break;
            }
            sent_bytes += chunk.len() as u64;
            if sent_bytes > self.size_bytes {
                break;
            }
            match net.wait_within(stall, sender.send(Ok(chunk))).map_err(RequestError::from)? {
                Some(Ok(())) => {}
                Some(Err(_)) => return Ok(()),
                None => {
                    let (host, doing) = (self.session.endpoint.host.to_string(), self.doing());
                    return Err(RequestError::Stalled { host, doing, after: stall }.into());
                }
            }
            (self.session.progress)(Event::Moved { digest, moved_bytes: sent_bytes });
        }
        let (expected_bytes, actual_bytes) = (self.size_bytes, sent_bytes);
        if actual_bytes == expected_bytes {
            return Ok(());
        }
        Err(UploadError::SourceSize { digest, expected_bytes, actual_bytes })
    }

    pub(crate) fn tell(&self, state: BlobState) {
        (self.session.progress)(Event::Blob { digest: self.digest, size_bytes: self.size_bytes, state });
    }

    pub(crate) fn doing(&self) -> String {
        format!("push blob {} to {}", self.digest.short(), self.session.name())
    }
}

/// How much is read at once: what three of these cost a blob in memory is little.
const PIECE_BYTES: usize = 512 << 10;

fn is_too_large(error: &UploadError) -> bool {
    matches!(error, UploadError::Request(error) if error.status() == Some(413))
}

/// Why one attempt failed.
enum Attempt {
    /// The token was not accepted: this one.
    Unauthorized(HeaderValue, Box<UploadError>),
    Failed(Box<UploadError>),
}

impl<E: Into<UploadError>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

/// An upload that got lost or damaged on the way is worth beginning anew, a few times.
fn outlook(error: &RequestError, failures: u32) -> Outlook {
    match error.status() {
        Some(400 | 404 | 416 | 499) if failures < 3 => Outlook::MayPass,
        _ => error.outlook(),
    }
}

/// Where an upload goes on, as a URL.
pub(crate) fn location(response: &Response, call: &Call) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = call.url.join(text).ok()?;
    astray(&call.url, &url).is_none().then_some(url)
}

/// Reads so many bytes, or what is left.
pub(crate) fn read_chunk(reader: &mut dyn Read, bytes: usize) -> io::Result<Bytes> {
    let mut chunk = vec![0; bytes];
    let mut filled = 0;
    while filled < chunk.len() {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk.into())
}
