//! A file by its URL: one request at most, and none where a checksum says what it is.

use std::io::{Read, Seek};

use sha2::{Sha256, Sha384, Sha512};
use store::action::Part;
use store::tree::{Leaf, Metadata, Timestamp, TreeBuilder};
use store::{Contents, Name, RelPath};

use super::RemoteError;
use super::address::UrlSource;
use super::checksum::{Algorithm, Checksum};
use super::fetch::{Fetch, Fetched, Fetcher, Scheme, TIME, root};
use super::text::{redacted, split_url};
use crate::source::{Answer, Download, Validators};

/// No honest file is larger.
const LIMIT_BYTES: u64 = 1 << 40;

/// Nobody but its owner reads a file from elsewhere (docs/dockerfile.md, A122).
const MODE: u16 = 0o600;

/// Results remember these of what the server said.
const ETAG: &str = "etag";
const MODIFIED: &str = "last-modified";

pub(super) fn fetch(fetcher: &Fetcher<'_>, source: &UrlSource) -> Result<Fetched, RemoteError> {
    let mut fetch = Fetch::of("url", redacted(&source.url), parts(fetcher, source));
    let known = fetcher.known(fetch.key)?;
    if let (Some(known), Some(_)) = (&known, &source.checksum) {
        return Ok(fetcher.hit(fetch.key, known));
    }
    let fact = |name: &str| known.as_ref().and_then(|known| known.facts.get(name)).cloned();
    let validators = Validators { etag: fact(ETAG), modified: fact(MODIFIED) };
    let authorization = fetcher.authorization(&secrets(&source.url))?;
    let wanted = Download {
        url: &source.url,
        authorization: authorization.as_deref(),
        known: known.is_some().then_some(&validators),
        limit_bytes: LIMIT_BYTES,
        cancel: fetcher.cancel,
    };
    let mut file = tempfile_of(fetcher)?;
    let answer = fetcher.sources.download(&wanted, &mut file, fetcher.report);
    fetcher.cancel.check()?;
    let (validators, mtime) = match (answer?, &known) {
        (Answer::Unchanged, Some(known)) => return Ok(fetcher.hit(fetch.key, known)),
        (Answer::Unchanged, None) => (Validators::default(), None),
        (Answer::Received { validators, modified }, _) => (validators, modified),
    };
    check(source, &mut file)?;
    fetch.facts.extend(validators.etag.map(|etag| (ETAG.to_owned(), etag)));
    fetch.facts.extend(validators.modified.map(|modified| (MODIFIED.to_owned(), modified)));
    fetch.facts.extend(mtime.map(|time| (TIME.to_owned(), time.secs.to_string())));
    let mtime = fetcher.time().unwrap_or_else(|| mtime.unwrap_or_default());
    keep(fetcher, source, &fetch, &mut file, mtime)
}

fn keep(
    fetcher: &Fetcher<'_>,
    source: &UrlSource,
    fetch: &Fetch,
    file: &mut std::fs::File,
    mtime: Timestamp,
) -> Result<Fetched, RemoteError> {
    file.rewind().map_err(RemoteError::Read)?;
    let (content, size_bytes) = fetcher.store.put_object(file)?;
    let mut builder = TreeBuilder::new(root(mtime));
    let name = Name::new(source.name.as_bytes()).unwrap_or_else(|_| Name::new(*b"__unnamed__").expect("a name"));
    let path = RelPath::root().join(&name);
    builder.put_leaf(&path, Metadata::root_owned(MODE, mtime), Leaf::File { content, size_bytes });
    fetcher.keep(fetch, &builder.build(), &Contents::of_objects(fetcher.store))
}

fn parts(fetcher: &Fetcher<'_>, source: &UrlSource) -> Vec<Part> {
    let place = match &source.checksum {
        Some(checksum) => Part::text("checksum", checksum.to_string()),
        None => Part::text("url", &source.url),
    };
    vec![Part::text("name", &source.name), fetcher.times_part(), place]
}

/// The secrets that may open a URL, as BuildKit names them (docs/dockerfile.md, A125).
fn secrets(url: &str) -> Vec<(String, Scheme)> {
    let Some(parts) = split_url(url) else { return Vec::new() };
    let host = parts.host;
    vec![(format!("HTTP_AUTH_HEADER_{host}"), Scheme::Whole), (format!("HTTP_AUTH_TOKEN_{host}"), Scheme::Bearer)]
}

fn check(source: &UrlSource, file: &mut std::fs::File) -> Result<(), RemoteError> {
    let Some(expected) = &source.checksum else { return Ok(()) };
    file.rewind().map_err(RemoteError::Read)?;
    let hex = match expected.algorithm {
        Algorithm::Sha256 => digest::<Sha256>(file),
        Algorithm::Sha384 => digest::<Sha384>(file),
        Algorithm::Sha512 => digest::<Sha512>(file),
    };
    let actual = Checksum { algorithm: expected.algorithm, hex: hex.map_err(RemoteError::Read)? };
    if actual == *expected {
        return Ok(());
    }
    Err(RemoteError::Digest { url: redacted(&source.url), expected: expected.clone(), actual })
}

fn digest<D: sha2::Digest>(file: &mut impl Read) -> std::io::Result<String> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn tempfile_of(fetcher: &Fetcher<'_>) -> Result<std::fs::File, RemoteError> {
    // The file lives on without its name, which goes here.
    let file = fetcher.store.temporary_file()?;
    file.file().try_clone().map_err(RemoteError::Read)
}
