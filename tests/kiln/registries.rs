//! To a registry and back: a real one, with other builders' tools beside it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::running::eventually;
use crate::session::{Ran, Session, installed};

/// Rule B062.
#[test]
fn what_is_pushed_comes_back_as_the_same_image() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let name = server.name("geektime/helloworld:v1");
    let id = said(&session);
    session.kiln(["tag", "app", &name]).ok();
    session.kiln(["push", &name]).ok().says(&["Pushing", "Pushed", "v1: digest: sha256:"]);
    let again = session.kiln(["push", &name]).ok().says(&["Already exists"]);
    assert!(!again.stderr.contains("Pushing"), "a second push sends nothing: {}", again.stderr);

    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &name]).ok().says(&["Pull complete", "Downloaded newer image"]).prints(&[&name]);
    session.kiln(["pull", &name]).ok().says(&["Already exists", "Image is up to date"]);
    assert_eq!(session.kiln(["images", "-q", "--no-trunc"]).ok().stdout.trim(), id);
    assert_eq!(session.run(&name, "cat /said"), "hello\n");
}

#[test]
fn a_digest_names_an_image_for_ever() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    said(&session);
    let name = server.name("app:v1");
    session.kiln(["tag", "app", &name]).ok();
    let pushed = session.kiln(["push", &name]).ok().stderr;
    let digest = pushed.split_once("digest: ").expect("a digest").1.split(' ').next().expect("a word");
    let pinned = server.name(&format!("app@{digest}"));
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &pinned]).ok().prints(&[&pinned]);
    assert_eq!(session.run(&pinned, "cat /said"), "hello\n");
    session.kiln(["push", &pinned]).fails(1).says(&["give a tag instead of a digest"]);
    let context = session.context("next", &format!("FROM {pinned}\nRUN cat /said > /again\n"));
    session.build("next", &context);
    assert_eq!(session.run("next", "cat /again"), "hello\n");
}

#[test]
fn a_registry_is_asked_before_anything_is_built() {
    let (Some(server), Some(session)) = (Server::with_password(), Session::with_busybox()) else { return };
    let name = server.name("team/app");
    session.kiln(["registry", "check", &name]).fails(1).prints(&["ok reachable", "NO"]).says(&["would fail"]);
    session.kiln_with_input(["login", "-u", "user", "--password-stdin", &server.host()], "secret\n").ok();
    session.kiln(["registry", "check", &name]).ok().prints(&["ok credentials     accepted for user", "ok push right"]);
    for tag in ["v1", "v2"] {
        session.kiln(["tag", "busybox", &format!("{name}:{tag}")]).ok();
    }
    session.kiln(["push", "--all-tags", &name]).ok();
    assert_eq!(session.kiln(["tags", &name]).ok().stdout, "v1\nv2\n");
    assert_eq!(session.kiln(["tags", "--format", "json", &name]).ok().stdout, "[\"v1\",\"v2\"]\n");
    session.kiln(["manifest", "inspect", &format!("{name}:v1")]).ok().prints(&["\"schemaVersion\": 2"]);
    session.kiln(["manifest", "inspect", &format!("{name}:v3")]).fails(1).says(&["HTTP 404", "hint: check the tag"]);
}

#[test]
fn what_cannot_be_had_is_said_with_a_way_out() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let name = server.name("app:v1");
    session.kiln(["tag", "busybox", &name]).ok();
    session.kiln(["push", &name]).ok();
    let wrong = server.name(&format!("app@sha256:{}", "0".repeat(64)));
    let closed = ClosedPort::new();
    let nobody = format!("localhost:{}/app", closed.number());
    let (none, unknown) = (server.name("app:none"), server.name("none"));
    for (arguments, code, words) in [
        (&["pull", &none][..], 1, &["cannot pull", &none, "HTTP 404", "hint: check the tag"][..]),
        (&["pull", &unknown], 1, &[&unknown, "HTTP 404", "hint: check"]),
        (&["pull", &wrong], 1, &[&wrong, "HTTP 404", "hint: check the tag or digest"]),
        (&["pull", &nobody], 1, &["cannot reach localhost:", "refused", "hint: check the host's name"]),
        (&["pull", "nowhere.invalid/a/b"], 1, &["cannot reach nowhere.invalid", "hint:"]),
        (&["push", &nobody], 1, &["no such image", &nobody]),
        (&["run", "--rm", &unknown], 125, &["pulling it", "HTTP 404", "hint:"]),
        (&["run", "--rm", "--pull=never", &unknown], 125, &["no such image"]),
    ] {
        session.kiln(arguments.iter().copied()).fails(code).says(words);
    }
    let context = session.context("app", &format!("FROM {none}\n"));
    session.kiln(["build", path(&context)]).fails(1).says(&["Dockerfile:1", &none, "HTTP 404", "hint: check"]);
    session.kiln(["tag", "busybox", &nobody]).ok();
    session.kiln(["push", &nobody]).fails(1).says(&["cannot reach localhost:"]);
    session.kiln(["run", "--rm", "--net=none", &name, "true"]).ok();
}

