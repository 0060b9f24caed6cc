//! What is mounted into a box, and that nothing of it stays.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use run::sandbox::{Access, Mount, Rootfs, SandboxError, Source, Spec, Stdio, start};

use crate::world::World;

fn mount(target: &str, source: Source, access: Access) -> Mount {
    Mount { target: target.into(), source, access }
}

#[test]
fn binds_show_the_host_s_files_with_their_ids() {
    let Some(world) = World::new() else { return };
    let shared = world.path("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("file"), "host\n").expect("a file");
    std::os::unix::fs::chown(shared.join("file"), Some(33), Some(34)).expect("an owner");
    let mut spec = world.shell("stat -c %u:%g /a/file; echo new >/b/made; (echo x >/a/file) 2>/dev/null || echo ro");
    spec.mounts = vec![
        mount("/a", Source::Path { path: shared.clone() }, Access::ReadOnly),
        mount("/b", Source::Path { path: shared.clone() }, Access::ReadWrite),
    ];
    assert_eq!(world.prints(&spec), "33:34\nro\n");
    assert_eq!(fs::metadata(shared.join("made")).expect("the file").uid(), 0);
}

#[test]
fn descriptors_are_sources_too() {
    let Some(world) = World::new() else { return };
    fs::write(world.path("one"), "1\n").expect("a file");
    let mut spec = world.shell("cat /run/one");
    spec.mounts = vec![mount("/run/one", Source::Descriptor { index: 0 }, Access::ReadOnly)];
    let stdout = File::create(world.path("out")).expect("a file");
    let mut stdio =
        Stdio::new(File::open("/dev/null").expect("null"), stdout, File::create(world.path("err")).expect("a file"));
    stdio.mount_sources.push(File::open(world.path("one")).expect("the file").into());
    start(&spec, stdio).expect("it starts").wait().expect("it ends");
    assert_eq!(fs::read_to_string(world.path("out")).expect("output"), "1\n");
}

/// Rule F030.
#[test]
fn secrets_and_tmpfs_live_in_memory() {
    let Some(world) = World::new() else { return };
    let mut spec = world
        .shell("stat -c '%a %u:%g' /run/secrets/key; cat /run/secrets/key; stat -c %a /scratch; echo x >/scratch/x");
    let secret = Source::File { bytes: b"SECRET\n".to_vec(), mode: 0o400, uid: 1000, gid: 1001 };
    spec.mounts = vec![
        mount("/run/secrets/key", secret, Access::ReadOnly),
        mount(
            "/scratch",
            Source::Tmpfs { size_bytes: Some(1 << 20), mode: 0o1777, executables: true },
            Access::ReadWrite,
        ),
    ];
    assert_eq!(world.prints(&spec), "400 1000:1001\nSECRET\n1777\n");
    let left: Vec<_> =
        fs::read_dir(world.path("upper")).expect("upper").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "etc"), "{left:?}");
}

/// Rule F013.
#[test]
fn mount_points_are_gone_afterwards_unless_used() {
    let Some(world) = World::new() else { return };
    let rootfs = Rootfs::Directory { path: world.path("lower") };
    let before = fs::metadata(world.path("lower")).expect("the root");
    let mut spec = Spec::new(rootfs, ["/bin/sh", "-c", "echo kept >/data/other"].map(Into::into).into());
    let tmpfs = || Source::Tmpfs { size_bytes: None, mode: 0o755, executables: true };
    spec.mounts =
        vec![mount("/data/mounted", tmpfs(), Access::ReadWrite), mount("/gone/deep/er", tmpfs(), Access::ReadWrite)];
    let outcome = world.run(&spec).expect("it runs").outcome;
    let stubs: Vec<_> = outcome.stubs.iter().map(|stub| stub.path.as_path()).collect();
    assert_eq!(stubs, [Path::new("data")]);
    assert!(world.path("lower/data/other").exists() && !world.path("lower/data/mounted").exists());
    for name in ["gone", "proc", "sys", "dev", "etc/hosts", "etc/resolv.conf"] {
        assert!(!world.path("lower").join(name).exists(), "{name} stayed");
    }
    assert_ne!(before.mtime_nsec(), -1);
}

#[test]
fn targets_follow_links_inside_only() {
    let Some(world) = World::new() else { return };
    let victim = world.path("victim");
    fs::create_dir(&victim).expect("a victim");
    symlink(&victim, world.path("lower/x")).expect("a link");
    let mut spec = world.shell("echo seen >/x/y/f; ls /x/y");
    let tmpfs = Source::Tmpfs { size_bytes: None, mode: 0o755, executables: true };
    spec.mounts = vec![mount("/x/y", tmpfs.clone(), Access::ReadWrite)];
    assert_eq!(world.prints(&spec), "f\n");
    assert_eq!(fs::read_dir(&victim).expect("the victim").count(), 0);
    spec.mounts = vec![mount("/proc/sys", tmpfs, Access::ReadWrite)];
    assert!(matches!(world.run(&spec), Err(SandboxError::MountTargetRefused { .. })));
    spec.mounts = vec![mount("/m", Source::Path { path: "/nosuch/source".into() }, Access::ReadOnly)];
    assert!(matches!(world.run(&spec), Err(SandboxError::MountSource { .. })));
}

#[test]
fn a_read_only_root_is() {
    let Some(world) = World::new() else { return };
    let spec = Spec {
        rootfs_access: Access::ReadOnly,
        ..world.shell("(echo x >/f) 2>/dev/null || echo ro; echo x >/dev/shm/f")
    };
    assert_eq!(world.prints(&spec), "ro\n");
}

#[test]
fn owners_and_changes_reach_the_upper_directory() {
    let Some(world) = World::new() else { return };
    let script = "echo x >/f; chown 7:8 /f; chmod 4755 /f; rm /etc/group; mkdir /d; ln /f /d/g";
    world.prints(
        &world.shell(
            &script
                .replace("rm ", "/bin/busybox rm ")
                .replace("chown", "/bin/busybox chown")
                .replace("chmod", "/bin/busybox chmod")
                .replace("mkdir", "/bin/busybox mkdir")
                .replace("ln ", "/bin/busybox ln "),
        ),
    );
    let file = fs::metadata(world.path("upper/f")).expect("the file");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777, file.nlink()), (7, 8, 0o4755, 2));
    let whiteout = fs::symlink_metadata(world.path("upper/etc/group")).expect("the whiteout");
    assert_eq!((whiteout.mode() & 0o170_000, whiteout.rdev()), (0o020_000, 0));
}
