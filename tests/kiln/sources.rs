//! What a build fetches: URLs, git repositories, archives, contexts of every kind, from servers of these tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::running::eventually;
use crate::session::{Session, installed};

/// A web server for as long as the test lives.
struct Web {
    port: u16,
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Page {
    File { body: Vec<u8>, etag: String },
    Redirect(String),
    Endless,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let web = Self { port, pages: Arc::default(), seen: Arc::default() };
        let (pages, seen) = (web.pages.clone(), web.seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, seen) = (pages.clone(), seen.clone());
                std::thread::spawn(move || answer(stream, &pages, &seen));
            }
        });
        web
    }

    fn page(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    fn file(&self, path: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref().to_vec();
        let etag = format!("\"{}-{}\"", body.len(), body.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        self.page(path, Page::File { body, etag });
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `STATUS PATH` of all requests since the last call, and `authorized` where one showed who it is.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, pages: &Mutex<BTreeMap<String, Page>>, seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = pages.lock().unwrap().get(path.split('?').next().unwrap_or_default()).cloned();
    let header =
        |name: &str| headers.iter().find_map(|line| line.to_lowercase().starts_with(name).then(|| line.clone()));
    let who = header("authorization:").map_or_else(String::new, |value| format!(" {}", &value[15..]));
    let note = |status: u16| seen.lock().unwrap().push(format!("{status} {path}{who}"));
    let mut say = |status: u16, more: &str, body: &[u8]| {
        note(status);
        let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    match page {
        None => say(404, "", b"there is no such thing"),
        Some(Page::Redirect(to)) => say(302, &format!("Location: {to}\r\n"), b""),
        Some(Page::File { etag, .. }) if header("if-none-match:").is_some_and(|value| value.contains(&etag)) => {
            say(304, "", b"");
        }
        Some(Page::File { body, etag }) => {
            say(200, &format!("ETag: {etag}\r\nLast-Modified: Fri, 13 Feb 2009 23:31:30 GMT\r\n"), &body);
        }
        Some(Page::Endless) => {
            note(200);
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// A repository with a branch `main`, a tag `v1` before its last commit, and a server for it.
struct Repository {
    directory: PathBuf,
    port: u16,
}

impl Repository {
    fn new(session: &Session, name: &str) -> Option<Self> {
        installed("git", "git")?;
        let directory = session.path(name);
        let port = serve_git(directory.parent().expect("a parent"));
        fs::create_dir_all(&directory).expect("a directory");
        let repository = Self { directory, port };
        repository.git(&["init", "-q", "-b", "main", "."]);
        Some(repository)
    }

    fn git(&self, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]).args(words);
        command.current_dir(&self.directory).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_COMMITTER_DATE", "1700000000 +0000").env("GIT_AUTHOR_DATE", "1700000000 +0000");
        let output = command.output().expect("run git");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, path: &str, text: &str) -> String {
        let file = self.directory.join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs::write(file, text).expect("a file");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", path]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        let name = self.directory.file_name().expect("a name").to_string_lossy();
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

/// git's own server, one process a connection.
fn serve_git(base: &Path) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let base = format!("--base-path={}", base.display());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (input, output) = (stream.try_clone().expect("a copy"), stream);
            let mut command = Command::new("git");
            command.args(["-c", "safe.directory=*", "daemon", "--inetd", "--export-all", &base]);
            command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(output)).stderr(Stdio::null());
            std::thread::spawn(move || command.status());
        }
    });
    port
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o640);
        header.set_uid(7);
        archive.append_data(&mut header, name, text.as_bytes()).expect("an entry");
    }
    archive.into_inner().expect("an archive")
}