#[test]
fn bytes_that_a_registry_has_damaged_are_refused() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let name = server.name("app:v1");
    session.kiln(["tag", "busybox", &name]).ok();
    session.kiln(["push", &name]).ok();
    let blob = server.largest_blob();
    let mut bytes = fs::read(&blob).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("damage it");
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &name]).fails(1).says(&["other bytes than blob"]);
    assert_eq!(session.kiln(["images", "-q"]).ok().stdout, "");
}

/// Rule C080.
#[test]
fn a_login_opens_and_a_logout_closes() {
    let (Some(server), Some(session)) = (Server::with_password(), Session::with_busybox()) else { return };
    let (name, host) = (server.name("team/app:v1"), server.host());
    session.kiln(["tag", "busybox", &name]).ok();
    session.kiln(["push", &name]).fails(1).says(&["cannot push", "HTTP 401", "hint: log in", "kiln login"]);
    let login = |password: &str| {
        session.kiln_with_input(["login", "-u", "user", "--password-stdin", &host], format!("{password}\n"))
    };
    login("wrong").fails(1).says(&["cannot log in", "HTTP 401", "hint: check the user name"]);
    assert!(!session.path(".docker/config.json").exists(), "what was refused is not kept");
    login("secret").ok().prints(&["Login Succeeded"]);
    session.kiln(["push", &name]).ok();
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &name]).ok();
    let context = session.context("next", &format!("FROM {name}\nRUN true\n"));
    session.kiln(["build", "--pull", "-t", &server.name("team/next"), "--push", path(&context)]).ok();
    session.kiln(["logout", &host]).ok().prints(&["Removing login credentials"]);
    session.kiln(["logout", &host]).ok().prints(&["Not logged in"]);
    session.kiln(["pull", &name]).fails(1).says(&["HTTP 401", "hint: log in"]);
}

/// Rules C013, C015.
#[test]
fn a_build_brings_its_base_and_keeps_it() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let (base, result) = (server.name("base:v1"), server.name("made:v1"));
    session.kiln(["tag", "busybox", &base]).ok();
    session.kiln(["push", &base]).ok();
    fs::remove_dir_all(session.store()).expect("forget everything");
    let context = session.context("app", &format!("FROM {base}\nRUN echo made > /made\n"));
    let build = ["build", "--progress=plain", "-t", &result, "--push", path(&context)];
    session.kiln(build).ok().says(&["digest: sha256:"]);
    assert_eq!(session.run(&result, "cat /made"), "made\n");
    let offline = Session::new();
    offline.kiln(["pull", &result]).ok();
    assert_eq!(offline.run(&result, "cat /made"), "made\n");

    drop(server);
    session.kiln(["build", "--progress=plain", path(&context)]).ok().says(&["CACHED"]);
    session.kiln(["build", "--pull", path(&context)]).fails(1).says(&["cannot reach"]);
}

