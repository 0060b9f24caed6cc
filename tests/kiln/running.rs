//! Containers through the command: what they are given, how they end, and what is told of them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::session::{Ran, Session, is_root};
use crate::terminal::Terminal;

impl Session {
    /// `kiln run --rm` with these flags, without a network unless they say one.
    pub(crate) fn once(&self, flags: &[&str]) -> Ran {
        let network = if flags.iter().any(|flag| flag.starts_with("--net")) { &[][..] } else { &["--network=none"] };
        self.kiln(["run", "--rm"].iter().chain(network).chain(flags))
    }

    /// Starts a container in the background and returns its id.
    #[track_caller]
    pub(crate) fn background(&self, flags: &[&str]) -> String {
        let ran = self.kiln(["run", "-d"].iter().chain(flags)).ok();
        let id = ran.stdout.trim().to_owned();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        id
    }

    /// One field of `inspect`.
    #[track_caller]
    pub(crate) fn field(&self, container: &str, template: &str) -> String {
        self.kiln(["inspect", "--format", template, container]).ok().stdout.trim().to_owned()
    }

    /// Waits until a container has said something.
    #[track_caller]
    pub(crate) fn hears(&self, container: &str, words: &str) {
        eventually(|| self.kiln(["logs", container]).stdout.contains(words));
    }
}

/// How long a test waits for what is to come. It is never waited out unless something is broken, and a slow
/// machine with all processors busy is not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to be");
        sleep(Duration::from_millis(20));
    }
}

/// The body that a server at a port of this machine answers with.
#[track_caller]
pub(crate) fn fetch(port: &str, path: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // The port is open before the server behind it is.
        if let Some((_, body)) = answer().ok().and_then(|answer| answer.split_once("\r\n\r\n").map(own)) {
            return body;
        }
        assert!(Instant::now() < deadline, "nobody answers at port {port}");
        sleep(Duration::from_millis(20));
    }
}

fn own((head, body): (&str, &str)) -> (String, String) {
    (head.to_owned(), body.to_owned())
}

