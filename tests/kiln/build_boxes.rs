//! Flags of `kiln build` about the box of its RUN steps: namespaces, devices, cgroups, the files of `/etc`. The rules
//! are those of docs/dockerfile.md, sections "Flags of the build" and "Rules".

use crate::build_flags::build;
use crate::session::{Session, User, is_root};

/// A session of root, and one of an ordinary user.
fn everybody() -> Vec<Session> {
    let own = Session::with_busybox();
    let other = is_root().then(|| Session::of_user(User { uid: 61_003, gid: 61_003 }).and_busybox()).flatten();
    own.into_iter().chain(other).collect()
}

/// Rule C062: the files that kiln writes into `/etc` can stay the image's, one by one.
#[test]
fn files_of_etc_stay_the_image_s() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM base\nRUN cd /etc; cat hosts hostname resolv.conf > /seen; true\n");
    for name in ["hosts", "hostname", "resolv.conf"] {
        session.write(&format!("base/etc/{name}"), format!("{name} of the image\n"));
    }
    build(&session, "base", "FROM busybox\nCOPY etc /etc/\n", &[]).ok();
    let seen = |flags: &[&str]| {
        session.kiln(["build", "-t", "app", context.to_str().expect("UTF-8")].iter().chain(flags)).ok();
        let seen = session.run("app", "cat /seen");
        ["hosts", "hostname", "resolv.conf"].map(|name| seen.contains(&format!("{name} of the image\n")))
    };
    assert_eq!(seen(&[]), [false, false, false]);
    assert_eq!(seen(&["--no-hosts"]), [true, false, false]);
    assert_eq!(seen(&["--no-hostname"]), [false, true, false]);
    assert_eq!(seen(&["--dns", "none"]), [false, false, true]);
    assert_eq!(seen(&["--no-hosts", "--no-hostname", "--dns=none"]), [true, true, true]);
    build(&session, "x", "FROM busybox\n", &["--no-hosts", "--add-host", "a:10.0.0.1"]).fails(1).says(&["--add-host"]);
    build(&session, "x", "FROM busybox\n", &["--dns=none", "--dns-search", "a"]).fails(1).says(&["--dns=none"]);
}

/// Rule C062: proxies of the environment reach commands unless the build says otherwise; those of the command line do.
#[test]
fn proxies_of_the_environment_can_stay_outside() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM busybox\nRUN env | grep -i proxy > /dev/stderr; true\n");
    let context = context.to_str().expect("UTF-8");
    let seen = |flags: &[&str]| {
        let arguments = ["build", "--no-cache", "--progress=plain", context];
        let ran = session.command().env("http_proxy", "http://of-environment:1").args(arguments).args(flags).output();
        String::from_utf8_lossy(&ran.expect("kiln runs").stderr).into_owned()
    };
    assert!(seen(&[]).contains("HTTP_PROXY=http://of-environment:1"));
    assert!(seen(&["--http-proxy"]).contains("http_proxy=http://of-environment:1"));
    let kept_out = seen(&["--http-proxy=false", "--build-arg", "https_proxy=http://given:1"]);
    assert!(kept_out.contains("HTTPS_PROXY=http://given:1") && !kept_out.contains("of-environment"), "{kept_out}");
}

/// Rules C060, C063: what kiln does anyway is accepted by its names, and what it does not is refused by its name.
#[test]
fn namespaces_are_each_step_s_own() {
    for session in everybody() {
        let ids = "FROM busybox\nRUN cat /proc/self/uid_map > /map\n";
        let own = ["--isolation=oci", "--userns=private", "--pid=private", "--ipc=container", "--uts=private"];
        build(&session, "app", ids, &own).ok();
        let again = build(&session, "app", ids, &["--isolation=rootless", "--cgroupns=private"]).ok();
        assert!(!again.stderr.contains("runs because"), "they change nothing: {}", again.stderr);
        let host = build(&session, "app", ids, &["--userns=host"]).ok();
        host.says(&["runs because users is new"]);
        for (flag, words) in [
            ("--isolation=chroot", "--isolation=chroot is not supported"),
            ("--isolation=x", "--isolation=x is not supported"),
            ("--userns=keep-id", "--userns=keep-id is not supported"),
            ("--pid=container:x", "--pid=container:x is not supported"),
            ("--ipc=/proc/1/ns/ipc", "--ipc=/proc/1/ns/ipc is not supported"),
        ] {
            build(&session, "bad", "FROM busybox\n", &[flag]).fails(1).says(&[words]);
        }
    }
}