#[test]
fn a_base_that_nobody_reads_stays_where_it_is() {
    let (Some(server), Some(other), Some(session)) =
        (Server::anonymous(), Server::anonymous(), Session::with_busybox())
    else {
        return;
    };
    let (base, beside, away) = (server.name("base:v1"), server.name("made:v1"), other.name("made:v1"));
    session.kiln(["tag", "busybox", &base]).ok();
    session.kiln(["push", &base]).ok();
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.write("app/file", "linked");
    let lazy = format!("FROM {base}\nENV NAME=World\nCOPY --link file /file\nCMD [\"cat\", \"/file\"]\n");
    let context = session.context("app", &lazy);
    session.kiln(["build", "-t", &beside, "-t", &away, path(&context)]).ok();
    assert_eq!(layers_here(&session), 1, "only the copy");
    // A collection keeps what is known, a verification misses nothing, and nothing need be asked again.
    session.kiln(["store", "gc"]).ok();
    session.kiln(["store", "verify"]).ok();
    session.kiln(["push", &beside]).ok().says(&["Mounted from base"]);
    let pushed = session.kiln(["push", &away]).ok();
    assert!(!pushed.stderr.contains("Pulling") && !pushed.stderr.contains("Compressing sha"), "{}", pushed.stderr);
    assert_eq!(layers_here(&session), 1, "what is pushed is not unpacked");
    let fresh = Session::new();
    fresh.kiln(["pull", &away]).ok();
    assert_eq!(fresh.run(&away, "cat /file; echo $NAME"), "linkedWorld\n");

    let run = session.kiln(["run", "--rm", "--net", "none", &beside]).ok().says(&["Pulling", "Pull complete"]);
    assert_eq!((run.stdout.as_str(), layers_here(&session)), ("linked", 2));
    session.kiln(["store", "verify"]).ok();
}

#[test]
fn who_reads_a_base_brings_it_or_is_told() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    let base = server.name("base:v1");
    session.kiln(["tag", "busybox", &base]).ok();
    session.kiln(["push", &base]).ok();
    let lazy = session.context("lazy", &format!("FROM {base}\nENV A=b\n"));
    let forget_and_build = || {
        fs::remove_dir_all(session.store()).expect("forget everything");
        session.build("app", &lazy);
        assert_eq!(layers_here(&session), 0);
    };
    let reading = session.context("reading", "FROM app\nRUN echo read > /read\n");
    forget_and_build();
    session.build("read", &reading);
    assert_eq!(session.run("read", "cat /read; echo $A"), "read\nb\n");
    for arguments in [
        &["save", "-o", "saved.tar", "app"][..],
        &["build", "-q", "--output", "files", "lazy"],
        &["build", "-q", "--output", "type=oci,dest=layout.tar", "lazy"],
        &["create", "app", "true"],
    ] {
        forget_and_build();
        session.kiln(arguments.iter().copied()).ok();
        assert_eq!(layers_here(&session), 1, "{arguments:?}");
    }
    assert!(session.path("files/bin/busybox").exists());

    forget_and_build();
    drop(server);
    session.kiln(["inspect", "app"]).ok();
    session.kiln(["store", "verify"]).ok();
    session.kiln(["run", "--rm", "app", "true"]).fails(125).says(&["is not in the store", "does not give it", "hint:"]);
    session.kiln(["build", path(&reading)]).fails(1).says(&["is not in the store", "Dockerfile:1"]);
    session.kiln(["save", "-o", "none.tar", "app"]).fails(1).says(&["is not in the store"]);
    assert!(!session.path("none.tar").exists());
}

/// How many layers the store has the files of.
fn layers_here(session: &Session) -> usize {
    let layers = session.store().join("layers").display().to_string();
    peer("find", &[&layers, "-type", "f", "!", "-name", "*.*"]).lines().count()
}

#[test]
fn skopeo_pulls_what_kiln_pushes_and_the_other_way_round() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    if installed("skopeo", "skopeo").is_none() {
        return;
    }
    let id = said(&session);
    let (ours, theirs) = (server.name("ours:v1"), server.name("theirs:v1"));
    session.kiln(["tag", "app", &ours]).ok();
    session.kiln(["push", &ours]).ok();
    let seen = peer("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{ours}")]);
    assert!(seen.contains("\"Os\": \"linux\"") && seen.contains("NAME=World"), "{seen}");
    let digest = |name: &str| {
        peer("skopeo", &["inspect", "--tls-verify=false", "-f", "{{.Digest}}", &format!("docker://{name}")])
    };
    let copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    peer("skopeo", &[&copy[..], &[&format!("docker://{ours}"), &format!("docker://{theirs}")]].concat());
    assert_eq!(digest(&ours), digest(&theirs));
    fs::remove_dir_all(session.store()).expect("forget everything");
    session.kiln(["pull", &theirs]).ok();
    assert_eq!(session.kiln(["images", "-q", "--no-trunc"]).ok().stdout.trim(), id);
    assert_eq!(session.run(&theirs, "cat /said"), "hello\n");

    let layout = session.path("layout").display().to_string();
    peer("skopeo", &[&copy[..], &[&format!("docker://{ours}"), &format!("oci:{layout}:ours")]].concat());
    let other = Session::new();
    other.kiln(["load", "-q", "-i", &layout]).ok();
    assert_eq!(other.run(&id, "cat /said"), "hello\n");
}

