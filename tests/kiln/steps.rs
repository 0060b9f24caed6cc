//! RUN from the outside: mounts, secrets, agents, limits, networks, users, and what a failed step says. The
//! rules are those of docs/dockerfile.md, section RUN.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::running::eventually;
use crate::session::{Ran, Session, User, installed, is_root};

/// A build of a Dockerfile that lies in a context of its own.
fn build(session: &Session, name: &str, dockerfile: &str, flags: &[&str]) -> Ran {
    let context = session.context(name, dockerfile);
    let arguments = ["build", "--progress", "plain", "-t", name, context.to_str().expect("UTF-8")];
    session.kiln(arguments.iter().chain(flags))
}

/// Whether any file below a directory holds a text.
fn is_anywhere(text: &str, below: &Path) -> bool {
    let found = Command::new("grep").args(["-rqF", "--", text]).arg(below).status().expect("grep");
    found.success()
}

/// A session of root, and one of an ordinary user who has subordinate ids or a single id.
fn everybody() -> Vec<Session> {
    let own = Session::with_busybox();
    let other = is_root().then(|| Session::of_user(User { uid: 61_001, gid: 61_001 }).and_busybox()).flatten();
    own.into_iter().chain(other).collect()
}

/// Rules A136, F030: a secret is a file or a variable, and its value is nowhere else.
#[test]
fn a_secret_is_seen_by_its_step_and_kept_nowhere() {
    let value = "s3cret-of-this-test";
    for session in everybody() {
        let file = session.write("token", value);
        let flag = format!("id=token,src={}", file.display());
        let ran = build(
            &session,
            "app",
            "FROM busybox\n\
             RUN --mount=type=secret,id=token,required stat -c '%a %u:%g' /run/secrets/token > /look && \
             test $(wc -c < /run/secrets/token) = 19\n\
             RUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} = 19 && test ! -e /run/secrets\n\
             RUN --mount=type=secret,id=token,target=/a/b,mode=0444 test $(stat -c %a /a/b) = 444\n\
             RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n",
            &["--secret", &flag],
        );
        assert!(!ran.ok().stderr.contains(value));
        assert_eq!(session.run("app", "cat /look; ls -d /run/secrets /a 2>/dev/null; true"), "400 0:0\n");
        fs::remove_file(&file).unwrap();
        assert!(!is_anywhere(value, &session.store()), "the value is in the store");
        let missing = "FROM busybox\nRUN --mount=type=secret,id=gone,required true\n";
        build(&session, "missing", missing, &[]).fails(1).says(&["Dockerfile:2", "\"gone\" is required"]);
    }
}

/// Rule C018: a secret's source is a file, a variable, or whichever of them has its name.
#[test]
fn secrets_come_from_files_and_variables() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM busybox\nRUN --mount=type=secret,id=S,env=S test \"$S\" = v\n");
    session.write("file", "v");
    for flag in ["id=S,env=V", "id=S,type=env,src=V", "id=S,src=file", "id=S,type=file,src=file", "id=S"] {
        let mut command = session.command();
        command.args(["build", "-q", "--no-cache", "--secret", flag, context.to_str().unwrap()]);
        Ran::from(command.env("V", "v").env("S", "v").output().expect("run kiln")).ok();
    }
    for flag in ["src=x", "id=S,colour=red", "id=S,type=pipe"] {
        session.kiln(["build", "--secret", flag, context.to_str().unwrap()]).fails(1).says(&["invalid secret"]);
    }
}

