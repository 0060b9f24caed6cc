//! The verbs of a living container: made, started, entered, watched, paused, restarted, and nothing left.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::running::eventually;
use crate::session::{Ran, Session, installed, is_root};
use crate::terminal::Terminal;

/// The namespaces that a container has of its own, of the eight that there are: time is the host's.
const OWN: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

impl Session {
    /// A container that does nothing until it is stopped.
    fn idle(&self, name: &str) -> String {
        self.background(&["--name", name, "--network=none", "busybox", "sleep", "600"])
    }

    /// `kiln exec` in it.
    fn exec(&self, flags: &[&str]) -> Ran {
        self.kiln(["exec"].iter().chain(flags))
    }
}

fn namespace(pid: &str, name: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

#[test]
fn made_now_and_started_later() {
    let Some(session) = Session::with_busybox() else { return };
    let flags = ["--name", "later", "--network=none", "--cidfile", "id", "-i", "busybox"];
    let id = session.kiln(["create"].iter().chain(&flags).chain(&["sh", "-c", "cat; exit 4"])).ok().stdout;
    assert_eq!(fs::read_to_string(session.path("id")).expect("the id file"), id.trim());
    assert_eq!(session.field("later", "{{.State.Status}} {{.State.Pid}}"), "created 0");
    session.kiln(["exec", "later", "true"]).fails(1).says(&["container later is not running"]);
    session.kiln(["attach", "later"]).fails(1).says(&["container later is not running"]);
    assert_eq!(session.kiln_with_input(["start", "-a", "-i", "later"], "typed\n").fails(4).stdout, "typed\n");
    assert_eq!(session.kiln(["start", "later"]).ok().stdout, "later\n");
    assert_eq!(
        session.kiln(["start", "later", "nosuch"]).fails(1).says(&["no such container: nosuch"]).stdout,
        "later\n"
    );
    session.kiln(["start", "-a", "later", "nosuch"]).fails(1).says(&["only one container"]);
    session.kiln(["stop", "-t", "0", "later"]).ok();
    session.kiln(["create", "-d", "busybox"]).fails(1).says(&["detached"]);
    session.kiln(["create", "--pull=never", "nosuch"]).fails(1).says(&["no such image"]);
}

#[test]
fn a_further_command() {
    let Some(session) = Session::with_busybox() else { return };
    session.write("some.env", "FILE=yes\n");
    let flags = ["--network=none", "-e", "OWN=1", "-w", "/tmp", "-h", "box", "--name", "host"];
    session.background(&[&flags[..], &["--ulimit", "nofile=100:200", "busybox", "sleep", "600"]].concat());
    for (flags, expected) in [
        (&["host", "sh", "-c", "echo $OWN $HOSTNAME; pwd; id -u; echo $PPID; ulimit -n"][..], "1 box\n/tmp\n0\n0\n100"),
        (&["-e", "OWN=2", "--env-file", "some.env", "host", "sh", "-c", "echo $OWN $FILE"], "2 yes"),
        (&["-w", "/etc", "host", "pwd"], "/etc"),
        (&["-u", "user", "host", "id"], "uid=1000(user) gid=1000(user)"),
        (
            &["-u", "7:9", "host", "sh", "-c", "id; grep CapEff /proc/self/status"],
            "uid=7 gid=9\nCapEff:\t0000000000000000",
        ),
        (
            &["host", "grep", "-E", "^(CapEff|CapBnd|CapInh|CapAmb|Seccomp):", "/proc/self/status"],
            "CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nSeccomp:\t2",
        ),
        (
            &["--privileged", "host", "grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status"],
            "CapEff:\t000001ffffffffff\nSeccomp:\t0",
        ),
        (&["host", "ls", "/proc/self/fd"], "0\n1\n2\n3"),
        (&["host", "sh", "-c", "[ \"$(cat /proc/self/cgroup)\" = \"$(cat /proc/1/cgroup)\" ] && echo same"], "same"),
    ] {
        assert_eq!(session.exec(flags).ok().stdout.trim_end(), expected, "{flags:?}");
    }
    for (flags, code, complaint) in [
        (&["host", "sh", "-c", "echo out; echo err >&2; exit 9"][..], 9, "err"),
        (&["host", "sh", "-c", "kill -9 $$"], 137, ""),
        (&["host", "nosuch"], 127, "\"nosuch\" was not found"),
        (&["host", "/etc/passwd"], 126, "cannot be executed"),
        (&["host", "/proc/self/exe"], 126, "cannot be executed"),
        (&["-w", "/nowhere", "host", "true"], 127, "/nowhere"),
        (&["-w", "/proc/self/fd/4", "host", "true"], 126, "/proc/self/fd/4"),
        (&["-u", "nobodyhere", "host", "true"], 126, "nobodyhere"),
        (&["-it", "host", "true"], 1, "not a TTY"),
        (&["nosuch", "true"], 1, "no such container: nosuch"),
        (&["--colour", "host", "true"], 125, "--colour"),
    ] {
        session.exec(flags).fails(code).says(&[complaint]);
    }
    session.exec(&["-d", "host", "sh", "-c", "echo $PPID > /tmp/mark; sleep 600"]).ok();
    eventually(|| session.exec(&["host", "cat", "/tmp/mark"]).stdout == "0\n");
    assert_eq!(session.kiln(["logs", "host"]).ok().stdout, "", "the log is the first process's");
}

#[test]
fn a_further_command_is_in_the_same_namespaces() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    session.idle("first");
    let pid = session.field("first", "{{.State.Pid}}");
    for name in OWN {
        assert_ne!(namespace(&pid, name), namespace("self", name), "{name}");
        let seen = session.exec(&["first", "readlink", &format!("/proc/self/ns/{name}")]).ok().stdout;
        assert_eq!(seen.trim(), namespace(&pid, name));
    }
    assert_eq!(namespace(&pid, "time"), namespace("self", "time"));
    session.background(&["--name", "second", "--net", "container:first", "busybox", "sleep", "600"]);
    let second = session.field("second", "{{.State.Pid}}");
    for name in OWN {
        assert_eq!(namespace(&pid, name) == namespace(&second, name), ["net", "user"].contains(&name), "{name}");
    }
    assert_eq!(session.exec(&["second", "id", "-u"]).ok().stdout, "0\n");
    for network in ["bridge", "default", "none"] {
        let link = session.kiln(["run", "--rm", "--net", network, "busybox", "readlink", "/proc/self/ns/net"]).ok();
        assert_ne!(link.stdout.trim(), namespace("self", "net"), "{network}");
    }
    let host = session.kiln(["run", "--rm", "--net=host", "busybox", "readlink", "/proc/self/ns/net"]).ok().stdout;
    assert_eq!(host.trim(), namespace("self", "net"));
    session.kiln(["stop", "-t0", "first"]).ok();
    session.kiln(["run", "--rm", "--net", "container:first", "busybox", "true"]).fails(125).says(&["not running"]);
}