/// Rule C063: namespaces can be the host's, and what a step started does not outlive it there either.
#[test]
fn namespaces_can_be_the_host_s() {
    let names: Vec<String> = ["uts", "ipc", "pid", "cgroup"].map(|name| format!("/proc/self/ns/{name}")).into();
    let own: Vec<_> = names.iter().map(|name| std::fs::read_link(name).expect("a namespace")).collect();
    for session in everybody() {
        let dockerfile = format!("FROM busybox\nRUN readlink {} > /ns; sleep 7654 & true\n", names.join(" "));
        for (flag, place) in [("--uts=host", 0), ("--ipc=host", 1), ("--pid=host", 2), ("--cgroupns=host", 3)] {
            build(&session, "app", &dockerfile, &[flag]).ok();
            let seen = session.run("app", "cat /ns");
            for (index, (seen, own)) in seen.lines().zip(&own).enumerate() {
                assert_eq!(seen == own.to_str().expect("UTF-8"), index == place, "{flag}: {} is {seen}", names[index]);
            }
        }
    }
}

/// Rule C063: with the host's users root inside is root outside.
#[test]
fn users_can_be_the_host_s() {
    let Some(session) = Session::with_busybox().filter(|_| is_root()) else { return };
    let dockerfile = "FROM busybox\nRUN test $(awk '{ print $2 }' /proc/self/uid_map) = 0 && touch /mine\n";
    build(&session, "app", dockerfile, &[]).fails(1);
    build(&session, "app", dockerfile, &["--userns", "host"]).ok();
    assert_eq!(session.run("app", "stat -c %u:%g /mine"), "0:0\n");
}

/// Rule C053: the cgroups of steps are where they are asked to be, which is in no key.
#[test]
fn cgroups_of_steps_have_a_parent() {
    let Some(session) = Session::with_busybox().filter(|_| is_root()) else { return };
    let parent = format!("/{}", session.name());
    let dockerfile = "FROM busybox\nRUN cat /proc/self/cgroup > /seen\n";
    let ran = build(&session, "app", dockerfile, &["--cgroupns=host", "--cgroup-parent", &parent]);
    let again = build(&session, "app", dockerfile, &["--cgroupns=host"]);
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _not_in_this_one = std::fs::remove_dir(hierarchy.path().join(&parent[1..]));
    }
    let _not_version_two = std::fs::remove_dir(format!("/sys/fs/cgroup{parent}"));
    ran.ok();
    assert!(!again.ok().stderr.contains("runs because"));
    assert!(session.run("app", "cat /seen").contains(&format!("{parent}/kiln-")));
    let outside = build(&session, "app", dockerfile, &["--cgroup-parent", "/a/../b"]).fails(125);
    outside.says(&["without dots"]);
}

/// Rule C062: a device node is there for commands, works as far as its permissions go, and is not in the image.
#[test]
fn devices_are_seen_by_every_step() {
    for session in everybody() {
        let dockerfile = "FROM busybox\nRUN test -c /dev/nothing && echo x > /dev/nothing && test -c /etc/zero && \
                          test $(head -c 3 /etc/zero | wc -c) = 3\n";
        let flags = ["--device", "/dev/null:/dev/nothing", "--device=/dev/zero:/etc/zero:rwm"];
        build(&session, "app", dockerfile, &flags).ok();
        assert_eq!(session.run("app", "ls /dev/nothing /etc/zero 2>/dev/null; true"), "");
        build(&session, "bad", "FROM busybox\n", &["--device", "vendor.com/gpu=all"]).fails(1).says(&["gpu=all"]);
    }
}
