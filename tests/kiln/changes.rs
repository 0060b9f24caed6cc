//! What a container changed, and its files: diff, commit, export, cp.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use crate::running::eventually;
use crate::session::{Session, is_root};

impl Session {
    /// A container that has run to its end, without a network.
    fn ended(&self, name: &str, flags: &[&str], script: &str) {
        let head = ["run", "--name", name, "--network=none"];
        self.kiln(head.iter().chain(flags).chain(&["busybox", "sh", "-c", script])).ok();
    }

    /// A container that goes on until it is removed.
    fn lasting(&self, name: &str, flags: &[&str], script: &str) {
        let script = format!("{script}; echo ready; while :; do sleep 1; done");
        let head = ["run", "-d", "--name", name, "--network=none"];
        self.kiln(head.iter().chain(flags).chain(&["busybox", "sh", "-c", &script])).ok();
        self.hears(name, "ready");
    }

    fn prints(&self, arguments: &[&str]) -> String {
        self.kiln(arguments).ok().stdout.trim_end().to_owned()
    }
}

#[test]
fn differences_are_the_containers_own() {
    let Some(session) = Session::with_busybox() else { return };
    session.ended(
        "one",
        &["-v", "/test"],
        "echo x > /new; mkdir -p /d/e; rm /etc/group; echo >> /etc/passwd; echo > /test/f",
    );
    assert_eq!(session.prints(&["diff", "one"]), "A /d\nA /d/e\nC /etc\nD /etc/group\nC /etc/passwd\nA /new\nA /test");
    session.ended("idle", &[], "true");
    assert_eq!(session.prints(&["diff", "idle"]), "");
    session.lasting("runs", &["--tmpfs", "/memory"], "echo x > /memory/f");
    assert_eq!(session.prints(&["diff", "runs"]), "A /memory", "hosts, resolv.conf and hostname are kiln's");
    session.kiln(["rm", "-f", "runs"]).ok();
}

#[test]
fn a_commit_holds_what_changed_and_how_it_was_run() {
    let Some(session) = Session::with_busybox() else { return };
    session.ended(
        "one",
        &["-v", "/test", "-e", "A=1", "-w", "/w", "-l", "own=1"],
        "echo new > /f; echo v > /test/v; rm /etc/group",
    );
    let changes = ["-c", "CMD [\"cat\", \"/f\"]", "-c", "ENV B=${A}2", "--change", "EXPOSE 80"];
    let id = session.prints(&[&["commit", "-a", "me", "-m", "why"][..], &changes, &["one", "mine:v2"]].concat());
    assert!(id.starts_with("sha256:"), "{id}");
    let run = |script: &str| session.prints(&["run", "--rm", "--network=none", "mine:v2", "sh", "-c", script]);
    assert_eq!(
        run("cat /f; ls -A /test; ls /etc/group 2>/dev/null; pwd; echo $A $B; cat /etc/hosts | wc -c | grep -v '^0'")
            .lines()
            .take(3)
            .collect::<Vec<_>>(),
        ["new", "/w", "1 12"]
    );
    assert_eq!(session.prints(&["run", "--rm", "--network=none", "mine:v2"]), "new");
    let of = |template: &str| session.prints(&["inspect", "--format", template, "mine:v2"]);
    assert_eq!(
        of("{{.Author}} {{.Comment}} {{.Config.WorkingDir}} {{json .Config.ExposedPorts}}"),
        "me why /w {\"80/tcp\":{}}"
    );
    assert_eq!(of("{{json .Config.Volumes}} {{index .Config.Labels \"own\"}}"), "{\"/test\":{}} 1");
    session.kiln(["commit", "-c", "RUN true", "one"]).fails(1).says(&["RUN is not a valid change command"]);

    let archive = session.path("layer.tar");
    session.kiln(["save", "-o", archive.to_str().unwrap(), "mine:v2"]).ok();
    let listed = session.prints(&["diff", "one"]);
    assert!(!listed.contains("hosts") && !listed.contains("resolv.conf") && !listed.contains("hostname"), "{listed}");
}

