//! Limits hold, and are only ever lowered.

use run::sandbox::{Exit, Limits, PidsLimit, Rlimit, SandboxError, Spec};

use crate::world::World;

fn limited(world: &World, limits: Limits, script: &str) -> Option<crate::world::Said> {
    match world.run(&Spec { limits, ..world.shell(script) }) {
        Err(error @ SandboxError::Limit { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        said => Some(said.expect("it runs")),
    }
}

#[test]
fn processes() {
    let Some(world) = World::new() else { return };
    let limits = Limits { pids: PidsLimit::Max(8), ..Limits::default() };
    let script = "i=0; while [ $i -lt 20 ]; do sleep 600 & i=$((i+1)); done 2>&1";
    let Some(said) = limited(&world, limits, script) else { return };
    assert!(said.stdout.contains("can't fork"), "{said:?}");
}

#[test]
fn memory() {
    let Some(world) = World::new() else { return };
    let limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
    let script = "exec /bin/busybox dd if=/dev/zero of=/dev/null bs=64M count=1";
    let Some(said) = limited(&world, limits.clone(), script) else { return };
    assert_eq!((said.outcome.exit, said.outcome.oom_killed), (Exit::Signal(9), true), "{said:?}");
    let said = limited(&world, limits, "true").expect("limits work");
    assert!(!said.outcome.oom_killed && said.outcome.usage.peak_memory_bytes.is_some_and(|peak| peak < 16 << 20));
}

#[test]
fn processor() {
    let Some(world) = World::new() else { return };
    let limits =
        Limits { milli_cpus: Some(500), cpu_shares: Some(512), cpuset: Some("0".to_owned()), ..Limits::default() };
    let Some(said) = limited(&world, limits, "grep Cpus_allowed_list /proc/self/status") else { return };
    assert_eq!(said.stdout, "Cpus_allowed_list:\t0\n");
    let limits = Limits {
        cpu_quota_us: Some(20_000),
        cpu_period_us: Some(50_000),
        cpuset_mems: Some("0".to_owned()),
        ..Limits::default()
    };
    let script = "c=/sys/fs/cgroup; cat $c/cpu.max $c/cpu/cpu.cfs_*_us $c/cpu,cpuacct/cpu.cfs_*_us 2>/dev/null; true";
    let Some(said) = limited(&world, limits, script) else { return };
    assert!(["20000 50000\n", "50000\n20000\n"].iter().any(|limits| said.stdout.contains(limits)), "{said:?}");
}

/// Rule F026.
#[test]
fn resource_limits_are_lowered_only() {
    let Some(world) = World::new() else { return };
    let mut spec = world.shell("ulimit -n; ulimit -H -n");
    let nofile = |soft, hard| vec![Rlimit { name: "nofile".to_owned(), soft, hard }];
    spec.rlimits = nofile(Some(100), Some(200));
    assert_eq!(world.prints(&spec), "100\n200\n");
    spec.rlimits = nofile(None, None);
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.expect("a limit");
    assert_eq!(world.prints(&spec), format!("{own}\n{own}\n"));
    // Standard input, output and error are open by then, and kiln needs no more.
    spec.rlimits = nofile(Some(3), Some(3));
    assert_eq!(world.prints(&spec), "3\n3\n");
    spec.rlimits = nofile(Some(4), Some(3));
    assert!(matches!(world.run(&spec), Err(SandboxError::SoftAboveHard(_))));
    spec.rlimits = vec![Rlimit { name: "nosuch".to_owned(), soft: None, hard: None }];
    assert!(matches!(world.run(&spec), Err(SandboxError::UnknownRlimit(_))));
}
