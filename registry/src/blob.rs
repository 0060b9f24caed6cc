//! Reading a blob from a registry as it comes.
//!
//! A [`BlobReader`] is a `Read` that survives cuts and stalls: it asks for the rest by `Range`, and
//! goes on where it was. It gives at most the announced size and ends well only if all bytes
//! together have the announced digest, so a consumer that trusts the end trusts the whole.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response};
use sha2::Digest as _;
use store::Digest;
use store::oci::Descriptor;

use crate::event::Event;
use crate::request::{Call, RequestError};
use crate::session::Session;

/// Why a blob could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry could not be asked, or refused, or broke off too often.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The bytes are not those of the digest.
    #[error("{host} sent other bytes than blob {expected}: their digest is {actual}")]
    WrongBytes {
        /// The registry.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More bytes came than the manifest announces.
    #[error("{host} sent more than the {size_bytes} bytes that blob {digest} has")]
    TooMuch {
        /// The registry.
        host: String,
        /// What was asked for.
        digest: Digest,
        /// Its announced size.
        size_bytes: u64,
    },
}

impl BlobError {
    /// Whether the same may go well over another connection.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::WrongBytes { .. } | Self::TooMuch { .. })
    }
}

/// A blob on its way from a registry.
pub(crate) struct BlobReader<'a> {
    session: &'a Session<'a>,
    digest: Digest,
    size_bytes: u64,
    hasher: sha2::Sha256,
    received_bytes: u64,
    chunk: Bytes,
    response: Option<Response>,
    /// What a server that knows no ranges sends once more.
    skip_bytes: u64,
    pace: Pace,
    failures: u32,
    received_at_failure: u64,
    told_bytes: u64,
    is_verified: bool,
    failure: Option<BlobError>,
}

impl<'a> BlobReader<'a> {
    pub(crate) fn new(session: &'a Session<'a>, descriptor: &Descriptor) -> Self {
        Self {
            session,
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
            hasher: sha2::Sha256::new(),
            received_bytes: 0,
            chunk: Bytes::new(),
            response: None,
            skip_bytes: 0,
            pace: Pace::new(session.endpoint.clients.timeouts().stall),
            failures: 0,
            received_at_failure: 0,
            told_bytes: 0,
            is_verified: false,
            failure: None,
        }
    }

    /// Reads what the consumer left, which verifies the whole.
    pub(crate) fn finish(&mut self) -> Result<(), BlobError> {
        let read = io::copy(self, &mut io::sink());
        match (self.failure.take(), read) {
            (Some(failure), _) => Err(failure),
            (None, Ok(_)) => Ok(()),
            (None, Err(error)) => Err(self.broken(&error.to_string()).into()),
        }
    }

    /// What went wrong, if a read failed; consumers only see that one did.
    pub(crate) fn take_failure(&mut self) -> Option<BlobError> {
        self.failure.take()
    }

    fn fill(&mut self) -> Result<(), BlobError> {
        while self.chunk.is_empty() && self.received_bytes < self.size_bytes {
            match self.next_chunk() {
                Ok(chunk) => self.take(chunk)?,
                Err(error) => self.pause_after(error)?,
            }
        }
        if self.chunk.is_empty() && !self.is_verified {
            self.verify()?;
        }
        Ok(())
    }

    /// Skips what is there already, hashes the rest.
    fn take(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        let skipped = self.skip_bytes.min(chunk.len() as u64);
        self.skip_bytes -= skipped;
        let _ = chunk.split_to(skipped as usize);
        self.received_bytes += chunk.len() as u64;
        if self.received_bytes > self.size_bytes {
            let (host, digest, size_bytes) = (self.host(), self.digest, self.size_bytes);
            return Err(BlobError::TooMuch { host, digest, size_bytes });
        }
        self.hasher.update(&chunk);
        self.chunk = chunk;
        self.tell();
        Ok(())
    }