#[test]
fn a_container_without_changes_commits_no_layer() {
    let Some(session) = Session::with_busybox() else { return };
    session.ended("one", &[], "true");
    session.kiln(["commit", "one", "same"]).ok();
    let layers = |image: &str| session.prints(&["inspect", "--format", "{{json .RootFS.Layers}}", image]);
    assert_eq!(layers("same"), layers("busybox"));
}

#[test]
fn an_export_is_the_whole_root() {
    let Some(session) = Session::with_busybox() else { return };
    session.ended(
        "one",
        &["-v", "/test"],
        "echo new > /f; rm /etc/group; echo x > /test/x; ln /f /g; head -c 40000 /dev/zero > /big",
    );
    let tar = session.path("out.tar");
    session.kiln(["export", "-o", tar.to_str().unwrap(), "one"]).ok();
    let mut archive = tar::Archive::new(fs::File::open(&tar).unwrap());
    let names: Vec<String> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    let has = |name: &str| names.iter().any(|other| other.trim_start_matches("./").trim_end_matches('/') == name);
    for (name, there) in [
        ("f", true),
        ("g", true),
        ("big", true),
        ("bin/busybox", true),
        ("etc/group", false),
        ("test/x", false),
        ("test", true),
    ] {
        assert_eq!(has(name), there, "{name} in {names:?}");
    }
    session.kiln(["import", tar.to_str().unwrap(), "again"]).ok();
    assert_eq!(session.prints(&["run", "--rm", "--network=none", "again", "cat", "/g"]), "new");
}

/// Docker's table, both ways, onto containers that run and that do not.
#[test]
fn copies_go_where_dockers_go() {
    let Some(session) = Session::with_busybox() else { return };
    session.write("f", "file\n");
    session.write("d/sub/x", "x\n");
    session.ended("still", &["-v", "/vol"], "mkdir /dir; echo old > /dir/f2");
    session.lasting("runs", &["-v", "/vol"], "mkdir /dir; echo old > /dir/f2");
    for name in ["still", "runs"] {
        let cp = |from: &str, to: &str| session.kiln(["cp", from, &to.replace("C:", &format!("{name}:"))]);
        for (from, to) in [
            ("f", "C:/made"),
            ("f", "C:/dir"),
            ("f", "C:/dir/f2"),
            ("d", "C:/copy"),
            ("d", "C:/dir/"),
            ("d/.", "C:/dir"),
            ("f", "C:/vol/inside"),
            ("f", "C:relative"),
        ] {
            cp(from, to).ok();
        }
        for (from, to, complaint) in [
            ("f", "C:/missing/", "no such directory: /missing"),
            ("f", "C:/missing/f", "no such directory: /missing"),
            ("d", "C:/made", "cannot copy a directory"),
            ("nothing", "C:/x", "no such file or directory"),
        ] {
            cp(from, to).fails(1).says(&[complaint]);
        }
        let back = |path: &str, to: &str| {
            session.kiln(["cp", &format!("{name}:{path}"), &format!("{name}-{to}")]).ok();
            session.path(&format!("{name}-{to}"))
        };
        assert_eq!(fs::read_to_string(back("/made", "made")).unwrap(), "file\n");
        assert_eq!(fs::read_to_string(back("/vol/inside", "inside")).unwrap(), "file\n");
        assert_eq!(fs::read_to_string(back("/relative", "relative")).unwrap(), "file\n");
        let dir = back("/dir", "dir");
        for path in ["f", "f2", "d/sub/x", "sub/x"] {
            assert!(dir.join(path).exists(), "{path}");
        }
        assert_eq!(fs::read_to_string(dir.join("f2")).unwrap(), "file\n", "an existing file is overwritten");
        assert!(back("/copy/.", "contents").join("sub/x").exists());
    }
    session.kiln(["rm", "-f", "runs"]).ok();
}

