//! Flags of `run` that are not about its mounts or its network, and the filters of `ps`.

use crate::session::{Session, is_root};

#[test]
fn swap_is_limited_as_docker_does() {
    // features.md H027: swap is as much as memory unless told otherwise; -1 is no limit, 0 says nothing, and the
    // sum is never less than the memory alone.
    let Some(session) = Session::with_busybox() else { return };
    for (flags, complaint) in [
        (&["-m", "64m", "--memory-swap", "32m"][..], "--memory-swap is less than --memory"),
        (&["--memory-swap", "64m"], "--memory-swap needs --memory"),
        (&["-m", "64m", "--memory-reservation", "65m"], "--memory-reservation is more"),
        (&["-m", "64m", "--memory-swap", "x"], "invalid size"),
    ] {
        session.once(&[flags, &["busybox", "true"]].concat()).fails(125).says(&[complaint]);
    }
    let limit = |flags: &[&str]| {
        // On version 1 memory and swap, on version 2 swap alone; nothing where swap is not counted.
        let script =
            "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/memory.swap.max 2>/dev/null; true";
        session.once(&[&["-m", "64m"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let usual = limit(&[]);
    if usual.code != 0 || usual.stdout.is_empty() {
        eprintln!("skipped: swap cannot be limited here: {}", usual.stderr);
        return;
    }
    let is_v2 = usual.stdout.trim() == (64 << 20).to_string();
    assert!(is_v2 || usual.stdout.trim() == (128 << 20).to_string(), "{}", usual.stdout);
    assert_eq!(limit(&["--memory-swap", "0"]).ok().stdout, usual.stdout);
    let unlimited = limit(&["--memory-swap", "-1"]).ok().stdout;
    let is_unlimited = unlimited.trim() == "max" || unlimited.trim().parse::<u64>().is_ok_and(|bytes| bytes > 1 << 50);
    assert!(is_unlimited, "{unlimited}");
    let total = limit(&["--memory-swap", "96m"]).ok().stdout;
    let expected: u64 = if is_v2 { 32 << 20 } else { 96 << 20 };
    assert_eq!(total.trim(), expected.to_string());
}

#[test]
fn oom_scores() {
    // features.md H030: the score that the kernel's killer goes by, also for further commands.
    let Some(session) = Session::with_busybox() else { return };
    let script = "cat /proc/self/oom_score_adj";
    assert_eq!(session.once(&["--oom-score-adj", "321", "busybox", "sh", "-c", script]).ok().stdout, "321\n");
    session.once(&["--oom-score-adj", "1001", "busybox", "true"]).fails(125).says(&["1001"]);
}

#[test]
fn labels_of_files() {
    // features.md H036: a label a line, raw; the command line wins.
    let Some(session) = Session::with_busybox() else { return };
    session.write("labels", "# none\na=1\nb=of file\nbare\n");
    let flags = ["create", "--name", "labelled", "--label-file", "labels", "-l", "a=2", "busybox", "true"];
    session.kiln(flags).ok();
    let labels = session.field("labelled", "{{json .Config.Labels}}");
    assert_eq!(labels, r#"{"a":"2","b":"of file","bare":""}"#);
    session.kiln(["create", "--label-file", "nosuch", "busybox", "true"]).fails(1).says(&["nosuch"]);
}

#[test]
fn containers_by_age_network_and_port() {
    // features.md H051: Docker's filters; several of one kind are alternatives.
    let Some(session) = Session::with_busybox() else { return };
    session.kiln(["create", "--name", "old", "--net", "none", "busybox", "true"]).ok();
    session.kiln(["create", "--name", "mid", "--expose", "7000-7002/udp", "busybox", "true"]).ok();
    session.kiln(["create", "--name", "new", "-p", "127.0.0.1::80", "busybox", "true"]).ok();
    for (filters, expected) in [
        (&["before=mid"][..], "old"),
        (&["since=mid"], "new"),
        (&["since=old", "network=bridge"], "new mid"),
        (&["network=none"], "old"),
        (&["network=none", "network=bridge"], "new mid old"),
        (&["publish=80"], "new"),
        (&["publish=80/udp"], ""),
        (&["expose=7001/udp"], "mid"),
        (&["expose=79-81"], "new"),
        (&["is-task=false"], "new mid old"),
        (&["is-task=true"], ""),
    ] {
        let filters = filters.iter().flat_map(|filter| ["-f", filter]);
        let listed = session.kiln(["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(filters.clone())).ok();
        let names: Vec<&str> = listed.stdout.lines().collect();
        assert_eq!(names.join(" "), expected, "{:?}", filters.collect::<Vec<_>>());
    }
    session.kiln(["ps", "-a", "-f", "before=nosuch"]).fails(1).says(&["no such container: nosuch"]);
}

#[test]
fn root_of_the_host_s_users_makes_no_devices() {
    // features.md F009: of a closed container's /dev only the usual nodes work, whatever else root makes there.
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let script = "echo usual > /dev/null && head -c 3 /dev/zero | wc -c && ls -l /dev/tty | cut -c1-10; \
                  for place in /dev /tmp; do mknod $place/own c 1 5 && head -c 1 $place/own 2>&1 | grep -c denied; done";
    for flags in [&["--userns", "host"][..], &["--net", "host"]] {
        let said = session.once(&[flags, &["busybox", "sh", "-c", script]].concat()).ok();
        assert_eq!(said.stdout, "3\ncrw-rw-rw-\n1\n1\n", "{flags:?} {}", said.stderr);
    }
}

#[test]
fn devices_of_the_host() {
    // features.md H032: a device, or all in a directory, under its own or another name, for less than everything.
    let Some(session) = Session::with_busybox() else { return };
    let script = "head -c 3 /dev/nil | wc -c; ls /dev/nil";
    let said = session.once(&["--device", "/dev/zero:/dev/nil", "busybox", "sh", "-c", script]).ok();
    assert_eq!(said.stdout, "3\n/dev/nil\n");
    for (device, complaint) in [
        ("/dev/nosuch", "/dev/nosuch is no device"),
        ("/etc/passwd", "/etc/passwd is no device"),
        ("/dev/null:/dev/x:rwx", "PATH[:TARGET][:rwm]"),
        ("vendor.com/class=name", "Container Device Interface"),
    ] {
        session.once(&["--device", device, "busybox", "true"]).fails(125).says(&[complaint]);
    }
    session.kiln(["create", "--name", "with", "--device", "/dev/zero:/dev/nil:r", "busybox", "true"]).ok();
    let devices = session.field("with", "{{json .HostConfig.Devices}}");
    assert_eq!(devices, r#"[{"CgroupPermissions":"r","PathInContainer":"/dev/nil","PathOnHost":"/dev/zero"}]"#);
    if !is_root() {
        return;
    }
    // Root inside owns what root outside does.
    let pool = ["--device", "/dev/pts:/dev/pool", "busybox", "stat", "-c", "%u %F", "/dev/pool/ptmx"];
    assert_eq!(session.once(&pool).ok().stdout, "0 character special file\n");
    let script = "exec 3>/dev/own && echo writes; exec 4</dev/own";
    let said = session.once(&["--device", "/dev/kmsg:/dev/own:w", "busybox", "sh", "-c", script]);
    if said.code == 125 {
        // Version 2 of cgroups has no such file.
        said.says(&["cannot limit what devices"]);
    } else {
        said.fails(1).prints(&["writes\n"]).says(&["Operation not permitted"]);
    }
}
