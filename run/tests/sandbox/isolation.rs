//! What a box cannot see, reach or do.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};

use run::sandbox::{AbstractSockets, Init, Network, SandboxError, Seccomp, Spec};

use crate::world::World;

/// Rules F003, F004.
#[test]
fn capabilities_are_docker_s() {
    let Some(world) = World::new() else { return };
    let root = world.prints(&world.shell("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status"));
    let set = "00000000a80425fb";
    let none = "0000000000000000";
    let expected = |own: &str| {
        format!(
            "CapInh:\t{none}\nCapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t{set}\nCapAmb:\t{none}\n\
             NoNewPrivs:\t0\nSeccomp:\t2\n"
        )
    };
    assert_eq!(root, expected(set));
    let mut spec = world.shell("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status");
    spec.command.user = "app".to_owned();
    assert_eq!(world.prints(&spec), expected(none));
}

#[test]
fn only_three_descriptors_are_open() {
    let Some(world) = World::new() else { return };
    let listed = world.prints(&world.shell("ls /proc/self/fd"));
    // The fourth is the one that ls reads the directory with.
    assert_eq!(listed, "0\n1\n2\n3\n");
}

/// Rule F007.
#[test]
fn the_kernel_s_secrets_are_hidden() {
    let Some(world) = World::new() else { return };
    let script = "cat /proc/kallsyms /proc/keys /proc/timer_list /proc/interrupts | head -c 1; ls /sys/firmware; \
                  for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do \
                  (echo 1 >$f) 2>/dev/null && echo wrote $f; done; exit 0";
    assert_eq!(world.prints(&world.shell(script)), "");
}

/// Rule F005.
#[test]
fn system_calls_are_filtered() {
    let Some(world) = World::new() else { return };
    let script =
        "mount -t tmpfs x /bin 2>/dev/null && echo mounted; unshare -r true 2>/dev/null && echo unshared; exit 0";
    assert_eq!(world.prints(&world.shell(script)), "");
    let open = Spec { seccomp: Seccomp::Unconfined, ..world.shell("grep Seccomp: /proc/self/status") };
    assert_eq!(world.prints(&open), "Seccomp:\t0\n");
}

#[test]
fn kiln_itself_cannot_be_executed() {
    let Some(world) = World::new() else { return };
    let spec = Spec::new(world.overlay(), vec!["/proc/self/exe".into()]);
    assert!(matches!(world.run(&spec), Err(SandboxError::CommandNotExecutable { .. })));
    let spec = Spec { init: Init::Reaper, ..world.shell("cat /proc/1/exe >/dev/null 2>&1 && echo read; exit 0") };
    assert_eq!(world.prints(&spec), "");
}

/// Rules F015, F016.
#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let Some(world) = World::new() else { return };
    let name = format!("kiln-test-{}-", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("a listener");
    // Busybox cannot connect to one, but the kernel lists those of the network namespace.
    let listed =
        |network| world.prints(&Spec { network, ..world.shell(&format!("grep -c @{name} /proc/net/unix; exit 0")) });
    assert_eq!(listed(Network::Host { abstract_sockets: AbstractSockets::Reachable }), "1\n");
    assert_eq!(listed(Network::None), "0\n");
}

#[test]
fn an_image_s_links_lead_nowhere() {
    let Some(world) = World::new() else { return };
    let victim = world.path("victim");
    fs::create_dir(&victim).expect("a victim");
    for name in ["dev", "proc", "sys", "etc/resolv.conf", "etc/hosts", "app"] {
        symlink(&victim, world.path("lower").join(name)).expect("a link");
    }
    let mut spec = world.shell("true");
    spec.command.cwd = "/app/below".into();
    let _refused_or_not = world.run(&spec);
    assert_eq!(fs::read_dir(&victim).expect("the victim").count(), 0);
}

#[test]
fn a_working_directory_is_inside() {
    let Some(world) = World::new() else { return };
    for cwd in ["/proc/self/fd/7", "/proc/self/cwd/../../..", "../../.."] {
        let mut spec = world.shell("ls / | grep -c lower; exit 0");
        spec.command.cwd = cwd.into();
        if let Ok(said) = world.run(&spec) {
            assert_eq!(said.stdout, "0\n", "{cwd}");
        }
    }
}