/// Rules A132, A133: sources of a bind, writes that are dropped, targets through links, and no trace of any.
#[test]
fn binds_show_trees_and_leave_nothing() {
    for session in everybody() {
        session.write("app/data/file", "content");
        let ran = build(
            &session,
            "app",
            "FROM busybox AS made\nRUN mkdir /out && echo made > /out/file && ln -s /out /link\n\
             FROM busybox\nRUN ln -s /somewhere /esc && mkdir -p /somewhere\nWORKDIR /w\n\
             RUN --mount=target=ctx test \"$(cat /w/ctx/data/file)\" = content && ! touch /w/ctx/new 2>/dev/null\n\
             RUN --mount=target=/ctx,rw touch /ctx/new && rm /ctx/data/file\n\
             RUN --mount=target=/ctx test ! -e /ctx/new && test -e /ctx/data/file\n\
             RUN --mount=from=made,source=/link/file,target=/one test \"$(cat /one)\" = made\n\
             RUN --mount=from=busybox,target=/base test -e /base/bin/busybox\n\
             RUN --mount=type=tmpfs,target=/esc/deep,size=1m touch /somewhere/deep/x && df -m /somewhere/deep | grep -q ' 1 '\n\
             RUN ls -A / /w /somewhere > /seen\n",
            &[],
        );
        ran.ok();
        let seen = session.run("app", "cat /seen");
        for word in ["ctx", "one", "base", "deep"] {
            assert!(!seen.lines().any(|line| line == word), "{word} is left:\n{seen}");
        }
        build(&session, "root", "FROM busybox\nRUN --mount=target=/ true\n", &[]).fails(1).says(&["Dockerfile:2"]);
        let misspelt = "FROM busybox\nRUN --mount=type=bind,sourc=x,target=/y true\n";
        build(&session, "key", misspelt, &[]).fails(1).says(&["unexpected key 'sourc'", "source"]);
    }
}

/// Rule A134: a cache is named by its id, filled once from elsewhere, and in no layer.
#[test]
fn caches_outlive_builds() {
    for session in everybody() {
        let dockerfile = "FROM busybox AS seed\nRUN mkdir /s && echo first > /s/log\n\
                          FROM busybox\nARG N\nENV C=/cache\n\
                          RUN --mount=type=cache,id=c,from=seed,source=/s,target=$C,mode=0700 \
                          echo $N >> /cache/log && stat -c %a /cache > /mode && cat /cache/log > /log\n";
        build(&session, "app", dockerfile, &["--build-arg", "N=1"]).ok();
        build(&session, "app", dockerfile, &["--build-arg", "N=2"]).ok();
        assert_eq!(session.run("app", "cat /log /mode; ls -d /cache 2>/dev/null; true"), "first\n1\n2\n700\n");
        let read_only = "FROM busybox\nRUN --mount=type=cache,target=/c,ro ! touch /c/x 2>/dev/null\n";
        build(&session, "ro", read_only, &[]).ok();
    }
}

/// Rules A137, C019, F031: a step's own socket leads to the user's agent, or to one with the keys that were given.
#[test]
fn agents_are_forwarded() {
    let Some(add) = installed("ssh-add", "openssh-client") else { return };
    let Some(generate) = installed("ssh-keygen", "openssh-client") else { return };
    for session in everybody() {
        let (context, keys) = (session.path("app"), session.path("keys"));
        with_libraries(&add, &context.join("add"));
        with_libraries(&generate, &context.join("add"));
        fs::create_dir_all(&keys).unwrap();
        let mut paths = Vec::new();
        for kind in ["ed25519", "ecdsa", "rsa"] {
            let path = keys.join(kind);
            let made = Command::new(&generate).args(["-q", "-N", "", "-t", kind, "-C", kind, "-f"]).arg(&path).status();
            assert!(made.expect("ssh-keygen").success());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            paths.push(path.display().to_string());
        }
        let dockerfile = "FROM busybox\nCOPY add /\nCOPY --from=keys *.pub /keys/\n\
                          RUN echo 'user:x:0:0::/:' >> /etc/passwd; chmod 1777 /tmp\n\
                          RUN --mount=type=ssh,required test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0 && \
                          stat -c '%a %u:%g' $SSH_AUTH_SOCK > /look && ssh-add -l > /list && ! ssh-add -D && \
                          for k in ed25519 ecdsa rsa; do echo text | ssh-keygen -q -Y sign -f /keys/$k.pub -n test > /sig && \
                          grep -q 'BEGIN SSH SIGNATURE' /sig || exit 1; done\n\
                          RUN --mount=type=ssh,target=/s,mode=0666 SSH_AUTH_SOCK=/s ssh-add -l > /second\n\
                          RUN --mount=type=ssh,id=other test ! -e /run/buildkit/ssh_agent.0\n";
        let contexts = format!("keys={}", keys.display());
        let flag = format!("default={}", paths.join(","));
        build(&session, "app", dockerfile, &["--build-context", &contexts, "--ssh", &flag]).ok();
        let listed = session.run("app", "cat /look /list; ls -d /run/buildkit /s 2>/dev/null; true");
        assert!(listed.starts_with("600 0:0\n"), "{listed}");
        for kind in ["(ED25519)", "(ECDSA)", "(RSA)"] {
            assert!(listed.contains(kind), "{listed}");
        }
        assert!(!listed.contains("buildkit"), "{listed}");
        for path in [&paths[0], &paths[2]] {
            let text = fs::read_to_string(path).unwrap();
            // Far from the public half, which the file repeats, and which the image has.
            let line = text.lines().rev().nth(2).expect("a line of the key");
            assert!(!is_anywhere(line, &session.store()), "a private key is in the store");
        }
        build(&session, "app", dockerfile, &["--build-context", &contexts, "--no-cache"])
            .fails(1)
            .says(&["\"default\" is required", "--ssh default"]);
    }
}

