//! The same box for an ordinary user. The user `kiln-test` is made if it does not exist.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use run::sandbox::{Rootfs, Spec};

use crate::world::World;

/// The example that runs a box from a file, as cargo has built it beside this test.
fn program() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let program = test.parent()?.parent()?.join("examples/box");
    program.exists().then_some(program)
}

fn user() -> Option<u32> {
    let find = || {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        passwd.lines().find_map(|line| line.strip_prefix("kiln-test:")?.split(':').nth(1)?.parse().ok())
    };
    find().or_else(|| {
        Command::new("useradd").args(["--system", "--shell", "/bin/sh", "kiln-test"]).status().ok()?;
        find()
    })
}

fn run_as_user(world: &World, script: &str) -> Option<Output> {
    let (Some(program), Some(uid)) = (program(), user()) else {
        eprintln!("skipped: no user kiln-test, or the example `box` is not built");
        return None;
    };
    let spec = Spec { rootfs: Rootfs::Directory { path: world.path("lower") }, ..world.shell(script) };
    fs::write(world.path("spec.json"), serde_json::to_vec(&spec).expect("json")).expect("a file");
    fs::copy(program, world.path("box")).expect("a copy");
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    let chown = Command::new("chown").args(["-R", "kiln-test:"]).arg(world.path("lower")).status();
    assert!(chown.is_ok_and(|status| status.success()));
    let gid = fs::metadata(world.path("lower")).map(|metadata| std::os::unix::fs::MetadataExt::gid(&metadata)).ok()?;
    let output = Command::new(world.path("box"))
        .arg(world.path("spec.json"))
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .output()
        .ok()?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("user namespace") {
        eprintln!("skipped: {complaint}");
        return None;
    }
    Some(output)
}

/// Rules F035, F038.
#[test]
fn a_user_s_box_has_a_root() {
    let Some(world) = World::new() else { return };
    let Some(output) = run_as_user(&world, "id -u; echo x >/made; cat /proc/self/limits | grep -c 'processes *4096'")
    else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n", "{output:?}");
    assert!(world.path("lower/made").exists());
}
