//! Networks of a box's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use run::sandbox::{AbstractSockets, Etc, Network, Spec, Stdio, start};

use crate::world::World;

/// Rule F015.
#[test]
fn none_has_a_loopback_that_is_up() {
    let Some(world) = World::new() else { return };
    let spec =
        Spec { network: Network::None, ..world.shell("ls /sys/class/net; /bin/busybox ifconfig lo | grep -c UP") };
    assert_eq!(world.prints(&spec), "lo\n1\n");
}

#[test]
fn a_private_network_reaches_out_and_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let answer = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().expect("a connection");
        stream.write_all(b"hello from outside\n").expect("an answer");
        peer.ip()
    });
    let script = format!(
        "gateway=$(/bin/busybox ip route | grep default | /bin/busybox cut -d' ' -f3); \
                          /bin/busybox nc -w 60 $gateway {port} </dev/null"
    );
    let spec = Spec { network: Network::Private, ..world.shell(&script) };
    let stdout = fs::File::create(world.path("out")).expect("a file");
    let null = || fs::File::open("/dev/null").expect("null");
    let process = start(&spec, Stdio::new(null(), stdout, null())).expect("it starts");
    let Some(IpAddr::V4(address)) = process.addresses().get("eth0").copied() else {
        eprintln!("skipped: {:?}", process.notices());
        return;
    };
    process.wait().expect("it ends");
    assert_eq!(fs::read_to_string(world.path("out")).expect("output"), "hello from outside\n");
    assert_eq!(answer.join().expect("the listener"), IpAddr::V4(address));
    drop(process);
    assert!(!rules().contains(&network_of(address)), "{}", rules());
}

#[test]
fn a_killed_supervisor_leaves_no_rules() {
    let Some(world) = World::new() else { return };
    let spec = Spec { network: Network::Private, ..world.shell("sleep 60") };
    let process = start(&spec, Stdio::null().expect("null")).expect("it starts");
    let Some(IpAddr::V4(address)) = process.addresses().get("eth0").copied() else {
        eprintln!("skipped: {:?}", process.notices());
        return;
    };
    let network = network_of(address);
    if !rules().contains(&network) {
        eprintln!("skipped: nft is not installed, or the kernel has no nftables");
        return;
    }
    if !rules().contains("flags owner") {
        eprintln!("skipped: this kernel's tables have no owners");
        return;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("a status");
    let supervisor = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
    let supervisor = supervisor.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("a kill");
    process.wait().expect_err("its supervisor is lost");
    // The kernel removes it as the last of the socket's holders goes.
    let gone = (0..3000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !rules().contains(&network)
    });
    assert!(gone, "{}", rules());
}

/// The network that rules name, for a box's address.
fn network_of(address: Ipv4Addr) -> String {
    format!("{}/30", Ipv4Addr::from_bits(address.to_bits() & !3))
}

/// What `nft` says is there; nothing, where it is not installed.
fn rules() -> String {
    let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output();
    rules.map(|rules| String::from_utf8_lossy(&rules.stdout).into_owned()).unwrap_or_default()
}

#[test]
fn the_host_s_loopback_is_out_of_reach() {
    let Some(world) = World::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _gone = stream.and_then(|mut stream| stream.write_all(b"reached\n"));
        }
    });
    let script = format!(
        "for a in 127.0.0.1 $(/bin/busybox ip route | grep default | /bin/busybox cut -d' ' -f3); do \
                          /bin/busybox nc -w 5 $a {port} </dev/null; done; exit 0"
    );
    let reached = |network| world.prints(&Spec { network, ..world.shell(&script) });
    assert_eq!(reached(Network::Private), "");
    let host = Network::Host { abstract_sockets: AbstractSockets::Shut };
    assert!(reached(host).starts_with("reached\n"));
}

#[test]
fn a_box_can_join_another_s_network() {
    let Some(world) = World::new() else { return };
    let (other, mut out) = (World::new().expect("a world"), Vec::new());
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let null = || fs::File::open("/dev/null").expect("null");
    let first = Spec { network: Network::None, ..other.shell("echo ready; sleep 60") };
    let first = start(&first, Stdio::new(null(), writer, null())).expect("it starts");
    reader.read_exact(&mut [0; 6]).expect("it is ready");
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/user; ls /sys/class/net";
    let spec = Spec { network: Network::Join { pid: first.pid() }, ..world.shell(script) };
    let link = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", first.pid())).expect("a link");
    let expected = format!("{}\n{}\nlo\n", link("net").display(), link("user").display());
    assert_eq!(world.prints(&spec), expected);
    first.kill().expect("a kill");
    reader.read_to_end(&mut out).expect("the rest");
}

/// Rules F011, F012, F014.
#[test]
fn the_three_files_are_mounted_and_read_only() {
    let Some(world) = World::new() else { return };
    let mut spec =
        world.shell("cat /etc/hostname; grep -c web /etc/hosts; (echo x >>/etc/hosts) 2>/dev/null || echo ro");
    spec.hostname = "web".to_owned();
    assert_eq!(world.prints(&spec), "web\n1\nro\n");
    let spec = Spec { etc: Etc::Image, ..world.shell("ls /etc") };
    assert_eq!(world.prints(&spec), "group\npasswd\n");
}