/// The same with an agent that the user has.
#[test]
fn the_users_agent_is_forwarded() {
    let Some(program) = installed("ssh-agent", "openssh-client") else { return };
    let Some(add) = installed("ssh-add", "openssh-client") else { return };
    let Some(generate) = installed("ssh-keygen", "openssh-client") else { return };
    let Some(session) = Session::with_busybox() else { return };
    let (socket, key) = (session.path("agent"), session.path("key"));
    let agent = Command::new(program).args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
    let _agent = Killed(agent.expect("ssh-agent"));
    let made = Command::new(generate).args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status();
    assert!(made.expect("ssh-keygen").success());
    // The socket's file is there a moment before anybody listens on it.
    eventually(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let added = Command::new(&add).arg(&key).env("SSH_AUTH_SOCK", &socket).stderr(Stdio::null()).status();
    assert!(added.expect("ssh-add").success());
    with_libraries(&add, &session.path("app/add"));
    let context = session.context("app", "FROM busybox\nCOPY add /\nRUN --mount=type=ssh ssh-add -l && ! ssh-add -D\n");
    let mut command = session.command();
    command.args(["build", "--ssh", "default", context.to_str().unwrap()]).env("SSH_AUTH_SOCK", &socket);
    Ran::from(command.output().expect("run kiln")).ok().says(&["(ED25519)"]);
    session.kiln(["build", "--ssh", "default", context.to_str().unwrap()]).fails(1).says(&["SSH_AUTH_SOCK"]);
}

/// Rules A138, A139, C021, C031, F016, F032: what a step asks for beyond the usual needs somebody's consent.
#[test]
fn networks_and_privileges_are_asked_for() {
    let Some(session) = Session::with_busybox() else { return };
    let none = "FROM busybox\nRUN --network=none ls /sys/class/net > /net\n";
    build(&session, "none", none, &[]).ok();
    assert_eq!(session.run("none", "cat /net"), "lo\n");
    let host = "FROM busybox\nRUN --network=host true\n";
    build(&session, "host", host, &[]).fails(1).says(&["Dockerfile:2", "--allow network.host"]);
    build(&session, "host", host, &["--allow", "network.host"]).ok();
    build(&session, "host", host, &["--network", "host"]).ok();
    let insecure = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /caps\n";
    build(&session, "insecure", insecure, &[]).fails(1).says(&["--allow security.insecure"]);
    build(&session, "insecure", insecure, &["--allow", "security.insecure"]).ok();
    if is_root() {
        assert!(!session.run("insecure", "cat /caps").contains("00000000a80425fb"));
    }
    let device = "FROM busybox\nRUN --device=vendor.com/gpu=all true\n";
    build(&session, "device", device, &[]).fails(1).says(&["Dockerfile:2", "--device"]);
    build(&session, "net", "FROM busybox\nRUN true\n", &["--network", "bridge0"]).says(&["--network bridge0"]);
}

/// Rules C028 to C030, C058, C061, C062, F026, F027: what a command of the shell says of all steps.
#[test]
fn flags_of_the_build_reach_every_step() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN ulimit -n > /nofile; df -m /dev/shm | tail -1 > /shm; cat /etc/hosts > /h; \
                      cat /etc/resolv.conf > /r; id > /id; grep -E 'CapBnd|NoNewPrivs' /proc/self/status > /caps; cat /vol/f > /v\n";
    session.write("vol/f", "volume\n");
    let volume = format!("{}:/vol:ro", session.path("vol").display());
    let flags = [
        "--ulimit",
        "nofile=64:128",
        "--shm-size",
        "16m",
        "--add-host",
        "one:10.1.2.3",
        "--add-host",
        "me=host-gateway",
        "--dns",
        "10.9.8.7",
        "--dns-search",
        "example.org",
        "--group-add",
        "44",
        "--cap-drop",
        "all",
        "--cap-add",
        "chown",
        "--security-opt",
        "no-new-privileges",
        "-v",
        &volume,
    ];
    build(&session, "app", dockerfile, &["--memory-swap", "64m"]).fails(1).says(&["--memory-swap needs --memory"]);
    build(&session, "app", dockerfile, &flags).ok();
    let seen = session.run("app", "tail -n 99 /nofile /shm /h /r /id /caps /v");
    for word in [
        "64\n",
        " 16 ",
        "10.1.2.3\tone",
        "\tme",
        "nameserver 10.9.8.7",
        "search example.org",
        "44",
        "NoNewPrivs:\t1",
        "CapBnd:\t0000000000000001",
        "volume",
    ] {
        assert!(seen.contains(word), "no {word:?} in\n{seen}");
    }
    let mut moved = flags;
    moved[5] = "one:10.3.2.1";
    let again = build(&session, "app", dockerfile, &moved).ok();
    assert!(!again.stderr.contains("runs because"), "an address is in no key (rule D002): {}", again.stderr);
    for (flag, value) in
        [("--ulimit", "nofile=9:8"), ("--cap-add", "nosuch"), ("--resource", "cpus=1"), ("--allow", "all")]
    {
        assert_ne!(build(&session, "bad", "FROM busybox\n", &[flag, value]).code, 0, "{flag} {value}");
    }
}