/// A process in the box that writes to whatever kiln it sees there never reaches the program on disk, nor a
/// descriptor of it (CVE-2019-5736, CVE-2024-21626).
#[test]
fn a_further_command_gives_nothing_of_kiln_away() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] || \
        { readlink $p/exe; readlink $p/cwd; ls -l $p/fd; } 2>/dev/null; done | grep -e kiln -e /work -e /tmp/; done";
    session.background(&["--name", "spy", "--network=none", "--cap-add", "SYS_PTRACE", "busybox", "sh", "-c", script]);
    for _ in 0..20 {
        session.exec(&["spy", "true"]).ok();
    }
    assert_eq!(session.kiln(["logs", "spy"]).ok().stdout, "");
}

#[test]
fn bytes_reach_a_further_command_unchanged() {
    let Some(session) = Session::with_busybox() else { return };
    session.idle("pipe");
    let bytes: Vec<u8> = (0..2_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let input = session.write("input", &bytes);
    let mut command = session.command();
    command.args(["exec", "-i", "pipe", "cat"]).stdin(fs::File::open(input).expect("open the input"));
    let output = command.output().expect("run kiln");
    assert!(output.status.success() && output.stdout == bytes, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_further_command_gets_signals() {
    let Some(session) = Session::with_busybox() else { return };
    session.idle("listener");
    let script = "trap 'exit 9' TERM; echo > /tmp/ready; while :; do sleep 0.1; done";
    let mut kiln = session.command().args(["exec", "listener", "sh", "-c", script]).spawn().expect("run kiln");
    eventually(|| session.exec(&["listener", "test", "-e", "/tmp/ready"]).code == 0);
    kill_process(Pid::from_child(&kiln), Signal::TERM).expect("signal kiln");
    assert_eq!(kiln.wait().expect("wait for kiln").code(), Some(9));
    assert_eq!(session.field("listener", "{{.State.Status}}"), "running");
}

#[test]
fn a_further_command_ends_with_its_container() {
    let Some(session) = Session::with_busybox() else { return };
    session.idle("short");
    let kiln = session.command().args(["exec", "short", "sleep", "600"]).spawn();
    let mut kiln = kiln.expect("run kiln");
    eventually(|| session.kiln(["exec", "short", "ps"]).stdout.matches("sleep 600").count() == 2);
    session.kiln(["kill", "short"]).ok();
    assert_eq!(kiln.wait().expect("wait for kiln").code(), Some(137));
}

#[test]
fn a_terminal_of_ones_own() {
    let Some(session) = Session::with_busybox() else { return };
    session.idle("shell");
    let mut command = session.command();
    command.args(["exec", "-it", "-e", "PS1=> ", "shell", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.shows("> ");
    terminal.types("stty size; tty; echo $TERM $((1 + 1))\r");
    terminal.shows("20 50");
    terminal.shows("/dev/pts/");
    terminal.shows("xterm 2");
    terminal.interrupts_a_command();
    terminal.types("echo still $((3 + 4))\r");
    terminal.shows("still 7");
    terminal.resizes(30, 90);
    // The new size is on its way through kiln.
    terminal.types("until stty size | grep '^30 90$'; do sleep 0.1; done; echo resized $((1 + 1))\r");
    terminal.shows("resized 2");
    terminal.types("exit 5\r");
    assert_eq!(terminal.code(), Some(5));
}

#[test]
fn leaving_and_coming_back() {
    let Some(session) = Session::with_busybox() else { return };
    let mut command = session.command();
    command.args(["run", "-it", "--name", "shell", "--network=none", "-e", "PS1=> ", "--detach-keys=ctrl-x,d"]);
    command.args(["busybox", "sh"]);
    let mut terminal = Terminal::run(command);
    terminal.shows("> ");
    terminal.types("mark=here\r\u{18}d");
    terminal.shows("detached: container shell runs on");
    assert_eq!(terminal.code(), Some(0));
    let mut command = session.command();
    command.args(["attach", "shell"]);
    let mut terminal = Terminal::run(command);
    terminal.types("echo still $mark; exit 3\r");
    terminal.shows("still here");
    assert_eq!(terminal.code(), Some(3));
}

#[test]
fn watched_by_another() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "read line; echo got $line; exit 2";
    session.background(&["-i", "--name", "asks", "--network=none", "busybox", "sh", "-c", script]);
    let mut command = session.command();
    command.args(["attach", "asks"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut kiln = command.spawn().expect("run kiln");
    writeln!(kiln.stdin.as_mut().expect("a pipe"), "this").expect("type");
    let ran = Ran::from(kiln.wait_with_output().expect("wait for kiln")).fails(2);
    assert_eq!(ran.stdout, "got this\n");
    let only =
        session.kiln(["run", "--rm", "--network=none", "-a", "stderr", "busybox", "sh", "-c", "echo a; echo b >&2"]);
    assert_eq!((&only.stdout[..], &only.stderr[..]), ("", "b\n"));
}

#[test]
fn standing_still() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let script = "while :; do echo x; sleep 0.02; done";
    session.background(&["--name", "ticker", "--network=none", "busybox", "sh", "-c", script]);
    session.hears("ticker", "x");
    if session.kiln(["pause", "ticker"]).code != 0 {
        eprintln!("skipped: no freezer here");
        return;
    }
    let length = || session.kiln(["logs", "ticker"]).ok().stdout.len();
    let mut said = length();
    // What it said before may still be on its way into the log.
    eventually(|| {
        sleep(Duration::from_millis(200));
        std::mem::replace(&mut said, length()) == said
    });
    assert_eq!(session.field("ticker", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}"), "paused true true");
    session.kiln(["ps", "-f", "status=paused"]).ok().prints(&["(Paused)"]);
    session.exec(&["ticker", "true"]).fails(1).says(&["paused"]);
    session.kiln(["pause", "ticker"]).fails(1).says(&["paused already"]);
    assert_eq!(session.kiln(["unpause", "ticker"]).ok().stdout, "ticker\n");
    eventually(|| session.kiln(["logs", "ticker"]).ok().stdout.len() > said);
    session.kiln(["unpause", "ticker"]).fails(1).says(&["not paused"]);
    session.kiln(["pause", "ticker"]).ok();
    session.kiln(["stop", "-t", "0", "ticker"]).ok();
    session.kiln(["start", "ticker"]).ok();
    session.kiln(["pause", "ticker"]).ok();
    session.kiln(["rm", "-f", "ticker"]).ok();
}

#[test]
fn stopped_started_and_called_otherwise() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done";
    session.background(&["--name", "one", "--network=none", "busybox", "sh", "-c", script]);
    session.idle("two");
    session.hears("one", "ready");
    assert_eq!(session.kiln(["stop", "-t", "60", "-s", "INT", "one"]).ok().stdout, "one\n");
    assert_eq!(session.kiln(["wait", "one"]).ok().stdout, "5\n");
    let started = session.field("one", "{{.State.StartedAt}}");
    assert_eq!(session.kiln(["restart", "-t", "0", "one", "two"]).ok().stdout, "one\ntwo\n");
    assert_ne!(session.field("one", "{{.State.StartedAt}}"), started);
    session.kiln(["rename", "one", "two"]).fails(1).says(&["\"two\" is already in use"]);
    session.kiln(["rename", "one", "three"]).ok();
    session.kiln(["inspect", "one"]).fails(1);
    assert_eq!(session.field("three", "{{.Name}}"), "/three");
    let mut waits = session.command();
    let waits = waits.args(["wait", "--condition=removed", "three"]).stdout(Stdio::piped()).spawn().expect("run kiln");
    session.kiln(["rm", "-f", "three"]).ok();
    let _gone = Ran::from(waits.wait_with_output().expect("wait for kiln"));
    session.kiln(["container", "stop", "-t", "0", "two"]).ok();
    let asked = session.kiln_with_input(["container", "prune"], "n\n").ok().says(&["WARNING"]);
    assert_eq!(asked.stdout, "");
    session.kiln(["container", "prune", "-f", "--filter", "label=nosuch"]).ok();
    let id = session.field("two", "{{.Id}}");
    session.kiln(["container", "prune", "-f"]).ok().prints(&["Deleted Containers:", &id, "Total reclaimed space"]);
    session.kiln(["container", "prune", "-f", "--filter", "colour=red"]).fails(1).says(&["colour=red"]);
}

#[test]
fn looked_at() {
    let Some(session) = Session::with_busybox() else { return };
    session.background(&["--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "sleep 600 & exec sleep 601"]);
    let port = session.kiln(["port", "web"]).ok().stdout;
    let address = port.strip_prefix("80/tcp -> ").expect("a published port");
    assert_eq!(session.kiln(["port", "web", "80"]).ok().stdout, address);
    session.kiln(["port", "web", "81/udp"]).fails(1).says(&["81/udp"]);
    if installed("ps", "procps").is_some() {
        // It is started before its shell has come to both.
        eventually(|| session.kiln(["top", "web"]).ok().stdout.contains("sleep 601"));
        session.kiln(["top", "web"]).ok().prints(&["PID", "sleep 600", "sleep 601"]);
        let lines = session.kiln(["top", "web", "-o", "pid,args"]).ok().stdout;
        assert_eq!(lines.lines().count(), 3, "{lines}");
    }
    let stats = session.kiln(["stats", "--no-stream"]).ok().stdout;
    let heading: Vec<&str> = stats.lines().next().unwrap_or_default().split("   ").map(str::trim).collect();
    let titles = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    assert_eq!(heading.iter().filter(|cell| !cell.is_empty()).copied().collect::<Vec<_>>(), titles);
    let numbers = ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web"];
    eventually(|| session.kiln(numbers).ok().stdout == "web 2\n");
    session.kiln(["logs", "--details", "web"]).ok();
    session.kiln(["kill", "web"]).ok();
    session.kiln(["wait", "web"]).ok();
    for verb in ["top", "pause", "unpause"] {
        session.kiln([verb, "web"]).fails(1).says(&["container web is not running"]);
    }
}

/// Docker's restart policies, kept by the monitor.
#[test]
fn started_again_by_policy() {
    let Some(session) = Session::with_busybox() else { return };
    let script = "echo run; exit 3";
    session.background(&[
        "--name",
        "twice",
        "--restart",
        "on-failure:2",
        "--network=none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    session.background(&["--name", "fine", "--restart", "on-failure", "--network=none", "busybox", "true"]);
    session.background(&["--name", "ever", "--restart", "always", "--network=none", "busybox", "sh", "-c", "echo run"]);
    let policy = "{{.State.Status}} {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}";
    eventually(|| session.field("twice", policy) == "exited 2 on-failure");
    assert_eq!(session.kiln(["logs", "twice"]).ok().stdout, "run\nrun\nrun\n");
    eventually(|| session.field("fine", policy) == "exited 0 on-failure");
    eventually(|| session.kiln(["logs", "ever"]).stdout.lines().count() >= 3);
    eventually(|| session.field("ever", "{{.State.Status}} {{.State.Restarting}}") == "restarting true");
    session.kiln(["rm", "ever"]).fails(1).says(&["is running"]);
    session.kiln(["stop", "ever"]).ok();
    let ended = session.field("ever", policy);
    assert!(ended.starts_with("exited "), "{ended}");
    sleep(Duration::from_millis(300));
    assert_eq!(session.field("ever", policy), ended, "stopped is stopped");
    session.kiln(["run", "--rm", "--restart=always", "busybox", "true"]).fails(125).says(&["--rm", "--restart"]);
    session.kiln(["run", "--restart=maybe", "busybox", "true"]).fails(125).says(&["maybe"]);
    session.kiln(["start", "ever"]).ok();
    session.kiln(["update", "--restart", "no", "ever"]).ok();
    eventually(|| session.field("ever", "{{.State.Status}}") == "exited");
}

/// Containers come and go, and the machine is as it was before.
#[test]
fn nothing_is_left() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    session.once(&["busybox", "true"]).ok();
    eventually(|| parts(&session).is_empty());
    let before = files(&session);
    for number in 0..10 {
        let name = format!("number-{number}");
        session.background(&["--name", &name, "-v", "/anonymous", "busybox", "sleep", "600"]);
        session.exec(&[&name, "touch", "/mark"]).ok();
        session.kiln(["rm", "-fv", &name]).ok();
    }
    eventually(|| parts(&session).is_empty());
    assert_eq!(files(&session), before);
    // Other tests mount and unmount at the same time; what is the session's has its name.
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&session.name()), "{mounts}");
}

/// Everything of the session's store but what is cached.
fn files(session: &Session) -> BTreeSet<String> {
    let below = |area: &str| {
        let entries = fs::read_dir(session.store().join(area)).into_iter().flatten().flatten();
        let names = entries.map(|entry| format!("{area}/{}", entry.file_name().to_string_lossy()));
        names.collect::<Vec<_>>()
    };
    ["containers", "containers/names", "volumes", "roots", "tmp"].iter().flat_map(|area| below(area)).collect()
}

/// Processes of kiln's that belong to the session.
fn parts(session: &Session) -> Vec<String> {
    let store = session.store();
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
    let belongs = |pid: &String| {
        let opened = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        opened.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.starts_with(&store))
    };
    pids.filter(|pid| pid.parse::<u32>().is_ok()).filter(belongs).collect()
}
