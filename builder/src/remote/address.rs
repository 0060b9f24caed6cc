//! How remote things are written: URLs, git references, checksums.
//!
//! The forms are BuildKit's: an http(s) URL is a repository only if its path ends in `.git`;
//! `git://`, `ssh://` and `user@host:path` always are. A reference and a subdirectory follow `#`, or
//! stand in the query by name (docs/dockerfile.md, A124). Pure: nothing is fetched here.

use std::fmt;

use super::checksum::Checksum;
use super::text::{redacted, split_url, unescaped};

/// Something that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file.
    Url(UrlSource),
    /// A commit of a repository.
    Git(GitSource),
}

/// A file by its URL.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlSource {
    /// The URL, with a name and password if somebody wrote them.
    pub url: String,
    /// What the file is called.
    pub name: String,
    /// What it must contain.
    pub checksum: Option<Checksum>,
}

/// A commit of a git repository.
#[derive(Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The repository as git takes it, with a name and password if somebody wrote them.
    pub repository: String,
    /// A branch, tag, or commit; `None` is the repository's own choice.
    pub reference: Option<String>,
    /// The directory that counts.
    pub subdirectory: Option<String>,
    /// The beginning of the commit's id that is expected.
    pub checksum: Option<String>,
    /// Whether `.git` is kept.
    pub directory: GitDirectory,
    /// Whether submodules are fetched.
    pub submodules: Submodules,
}

/// What becomes of `.git`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitDirectory {
    /// It is no part of the files.
    Drop,
    /// It is (`--keep-git-dir`).
    Keep,
}

/// What becomes of submodules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submodules {
    /// They are fetched, too, and theirs.
    Fetch,
    /// Their directories stay empty.
    Leave,
}

/// Why a text names nothing that could be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The query or fragment of a git URL says something unknown or contradictory.
    #[error("invalid git URL {url}: {problem}")]
    Git {
        /// The URL, without secrets.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// No digest.
    #[error("invalid checksum {0:?}: it is written ALGORITHM:HEX, with sha256, sha384 or sha512")]
    Checksum(String),
}

impl Remote {
    /// Reads a source of ADD; `None` for what is a path.
    pub fn parse(text: &str) -> Result<Option<Self>, AddressError> {
        if let Some(git) = GitSource::parse(text)? {
            return Ok(Some(Self::Git(git)));
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| starts_with(text, scheme));
        Ok(is_url.then(|| Self::Url(UrlSource::new(text, None))))
    }

    /// Reads a build context, which has the form `github.com/...` besides (docs/dockerfile.md, C003).
    pub fn parse_context(text: &str) -> Result<Option<Self>, AddressError> {
        match text.strip_prefix("github.com/") {
            Some(_) => GitSource::parse_forced(&format!("https://{text}")).map(|git| Some(Self::Git(git))),
            None => Self::parse(text),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&redacted(&url.url)),
            Self::Git(git) => write!(f, "{git}"),
        }
    }
}

impl UrlSource {
    /// A file that is called as the last part of its URL's path, or `__unnamed__` (BuildKit's way).
    pub fn new(url: &str, checksum: Option<Checksum>) -> Self {
        let path = split_url(url).map_or("", |parts| parts.path);
        let last = unescaped(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
        let is_name = !matches!(last.as_str(), "" | "." | "..") && !last.contains(['/', '\0']);
        let name = if is_name { last } else { "__unnamed__".to_owned() };
        Self { url: url.to_owned(), name, checksum }
    }
}

impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UrlSource").field(&redacted(&self.url)).field(&self.checksum).finish()
    }
}

impl GitSource {
    fn parse(text: &str) -> Result<Option<Self>, AddressError> {
        let is_git = match split_url(text) {
            Some(parts) => match parts.scheme.to_ascii_lowercase().as_str() {
                "git" | "ssh" => true,
                "http" | "https" => unescaped(parts.path).ends_with(".git"),
                _ => false,
            },
            None => is_scp(text),
        };
        if is_git { Self::parse_forced(text).map(Some) } else { Ok(None) }
    }

    fn parse_forced(text: &str) -> Result<Self, AddressError> {
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (repository, query) = before.split_once('?').unwrap_or((before, ""));
        let mut git = Self {
            repository: repository.to_owned(),
            reference: None,
            subdirectory: None,
            checksum: None,
            directory: GitDirectory::Drop,
            submodules: Submodules::Fetch,
        };
        let wrong = |problem: String| AddressError::Git { url: redacted(repository), problem };
        git.read_fragment(fragment).and_then(|()| git.read_query(query)).map_err(wrong)?;
        if git.reference.is_none() {
            git.reference.clone_from(&git.checksum);
        }
        match git.reference.as_deref().map(check_reference) {
            Some(Err(problem)) => Err(wrong(problem)),
            _ if repository.starts_with('-') => Err(wrong("a repository does not start with a dash".into())),
            _ => Ok(git),
        }
    }

