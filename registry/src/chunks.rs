//! Sending a blob in chunks, for registries behind a proxy that lets no large body through
//! (distribution-spec, "Pushing a blob in chunks").
//!
//! Chunks are sent in order, each from memory. After a broken one the registry is asked how far it
//! got (`GET` of the upload, `Range: 0-N`), and only the rest is sent again.

use std::io::Read;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Response, Url};

use crate::event::Event;
use crate::request::{Call, RequestError};
use crate::upload::{Source, Upload, UploadError, location, read_chunk};

/// How blobs are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Uploads {
    /// Each in one request; in chunks where a proxy answers that it is too large (413).
    #[default]
    Whole,
    /// In chunks always.
    InChunks,
}

/// What is tried first: fewer requests.
const LARGE_BYTES: usize = 8 << 20;
/// What passes through nginx as it is when nobody configures it.
const SMALL_BYTES: usize = 1 << 20;

impl Upload<'_> {
    /// Sends a blob in chunks as large as will go through.
    pub(crate) fn send_in_chunks(&self, source: Source<'_>) -> Result<(), UploadError> {
        match self.chunks_of(LARGE_BYTES, source) {
            Err(UploadError::Request(error)) if error.status() == Some(413) => self.chunks_of(SMALL_BYTES, source),
            other => other,
        }
    }

    fn chunks_of(&self, chunk_bytes: usize, source: Source<'_>) -> Result<(), UploadError> {
        let digest = self.digest;
        let failed = |source| UploadError::Source { digest, source };
        let begun = self.begin()?;
        let chunk_bytes = chunk_bytes.max(begun.least_chunk_bytes);
        let mut reader = source().map_err(failed)?;
        let mut chunks = Chunks { upload: self, location: begun.location, sent_bytes: 0 };
        loop {
            let chunk = read_chunk(&mut reader as &mut dyn Read, chunk_bytes).map_err(failed)?;
            if chunk.is_empty() {
                break;
            }
            chunks.send(&chunk)?;
        }
        if chunks.sent_bytes != self.size_bytes {
            let (expected_bytes, actual_bytes) = (self.size_bytes, chunks.sent_bytes);
            return Err(UploadError::SourceSize { digest, expected_bytes, actual_bytes });
        }
        Ok(chunks.commit()?)
    }
}

/// An upload of which a part has arrived.
struct Chunks<'a> {
    upload: &'a Upload<'a>,
    location: Url,
    sent_bytes: u64,
}

impl Chunks<'_> {
    /// Sends a chunk, or what of it has not arrived, until it is there or patience ends.
    fn send(&mut self, chunk: &[u8]) -> Result<(), RequestError> {
        let session = self.upload.session;
        let (start, end) = (self.sent_bytes, self.sent_bytes + chunk.len() as u64);
        let mut failures = 0;
        while self.sent_bytes < end {
            let rest = &chunk[(self.sent_bytes - start) as usize..];
            let error = match self.patch(rest) {
                Ok(()) => continue,
                Err(error) => error,
            };
            failures += 1;
            let outlook = if error.status() == Some(416) { crate::retry::Outlook::MayPass } else { error.outlook() };
            let Some(wait) = session.registry.options().patience.wait(failures, outlook) else { return Err(error) };
            (session.progress)(Event::Retrying { doing: self.upload.doing(), because: error.to_string(), wait });
            session.registry.net().sleep(wait)?;
            match self.arrived_bytes()? {
                Some(arrived) if (start..=end).contains(&arrived) => self.sent_bytes = arrived,
                // The registry has lost more than this chunk; the whole begins anew.
                _ => return Err(error),
            }
        }
        (session.progress)(Event::Moved { digest: self.upload.digest, moved_bytes: self.sent_bytes });
        Ok(())
    }

    fn patch(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        let (start, end) = (self.sent_bytes, self.sent_bytes + bytes.len() as u64);
        let call = Call::new(Method::PATCH, self.location.clone(), self.upload.doing())
            .header(CONTENT_RANGE, &format!("{start}-{}", end - 1))
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes.to_vec());
        let response = self.upload.session.call_once(&call, &[202])?;
        self.follow(&response, &call);
        self.sent_bytes = end;
        Ok(())
    }

    /// How much the registry says that it has; `None` if it does not know the upload any more.
    fn arrived_bytes(&mut self) -> Result<Option<u64>, RequestError> {
        let call = Call::new(Method::GET, self.location.clone(), self.upload.doing());
        let response = self.upload.session.call(&call, &[204, 404])?;
        if response.status() == 404 {
            return Ok(None);
        }
        self.follow(&response, &call);
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let last = range.and_then(|range| range.trim().strip_prefix("0-")?.parse::<u64>().ok());
        // Registries say `0-0` of an upload that has nothing yet.
        Ok(last.map(|last| if last == 0 { 0 } else { last + 1 }))
    }

    fn commit(self) -> Result<(), RequestError> {
        let mut url = self.location;
        url.query_pairs_mut().append_pair("digest", &self.upload.digest.to_string());
        let call = Call::new(Method::PUT, url, self.upload.doing());
        self.upload.session.call_once(&call, &[201, 204]).map(drop)
    }

    fn follow(&mut self, response: &Response, call: &Call) {
        if let Some(next) = location(response, call) {
            self.location = next;
        }
    }
}
