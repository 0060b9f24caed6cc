//! Fetching: what is known is not fetched again, and what comes becomes a layer.
//!
//! | key of | part | why |
//! |---|---|---|
//! | a file | `name`, `times` | they are in the layer |
//! | | `checksum` | it names the content: with it nobody is asked |
//! | | `url` | without a checksum; the server is asked whether its validators still hold |
//! | a commit | `repository` | `.git` and relative submodules depend on it |
//! | | `commit` | it names the content |
//! | | `directory`, `git directory`, `submodules`, `times` | they decide what is in the layer |
//!
//! Names and passwords of URLs are hashed with the URL and recorded nowhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use store::action::{ActionResult, Part, Value};
use store::tree::{Metadata, Timestamp, diff};
use store::{ActionKey, Contents, DiffId, KeyRecord, Store, Tree};

use super::address::Remote;
use super::text::redacted;
use super::{RemoteError, git, url};
use crate::graph::{Clock, Lookup};
use crate::key;
use crate::progress::{Cancel, Outcome, Transfer};
use crate::request::SecretSource;
use crate::source::ImageSource;

/// Fetches.
pub struct Fetcher<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// What speaks HTTP.
    pub sources: &'a dyn ImageSource,
    /// Secrets that may be tokens: `GIT_AUTH_TOKEN`, `HTTP_AUTH_TOKEN_host` and the like.
    pub secrets: &'a BTreeMap<String, SecretSource>,
    /// Decides about times.
    pub clock: Clock,
    /// Whether something known may be taken.
    pub lookup: Lookup,
    /// Ends it when somebody sets it.
    pub cancel: &'a Cancel,
    /// Told how much has arrived.
    pub report: &'a (dyn Fn(Transfer) + Sync),
}

/// Something that was remote.
#[derive(Debug, Clone, Copy)]
pub struct Fetched {
    /// The layer that holds it.
    pub layer: DiffId,
    /// The action that it came from.
    pub key: ActionKey,
    /// Whether it was known.
    pub outcome: Outcome,
    /// When it was made: the commit, or the file as its server says.
    pub time: Option<Timestamp>,
}

impl Fetcher<'_> {
    /// Sees to it that something remote is in the store.
    pub fn fetch(&self, remote: &Remote) -> Result<Fetched, RemoteError> {
        match remote {
            Remote::Url(source) => url::fetch(self, source),
            Remote::Git(source) => git::fetch(self, source),
        }
    }

    /// The result of a fetch that can be taken without asking anybody.
    pub(super) fn known(&self, key: ActionKey) -> Result<Option<ActionResult>, RemoteError> {
        if self.lookup == Lookup::Fresh {
            return Ok(None);
        }
        Ok(self.store.action(key)?.filter(|result| result.layer.is_some()))
    }

    pub(super) fn hit(&self, key: ActionKey, result: &ActionResult) -> Fetched {
        let layer = result.layer.expect("only results with a layer are known");
        Fetched { layer, key, outcome: Outcome::Hit { saved: Some(result.duration) }, time: time_of(&result.facts) }
    }

    /// Keeps a tree as a layer, and what is known of it.
    pub(super) fn keep(&self, fetch: &Fetch, tree: &Tree, contents: &Contents) -> Result<Fetched, RemoteError> {
        let layer = self.store.write_layer(&diff(&Tree::empty(Timestamp::default()), tree), contents)?.diff_id();
        let result =
            ActionResult { facts: fetch.facts.clone(), ..ActionResult::now(Some(layer), fetch.started.elapsed()) };
        let description = fetch.description.clone();
        // What stands for secrets is no explanation.
        let is_shown = |part: &&Part| !matches!(&part.value, Value::Text(text) if redacted(text) != *text);
        let parts = fetch.parts.iter().filter(is_shown).cloned().collect();
        let record = KeyRecord { step: format!("fetch\n{description}"), description, parts };
        self.store.put_action(fetch.key, &record, &result)?;
        Ok(Fetched { layer, key: fetch.key, outcome: Outcome::Built, time: time_of(&fetch.facts) })
    }

    /// The time that everything fetched has, unless times are kept.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.clock.settled()
    }

    pub(super) fn times_part(&self) -> Part {
        Part::text("times", self.time().map_or_else(|| "kept".to_owned(), |time| time.secs.to_string()))
    }

    /// The value of an `Authorization` header from the first of these secrets that is there.
    pub(super) fn authorization(&self, secrets: &[(String, Scheme)]) -> Result<Option<String>, RemoteError> {
        for (name, scheme) in secrets {
            let Some(source) = self.secrets.get(name) else { continue };
            let bytes = source.read().map_err(|error| RemoteError::Secret(name.clone(), error))?;
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            return Ok(Some(match scheme {
                Scheme::Whole => text,
                Scheme::Bearer => format!("Bearer {text}"),
                Scheme::Token => format!("Basic {}", base64(format!("x-access-token:{text}").as_bytes())),
            }));
        }
        Ok(None)
    }
}

/// How a secret becomes a header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scheme {
    /// It is one.
    Whole,
    /// It is a token.
    Bearer,
    /// It is the password of a user whose name does not matter.
    Token,
}

/// A fetch that is being done.
pub(super) struct Fetch {
    pub(super) key: ActionKey,
    pub(super) parts: Vec<Part>,
    pub(super) facts: BTreeMap<String, String>,
    pub(super) description: String,
    pub(super) started: Instant,
}

impl Fetch {
    pub(super) fn of(operation: &str, description: String, parts: Vec<Part>) -> Self {
        let key = key::of_parts(operation, &parts);
        Self { key, parts, facts: BTreeMap::new(), description, started: Instant::now() }
    }
}

/// Results remember when what was fetched was made.
pub(super) const TIME: &str = "time";

fn time_of(facts: &BTreeMap<String, String>) -> Option<Timestamp> {
    facts.get(TIME)?.parse().ok().map(Timestamp::from_secs)
}

/// A directory that belongs to root.
pub(super) fn root(mtime: Timestamp) -> Metadata {
    Metadata::root_owned(0o755, mtime)
}

/// How often something slow is looked after.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// RFC 4648, section 4.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(plain.as_bytes()), expected);
        }
    }
}
