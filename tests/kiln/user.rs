//! The main path as an ordinary user: with subordinate ids, and with nothing but the user's own.
//!
//! The user `kiln-test` is made if this is root and there is none; the other one has a number alone.

use std::fs;
use std::process::Command;

use crate::namespaces::shares;
use crate::running::{eventually, fetch};
use crate::session::{Session, User, installed, is_root};
use crate::stubs::large_contents_exist_once;

const NAME: &str = "kiln-test";

/// Somebody without a name, and so without subordinate ids.
const NOBODY_KNOWN: User = User { uid: 54_321, gid: 54_321 };

const DOCKERFILE: &str = "FROM busybox
RUN echo built > /built && id -u
COPY page /srv/page
EXPOSE 8080
CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/srv\"]
";

/// The user with subordinate ids.
fn named_user() -> Option<User> {
    installed("newuidmap", "uidmap")?;
    let find = || {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let mut fields = passwd.lines().find_map(|line| line.strip_prefix(NAME)?.strip_prefix(":x:"))?.split(':');
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    let user = find().or_else(|| {
        Command::new("useradd").args(["--system", "--user-group", "--shell", "/bin/sh", NAME]).status().ok()?;
        find()
    });
    let granted = |path| fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("{NAME}:")));
    if !granted("/etc/subuid") || !granted("/etc/subgid") {
        let ranges = ["--add-subuids", "265536-331071", "--add-subgids", "265536-331071", NAME];
        let status = Command::new("usermod").args(ranges).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot grant {NAME} ids");
    }
    user
}

/// A session of that user's; none, with a printed reason, where this kernel gives users no namespaces.
fn session_of(user: User) -> Option<Session> {
    let session = Session::of_user(user);
    let ran = session.kiln(["info"]);
    if ran.code != 0 && ran.stderr.contains("user namespace") {
        eprintln!("skipped: {}", ran.stderr);
        return None;
    }
    session.and_busybox()
}

/// Builds, runs, publishes, looks, stops, removes.
fn main_path(session: &Session) {
    session.write("web/page", "hello\n");
    let context = session.context("web", DOCKERFILE);
    session.build("web", &context);
    assert_eq!(session.run("web", "id -u; cat /built; touch /here"), "0\nbuilt\n");
    let id = session.kiln(["run", "-d", "--name", "site", "-p", "127.0.0.1::8080", "web"]).ok().stdout;
    let port = "{{(index (index .NetworkSettings.Ports \"8080/tcp\") 0).HostPort}}";
    let port = session.kiln(["inspect", "--format", port, "site"]).ok().stdout;
    assert_eq!(fetch(port.trim(), "/page"), "hello\n");
    assert_eq!(session.kiln(["ps", "-q"]).ok().stdout.trim(), &id[..12]);
    files(session);
    session
        .kiln(["run", "--rm", "--network=none", "busybox", "sh", "-c", "echo out; echo err >&2; exit 4"])
        .fails(4)
        .says(&["err"])
        .prints(&["out"]);
    further_commands(session);
    session.kiln(["stop", "-t", "0", "site"]).ok();
    session.kiln(["logs", "site"]).ok();
    session.kiln(["ps", "-a"]).ok().prints(&["Exited (137)"]);
    session.kiln(["rm", "site"]).ok();
    session.kiln(["images"]).ok().prints(&["web", "busybox"]);
    namespaces(session);
}

/// What a user's containers share with each other and with the host (features.md H038).
fn namespaces(session: &Session) {
    shares(session);
    for flag in ["--net=host", "--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"] {
        session.kiln(["run", "-d", "--name", "guest", flag, "busybox", "sleep", "3600"]).ok();
        let entered = session.kiln(["exec", "guest", "id", "-u"]).ok();
        assert_eq!(entered.stdout, "0\n", "{flag}");
        session.kiln(["rm", "-f", "guest"]).ok();
    }
}