    /// `ref:subdir`, or `#ref=...,subdir=...` after a second `#`.
    fn read_fragment(&mut self, fragment: &str) -> Result<(), String> {
        let some = |text: &str| Some(unescaped(text)).filter(|text| !text.is_empty());
        let Some(fields) = fragment.strip_prefix('#') else {
            let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
            (self.reference, self.subdirectory) = (some(reference), some(subdirectory));
            return Ok(());
        };
        for field in fields.split(',').filter(|field| !field.is_empty()) {
            match field.split_once('=') {
                Some(("ref", value)) => self.reference = some(value),
                Some(("subdir", value)) => self.subdirectory = some(value),
                Some(("commit", value)) => self.checksum = some(value),
                _ => return Err(format!("unexpected {field:?}; ref=, subdir= and commit= can stand there")),
            }
        }
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescaped(key), unescaped(&value.replace('+', " ")));
            if !seen.insert(key.clone()) {
                return Err(format!("query {key:?} has multiple values"));
            }
            if value.is_empty() && !matches!(key.as_str(), "submodules" | "keep-git-dir") {
                return Err(format!("query {key:?} has no value"));
            }
            match key.as_str() {
                "ref" => agree(&mut self.reference, value, "ref")?,
                "subdir" => agree(&mut self.subdirectory, value, "subdir")?,
                "tag" => tag = Some(qualified("refs/tags/", value)),
                "branch" => branch = Some(qualified("refs/heads/", value)),
                "checksum" | "commit" => self.checksum = Some(value),
                "keep-git-dir" => {
                    self.directory = if truth(&key, &value)? { GitDirectory::Keep } else { GitDirectory::Drop };
                }
                "submodules" => {
                    self.submodules = if truth(&key, &value)? { Submodules::Fetch } else { Submodules::Leave };
                }
                _ => return Err(format!("unexpected query {key:?}")),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        tag.or(branch).map_or(Ok(()), |reference| agree(&mut self.reference, reference, "ref"))
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.repository))?;
        match (&self.reference, &self.subdirectory) {
            (None, None) => Ok(()),
            (reference, None) => write!(f, "#{}", reference.as_deref().unwrap_or_default()),
            (reference, Some(directory)) => write!(f, "#{}:{directory}", reference.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitSource({self} {:?} {:?} {:?})", self.checksum, self.directory, self.submodules)
    }
}

fn starts_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// `user@host:path`
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(c))
    };
    word(user, "_") && word(host, ".") && !host.starts_with('-')
}

fn agree(field: &mut Option<String>, value: String, name: &str) -> Result<(), String> {
    match field {
        Some(other) if *other != value => Err(format!("{name} conflicts: {other:?} vs {value:?}")),
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}

fn qualified(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// Go's words for true and false; nothing is true.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid {key} value: {value:?}")),
    }
}

fn check_reference(reference: &str) -> Result<(), String> {
    let is_odd = reference.starts_with('-') || reference.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c));
    if is_odd { Err(format!("{reference:?} is no name of a branch, tag or commit")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let found = Remote::parse(text).unwrap();
        assert_eq!(found.map(|remote| format!("{remote:?}")).as_deref(), expected, "{text}");
    }

    #[test]
    fn what_is_remote_and_how() {
        let git = |text: &str| format!("Git(GitSource({text} Drop Fetch))");
        check("a/b", None);
        check("./https://x", None);
        check("file:///x.git", None);
        check("github.com/a/b", None);
        check("https://h/a/f%20x?y#z", Some("Url(UrlSource(\"https://h/a/f%20x?y#z\", None))"));
        for (text, expected) in [
            ("https://h/a.git", "https://h/a.git None"),
            ("https://u:p@h/a.git#main", "https://xxxxx:xxxxx@h/a.git#main None"),
            ("https://h/a.git#:sub/x", "https://h/a.git#:sub/x None"),
            ("git@h:a/b#v1:sub", "git@h:a/b#v1:sub None"),
            ("ssh://git@h/a", "ssh://git@h/a None"),
            ("git://h/a?tag=v1&subdir=s", "git://h/a#refs/tags/v1:s None"),
            ("https://h/a.git?branch=main", "https://h/a.git#refs/heads/main None"),
            ("https://h/a.git?commit=abc", "https://h/a.git#abc Some(\"abc\")"),
            ("https://h/a.git##ref=x,subdir=y", "https://h/a.git#x:y None"),
        ] {
            check(text, Some(&git(expected)));
        }
        check("git://h/a?keep-git-dir&submodules=false", Some("Git(GitSource(git://h/a None Keep Leave))"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, expected) in [
            ("git://h/a?what=1", "unexpected query \"what\""),
            ("git://h/a?ref=a&ref=b", "multiple values"),
            ("git://h/a?ref=b#a", "ref conflicts"),
            ("git://h/a?tag=a&branch=b", "branch conflicts with tag"),
            ("git://h/a?subdir=", "has no value"),
            ("git://h/a?submodules=perhaps", "invalid submodules value"),
            ("git://h/a#--upload-pack=x", "no name of a branch"),
        ] {
            let error = Remote::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_called_as_the_end_of_its_path() {
        for (url, expected) in [
            ("http://h/a/b.tgz?x=/y", "b.tgz"),
            ("http://h/a%20b", "a b"),
            ("http://h/dir/", "dir"),
            ("http://h", "__unnamed__"),
            ("http://h/..", "__unnamed__"),
            ("http://h/%2e%2e%2fx", "__unnamed__"),
        ] {
            assert_eq!(UrlSource::new(url, None).name, expected, "{url}");
        }
    }
}