/// The files of an image: its layers on one another, whiteouts not being expected.
fn files(session: &Session, image: &str) -> BTreeMap<String, (u32, u64, u64, Vec<u8>)> {
    let path = session.path("saved.tar");
    session.kiln(["save", "-o", path.to_str().expect("UTF-8"), image]).ok();
    let mut parts = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(&path).expect("the archive")).entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let (name, mut bytes) = (entry.path().expect("a name").to_string_lossy().into_owned(), Vec::new());
        entry.read_to_end(&mut bytes).expect("bytes");
        parts.insert(name, bytes);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).expect("a manifest");
    let mut found = BTreeMap::new();
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        let mut archive = tar::Archive::new(&parts[layer.as_str().expect("a name")][..]);
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let (header, mut bytes) = (entry.header().clone(), Vec::new());
            entry.read_to_end(&mut bytes).expect("bytes");
            let name = format!("/{}", entry.path().expect("a name").to_string_lossy().trim_end_matches('/'));
            let numbers =
                (header.mode().expect("a mode"), header.uid().expect("a uid"), header.mtime().expect("a time"));
            found.insert(name, (numbers.0 & 0o7777, numbers.1, numbers.2, bytes));
        }
    }
    found
}

/// Rule D007.
#[test]
fn a122_a_url_is_a_file_asked_for_again_and_fetched_when_it_changes() {
    let (session, web) = (Session::new(), Web::start());
    web.file("/f.txt", "one");
    web.file("/a.tar", tar_of(&[("in", "side")]));
    let (f, a) = (web.url("/f.txt"), web.url("/a.tar"));
    let context = session.context(
        "app",
        &format!(
            "FROM scratch\nADD {f} /x/\nADD --chmod=755 --chown=5 {f} /y\nADD {a} /kept/\nADD --unpack=true {a} /d/\n"
        ),
    );
    session.build("app", &context);
    let found = files(&session, "app");
    assert_eq!(found["/x/f.txt"], (0o600, 0, 315_532_800, b"one".to_vec()));
    assert_eq!(found["/y"], (0o755, 5, 315_532_800, b"one".to_vec()));
    assert_eq!(found["/d/in"].3, b"side");
    assert!(found.contains_key("/kept/a.tar"));
    let mut seen = web.seen();
    seen.sort();
    assert_eq!(seen, ["200 /a.tar", "200 /f.txt"]);
    session.build("app", &context);
    assert!(web.seen().iter().all(|line| line.starts_with("304 ")));
    web.file("/f.txt", "two, changed");
    session.build("app", &context);
    assert_eq!(files(&session, "app")["/y"].3, b"two, changed");
    web.seen();
    let context = context.to_str().expect("UTF-8");
    session.kiln(["build", "-q", "--no-cache", "--timestamps=preserve", "-t", "app", context]).ok();
    assert!(web.seen().iter().all(|line| line.starts_with("200 ")));
    assert_eq!(files(&session, "app")["/y"].2, 1_234_567_890);
}

#[test]
fn a122_what_a_server_does_not_give_is_told_with_its_line() {
    let (session, web) = (Session::new(), Web::start());
    web.file("/f", "abc");
    web.page("/file", Page::Redirect("file:///etc/passwd".into()));
    web.page("/meta", Page::Redirect("http://169.254.169.254/latest".into()));
    web.page("/round", Page::Redirect("/round".into()));
    let zeros = "0".repeat(64);
    for (add, words) in [
        (format!("ADD {} /", web.url("/nope?sig=s3cret")), vec!["/nope?...", "HTTP 404", ":2:"]),
        (format!("ADD {} /", web.url("/file")), vec!["to something that is not HTTP"]),
        (format!("ADD {} /", web.url("/meta")), vec!["only this machine can mean"]),
        (format!("ADD {} /", web.url("/round")), vec!["in a circle"]),
        (
            format!("ADD --checksum=sha256:{zeros} {} /", web.url("/f")),
            vec![&zeros, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "/f", ":2:"],
        ),
    ] {
        let context = session.context("app", &format!("FROM scratch\n{add}\n"));
        session.kiln(["build", context.to_str().expect("UTF-8")]).fails(1).says(&words);
    }
}