/// Files into and out of a container that runs and one that does not, and what became of them.
fn files(session: &Session) {
    session.kiln(["cp", "web/page", "site:/srv/copy"]).ok();
    session.kiln(["cp", "site:/srv/copy", "back"]).ok();
    assert_eq!(fs::read_to_string(session.path("back")).unwrap(), "hello\n");
    session.kiln(["diff", "site"]).ok().prints(&["A /srv/copy"]);
    session.kiln(["commit", "site", "site:v2"]).ok();
    assert_eq!(session.run("site:v2", "cat /srv/copy"), "hello\n");
    session.kiln(["run", "--name", "ended", "--network=none", "busybox", "touch", "/made"]).ok();
    session.kiln(["cp", "back", "ended:/there"]).ok();
    session.kiln(["cp", "ended:/there", "again"]).ok();
    session.kiln(["diff", "ended"]).ok().prints(&["A /made", "A /there"]);
    session.kiln(["rm", "ended"]).ok();
}

/// Another kiln, in another user namespace, sends a command into a container and looks at it.
fn further_commands(session: &Session) {
    let script = "id -u; echo $PPID; cat /built; exit 6";
    assert_eq!(session.kiln(["exec", "site", "sh", "-c", script]).fails(6).stdout, "0\n0\nbuilt\n");
    session.kiln(["exec", "site", "nosuch"]).fails(127).says(&["nosuch"]);
    session.kiln(["top", "site"]).ok().prints(&["httpd"]);
    let numbers = ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"];
    // What was sent in before may still be ending.
    eventually(|| session.kiln(numbers).ok().stdout.contains("site 1\n"));
    session.kiln(["restart", "-t", "0", "site"]).ok();
    let script = "wget -qO- http://127.0.0.1:8080/page";
    eventually(|| session.kiln(["exec", "site", "sh", "-c", script]).stdout == "hello\n");
    // Each of a user's containers is in a namespace of users below its own kiln's; another kiln goes there first.
    let script = "wget -qO- http://127.0.0.1:8080/page; readlink /proc/self/ns/net";
    let joining = session.kiln(["run", "--rm", "--net", "container:site", "busybox", "sh", "-c", script]).ok().stdout;
    let network = session.kiln(["exec", "site", "readlink", "/proc/self/ns/net"]).ok().stdout;
    assert_eq!(joining, format!("hello\n{network}"));
}

/// Rules F035, F038.
#[test]
fn with_subordinate_ids() {
    if !is_root() {
        return;
    }
    let Some(session) = named_user().and_then(session_of) else { return };
    main_path(&session);
    let dockerfile = "FROM busybox\nRUN touch /a && chown 33:44 /a\nCOPY --chown=1000:1000 Dockerfile /b\n";
    let context = session.context("owners", dockerfile);
    session.build("owners", &context);
    assert_eq!(session.run("owners", "stat -c %u:%g /a /b"), "33:44\n1000:1000\n");
    let user = session.kiln(["run", "--rm", "--network=none", "-u", "user", "busybox", "id", "-un"]).ok();
    assert_eq!(user.stdout, "user\n");
    session.kiln(["info"]).ok().prints(&["an ordinary user", "nobody outside"]);
    large_contents_exist_once(&session);
}

/// Rules F036, F038.
#[test]
fn with_one_id() {
    if !is_root() {
        return;
    }
    let Some(session) = session_of(NOBODY_KNOWN) else { return };
    session.kiln(["info"]).ok().prints(&["an ordinary user", "missing: files can belong to one user only", "usermod"]);
    main_path(&session);
    large_contents_exist_once(&session);
    let context = session.context("owners", "FROM busybox\nRUN touch /a && chown 33:44 /a\n");
    let context = context.to_str().expect("UTF-8");
    session.kiln(["build", context]).fails(1).says(&["RUN touch /a", "hint: there is one user id here"]);
    session.kiln(["run", "--rm", "--network=none", "-u", "33", "busybox", "id"]).fails(125).says(&["they end at 0"]);
}
