//! A commit of a git repository, fetched shallowly by the program `git`.
//!
//! git runs as if nobody had configured it: no system or user configuration, no hooks, no prompts,
//! no credential helpers, network protocols only, in a process group that ends with the build. What
//! somebody else wrote never stands where git looks for an option, and names and passwords reach
//! git through its environment, which other users cannot read, and not through its arguments.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use store::action::Part;
use store::fs::{Dir, Kind};
use store::scan::{Attributes, Ownership, Scan, ScanOptions, Times, Verdict, scan};
use store::tree::{Directory, Entry, HardLinks, Leaf, Metadata, Node, Timestamp};
use store::{Cancelled, RelPath, Tree};

use super::RemoteError;
use super::address::{GitDirectory, GitSource, Submodules};
use super::fetch::{Fetch, Fetched, Fetcher, POLL, Scheme, TIME, base64};
use super::text::{redacted, split_url, unescaped};
use crate::copy::select::{entry_at, resolve};
use crate::progress::Cancel;

/// No honest repository takes longer.
const LIMIT: Duration = Duration::from_secs(3600);

/// As much of git's words as is read.
const OUTPUT_LIMIT_BYTES: u64 = 64 << 20;

pub(super) fn fetch(fetcher: &Fetcher<'_>, source: &GitSource) -> Result<Fetched, RemoteError> {
    let git = Git::new(fetcher, source)?;
    let found = git.commit()?;
    let mut fetch = Fetch::of("git", source.to_string(), parts(fetcher, source, &found));
    if let Some(known) = fetcher.known(fetch.key)? {
        return Ok(fetcher.hit(fetch.key, &known));
    }
    let temporary = fetcher.store.temporary()?;
    let directory = temporary.path().join("tree");
    let time = git.check_out(&directory, &found)?;
    fetch.facts.insert(TIME.to_owned(), time.secs.to_string());
    let time = fetcher.time().unwrap_or(time);
    fetch.facts.insert("commit".to_owned(), found.id);
    let Scan { tree, contents, .. } = read(&directory, source.directory, time, fetcher.cancel)?;
    let tree = subtree(&tree, source, time)?;
    fetcher.keep(&fetch, &tree, &contents)
}

fn parts(fetcher: &Fetcher<'_>, source: &GitSource, found: &Found) -> Vec<Part> {
    let GitSource { repository, reference: _, subdirectory, checksum: _, directory, submodules } = source;
    vec![
        Part::text("repository", repository),
        Part::text("commit", &found.id),
        Part::text("directory", subdirectory.as_deref().unwrap_or_default()),
        Part::text("git directory", format!("{directory:?}")),
        Part::text("submodules", format!("{submodules:?}")),
        fetcher.times_part(),
    ]
}

/// What a reference leads to.
struct Found {
    /// The commit; before it is fetched perhaps an annotated tag.
    id: String,
    /// The name under which the repository has it, if it does.
    name: Option<String>,
    /// The id of the annotated tag that leads to it.
    tag: Option<String>,
}

/// git, ready to speak of one repository.
struct Git<'a> {
    fetcher: &'a Fetcher<'a>,
    source: &'a GitSource,
    /// The repository without name and password.
    repository: String,
    settings: Vec<(String, String)>,
}