/// Rules C054, F024, F028: limits of memory hold, and a step that meets one is told apart.
#[test]
fn a_step_that_needs_too_much_memory_says_so() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let greedy = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=64M count=1\n";
    for flags in [&["-m", "16m"][..], &["--resource", "memory=16m"]] {
        let ran = build(&session, "app", greedy, flags);
        if ran.stderr.contains("cannot limit memory") {
            eprintln!("skipped: no memory controller here");
            return;
        }
        ran.fails(1).says(&["Dockerfile:2", "out of memory"]);
    }
    build(&session, "app", "FROM busybox\nRUN true\n", &["-m", "16m", "--cpu-quota", "50000", "--cpuset-cpus", "0"])
        .ok();
}

/// Rules A077, F017: proxies are seen, and are in no key and no history.
#[test]
fn proxies_are_seen_and_decide_nothing() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN env | grep -i proxy | sort > /dev/stderr\n";
    let seen = build(&session, "app", dockerfile, &["--build-arg", "https_proxy=http://one:1"]).ok();
    seen.says(&["HTTPS_PROXY=http://one:1", "https_proxy=http://one:1"]);
    session.write(".docker/config.json", r#"{"proxies":{"default":{"httpProxy":"http://two:2","noProxy":"local"}}}"#);
    let again = build(&session, "app", dockerfile, &[]).ok();
    assert!(!again.stderr.contains("runs because"), "{}", again.stderr);
    build(&session, "app", dockerfile, &["--no-cache"]).ok().says(&["http_proxy=http://two:2", "NO_PROXY=local"]);
    let history = session.kiln(["history", "--no-trunc", "app"]).ok().stdout;
    let config = session.kiln(["inspect", "app"]).ok().stdout;
    assert!(!history.contains("two:2") && !config.contains("two:2"), "{history}{config}");
}

