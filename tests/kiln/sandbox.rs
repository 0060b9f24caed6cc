//! What a RUN step lives in, seen by its own commands, as root and as an ordinary user. The rules are those of
//! docs/dockerfile.md, section RUN.

use std::fs;
use std::path::Path;

use crate::session::{Ran, Session, User, is_root};

pub(crate) fn everybody() -> Vec<Session> {
    let own = Session::with_busybox();
    let other = is_root().then(|| Session::of_user(User { uid: 61_002, gid: 61_002 }).and_busybox()).flatten();
    own.into_iter().chain(other).collect()
}

pub(crate) fn build(session: &Session, name: &str, dockerfile: &str, flags: &[&str]) -> Ran {
    let context = session.context(name, dockerfile);
    let arguments = ["build", "--progress", "plain", "-t", name, context.to_str().expect("UTF-8")];
    session.kiln(arguments.iter().chain(flags))
}

/// What a script prints in a RUN step.
fn seen(session: &Session, script: &str, flags: &[&str]) -> String {
    build(session, "seen", &format!("FROM busybox\nRUN <<E\n(\n{script}\n) > /seen\nE\n"), flags).ok();
    session.run("seen", "cat /seen")
}

/// Rules F001, F002, F022, F039, F041: which namespaces are its own, that it is process 1 on a root of its own, and
/// that nothing of it goes on in the background.
#[test]
fn a_step_is_alone() {
    for session in everybody() {
        let script = "echo $$\nfor n in mnt pid ipc uts user time; do readlink /proc/self/ns/$n; done\n\
                      sleep 4000 &\ngrep ' / ' /proc/mounts\ntouch /mine";
        let seen = seen(&session, script, &[]);
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[0], "1");
        for (line, name) in lines[1..].iter().zip(["mnt", "pid", "ipc", "uts", "user", "time"]) {
            let host = fs::read_link(Path::new("/proc/self/ns").join(name)).expect("a link");
            let is_own = *line != host.to_str().expect("UTF-8");
            assert_eq!(is_own, name != "time", "{name}: {line}");
        }
        if lines[7].starts_with("overlay") {
            assert!(lines[7].contains("userxattr") && !lines[7].contains("metacopy=on"), "{}", lines[7]);
        }
    }
}

/// Rules F003 to F005, F007 to F009, F014, F042, F043: privileges, what is hidden or read-only, and what /dev has.
#[test]
fn a_step_has_what_docker_gives_and_no_more() {
    for session in everybody() {
        let script = "grep -E '^(CapBnd|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'\n\
            cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; ls /sys/firmware | wc -l\n\
            for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do (echo x > $f) 2>/dev/null && echo wrote $f; done\n\
            mkdir /sys/fs/cgroup/mine 2>/dev/null && echo made; umask; hostname; stat -c %a /dev/shm; ls /dev | tr '\\n' ' '\n\
            echo x > /dev/null; test -c /dev/ptmx; readlink /dev/stdin; cat /proc/self/oom_score_adj";
        let own = fs::read_to_string("/proc/self/oom_score_adj").expect("a number");
        let expected = "CapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0\nSeccomp:2\n\
            0\n0\n0022\nmine\n1777\ncore fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero /proc/self/fd/0\n";
        let named = ["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=mine"];
        assert_eq!(seen(&session, script, &named), format!("{expected}{own}"));
        assert_eq!(seen(&session, "hostname", &[]), "kiln\n");
    }
}

/// Rules F010 to F013, and traps 28 and 38: /run and /tmp are the image's; the three files of /etc are mounted, cannot be
/// written, and leave those of the image as they are.
#[test]
fn a_step_leaves_what_it_wrote_and_nothing_else() {
    for session in everybody() {
        session.write("left/hosts", "the image's own\n");
        let dockerfile = "FROM busybox AS a\nCOPY --chmod=640 hosts /etc/hosts\n\
            RUN --mount=type=secret,id=none --mount=type=cache,target=/var/cache/x --mount=type=tmpfs,target=/scratch \
            grep -q localhost /etc/hosts && ! (echo x > /etc/resolv.conf) && ! (echo x > /etc/hosts) && \
            grep -q nameserver /etc/resolv.conf && mkdir -p /run /var/tmp && touch /run/a /tmp/b /var/tmp/c /scratch/d /var/cache/x/e\n\
            FROM scratch\nCOPY --from=a / /a\nFROM busybox\nCOPY --from=1 /a /a\n";
        build(&session, "left", dockerfile, &[]).ok();
        let list = "cd /a; ls -d run/* tmp/* var/* var/cache/x scratch etc/resolv.conf etc/hostname 2>/dev/null; cat etc/hosts; stat -c %a etc/hosts";
        assert_eq!(session.run("left", list), "run/a\ntmp/b\nvar/tmp\nthe image's own\n640\n");
    }
}

/// Rule F032: without the box's walls, where somebody allows that.
#[test]
fn an_insecure_step_has_no_walls() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile =
        "FROM busybox\nRUN --security=insecure grep -E '^Seccomp:' /proc/self/status | tr -d '\\t' > /seen\n";
    build(&session, "open", dockerfile, &["--allow", "security.insecure"]).ok();
    assert_eq!(session.run("open", "cat /seen"), "Seccomp:0\n");
}

/// Rule F029: a locked cache mount is one step's at a time, whichever kiln that step belongs to.
#[test]
fn a_locked_cache_has_one_user() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c,sharing=locked \
                      mkdir /c/taken && sleep 0.2 && rmdir /c/taken\n";
    let context = session.context("locked", dockerfile);
    let start = |number: usize| {
        let argument = format!("N={number}");
        let mut command = session.command();
        command.args(["build", "-q", "--build-arg", &argument]).arg(&context);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("kiln")
    };
    for child in [1, 2, 3].map(start) {
        Ran::from(child.wait_with_output().expect("an end")).ok();
    }
}

/// Rules A079, A134: the namespace of cache mounts.
#[test]
fn caches_have_namespaces() {
    let Some(session) = Session::with_busybox() else { return };
    let count = |flags: &[&str]| {
        let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c/ echo x >> /c/f; wc -l < /c/f > /seen\n";
        build(&session, "count", dockerfile, &[&["--no-cache"], flags].concat()).ok();
        session.run("count", "cat /seen")
    };
    assert_eq!((count(&[]).as_str(), count(&[]).as_str()), ("1\n", "2\n"));
    let other = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=other"];
    assert_eq!((count(&other).as_str(), count(&[]).as_str()), ("1\n", "3\n"));
}

/// Rule C086: a log is never cut, however long and fast.
#[test]
fn a_long_log_is_whole() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN yes 0123456789012345678901234567890123456789 | head -n 80000; exit 4\n";
    let ran = build(&session, "long", dockerfile, &[]).fails(1);
    let path = ran.stderr.lines().find_map(|line| line.split("the whole log: ").nth(1)).expect("a path").trim();
    assert_eq!(fs::metadata(path).expect("a log").len(), 80_000 * 41);
}