impl<'a> Git<'a> {
    fn new(fetcher: &'a Fetcher<'a>, source: &'a GitSource) -> Result<Self, RemoteError> {
        let (repository, credentials) = without_credentials(&source.repository);
        let mut settings: Vec<(String, String)> = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.autocrlf", "false"),
            ("credential.helper", ""),
            ("advice.detachedHead", "false"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("http.followRedirects", "initial"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("safe.directory", "*"),
            ("init.defaultBranch", "main"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let secret = fetcher.authorization(&secrets(&repository))?;
        if let (Some(value), Some(origin)) = (secret.or(credentials), origin(&repository)) {
            // git goes on at a redirect's target with the headers of where it began, whosever that is.
            settings.push((format!("http.{origin}.followRedirects"), "false".to_owned()));
            settings.push((format!("http.{origin}.extraHeader"), format!("Authorization: {value}")));
        }
        Ok(Self { fetcher, source, repository, settings })
    }

    /// Finds out which commit is meant; whether it is the one that is expected, too.
    fn commit(&self) -> Result<Found, RemoteError> {
        let found = match self.source.reference.as_deref() {
            Some(reference) if is_id(reference) => Found { id: reference.to_owned(), name: None, tag: None },
            reference => self.look_up(reference.unwrap_or("HEAD"))?,
        };
        let Some(expected) = &self.source.checksum else { return Ok(found) };
        let fits = |id: &String| id.starts_with(expected.as_str());
        if !expected.is_empty() && (fits(&found.id) || found.tag.as_ref().is_some_and(fits)) {
            return Ok(found);
        }
        let (repository, actual) = (self.source.to_string(), found.id);
        Err(RemoteError::Commit { repository, expected: expected.clone(), actual })
    }

    /// Branches come before tags, as in `git checkout` (BuildKit's order).
    fn look_up(&self, reference: &str) -> Result<Found, RemoteError> {
        let listing = self.run(None, "list the refs of", &["ls-remote", "--quiet", "--", &self.repository])?;
        let find = |name: &str| {
            let line = listing.lines().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == name);
            line.map(|(id, _)| id.to_owned())
        };
        let below = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
        let names = ["", "refs/", "refs/heads/", "refs/tags/"].map(below);
        for name in names.iter().filter(|name| *name == "HEAD" || name.starts_with("refs/")) {
            if let Some(id) = find(name) {
                let commit = find(&format!("{name}^{{}}"));
                let tag = commit.is_some().then(|| id.clone());
                return Ok(Found { id: commit.unwrap_or(id), name: Some(name.clone()), tag });
            }
        }
        // A commit may be given by its beginning where that is all that was said of it.
        let by_id = listing.lines().filter_map(|line| line.split_once('\t')).find(|(id, _)| {
            self.source.checksum.as_deref() == Some(reference) && !reference.is_empty() && id.starts_with(reference)
        });
        match by_id {
            Some((id, name)) => {
                Ok(Found { id: id.to_owned(), name: Some(name.trim_end_matches("^{}").to_owned()), tag: None })
            }
            None => Err(RemoteError::NoReference {
                repository: redacted(&self.source.repository),
                reference: reference.to_owned(),
            }),
        }
    }

    /// Makes a work tree of the commit and returns when that was committed.
    fn check_out(&self, directory: &Path, found: &Found) -> Result<Timestamp, RemoteError> {
        let format = if found.id.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        std::fs::create_dir(directory).map_err(RemoteError::Execute)?;
        let here = Some(directory);
        self.run(here, "make a repository for", &["init", "--quiet", "--template=", format])?;
        self.run(here, "note", &["config", "--local", "remote.origin.url", &self.repository])?;
        self.bring(directory, found)?;
        let commit = format!("{}^{{commit}}", found.id);
        let checked = self.run(here, "check out", &["checkout", "--quiet", "--force", "--detach", &commit]);
        if checked.is_err() && self.source.reference.as_deref() == Some(&found.id) {
            let (repository, reference) = (redacted(&self.source.repository), found.id.clone());
            return Err(RemoteError::NoReference { repository, reference });
        }
        checked?;
        if self.source.submodules == Submodules::Fetch && directory.join(".gitmodules").is_file() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
            self.run(here, "fetch the submodules of", &update)?;
        }
        let time = self.run(here, "read the time of", &["show", "--no-patch", "--format=%ct", &commit])?;
        Ok(Timestamp::from_secs(time.trim().parse().unwrap_or(0)))
    }

    /// The commit alone where the server gives it, else what has it below.
    fn bring(&self, directory: &Path, found: &Found) -> Result<(), RemoteError> {
        let shallow = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--"];
        let bring = |options: &[&str], what: &[&str]| {
            let words: Vec<&str> = options.iter().chain(&[self.repository.as_str()]).chain(what).copied().collect();
            self.run(Some(directory), "fetch", &words)
        };
        let refused = match bring(&shallow, &[&found.id]) {
            Err(error @ RemoteError::Git { .. }) => error,
            other => return other.map(drop),
        };
        // A server that gives no commits by their ids, as old ones do.
        if let Some(name) = &found.name {
            bring(&shallow, &[name])?;
            if self.run(Some(directory), "find", &["cat-file", "-e", &format!("{}^{{commit}}", found.id)]).is_ok() {
                return Ok(());
            }
        }
        let whole = ["fetch", "--quiet", "--tags", "--no-recurse-submodules", "--"];
        bring(&whole, &["+refs/heads/*:refs/remotes/origin/*"]).map(drop).map_err(|_| refused)
    }

    /// Runs git to its end and returns what it printed.
    fn run(&self, directory: Option<&Path>, doing: &'static str, words: &[&str]) -> Result<String, RemoteError> {
        let mut command = self.command(directory);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => RemoteError::NoGit { repository: redacted(&self.source.repository) },
            _ => RemoteError::Execute(error),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (status, out, err) = std::thread::scope(|scope| {
            let out = scope.spawn(|| out.map_or_else(String::new, said));
            let err = scope.spawn(|| err.map_or_else(String::new, said));
            let status = self.wait(&mut child, doing);
            (status, out.join().unwrap_or_default(), err.join().unwrap_or_default())
        });
        if status? {
            return Ok(out);
        }
        let lines: Vec<&str> = err.lines().filter(|line| !line.trim().is_empty()).collect();
        let said = lines[lines.len().saturating_sub(4)..].join("; ");
        Err(RemoteError::Git { doing, repository: redacted(&self.source.repository), said: redacted(&said) })
    }

    /// Whether it ended well. What does not end in time, or is no longer wanted, is ended with all its children.
    fn wait(&self, child: &mut Child, doing: &'static str) -> Result<bool, RemoteError> {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(RemoteError::Execute)? {
                return Ok(status.success());
            }
            let is_late = started.elapsed() > LIMIT;
            if is_late || self.fetcher.cancel.is_cancelled() {
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
                let _ = child.wait();
                let repository = redacted(&self.source.repository);
                return Err(if is_late {
                    RemoteError::Slow { doing, repository, limit: LIMIT }
                } else {
                    Cancelled.into()
                });
            }
            std::thread::sleep(POLL);
        }
    }

    fn command(&self, directory: Option<&Path>) -> Command {
        const KEPT: [&str; 15] = [
            "PATH",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "GIT_SSL_CAINFO",
            "GIT_EXEC_PATH",
            "SSH_AUTH_SOCK",
            "TMPDIR",
        ];
        let mut command = Command::new("git");
        command.env_clear();
        command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
            .envs([("HOME", "/dev/null"), ("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "true")])
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_ATTR_NOSYSTEM", "1")])
            .envs([("GIT_ALLOW_PROTOCOL", "http:https:git:ssh"), ("GIT_PROTOCOL_FROM_USER", "0")])
            .env("GIT_SSH_COMMAND", ssh())
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (index, (name, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        if let Some(directory) = directory {
            command.current_dir(directory).env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(directory));
        }
        command
    }
}

/// Nobody is asked, and a host that is not known is not spoken to.
fn ssh() -> String {
    let home = std::env::var("HOME").ok().filter(|home| !home.contains(['\'', ' ', '"', '%']));
    let known = home.map_or_else(String::new, |home| format!(" -o UserKnownHostsFile='{home}/.ssh/known_hosts'"));
    format!("ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes{known}")
}

/// The secrets that may open a repository, as BuildKit names them (docs/dockerfile.md, A125).
fn secrets(repository: &str) -> Vec<(String, Scheme)> {
    let host = split_url(repository).map_or("", |parts| parts.host);
    vec![
        (format!("GIT_AUTH_HEADER.{host}"), Scheme::Whole),
        (format!("GIT_AUTH_TOKEN.{host}"), Scheme::Token),
        ("GIT_AUTH_HEADER".to_owned(), Scheme::Whole),
        ("GIT_AUTH_TOKEN".to_owned(), Scheme::Token),
    ]
}

/// `https://host:port/`, which is all that credentials are for.
fn origin(repository: &str) -> Option<String> {
    let parts = split_url(repository).filter(|parts| parts.scheme.starts_with("http"))?;
    Some(format!("{}://{}/", parts.scheme, parts.host))
}

/// A repository without name and password, and those as the value of a header.
fn without_credentials(repository: &str) -> (String, Option<String>) {
    let Some(parts) = split_url(repository) else { return (repository.to_owned(), None) };
    let Some(user) = parts.user else { return (repository.to_owned(), None) };
    if !parts.scheme.starts_with("http") {
        let name = user.split(':').next().unwrap_or_default();
        return (repository.replacen(&format!("{user}@"), &format!("{name}@"), 1), None);
    }
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let pair = format!("{}:{}", unescaped(name), unescaped(password));
    (repository.replacen(&format!("{user}@"), "", 1), Some(format!("Basic {}", base64(pair.as_bytes()))))
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn said(pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a work tree. No path that git checks out has a part called `.git`; what is called so is git's own.
fn read(directory: &Path, git: GitDirectory, time: Timestamp, cancel: &Cancel) -> Result<Scan, RemoteError> {
    let root = Dir::open(directory).map_err(|errno| RemoteError::Read(errno.into()))?;
    let filter = |path: &RelPath, _: Kind| match path.file_name() {
        Some(name) if git == GitDirectory::Drop && name.as_bytes() == b".git" => Verdict::Skip,
        _ => Verdict::Keep,
    };
    let (times, ownership) = (Times::Exactly(time), Ownership::Root);
    Ok(scan(&root, &ScanOptions { filter: &filter, times, ownership, attributes: Attributes::Drop, cancel }, None)?)
}

/// The part of a work tree that counts, with modes as git knows them, whatever the umask was.
fn subtree(tree: &Tree, source: &GitSource, time: Timestamp) -> Result<Tree, RemoteError> {
    let missing = |subdirectory: &str| RemoteError::Subdirectory {
        repository: redacted(&source.repository),
        subdirectory: subdirectory.to_owned(),
    };
    let text = source.subdirectory.as_deref().unwrap_or_default();
    let path = RelPath::clean(text.as_bytes()).map_err(|_| missing(text))?;
    let path = resolve(tree, &path).map_err(|_| missing(text))?;
    match entry_at(tree, &path) {
        Some((metadata, Node::Directory(directory))) => {
            let root = Metadata { mode: 0o755, mtime: time, ..metadata };
            Ok(Tree::new(root, std::sync::Arc::new(normal(&directory)), HardLinks::default()))
        }
        _ => Err(missing(text)),
    }
}

fn normal(directory: &Directory) -> Directory {
    let entry = |entry: &Entry| match &entry.node {
        Node::Directory(below) => Entry {
            metadata: Metadata { mode: 0o755, ..entry.metadata.clone() },
            node: Node::Directory(std::sync::Arc::new(normal(below))),
        },
        Node::Leaf(Leaf::File { .. }) => {
            let mode = if entry.metadata.mode & 0o100 != 0 { 0o755 } else { 0o644 };
            Entry { metadata: Metadata { mode, ..entry.metadata.clone() }, node: entry.node.clone() }
        }
        Node::Leaf(_) => entry.clone(),
    };
    Directory::new(directory.entries().iter().map(|(name, found)| (name.clone(), entry(found))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        for (repository, bare, header) in [
            ("https://u:p%40@h/a.git", "https://h/a.git", Some("Basic dTpwQA==")),
            ("https://h/a.git", "https://h/a.git", None),
            ("ssh://git:secret@h/a", "ssh://git@h/a", None),
            ("git@h:a/b", "git@h:a/b", None),
        ] {
            let (found, credentials) = without_credentials(repository);
            assert_eq!((found.as_str(), credentials.as_deref()), (bare, header), "{repository}");
        }
    }

    #[test]
    fn credentials_are_for_the_origin() {
        assert_eq!(origin("https://h:8/a/b.git").as_deref(), Some("https://h:8/"));
        assert_eq!(origin("ssh://git@h/a"), None);
    }
}