/// Rules A130, A142 to A144, A154, F018 to F021, F042: as whom, where, with what, and how a command runs.
#[test]
fn a_command_is_who_and_where_it_should_be() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\n\
         RUN printf 'app:x:500:501::/home/app:/bin/sh\\n' >> /etc/passwd && printf 'app:x:501:\\nextra:x:77:app\\n' >> /etc/group\n\
         RUN [\"busybox\", \"test\", \"$HOME\", \"=\", \"$HOME\"]\n\
         RUN test $(umask) = 0022 && test $HOME = /root && test -z \"$TERM\" && test $PWD = / && ! read line && ! test -t 1\n\
         USER app\nWORKDIR /home/app\n\
         RUN test \"$(id -u):$(id -g) $(id -G)\" = '500:501 501 77' && test $HOME = /home/app && touch mine\n\
         USER app:extra\nRUN test \"$(id -u):$(id -G)\" = 500:77\n\
         USER 12:34\nRUN test \"$(id -u):$(id -G)\" = 12:34 && test $HOME = /\n\
         USER 0\nSHELL [\"/bin/busybox\", \"sh\", \"-ec\"]\nRUN false || true; test $0 = sh || true\n\
         RUN <<EOF\nx=5\ntest $x = 5\nEOF\n\
         RUN <<EOF cat > /doc\nbody\nEOF\n\
         RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/awk\" }\nEOF\n";
    build(&session, "app", dockerfile, &[]).ok();
    let left = session.run("app", "cat /doc /awk; stat -c %u:%g /home/app/mine");
    assert_eq!(left, "body\nawk\n500:501\n");
    let nobody = "FROM busybox\nUSER nobody\nRUN true\n";
    build(&session, "nobody", nobody, &[]).fails(1).says(&["Dockerfile:3", "nobody"]);
}

/// Rules A141, F024: how a step ended, where it stands, its last words, and where all of them are.
#[test]
fn a_failed_step_says_all_that_is_known() {
    let Some(session) = Session::with_busybox() else { return };
    for (command, words) in [
        ("echo last words; exit 7", &["Dockerfile:2", "exit code: 7", "last words", "the whole log: "][..]),
        ("sh -c 'kill -9 $$'; exit $?", &["exit code: 137"]),
        ("nosuchprogram", &["exit code: 127", "not found"]),
    ] {
        let dockerfile = format!("FROM busybox\nRUN {command}\n");
        build(&session, "app", &dockerfile, &[]).fails(1).says(words);
    }
    let exec = "FROM busybox\nRUN [\"nosuchprogram\"]\n";
    build(&session, "exec", exec, &[]).fails(1).says(&["Dockerfile:2", "nosuchprogram"]);
    assert!(fs::read_dir(session.store().join("tmp")).map_or(0, Iterator::count) <= 1, "litter is left");
}

/// A base without /dev, /proc and /sys has them, empty, after a RUN, as with BuildKit; what is mounted there is gone.
#[test]
fn kernel_directories_stay_empty() {
    let Some(session) = Session::with_busybox() else { return };
    build(&session, "app", "FROM busybox\nRUN echo x > /run-was-here\n", &[]).ok();
    session.kiln(["save", "-o", "app.tar", "app"]).ok();
    let archive = session.path("out");
    fs::create_dir_all(&archive).unwrap();
    let unpacked = Command::new("tar").args(["-xf", "app.tar", "-C", "out"]).current_dir(session.path(".")).status();
    assert!(unpacked.expect("tar").success());
    let layers = Command::new("sh")
        .arg("-c")
        .arg("find . -type f | while read f; do tar -tf $f 2>/dev/null; done | sort -u")
        .current_dir(archive)
        .output()
        .expect("tar");
    let names = String::from_utf8_lossy(&layers.stdout).into_owned();
    for name in ["dev/", "proc/", "sys/", "run-was-here"] {
        assert!(names.lines().any(|line| line == name), "no {name} in\n{names}");
    }
    assert!(!names.lines().any(|line| line.starts_with("dev/") && line != "dev/"), "{names}");
    for name in ["etc/resolv.conf", "etc/hosts", "etc/hostname"] {
        assert!(!names.lines().any(|line| line == name), "{name} is left");
    }
}

/// Copies a program to a root filesystem, with the libraries that it wants.
fn with_libraries(program: &Path, root: &Path) {
    let listed = Command::new("ldd").arg(program).output().expect("ldd").stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(program.to_str()) {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a parent")).expect("directories");
        fs::copy(file, to).expect("copy a library");
    }
}

/// A process that goes with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}