    fn verify(&mut self) -> Result<(), BlobError> {
        let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
        if actual != self.digest {
            return Err(BlobError::WrongBytes { host: self.host(), expected: self.digest, actual });
        }
        self.is_verified = true;
        self.response = None;
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Bytes, RequestError> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open()?,
        };
        let started = Instant::now();
        let received = self.session.registry.net().wait_within(self.pace.window, response.chunk())?;
        match received {
            Some(Ok(Some(chunk))) => {
                if self.pace.is_too_slow(started.elapsed(), chunk.len()) {
                    return Err(self.stalled());
                }
                self.response = Some(response);
                Ok(chunk)
            }
            Some(Ok(None)) => Err(self.broken("it ended early")),
            Some(Err(error)) => Err(RequestError::from_transport(&self.host(), &self.doing(), &error)),
            None => Err(self.stalled()),
        }
    }

    /// Asks for what is still missing.
    fn open(&mut self) -> Result<Response, RequestError> {
        let url = self.session.url(&format!("blobs/{}", self.digest));
        let call = Call::new(Method::GET, url, self.doing());
        self.pace.restart();
        self.skip_bytes = self.received_bytes;
        if self.received_bytes == 0 {
            return self.session.call_once(&call, &[200]);
        }
        let ranged = call.clone().header(RANGE, &format!("bytes={}-", self.received_bytes));
        let response = self.session.call_once(&ranged, &[200, 206, 416])?;
        match response.status().as_u16() {
            206 if starts_at(&response, self.received_bytes) => self.skip_bytes = 0,
            200 => {}
            // The range is not believed, or not to be had: everything again.
            _ => return self.session.call_once(&call, &[200]),
        }
        Ok(response)
    }

    /// Waits before another attempt, or gives up.
    fn pause_after(&mut self, error: RequestError) -> Result<(), BlobError> {
        const PROGRESS_BYTES: u64 = 64 << 10;
        if self.received_bytes >= self.received_at_failure + PROGRESS_BYTES {
            self.failures = 0;
        }
        self.received_at_failure = self.received_bytes;
        self.failures += 1;
        let Some(wait) = self.session.registry.options().patience.wait(self.failures, error.outlook()) else {
            return Err(error.into());
        };
        (self.session.progress)(Event::Retrying { doing: self.doing(), because: error.to_string(), wait });
        Ok(self.session.registry.net().sleep(wait).map_err(RequestError::from)?)
    }

    fn tell(&mut self) {
        const STEP_BYTES: u64 = 256 << 10;
        if self.received_bytes - self.told_bytes >= STEP_BYTES || self.received_bytes == self.size_bytes {
            self.told_bytes = self.received_bytes;
            (self.session.progress)(Event::Moved { digest: self.digest, moved_bytes: self.received_bytes });
        }
    }

    fn doing(&self) -> String {
        format!("pull blob {} from {}", self.digest.short(), self.session.name())
    }

    fn host(&self) -> String {
        self.session.endpoint.host.to_string()
    }

    fn broken(&self, reason: &str) -> RequestError {
        RequestError::Broken { host: self.host(), doing: self.doing(), reason: reason.to_owned() }
    }

    fn stalled(&self) -> RequestError {
        RequestError::Stalled { host: self.host(), doing: self.doing(), after: self.pace.window }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::Error::other("the blob failed before"));
        }
        if let Err(error) = self.fill() {
            let text = error.to_string();
            self.failure = Some(error);
            return Err(io::Error::other(text));
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

/// Notices a server that sends, but hardly. Only time spent waiting for it counts.
pub(crate) struct Pace {
    pub(crate) window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    const LEAST_BYTES_PER_SECOND: u64 = 1024;

    pub(crate) fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    fn restart(&mut self) {
        *self = Self::new(self.window);
    }

    pub(crate) fn is_too_slow(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return false;
        }
        let least = self.window.as_secs() * Self::LEAST_BYTES_PER_SECOND;
        let is_too_slow = self.bytes < least;
        self.restart();
        is_too_slow
    }
}

/// Whether a 206 really begins where it was asked to: `Content-Range: bytes 5-9/10`.
fn starts_at(response: &Response, wanted: u64) -> bool {
    let value = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = value.and_then(|value| value.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    start == Some(wanted)
}
