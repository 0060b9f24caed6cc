//! Limits of containers: what the cgroup's files then say, on either version, and what exceeding one does.

use crate::session::{Session, is_root};

/// A file of the container's cgroup: version 1's, else version 2's.
fn look(one: &str, two: &str) -> String {
    format!("cat /sys/fs/cgroup/{one} 2>/dev/null || cat /sys/fs/cgroup/{two}")
}

#[test]
fn limits_are_in_the_cgroup() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    for (flags, one, two, expected) in [
        (&["-m", "64m"][..], "memory/memory.limit_in_bytes", "memory.max", &["67108864"][..]),
        (&["--memory-reservation", "32m"], "memory/memory.soft_limit_in_bytes", "memory.low", &["33554432"]),
        (
            &["--cpu-quota", "20000", "--cpu-period", "50000"],
            "cpu/cpu.cfs_quota_us",
            "cpu.max",
            &["20000", "20000 50000"],
        ),
        (&["--cpu-period", "50000"], "cpu/cpu.cfs_period_us", "cpu.max", &["50000", "max 50000"]),
        (&["--cpuset-mems", "0"], "cpuset/cpuset.mems", "cpuset.mems", &["0"]),
        (&["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "cpuset.cpus", &["0"]),
        (&["--pids-limit", "77"], "pids/pids.max", "pids.max", &["77"]),
    ] {
        let script = look(one, two);
        let head = ["run", "--rm", "--network=none"];
        let ran = session.kiln(head.iter().chain(flags).chain(&["busybox", "sh", "-c", &script])).ok();
        assert!(expected.contains(&ran.stdout.trim()), "{flags:?}: {}", ran.stdout);
    }
    session.kiln(["run", "--cpus", "1", "--cpu-quota", "5000", "busybox"]).fails(125).says(&["cannot be used with"]);
}

#[test]
fn too_much_memory_is_reported() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let eat = "x=0123456789abcdef; while :; do x=$x$x; done";
    session.kiln(["run", "--name", "eater", "--network=none", "-m", "16m", "busybox", "sh", "-c", eat]).fails(137);
    let state = session.kiln(["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "eater"]).ok();
    assert_eq!(state.stdout.trim(), "true 137");
}

/// Rules H027 and H028 and Docker's reference: limits that few ask for; what the machine's cgroups do not have is refused.
#[test]
fn fine_limits() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for (flags, one, expected) in [
        (&["--memory-swappiness", "10"][..], "memory/memory.swappiness", "10"),
        (&["-m", "64m", "--oom-kill-disable"], "memory/memory.oom_control", "oom_kill_disable 1"),
        (&["--cpu-rt-runtime", "1000"], "cpu/cpu.rt_runtime_us", "1000"),
        (&["--blkio-weight", "300"], "blkio/blkio.bfq.weight", "300"),
    ] {
        let script = look(one, "io.bfq.weight");
        let ran = session.once(&[flags, &["busybox", "sh", "-c", &script]].concat());
        match ran.code {
            0 if !is_v2 || one.starts_with("blkio") => {
                assert!(ran.stdout.contains(expected), "{flags:?} {}", ran.stdout)
            }
            _ => drop(ran.fails(125).says(&["cannot limit"])),
        }
    }
    for (flags, complaint) in [
        (&["--device-read-bps", "/dev/null:1mb"][..], "/dev/null is no disk"),
        (&["--device-write-iops", "/dev/sda"], "PATH:NUMBER"),
        (&["--cgroup-parent", "/a/../b"], "without dots"),
        (&["--blkio-weight", "5"], "10 to 1000"),
        (&["--memory-swappiness", "101"], "101"),
        (&["--kernel-memory", "50m"], "the kernel has no such limit any more"),
    ] {
        session.once(&[flags, &["busybox", "true"]].concat()).fails(125).says(&[complaint]);
    }
    let parent = format!("/{}", session.name());
    let created = ["create", "--name", "below", "--cgroup-parent", &parent, "--device-read-bps", "/dev/sda:1mb"];
    session.kiln(created.iter().chain(&["busybox", "true"])).ok();
    let written = session.field("below", "{{.HostConfig.CgroupParent}} {{json .HostConfig.BlkioDeviceReadBps}}");
    assert_eq!(written, format!(r#"{parent} [{{"Path":"/dev/sda","Rate":1048576}}]"#));
}

/// The cgroup above is made if it is not there, and stays, as Docker's does.
#[test]
fn a_cgroup_above() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let parent = format!("/{}", session.name());
    let script = "cat /proc/self/cgroup";
    let shown = session.once(&["--cgroup-parent", &parent, "--cgroupns", "host", "busybox", "sh", "-c", script]).ok();
    assert!(shown.stdout.contains(&format!("{parent}/kiln-")), "{}", shown.stdout);
    let mut made = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    made.extend(std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten().map(|entry| entry.path()));
    for hierarchy in made {
        let _not_in_this_one = std::fs::remove_dir(hierarchy.join(&parent[1..]));
    }
}

/// Limits of a container that runs, and what they are from the next start on.
#[test]
fn limits_are_changed() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    session.background(&["--net=none", "--name", "box", "-m", "64m", "busybox", "sleep", "3600"]);
    let script = look("memory/memory.limit_in_bytes", "memory.max");
    let limit =
        || session.kiln(["exec", "box", "sh", "-c", &script]).ok().stdout.trim().parse::<u64>().expect("a number");
    for megabytes in [256, 32] {
        session.kiln(["update", "-m", &format!("{megabytes}m"), "box"]).ok();
        assert_eq!(limit(), megabytes << 20);
        assert_eq!(session.field("box", "{{.HostConfig.Memory}}"), (megabytes << 20).to_string());
    }
    session.kiln(["update", "-m", "1m", "box"]).fails(1).says(&["6m"]);
    session.kiln(["update", "box"]).fails(1).says(&["nothing to change"]);
    session.kiln(["update", "--pids-limit", "33", "--restart", "always", "box"]).ok();
    assert_eq!(session.field("box", "{{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}"), "33 always");
    session.kiln(["restart", "-t", "0", "box"]).ok();
    assert_eq!(limit(), 32 << 20);
}