#[test]
fn podman_runs_what_kiln_pushes() {
    let (Some(server), Some(session)) = (Server::anonymous(), Session::with_busybox()) else { return };
    if !crate::session::is_root() || installed("podman", "podman").is_none() || installed("runc", "runc").is_none() {
        return;
    }
    said(&session);
    let name = server.name("app:v1");
    session.kiln(["tag", "app", &name]).ok();
    session.kiln(["push", &name]).ok();
    let podman = Podman::new(&session);
    podman.run(&["pull", "-q", "--tls-verify=false", &name]);
    let run = ["run", "--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    assert_eq!(podman.run(&[&run[..], &[&name, "sh", "-c", "cat /said; echo $NAME"]].concat()), "hello\nWorld\n");
}

/// Builds an image `app` that says hello from a file, and returns its id.
fn said(session: &Session) -> String {
    let context =
        session.context("app", "FROM busybox\nENV NAME=World\nRUN echo hello > /said\nCMD [\"cat\", \"/said\"]\n");
    session.build("app", &context)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs another tool, which must succeed, and gives what it prints.
#[track_caller]
pub(crate) fn peer(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("run a peer");
    Ran::from(output).ok().stdout
}

/// podman with its storage in the session's directory.
struct Podman {
    storage: PathBuf,
}

impl Podman {
    fn new(session: &Session) -> Self {
        Self { storage: session.path("podman") }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let place = |name: &str| self.storage.join(name).display().to_string();
        let (root, state) = (place("root"), place("run"));
        let before = ["--root", &root, "--runroot", &state, "--storage-driver=vfs", "--runtime=runc"];
        peer("podman", &[&before[..], &["--cgroup-manager=cgroupfs", "--events-backend=none"], arguments].concat())
    }
}

/// A running `docker-registry`, which dies with the test.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// One that lets everybody do everything.
    pub(crate) fn anonymous() -> Option<Self> {
        Self::start(|_| String::new())
    }

    /// One that knows `user` with the password `secret`, and nobody else.
    pub(crate) fn with_password() -> Option<Self> {
        installed("htpasswd", "apache2-utils")?;
        Self::start(|directory| {
            let file = directory.join("htpasswd");
            fs::write(&file, peer("htpasswd", &["-nbB", "user", "secret"])).expect("write the passwords");
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
        })
    }

    fn start(auth: impl Fn(&Path) -> String) -> Option<Self> {
        let program = installed("docker-registry", "docker-registry")?;
        let directory = TempDir::with_prefix("kiln-registry-").expect("a temporary directory");
        let auth = auth(directory.path());
        let data = directory.path().join("data");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n  secret: test\n{auth}",
            data.display()
        );
        let (file, log) = (directory.path().join("config.yml"), directory.path().join("log"));
        fs::write(&file, config).expect("write the configuration");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&program).arg("serve").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).expect("a log"));
        let child = command.spawn().expect("start the registry");
        let mut server = Self { child, directory, port: 0 };
        // The kernel chooses the port, and the server says it once it listens.
        eventually(|| {
            server.port = port_in(&fs::read_to_string(&log).expect("the log")).unwrap_or(0);
            server.port != 0
        });
        Some(server)
    }

    /// How it is called in names.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The whole name of an image of it.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    fn largest_blob(&self) -> PathBuf {
        let files = peer("find", &[path(self.directory.path()), "-path", "*/blobs/*", "-name", "data"]);
        let files = files.lines().map(PathBuf::from);
        files.max_by_key(|file| file.metadata().map_or(0, |file| file.len())).expect("a blob")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `docker-registry` says that it listens.
fn port_in(log: &str) -> Option<u16> {
    let (_, after) = log.split_once("listening on 127.0.0.1:")?;
    let end = after.find(|character: char| !character.is_ascii_digit())?;
    after[..end].parse().ok()
}

/// A port of this machine that nobody listens on, and nobody can take: one end of a connection has it.
pub(crate) struct ClosedPort {
    end: TcpStream,
    _listener: TcpListener,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let end = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        Self { end, _listener: listener }
    }

    pub(crate) fn number(&self) -> u16 {
        self.end.local_addr().expect("an address").port()
    }
}