#[test]
fn a125_who_one_is_is_shown_to_the_urls_own_host_and_nowhere_else() {
    let (session, web, other) = (Session::new(), Web::start(), Web::start());
    other.file("/f", "abc");
    web.page("/f", Page::Redirect(other.url("/f")));
    web.file("/t", "abc");
    session.write("token", "t0ken\n");
    let with_user = web.url("/f").replace("http://", "http://me:pass@");
    let context = session.context("app", &format!("FROM scratch\nADD {with_user} /\nADD {} /\n", web.url("/t")));
    let secret = format!("id=HTTP_AUTH_TOKEN_127.0.0.1:{},src=token", web.port);
    let context = context.to_str().expect("UTF-8");
    let ran = session.kiln(["build", "--progress=plain", "--secret", &secret, "-t", "app", context]).ok();
    assert!(!ran.stderr.contains("pass"), "{}", ran.stderr);
    let seen = web.seen();
    assert!(seen.contains(&"200 /t Bearer t0ken".to_owned()), "{seen:?}");
    assert!(other.seen().iter().all(|line| line == "200 /f"));
    let history = session.kiln(["history", "--no-trunc", "app"]).ok();
    assert!(history.stdout.contains("xxxxx:xxxxx@") && !history.stdout.contains("pass"), "{}", history.stdout);
    let store = Command::new("grep").args(["-rl", "me:pass"]).arg(session.store()).output().expect("grep");
    let kept = String::from_utf8_lossy(&store.stdout).into_owned();
    assert!(kept.lines().all(|line| line.is_empty()), "{kept}");
}

