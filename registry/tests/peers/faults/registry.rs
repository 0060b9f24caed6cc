//! A registry in memory that does everything right, unless a rule of the test answers first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use registry::Host;
use serde_json::json;
use store::{Digest, Reference};

use super::http::{Answer, Http, Request};
use crate::harness::Layout;

/// What the registry holds, and what it was asked.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) requests: Vec<Request>,
    /// What has come in chunks so far, of the one upload that a test makes at a time.
    pub(crate) partial: Vec<u8>,
}

/// A running fake.
pub(crate) struct Fake {
    _http: Http,
    pub(crate) held: Arc<Mutex<Held>>,
    pub(crate) host: Host,
}

impl Fake {
    /// One that asks the rule first; the rule may let the registry answer, and change what it says.
    pub(crate) fn start(rule: impl Fn(&Request, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static) -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let state = Arc::clone(&held);
        let http = Http::start(move |request| {
            state.lock().unwrap().requests.push(request.clone());
            rule(request, &|| state.lock().unwrap().answer(request))
        });
        let host = Host::new(&http.address.to_string()).unwrap();
        Self { _http: http, held, host }
    }

    /// One that does nothing wrong.
    pub(crate) fn honest() -> Self {
        Self::start(|_, honest| honest())
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    /// Puts an image there without asking.
    pub(crate) fn hold(&self, tag: &str, layout: &Layout) {
        let mut held = self.held.lock().unwrap();
        for descriptor in layout.manifest.layers.iter().chain([&layout.manifest.config]) {
            held.blobs.insert(descriptor.digest.to_string(), layout.blob(descriptor.digest));
        }
        held.put_manifest(tag, layout.manifest.media_type.as_str(), layout.manifest.to_bytes());
    }

    /// The requests whose method and target begin and contain this.
    pub(crate) fn requests(&self, method: &str, part: &str) -> Vec<Request> {
        let held = self.held.lock().unwrap();
        held.requests
            .iter()
            .filter(|request| request.method == method && request.target.contains(part))
            .cloned()
            .collect()
    }
}

impl Held {
    pub(crate) fn put_manifest(&mut self, tag: &str, media_type: &str, bytes: Vec<u8>) {
        let digest = Digest::of(&bytes).to_string();
        self.manifests.insert(digest, (media_type.to_owned(), bytes.clone()));
        self.manifests.insert(tag.to_owned(), (media_type.to_owned(), bytes));
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        let unknown = |code: &str| Answer::json(404, &json!({"errors": [{"code": code, "message": "unknown"}]}));
        match request.method.as_str() {
            "GET" if path == "/v2/" => Answer::json(200, &json!({})),
            "GET" | "HEAD" if path.contains("/manifests/") => match self.manifests.get(&last) {
                Some((media_type, bytes)) => Answer::new(200)
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", Digest::of(bytes))
                    .body(bytes.clone()),
                None => unknown("MANIFEST_UNKNOWN"),
            },
            "GET" | "HEAD" if path.contains("/blobs/sha256:") => match self.blobs.get(&last) {
                Some(bytes) => ranged(request, bytes),
                None => unknown("BLOB_UNKNOWN"),
            },
            "POST" if path.ends_with("/uploads/") => {
                self.partial.clear();
                Answer::new(202).header("Location", format!("{path}session?state=x%2Fy"))
            }
            "PATCH" if path.contains("/uploads/") => self.append(request),
            "GET" if path.contains("/uploads/") => {
                Answer::new(204).header("Range", format!("0-{}", self.partial.len().saturating_sub(1)))
            }
            "PUT" if path.contains("/uploads/") && request.body.is_empty() => {
                let body = std::mem::take(&mut self.partial);
                self.commit(query, &body)
            }
            "PUT" if path.contains("/uploads/") => self.commit(query, &request.body),
            "PUT" if path.contains("/manifests/") => {
                self.put_manifest(&last, request.header("content-type").unwrap_or_default(), request.body.clone());
                Answer::new(201).header("Docker-Content-Digest", Digest::of(&request.body))
            }
            _ => Answer::new(405),
        }
    }

    fn append(&mut self, request: &Request) -> Answer {
        let start = request.header("content-range").and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        if start != Some(self.partial.len()) {
            return Answer::new(416);
        }
        self.partial.extend(&request.body);
        let path = request.target.split('?').next().unwrap_or_default();
        Answer::new(202).header("Location", format!("{path}?state=x%2Fy"))
    }

    fn commit(&mut self, query: &str, body: &[u8]) -> Answer {
        let digest = Digest::of(body).to_string();
        if !query.contains("state=x%2Fy") {
            return Answer::new(404);
        }
        if !query.contains(&digest.replace(':', "%3A")) {
            return Answer::json(400, &json!({"errors": [{"code": "DIGEST_INVALID", "message": "other bytes"}]}));
        }
        self.blobs.insert(digest, body.to_vec());
        Answer::new(201)
    }
}

fn ranged(request: &Request, bytes: &[u8]) -> Answer {
    let range = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match range {
        None => Answer::new(200).body(bytes.to_vec()),
        Some(start) if start < bytes.len() => Answer::new(206)
            .header("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes[start..].to_vec()),
        Some(_) => Answer::new(416),
    }
}