#[test]
fn exit_codes() {
    let Some(session) = Session::with_busybox() else { return };
    for (flags, code, complaint) in [
        (&["busybox", "sh", "-c", "exit 7"][..], 7, ""),
        (&["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, "Killed"),
        (&["busybox", "sh", "-c", "trap - TERM; sleep 9 & kill $!; wait $!"], 143, ""),
        (&["--init", "busybox", "sh", "-c", "kill -TERM $$"], 143, ""),
        (&["busybox", "nosuch"], 127, "\"nosuch\" was not found"),
        (&["busybox", "/etc/passwd"], 126, "cannot be executed"),
        (&["busybox", "/etc"], 126, "cannot be executed"),
        (&["--pull=never", "nosuch", "true"], 125, "no such image: nosuch"),
        (&["--nosuchflag", "busybox"], 125, "--nosuchflag"),
        (&["-w", "rel", "busybox", "true"], 125, "absolute path"),
        (&["-u", "nobodyhere", "busybox", "true"], 125, "nobodyhere"),
        (&["--network", "blue", "busybox", "true"], 125, "--network blue is not supported"),
        (&["--cap-add", "FLY", "busybox", "true"], 125, "FLY"),
        (&["-v", "bad/name:/d", "busybox", "true"], 125, "bad/name"),
        (&["--mount", "type=bind,src=/nonexistent,dst=/d", "busybox", "true"], 125, "/nonexistent"),
        (&["--env-file", "nosuch.env", "busybox", "true"], 125, "nosuch.env"),
        (&["-it", "busybox", "true"], 125, "not a TTY"),
        (&["--network=none", "busybox", "sh", "-c", "echo a; exit 0"], 0, ""),
    ] {
        session.once(flags).fails(code).says(&[complaint]);
    }
    assert_eq!(session.kiln(["ps", "-aq"]).ok().stdout, "", "--rm leaves nothing");
}

#[test]
fn what_a_process_is_given() {
    let Some(session) = Session::with_busybox() else { return };
    session.write("some.env", "# a comment\nFIRST=1\nQUOTED=\"as it is\"\nHOME\n");
    for (flags, expected) in [
        (&["busybox", "id"][..], "uid=0(root) gid=0(root)"),
        (&["-u", "user", "busybox", "id"], "uid=1000(user) gid=1000(user)"),
        (&["-u", "7:9", "busybox", "id"], "uid=7 gid=9"),
        (&["busybox", "sh", "-c", "echo by name > /dev/stdout"], "by name"),
        (&["-u", "7", "busybox", "sh", "-c", "echo by name > /proc/self/fd/1"], "by name"),
        (&["-w", "/new/place", "busybox", "pwd"], "/new/place"),
        (&["-e", "A=1", "-e", "A=2", "busybox", "sh", "-c", "echo $A"], "2"),
        (&["--env-file", "some.env", "-e", "FIRST=2", "busybox", "sh", "-c", "echo $FIRST $QUOTED"], "2 \"as it is\""),
        (&["--hostname", "box", "busybox", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"], "box\nbox\nbox"),
        (&["--entrypoint", "/bin/echo", "busybox", "one", "two"], "one two"),
        (&["--add-host", "db:10.1.2.3", "busybox", "grep", "-c", "^10.1.2.3\tdb$", "/etc/hosts"], "1"),
        (&["--network=none", "busybox", "ls", "/sys/class/net"], "lo"),
        (&["--cap-drop", "ALL", "busybox", "grep", "CapEff", "/proc/self/status"], "CapEff:\t0000000000000000"),
        (
            &["--cap-drop", "all", "--cap-add", "chown", "busybox", "grep", "CapEff", "/proc/self/status"],
            "CapEff:\t0000000000000001",
        ),
        (&["--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"], "100\n200"),
        (
            &["--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status"],
            "NoNewPrivs:\t1",
        ),
        (&["--read-only", "busybox", "sh", "-c", "touch /x 2>/dev/null || echo refused"], "refused"),
        (&["-h", "short", "busybox", "hostname"], "short"),
    ] {
        assert_eq!(session.once(flags).ok().stdout.trim_end(), expected, "{flags:?}");
    }
}

#[test]
fn mounts() {
    let Some(session) = Session::with_busybox() else { return };
    session.write("shared/file", "from the host\n");
    let absolute = session.path("shared");
    let absolute = absolute.to_str().expect("UTF-8");
    let program = "cp /bin/busybox /t/true; /t/true 2>/dev/null && echo runs || echo refused";
    for (flags, expected) in [
        (
            &[
                "-v",
                &format!("{absolute}:/d:ro")[..],
                "busybox",
                "sh",
                "-c",
                "cat /d/file; touch /d/x 2>/dev/null || echo refused",
            ][..],
            "from the host\nrefused",
        ),
        (&["-v", "./shared:/d", "busybox", "sh", "-c", "echo back >/d/answer; ls /d"], "answer\nfile"),
        (&["--mount", "type=bind,src=./shared,dst=/d,readonly", "busybox", "cat", "/d/answer"], "back"),
        (&["-v", "data:/d", "busybox", "sh", "-c", "echo kept >/d/f"], ""),
        (
            &[
                "--mount",
                "type=volume,src=data,dst=/d,ro",
                "busybox",
                "sh",
                "-c",
                "cat /d/f; touch /d/x 2>/dev/null || echo refused",
            ],
            "kept\nrefused",
        ),
        (&["-v", "seeded:/etc", "busybox", "grep", "-c", "^user:", "/etc/passwd"], "1"),
        (&["--tmpfs", "/t", "busybox", "sh", "-c", program], "refused"),
        (&["--tmpfs", "/t:exec,size=8m", "busybox", "sh", "-c", program], "runs"),
        (&["--tmpfs", "/t:size=64k,mode=700", "busybox", "stat", "-c", "%a", "/t"], "700"),
        (
            &[
                "--mount",
                "type=tmpfs,dst=/t,tmpfs-size=1m",
                "busybox",
                "sh",
                "-c",
                "df -k /t | tail -1 | awk '{print $2}'",
            ],
            "1024",
        ),
    ] {
        assert_eq!(session.once(flags).ok().stdout.trim_end(), expected, "{flags:?}");
    }
    assert_eq!(fs::read_to_string(session.path("shared/answer")).expect("written from inside"), "back\n");
}

#[test]
fn volumes_are_filtered_and_pruned() {
    // features.md H060: prune takes anonymous volumes without a container, with --all named ones, too.
    let session = Session::new();
    let anonymous = session.kiln(["volume", "create"]).ok().stdout;
    session.kiln(["volume", "create", "--label", "a=b", "data"]).ok();
    session.kiln(["volume", "create", "other"]).ok();
    let names = |filter: &str| session.kiln(["volume", "ls", "-q", "--filter", filter]).ok().stdout;
    assert_eq!(names("label=a"), "data\n");
    assert_eq!(names("label=a=c"), "");
    assert_eq!(names("name=oth"), "other\n");
    assert_eq!(names("dangling=false"), "");
    session.kiln(["volume", "ls", "--filter", "odd=1"]).fails(1).says(&["invalid filter"]);
    session.kiln(["volume", "prune"]).fails(1).says(&["--force"]);
    session.kiln(["volume", "prune", "-f"]).ok().prints(&[anonymous.trim(), "Total reclaimed space: 0B"]);
    assert_eq!(session.kiln(["volume", "ls", "-q"]).ok().stdout, "data\nother\n");
    session.kiln(["volume", "prune", "-af", "--filter", "label!=a"]).ok().prints(&["other\n"]);
    assert_eq!(session.kiln(["volume", "ls", "-q"]).ok().stdout, "data\n");
}

#[test]
fn what_containers_take() {
    // features.md H051 and H054: sizes are told where they are asked for.
    let Some(session) = Session::with_busybox() else { return };
    session.kiln(["run", "--net", "none", "--name", "big", "busybox", "sh", "-c", "head -c 5000 /dev/zero > /f"]).ok();
    let size = session.kiln(["inspect", "-s", "--format", "{{.SizeRw}}", "big"]).ok().stdout;
    assert_eq!(size, "5000\n");
    session.kiln(["ps", "-as"]).ok().prints(&["SIZE", "5kB (virtual "]);
    assert!(!session.kiln(["ps", "-a"]).ok().stdout.contains("SIZE"));
}

#[test]
fn volumes() {
    let Some(session) = Session::with_busybox() else { return };
    let name = session.kiln(["volume", "create", "--label", "a=b", "data"]).ok().stdout;
    assert_eq!(name, "data\n");
    assert_eq!(session.kiln(["volume", "ls"]).ok().stdout, "DRIVER   VOLUME NAME\nlocal    data\n");
    assert_eq!(session.kiln(["volume", "ls", "--format", "{{.Name}} {{.Driver}}"]).ok().stdout, "data local\n");
    assert_eq!(session.field("data", "{{.Name}} {{index .Labels \"a\"}}"), "data b");
    session
        .kiln(["run", "--name", "user", "--network=none", "-v", "data:/d", "-v", "/anonymous", "busybox", "true"])
        .ok();
    assert_eq!(session.kiln(["volume", "ls", "-q"]).ok().stdout.lines().count(), 2);
    session.kiln(["volume", "rm", "data"]).fails(1).says(&["data is in use by container"]);
    session.kiln(["rm", "-v", "user"]).ok();
    assert_eq!(session.kiln(["volume", "ls", "-q"]).ok().stdout, "data\n", "the anonymous one went with it");
    assert_eq!(session.kiln(["volume", "rm", "data"]).ok().stdout, "data\n");
    session.kiln(["volume", "rm", "data"]).fails(1).says(&["no such volume: data"]);
    session.kiln(["volume", "rm", "-f", "data"]).ok();
}

#[test]
fn a_life_in_the_background() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "trap 'echo bye; exit 3' TERM; echo hello; echo oops >&2; while :; do sleep 0.1; done";
    let id =
        session.background(&["--name", "web", "-l", "tier=front", "--network=none", "busybox", "sh", "-c", script]);
    session.hears("web", "hello");
    // The two streams are two pipes: which of them is written down first is nobody's promise.
    eventually(|| {
        let logs = session.kiln(["logs", &id[..7]]).ok();
        (&logs.stdout[..], &logs.stderr[..]) == ("hello\n", "oops\n")
    });

    let listed = session.kiln(["ps"]).ok().stdout;
    let lines: Vec<&str> = listed.lines().collect();
    let headings: Vec<&str> = lines[0].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(headings, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let row: Vec<&str> = lines[1].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!((row[0], row[1], row[2]), (&id[..12], "busybox", "\"sh -c 'trap 'echo b…\""));
    assert_eq!(row.last(), Some(&"web"));
    assert!(row[4].starts_with("Up "), "{}", row[4]);

    for (flags, expected) in [
        (&["-q"][..], format!("{}\n", &id[..12])),
        (&["-q", "--no-trunc"], format!("{id}\n")),
        (&["--format", "{{.Names}} {{.State}} {{.Networks}} {{.Labels}}"], "web running none tier=front\n".into()),
        (&["--format", "table {{.Names}}\\t{{.Image}}"], "NAMES   IMAGE\nweb     busybox\n".into()),
        (&["-q", "-f", "name=we", "-f", "label=tier=front"], format!("{}\n", &id[..12])),
        (&["-q", "-f", "status=exited"], String::new()),
    ] {
        assert_eq!(session.kiln(["ps"].iter().chain(flags)).ok().stdout, expected, "{flags:?}");
    }
    session.kiln(["ps", "-f", "colour=red"]).fails(1).says(&["colour=red"]);
    session.kiln(["rm", "web"]).fails(1).says(&["container web is running"]);
    session
        .kiln(["run", "--name", "web", "busybox", "true"])
        .fails(125)
        .says(&["\"web\" is already in use", &id[..12]]);

    assert_eq!(session.kiln(["stop", "-t", "60", "web"]).ok().stdout, "web\n");
    assert_eq!(session.kiln(["wait", "web"]).ok().stdout, "3\n");
    assert!(session.kiln(["ps", "-a"]).ok().stdout.contains("Exited (3) "));
    assert_eq!(session.kiln(["ps", "-q"]).ok().stdout, "");
    assert_eq!(
        session.field("web", "{{.State.Status}} {{.State.ExitCode}} {{.Name}} {{.Config.Image}}"),
        "exited 3 /web busybox"
    );
    assert_eq!(session.kiln(["logs", "--tail", "1", "web"]).ok().stdout, "bye\n");
    session.kiln(["kill", "web"]).fails(1).says(&["container web is not running"]);
    assert_eq!(session.kiln(["rm", "web", "nosuch"]).fails(1).says(&["no such container: nosuch"]).stdout, "web\n");
    session.kiln(["rm", "-f", "nosuch"]).ok();
    for verb in ["logs", "stop", "wait", "kill"] {
        session.kiln([verb, "web"]).fails(1).says(&["no such container: web"]);
    }
    session.kiln(["inspect", "web"]).fails(1).says(&["no such object: web"]).prints(&["[]"]);
}

#[test]
fn logs() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "for i in 1 2 3; do echo line $i; done; sleep 0.5; echo last";
    session.background(&["--name", "talker", "--network=none", "busybox", "sh", "-c", script]);
    let followed = session.kiln(["logs", "-f", "talker"]).ok().stdout;
    assert_eq!(followed, "line 1\nline 2\nline 3\nlast\n");
    assert_eq!(session.kiln(["logs", "-n", "2", "talker"]).ok().stdout, "line 3\nlast\n");
    assert_eq!(session.kiln(["logs", "--since", "1h", "--until", "1h", "talker"]).ok().stdout, "");
    let stamped = session.kiln(["logs", "-t", "--tail=1", "talker"]).ok().stdout;
    let (time, text) = stamped.split_once(' ').expect("a time and a text");
    assert!(time.starts_with("20") && time.ends_with('Z') && text == "last\n", "{stamped}");
    session.kiln(["logs", "--tail", "few", "talker"]).fails(1).says(&["few"]);
}

#[test]
fn many_are_stopped_at_once() {
    let Some(session) = Session::with_busybox() else { return };
    // Each ends by itself only once all have been asked to: one after the other, the first would be killed.
    let script = "trap 'touch /v/$HOSTNAME; while [ $(ls /v | wc -l) -lt 3 ]; do sleep 0.05; done; exit 4' TERM; \
                  echo ready; while :; do sleep 0.05; done";
    let names = ["one", "two", "three"];
    for name in names {
        session.background(&["--name", name, "--network=none", "-v", "met:/v", "busybox", "sh", "-c", script]);
    }
    names.iter().for_each(|name| session.hears(name, "ready"));
    assert_eq!(session.kiln(["stop", "-t", "60", "one", "two", "three"]).ok().stdout, "one\ntwo\nthree\n");
    assert_eq!(session.kiln(["wait", "one", "two", "three"]).ok().stdout, "4\n4\n4\n");
}

#[test]
fn ports() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("web", "FROM busybox\nRUN echo hello > /etc/page\nEXPOSE 80 81/udp\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/etc\"]\n");
    session.build("web", &context);
    session.background(&["--name", "one", "-p", "127.0.0.1::80", "web"]);
    let port = session.field("one", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}");
    assert_eq!(fetch(&port, "/page"), "hello\n");
    let shown = session.kiln(["ps", "--format", "{{.Ports}}"]).ok().stdout;
    assert_eq!(shown, format!("127.0.0.1:{port}->80/tcp, 81/udp\n"));
    session.kiln(["run", "--rm", "-p", &format!("127.0.0.1:{port}:80"), "web"]).fails(125).says(&[&port]);

    session.background(&["--name", "all", "-P", "web"]);
    let port = session.field("all", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}");
    assert_eq!(fetch(&port, "/page"), "hello\n");
    assert_ne!(session.field("all", "{{(index (index .NetworkSettings.Ports \"81/udp\") 0).HostPort}}"), "");
    session.kiln(["rm", "-f", "one", "all"]).ok();
    // It is free again, unless another test takes it for the moment.
    eventually(|| TcpStream::connect(format!("127.0.0.1:{port}")).is_err());
}

#[test]
fn limits() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let limits = session.kiln(["info", "--format", "{{.Limits}}"]).ok().stdout;
    if !["memory", "pids"].iter().all(|name| limits.contains(name)) {
        eprintln!("skipped: no cgroups here: {limits}");
        return;
    }
    session.kiln(["run", "--name", "hungry", "--network=none", "-m", "16m", "busybox", "tail", "/dev/zero"]).fails(137);
    assert_eq!(session.field("hungry", "{{.State.OOMKilled}} {{.HostConfig.Memory}}"), "true 16777216");
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done";
    session.once(&["--pids-limit", "5", "busybox", "sh", "-c", script]).fails(2).says(&["can't fork"]);
    session.once(&["-m", "1m", "busybox", "true"]).fails(125).says(&["6m"]);
}

#[test]
fn an_id_file() {
    let Some(session) = Session::with_busybox() else { return };
    session.once(&["--cidfile", "id", "--name", "marked", "busybox", "true"]).ok();
    let id = fs::read_to_string(session.path("id")).expect("the file");
    assert_eq!(id.len(), 64);
    session.once(&["--cidfile", "id", "busybox", "true"]).fails(125).says(&["container ID file found"]);
}

#[test]
fn bytes_go_through_unchanged() {
    let Some(session) = Session::with_busybox() else { return };
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let input = session.write("input", &bytes);
    let output = session
        .command()
        .args(["run", "--rm", "-i", "--network=none", "busybox", "cat"])
        .stdin(fs::File::open(input).expect("open the input"))
        .output()
        .expect("run kiln");
    assert!(output.status.success() && output.stdout == bytes, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn signals_are_passed_on() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.1; done";
    let mut kiln = session
        .command()
        .args(["run", "--name", "listener", "--network=none", "busybox", "sh", "-c", script])
        .stdout(Stdio::null())
        .spawn()
        .expect("run kiln");
    eventually(|| session.kiln(["logs", "listener"]).stdout.contains("ready"));
    let pid = Pid::from_child(&kiln);
    kill_process(pid, Signal::INT).expect("signal kiln");
    assert_eq!(kiln.wait().expect("wait for kiln").code(), Some(9));
    assert_eq!(session.kiln(["logs", "listener"]).ok().stdout, "ready\ngot\n");
}

#[test]
fn the_third_interrupt_leaves() {
    let Some(session) = Session::with_busybox() else { return };
    let mut kiln = session
        .command()
        .args(["run", "--name", "deaf", "--network=none", "busybox", "sh", "-c", "echo ready; exec sleep 60"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run kiln");
    eventually(|| session.kiln(["logs", "deaf"]).stdout.contains("ready"));
    // Signals that come faster than they are taken become one.
    eventually(|| {
        kill_process(Pid::from_child(&kiln), Signal::INT).expect("signal kiln");
        sleep(Duration::from_millis(100));
        kiln.try_wait().expect("look at kiln").is_some()
    });
    Ran::from(kiln.wait_with_output().expect("wait for kiln")).fails(1).says(&["`kiln kill deaf` ends it"]);
    assert_eq!(session.field("deaf", "{{.State.Status}}"), "running");
}

#[test]
fn a_terminal() {
    let Some(session) = Session::with_busybox() else { return };
    let mut command = session.command();
    command.args(["run", "-it", "--name", "shell", "--network=none", "-e", "PS1=> ", "busybox", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.shows("> ");
    terminal.types("stty size; test -t 1 && echo a $((1 + 1)) terminal\r");
    terminal.shows("20 50");
    terminal.shows("a 2 terminal");
    terminal.interrupts_a_command();
    terminal.types("echo still $((3 + 4))\r");
    terminal.shows("still 7");
    terminal.types("exit 5\r");
    assert_eq!(terminal.code(), Some(5));
}

#[test]
fn leaving_a_terminal() {
    let Some(session) = Session::with_busybox() else { return };
    let mut command = session.command();
    command.args(["run", "-it", "--name", "shell", "--network=none", "-e", "PS1=> ", "busybox", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.shows("> ");
    terminal.types("\u{10}\u{11}");
    terminal.shows("detached: container shell runs on");
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(session.field("shell", "{{.State.Status}}"), "running");
}

#[test]
fn a_killed_monitor() {
    let Some(session) = Session::with_busybox() else { return };
    session.background(&["--name", "orphan", "--network=none", "busybox", "sleep", "60"]);
    let process = session.field("orphan", "{{.State.Pid}}");
    let monitor = parent(&parent(&process));
    let number = monitor.parse().ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(number, Signal::KILL).expect("kill the monitor");
    eventually(|| fs::read_to_string(format!("/proc/{process}/comm")).is_err());
    eventually(|| session.field("orphan", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137");
    assert_eq!(session.kiln(["wait", "orphan"]).ok().stdout, "137\n");
    session.kiln(["rm", "orphan"]).ok();
}

fn parent(process: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("its parent").trim().to_owned()
}