#[test]
fn an_interrupted_download_ends_soon() {
    let (session, web) = (Session::new(), Web::start());
    web.page("/f", Page::Endless);
    let context = session.context("app", &format!("FROM scratch\nADD {} /\n", web.url("/f")));
    let mut child = session.command().arg("build").arg(context).stderr(Stdio::null()).spawn().expect("run kiln");
    eventually(|| !web.seen().is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("a signal");
    // It would go on for ever.
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

/// Rule D006.
#[test]
fn a124_a_repository_is_added_at_a_branch_tag_or_commit() {
    let session = Session::new();
    let Some(repository) = Repository::new(&session, "r") else { return };
    let first = repository.commit("sub/a", "one\n");
    repository.git(&["tag", "-a", "-m", "x", "v1"]);
    std::os::unix::fs::symlink("/etc", repository.directory.join("out")).expect("a link");
    let second = repository.commit("run.sh", "#!/bin/sh\n");
    let url = repository.url();
    let context = session.context(
        "app",
        &format!(
            "FROM scratch\nADD {url} /head/\nADD {url}#v1 /tag/\nADD {url}#{first}:sub /sub/\n\
             ADD --keep-git-dir=true --checksum={second} {url}?branch=main /git/\nADD --chown=3 {url}?tag=v1&subdir=sub /q/\n"
        ),
    );
    session.build("app", &context);
    let found = files(&session, "app");
    assert_eq!(found["/head/run.sh"].0, 0o644);
    assert_eq!(found["/tag/sub/a"], (0o644, 0, 315_532_800, b"one\n".to_vec()));
    assert!(!found.contains_key("/tag/run.sh") && !found.contains_key("/head/.git"));
    assert_eq!((&found["/sub/a"].3[..], found["/q/a"].1), (&b"one\n"[..], 3));
    assert!(found.contains_key("/git/.git/HEAD") && found.contains_key("/git/run.sh"));
    let again = session.kiln(["build", "--progress=plain", context.to_str().expect("UTF-8")]).ok();
    assert_eq!(again.stderr.matches("CACHED").count(), 10, "{}", again.stderr);
    for (add, words) in [
        (format!("ADD {url}#nope /"), vec!["does not contain ref nope", ":2:"]),
        (format!("ADD --checksum={second} {url}#v1 /"), vec!["expected checksum to match", &second, &first]),
        (format!("ADD {url}#main:no /"), vec!["no directory \"no\""]),
        (format!("ADD {url}#main:out /"), vec!["no directory \"out\""]),
        (format!("ADD git://127.0.0.1:{}/none /", repository.port), vec!["git cannot list the refs"]),
    ] {
        let context = session.context("bad", &format!("FROM scratch\n{add}\n"));
        session.kiln(["build", context.to_str().expect("UTF-8")]).fails(1).says(&words);
    }
}

#[test]
fn a124_submodules_come_too_but_never_from_this_machines_files() {
    let session = Session::new();
    let Some(inner) = Repository::new(&session, "inner") else { return };
    inner.commit("deep", "inside\n");
    let Some(outer) = Repository::new(&session, "outer") else { return };
    outer.commit("a", "a\n");
    outer.git(&["submodule", "--quiet", "add", &inner.url(), "mod"]);
    outer.git(&["commit", "-q", "-m", "mod"]);
    let context =
        session.context("app", &format!("FROM scratch\nADD {0} /w/\nADD {0}?submodules=0 /o/\n", outer.url()));
    session.build("app", &context);
    let found = files(&session, "app");
    assert_eq!(found["/w/mod/deep"].3, b"inside\n");
    assert!(!found.contains_key("/w/mod/.git") && !found.contains_key("/o/mod/deep"));
    outer.git(&["config", "-f", ".gitmodules", "submodule.mod.url", &format!("file://{}", inner.directory.display())]);
    outer.git(&["commit", "-q", "-a", "-m", "file"]);
    session.kiln(["build", context.to_str().expect("UTF-8")]).fails(1).says(&["transport 'file' not allowed"]);
}

/// threats.md A31 (CVE-2018-17456, CVE-2019-1387, CVE-2024-32002 and their like): what a repository says is never executed,
/// and its links lead to nothing of this machine.
#[test]
fn a_repository_executes_nothing() {
    let session = Session::new();
    let Some(inner) = Repository::new(&session, "inner") else { return };
    inner.commit("deep", "inside\n");
    let Some(outer) = Repository::new(&session, "outer") else { return };
    let pwn = session.path("pwn");
    let touch = format!("touch {}", pwn.display());
    session.write("secret/file", "SECRET");
    outer.git(&["submodule", "--quiet", "add", &inner.url(), "mod"]);
    for (name, value) in [("update", format!("!{touch}")), ("branch", "--upload-pack=x".to_owned())] {
        outer.git(&["config", "-f", ".gitmodules", &format!("submodule.mod.{name}"), &value]);
    }
    let hooks = [".githooks/post-checkout", "hooks/post-checkout", "mod.git/hooks/post-checkout"];
    hooks.iter().for_each(|hook| drop(outer.commit(hook, &format!("#!/bin/sh\n{touch}\n"))));
    outer.commit(".gitattributes", "* filter=evil diff=evil merge=evil text\n");
    outer.commit(".gitconfig", &format!("[filter \"evil\"]\nsmudge = {touch}\n[core]\nfsmonitor = {touch}\n"));
    std::os::unix::fs::symlink(session.path("secret"), outer.directory.join("link")).expect("a link");
    outer.commit("a", "a\n");
    let url = outer.url();
    let build = |dockerfile: &str| {
        let context = session.context("app", dockerfile);
        let ran = session.kiln(["build", "-t", "app", context.to_str().expect("UTF-8")]);
        assert!(!pwn.exists() && !ran.stderr.contains("SECRET"), "{ran:?}");
        ran
    };
    build(&format!("FROM scratch\nADD {url} /w/\n")).fails(1).says(&["submodule.mod.update"]);
    for name in ["update", "branch"] {
        outer.git(&["config", "-f", ".gitmodules", "--unset", &format!("submodule.mod.{name}")]);
    }
    outer.commit("again", "");
    build(&format!("FROM scratch\nADD {url} /w/\n")).ok();
    assert!(files(&session, "app").values().all(|(.., bytes)| bytes != b"SECRET"));
    build(&format!("FROM scratch\nADD {url}?submodules=0 /w/\n")).ok();
    assert!(files(&session, "app").values().all(|(.., bytes)| bytes != b"SECRET"));
    build(&format!("FROM scratch\nADD {url}?submodules=0&subdir=link /w/\n")).fails(1).says(&["no directory \"link\""]);
    build(&format!("FROM scratch AS a\nADD {url}?submodules=0 /\nFROM scratch\nCOPY --from=a /link/file /\n")).fails(1);
    // The same where the repository is the context, whose Dockerfile may be a link.
    std::os::unix::fs::symlink(session.path("secret/file"), outer.directory.join("Dockerfile")).expect("a link");
    outer.commit("b", "b\n");
    let ran = session.kiln(["build", &format!("{url}?submodules=0")]).fails(1);
    assert!(!pwn.exists() && !ran.stderr.contains("SECRET"), "{ran:?}");
}

#[test]
fn a_missing_git_is_named() {
    let session = Session::new();
    let context = session.context("app", "FROM scratch\nADD git://127.0.0.1:1/r /\n");
    let mut command = session.command();
    command.env("PATH", session.path("nothing")).arg("build").arg(context);
    let output = command.output().expect("run kiln");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`git`, which is not installed"), "{said}");
}

/// Rule A177.
#[test]
fn c002_standard_input_is_an_archive_or_a_dockerfile() {
    let session = Session::new();
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let archive = tar_of(&[
        ("Containerfile", dockerfile),
        ("d/Other", "FROM scratch\nCOPY in /other\n"),
        ("in", "x"),
        (".dockerignore", "in\n"),
    ]);
    let path = session.write("packed", &archive);
    let packed = Command::new("gzip").arg("-c").arg(path).output().expect("gzip").stdout;
    session.kiln_with_input(["build", "-q", "-t", "plain", "-"], &archive).ok();
    session.kiln_with_input(["build", "-q", "-t", "packed", "-f", "d/Other", "-"], &packed).ok();
    // The ignore file of an archive does not count, and its owners do (BuildKit's behaviour).
    assert_eq!(files(&session, "plain")["/in"], (0o640, 7, 315_532_800, b"x".to_vec()));
    assert_eq!(files(&session, "packed")["/other"].3, b"x");
    session.kiln_with_input(["build", "-q", "-"], "FROM scratch\nLABEL a=1\n").ok();
    session.kiln_with_input(["build", "-q", "-"], dockerfile).fails(1).says(&["the build has no context"]);
    session.kiln_with_input(["build", "-f", "-", "-"], &archive).fails(1).says(&["cannot be both"]);
    session.kiln_with_input(["build", "-f", "nope", "-"], &archive).fails(1).says(&["nope"]);
}

#[test]
fn c003_a_context_may_be_a_repository_an_archive_or_a_dockerfile_by_url() {
    let (session, web) = (Session::new(), Web::start());
    web.file("/ctx.tar", tar_of(&[("Dockerfile", "FROM scratch\nCOPY in /\n"), ("in", "x")]));
    web.file("/Dockerfile", "FROM scratch\nLABEL from=url\n");
    web.file("/Copying", "FROM scratch\nCOPY mine /\n");
    session.kiln(["build", "-q", "-t", "tar", &web.url("/ctx.tar")]).ok();
    assert_eq!(files(&session, "tar")["/in"].3, b"x");
    session.kiln(["build", "-q", &web.url("/Dockerfile")]).ok();
    session.write("local/mine", "y");
    session.kiln(["build", "-q", "-t", "mine", "-f", &web.url("/Copying"), "local"]).ok();
    assert_eq!(files(&session, "mine")["/mine"].3, b"y");
    session.kiln(["build", &web.url("/none")]).fails(1).says(&["/none", "HTTP 404"]);
    let Some(repository) = Repository::new(&session, "r") else { return };
    repository.commit("sub/Dockerfile", "FROM scratch\nCOPY . /\n");
    session.kiln(["build", "-q", "-t", "git", &format!("{}#main:sub", repository.url())]).ok();
    assert!(files(&session, "git").contains_key("/Dockerfile"));
    session.kiln(["build", "-q", "-t", "git", "-f", "sub/Dockerfile", &repository.url()]).ok();
    assert!(files(&session, "git").contains_key("/sub/Dockerfile"));
}

/// Rule A061.
#[test]
fn c027_named_contexts_of_every_kind_replace_stages_images_and_names() {
    let (session, web) = (Session::new(), Web::start());
    web.file("/ctx.tar", tar_of(&[("t", "tar")]));
    session.write("dir/d", "directory");
    session.write("dir/skipped", "x");
    session.write("dir/.dockerignore", "skipped\n");
    let base = session.context("base", "FROM scratch\nCOPY Dockerfile /base\n");
    session.build("base:1", &base);
    session.kiln(["save", "--format", "oci", "-o", "layout.tar", "base:1"]).ok();
    fs::create_dir(session.path("layout")).expect("a directory");
    let mut layout = tar::Archive::new(fs::File::open(session.path("layout.tar")).expect("the archive"));
    layout.unpack(session.path("layout")).expect("a layout");
    let context = session.context(
        "app",
        "FROM alpine AS a\nFROM nothing AS stage\nRUN never\nFROM a\nCOPY --from=stage / /s/\nCOPY --from=t / /t/\nCOPY --from=i / /i/\n",
    );
    let tar = format!("t={}", web.url("/ctx.tar"));
    let mut arguments = vec!["build", "-q", "-t", "app", "--build-context", "stage=dir", "--build-context", &tar];
    arguments.extend([
        "--build-context",
        "alpine=oci-layout://layout:1",
        "--build-context",
        "i=container-image://base:1",
    ]);
    arguments.push(context.to_str().expect("UTF-8"));
    session.kiln(&arguments).ok();
    let found = files(&session, "app");
    for path in ["/base", "/s/d", "/t/t", "/i/base"] {
        assert!(found.contains_key(path), "{path} in {:?}", found.keys());
    }
    assert!(!found.contains_key("/s/skipped"));
    arguments.insert(1, "--pull");
    session.kiln(&arguments).fails(1).says(&["base:1"]);
    for (place, words) in [("x=oci-layout://layout:2", "tag 2"), ("x=s3://bucket", "not supported"), ("x=none", "none")]
    {
        let context = base.to_str().expect("UTF-8");
        session.kiln(["build", "--build-context", place, context]).fails(1).says(&[words]);
    }
}

#[test]
fn a080_the_build_may_have_the_time_of_a_source() {
    let session = Session::new();
    let web = Web::start();
    // The server's time, 2009-02-13, comes before that of the archive's files.
    web.file("/app.tar", tar_of(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]));
    let local = session.context("local", "FROM scratch\nCOPY Dockerfile /\n");
    let archive = format!("ADD {} /", web.url("/app.tar"));
    let stage = session.context(
        "stage",
        &format!("ARG SOURCE_DATE_EPOCH=Lender\nFROM scratch AS lender\n{archive}\nFROM scratch\nCOPY Dockerfile /\n"),
    );
    let (url, local, stage) = (web.url("/app.tar"), local.to_str().unwrap(), stage.to_str().unwrap());
    let named = format!("lender={url}");
    let created = |arguments: &[&str]| {
        session.kiln(["build", "-q", "-t", "a"].iter().chain(arguments)).ok();
        session.kiln(["inspect", "-f", "{{.Created}}", "a"]).ok().stdout.trim().to_owned()
    };
    let server = "2009-02-13T23:31:30Z";
    let context = "SOURCE_DATE_EPOCH=context";
    assert_eq!(created(&["--build-arg", context, &url]), server, "the context's");
    assert_eq!(created(&["--build-arg", context, &url]), server, "and again, from the cache");
    assert_eq!(created(&["--build-arg", context, local]), "1980-01-01T00:00:00Z", "a directory has none");
    assert_eq!(created(&[stage]), server, "a stage's");
    assert_eq!(created(&["--build-arg", "SOURCE_DATE_EPOCH=1500000000", stage]), "2017-07-14T02:40:00Z");
    let lender = "SOURCE_DATE_EPOCH=lender";
    assert_eq!(created(&["--build-arg", lender, "--build-context", &named, local]), server, "a named context's");
    let refused = |dockerfile: &str, words: &[&str]| {
        session.kiln_with_input(["build", "-"], dockerfile).fails(1).says(words);
    };
    refused("ARG SOURCE_DATE_EPOCH=soon\nFROM scratch\n", &["invalid SOURCE_DATE_EPOCH: soon"]);
    let rules = ["<stdin>:2", "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported COPY"];
    refused("ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nCOPY a /\nFROM scratch\n", &rules);
    refused("ARG SOURCE_DATE_EPOCH=a\nFROM scratch AS a\nADD a /\nFROM scratch\n", &["a single HTTP(S) or Git ADD"]);
}