#[test]
fn copies_belong_to_who_writes_them_unless_kept() {
    let Some(session) = Session::with_busybox() else { return };
    let file = session.write("f", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    session.ended("one", &[], "echo x > /owned; chown 7:8 /owned; chmod 2755 /owned; ln -s /owned /link");
    session.kiln(["cp", "f", "one:/f"]).ok();
    session.kiln(["cp", "one:/owned", "out"]).ok();
    assert_eq!(fs::metadata(session.path("out")).unwrap().permissions().mode() & 0o7777, 0o755, "no set-id without -a");
    session.kiln(["cp", "one:/link", "link"]).ok();
    assert_eq!(fs::read_link(session.path("link")).unwrap().to_str(), Some("/owned"));
    session.kiln(["cp", "-L", "one:/link", "followed"]).ok();
    assert!(fs::symlink_metadata(session.path("followed")).unwrap().is_file());
    session.kiln(["commit", "one", "with"]).ok();
    let look = ["run", "--rm", "--network=none", "with", "stat", "-c", "%u:%g %a", "/f"];
    assert_eq!(session.prints(&look), "0:0 751");
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        session.kiln(["cp", "-a", "one:/owned", "kept"]).ok();
        let kept = fs::metadata(session.path("kept")).unwrap();
        assert_eq!((kept.uid(), kept.gid(), kept.mode() & 0o7777), (7, 8, 0o2755));
    }
}

#[test]
fn copies_are_streams_on_request() {
    let Some(session) = Session::with_busybox() else { return };
    session.ended("one", &[], "mkdir -p /d/e; echo x > /d/e/f");
    let out = session.command().args(["cp", "one:/d", "-"]).stderr(Stdio::inherit()).output().unwrap();
    let mut archive = tar::Archive::new(&out.stdout[..]);
    let names: Vec<String> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["d/", "d/e/", "d/e/f"]);
    fs::write(session.path("in.tar"), &out.stdout).unwrap();
    let mut command = session.command();
    command.args(["cp", "-", "one:/tmp"]).stdin(fs::File::open(session.path("in.tar")).unwrap());
    assert!(command.status().unwrap().success());
    session.kiln(["cp", "one:/tmp/d/e/f", "back"]).ok();
    assert_eq!(fs::read_to_string(session.path("back")).unwrap(), "x\n");
}

/// A container's symlinks lead nowhere but into the container, and an archive's names below where it goes
/// (CVE-2018-15664 and its like).
#[test]
fn symlinks_lead_into_the_container_alone() {
    let Some(session) = Session::with_busybox() else { return };
    let outside = session.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "host\n").unwrap();
    let link = format!("ln -s {} /escape; ln -s /proc/1/root /magic", outside.display());
    session.ended("one", &[], &link);
    session.write("f", "from the host\n");
    session.kiln(["cp", "f", "one:/escape"]).fails(1).says(&["no such directory"]);
    session.kiln(["cp", "one:/escape/secret", "stolen"]).fails(1).says(&["no such file"]);
    session.kiln(["cp", "one:/magic/etc/passwd", "stolen"]).fails(1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    // What lies at the destination already and is a symlink is not followed below it either.
    session.ended("sender", &[], "mkdir -p /d/sub; echo evil > /d/sub/f");
    fs::create_dir(session.path("to")).unwrap();
    symlink(&outside, session.path("to/sub")).unwrap();
    session.kiln(["cp", "sender:/d/.", "to"]).fails(1).says(&["sub"]);
    assert!(!outside.join("f").exists());
}

/// H056: a running container stands still for a commit and goes on; one that was paused stays so.
#[test]
fn h056_a_commit_pauses_and_lets_go_on() {
    let Some(session) = Session::with_busybox() else { return };
    session.background(&["--name", "busy", "--network=none", "busybox", "sh", "-c", "echo > /mark; exec sleep 600"]);
    eventually(|| session.kiln(["exec", "busy", "test", "-e", "/mark"]).code == 0);
    for flag in ["--pause", "--pause=true", "--pause=false", "-p=false", "-p"] {
        session.kiln(["commit", flag, "busy", "kept"]).ok();
        assert_eq!(session.field("busy", "{{.State.Status}}"), "running", "{flag}");
        session.once(&["kept", "test", "-e", "/mark"]).ok();
    }
    if session.kiln(["pause", "busy"]).code == 0 {
        session.kiln(["commit", "busy"]).ok();
        assert_eq!(session.field("busy", "{{.State.Status}}"), "paused");
    }
}
