//! Namespaces that containers share with the host or with each other: features.md H038, H024, H030, F001.

use crate::running::eventually;
use crate::session::{Session, is_root};

/// The number of a namespace of this process.
fn own(name: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace").to_string_lossy().into_owned()
}

fn inside(name: &str) -> String {
    format!("readlink /proc/self/ns/{name}")
}

/// Each is the host's if asked for, and the container's own otherwise.
#[test]
fn the_host_s() {
    let Some(session) = Session::with_busybox() else { return };
    for (flags, name) in [
        (&["--ipc", "host"][..], "ipc"),
        (&["--pid", "host"], "pid"),
        (&["--uts", "host"], "uts"),
        (&["--cgroupns", "host"], "cgroup"),
    ] {
        let script = inside(name);
        let shared = session.once(&[flags, &["busybox", "sh", "-c", &script]].concat()).ok().stdout;
        assert_eq!(shared.trim(), own(name), "{flags:?}");
        let private = session.once(&["busybox", "sh", "-c", &script]).ok().stdout;
        assert_ne!(private.trim(), own(name));
    }
    session.once(&["--uts", "host", "-h", "other", "busybox", "true"]).fails(125).says(&["--uts host"]);
    session.once(&["--ipc", "nonsense", "busybox", "true"]).fails(125).says(&["shareable", "container:NAME"]);
}

/// Processes of a container that has the host's do not outlive it, and commands enter it as any other.
#[test]
fn processes_of_the_host_end_with_the_container() {
    let Some(session) = Session::with_busybox() else { return };
    let word = session.name();
    // The name is in the command line of whoever is to be found.
    let script = format!("sh -c 'sleep 3600; true {word}' & sleep 3600; true");
    session.background(&["--net=none", "--name", "guest", "--pid", "host", "busybox", "sh", "-c", &script]);
    let running = || {
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&format!("true {word}"))).count()
    };
    eventually(|| running() >= 2);
    let seen = session.kiln(["exec", "guest", "sh", "-c", "ps -o args"]).ok().stdout;
    assert!(seen.contains(&word), "{seen}");
    assert!(session.kiln(["top", "guest"]).ok().stdout.lines().count() >= 4);
    session.kiln(["rm", "-f", "guest"]).ok();
    eventually(|| running() == 0);
}

/// A container's memory, processes and network, and the files that describe the network.
#[test]
fn another_container_s() {
    let Some(session) = Session::with_busybox() else { return };
    shares(&session);
    if is_root() {
        session.kiln(["rm", "-f", "host"]).ok();
        session.background(&["--net=none", "--name", "host", "--userns", "host", "busybox", "sleep", "3600"]);
        let map = session.kiln(["run", "--rm", "--net=container:host", "busybox", "cat", "/proc/self/uid_map"]).ok();
        assert_eq!(map.stdout, std::fs::read_to_string("/proc/self/uid_map").expect("a map"));
        session.background(&["--net=none", "--name", "closed", "busybox", "sleep", "3600"]);
        let both = ["run", "--rm", "--net=container:host", "--pid=container:closed", "busybox", "true"];
        session.kiln(both).fails(125).says(&["different user namespaces"]);
    }
}

pub(crate) fn shares(session: &Session) {
    let script = "echo memory > /dev/shm/it; sleep 3600; true";
    let first = ["--net=none", "--name", "first", "--ipc", "shareable", "-h", "web", "busybox", "sh", "-c", script];
    session.background(&first);
    eventually(|| session.kiln(["exec", "first", "cat", "/dev/shm/it"]).code == 0);
    let once = |flags: &[&str], script: &str| {
        session.kiln(["run", "--rm"].iter().chain(flags).chain(&["busybox", "sh", "-c", script])).ok().stdout
    };
    assert_eq!(once(&["--net=none", "--ipc=container:first"], "cat /dev/shm/it"), "memory\n");
    let processes = once(&["--net=none", "--pid=container:first"], "ps -o pid,args");
    assert!(processes.lines().any(|line| line.trim_start().starts_with("1 sh -c echo memory")), "{processes}");
    let hosts =
        once(&["--net=container:first"], "hostname; echo 10.9.9.9 later >> /etc/hosts; readlink /proc/self/ns/net");
    let of_first = session.kiln(["exec", "first", "sh", "-c", "hostname; readlink /proc/self/ns/net"]).ok().stdout;
    assert_eq!(hosts, of_first);
    session.kiln(["exec", "first", "cat", "/etc/hosts"]).ok().prints(&["10.9.9.9 later"]);
    // By its id, so that it may be renamed.
    session
        .kiln(["create", "--name", "second", "--net=container:first", "--pid=container:first", "busybox", "true"])
        .ok();
    let id = session.field("first", "{{.Id}}");
    let modes = session.field("second", "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}");
    assert_eq!(modes, format!("container:{id} container:{id} private"));
    session.kiln(["rm", "-f", "first"]).ok();
    session.kiln(["start", "second"]).fails(1).says(&["no such container"]);
    session.background(&["--net=none", "--name", "alone", "busybox", "sleep", "3600"]);
    let closed = session.kiln(["run", "--rm", "--ipc=container:alone", "busybox", "true"]);
    closed.fails(125).says(&["alone", "--ipc shareable"]);
    session.kiln(["run", "--rm", "--pid=container:nobody", "busybox", "true"]).fails(125).says(&["nobody"]);
}

/// Memory that is not wanted is not there; a domain is the kernel's and the hosts file's.
#[test]
fn none_and_domain() {
    let Some(session) = Session::with_busybox() else { return };
    let mounts = session.once(&["--ipc", "none", "busybox", "cat", "/proc/mounts"]).ok().stdout;
    assert!(!mounts.contains("/dev/shm"), "{mounts}");
    let script = "cat /proc/sys/kernel/domainname; grep -c web.example.org /etc/hosts";
    let names = ["-h", "web", "--domainname", "example.org", "busybox", "sh", "-c", script];
    assert_eq!(session.once(&names).ok().stdout, "example.org\n1\n");
}

/// Parameters of namespaces that are the container's own, and no others.
#[test]
fn kernel_parameters() {
    let Some(session) = Session::with_busybox() else { return };
    let set = ["--sysctl", "net.ipv4.ip_forward=1", "--name", "set", "busybox", "cat", "/proc/sys/net/ipv4/ip_forward"];
    assert_eq!(session.kiln(["run", "--net=none"].iter().chain(&set)).ok().stdout, "1\n");
    assert_eq!(session.field("set", "{{json .HostConfig.Sysctls}}"), r#"{"net.ipv4.ip_forward":"1"}"#);
    for (flags, complaint) in [
        (&["--sysctl", "kernel.panic=1"][..], "\"kernel.panic\" is not allowed"),
        (&["--sysctl", "net.ipv4.ip_forward=1", "--net=host"], "the network namespace is not"),
        (&["--sysctl", "kernel.msgmax=1", "--ipc=host"], "the IPC namespace is not"),
        (&["--sysctl", "net.nothing.such=1"], "net.nothing.such"),
        (&["--sysctl", "net.ipv4.ip_forward"], "NAME=VALUE"),
    ] {
        session.once(&[flags, &["busybox", "true"]].concat()).fails(125).says(&[complaint]);
    }
}
