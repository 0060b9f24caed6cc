//! A command runs, sees its box, and ends.

use run::sandbox::{Exit, Rootfs, SandboxError, Spec};

use crate::world::World;

#[test]
fn a_command_runs_and_ends() {
    let Some(world) = World::new() else { return };
    assert_eq!(
        world.prints(&world.shell("echo hello; id -u; cat /proc/self/uid_map")),
        "hello\n0\n         0 2147483648 2147483647\n"
    );
}

#[test]
fn root_s_box_lacks_nothing() {
    let Some(world) = World::new() else { return };
    let said = world.run(&world.shell("echo out; echo err >&2")).expect("it runs");
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(said.notices, Vec::<String>::new());
}

#[test]
fn a_directory_is_a_root_too() {
    let Some(world) = World::new() else { return };
    let rootfs = Rootfs::Directory { path: world.path("lower") };
    let spec = Spec::new(rootfs, ["/bin/sh", "-c", "echo x >/new; stat -c %u:%g /new"].map(Into::into).into());
    assert_eq!(world.prints(&spec), "0:0\n");
    assert_eq!(std::fs::read_to_string(world.path("lower/new")).expect("the file"), "x\n");
}

#[test]
fn exits_are_told_apart() {
    let Some(world) = World::new() else { return };
    let exit = |script: &str| world.run(&world.shell(script)).expect("it starts").outcome.exit;
    assert_eq!(exit("exit 3"), Exit::Code(3));
    assert_eq!(exit("sh -c 'kill -9 $$'; exit $?"), Exit::Code(137));
    let missing = Spec::new(world.overlay(), vec!["nosuch".into()]);
    assert!(matches!(world.run(&missing), Err(SandboxError::CommandNotFound { .. })));
}
