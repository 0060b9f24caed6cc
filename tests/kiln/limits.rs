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
