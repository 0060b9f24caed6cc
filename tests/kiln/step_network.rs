//! The network of a RUN step: its own where the machine can give it a way out, never by accident the machine's.
//! The rules are those of docs/dockerfile.md, section RUN, and of docs/sandbox.md.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::sandbox::{build, everybody};
use crate::session::{Ran, Session, is_root};

/// What a build says if the machine cannot give its steps a network of their own.
const SHARED: &str = "RUN shares this machine's network";

/// What listens on the machine, and the script that says which of it a step reaches.
struct Victims {
    port: u16,
    name: String,
    _abstract: UnixListener,
}

impl Victims {
    fn new(name: &str) -> Self {
        let name = format!("kiln-victim-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        Self { port: greeter("127.0.0.1"), name, _abstract: UnixListener::bind_addr(&address).expect("a listener") }
    }

    /// Busybox cannot connect to an abstract socket; the kernel lists those that can be connected to.
    fn script(&self) -> String {
        format!(
            "readlink /proc/self/ns/net; gateway=$(ip route | grep ^default | cut -d' ' -f3); \
             for a in 127.0.0.1 $gateway; do nc -w 5 $a {} </dev/null 2>/dev/null | grep hello; done; \
             grep -q @{} /proc/net/unix && echo abstract; true",
            self.port, self.name
        )
    }
}

/// Says hello to whoever connects, for as long as the tests run.
fn greeter(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _gone = stream.and_then(|mut stream| stream.write_all(b"hello\n"));
        }
    });
    port
}

/// What the build's only step printed, line by line.
fn printed(ran: &Ran) -> Vec<String> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("#2 ")?.split_once(' '));
    let printed = lines.filter(|(time, _)| time.parse::<f64>().is_ok()).map(|(_, text)| text.to_owned());
    printed.collect()
}

fn namespace_of_the_machine() -> String {
    fs::read_link("/proc/self/ns/net").expect("a link").to_str().expect("UTF-8").to_owned()
}

/// Rules F015, F016, and row A38 of the threats: no service of the machine's loopback, no abstract socket.
#[test]
fn the_machine_s_loopback_is_out_of_reach() {
    for session in everybody() {
        let victims = Victims::new(&session.name());
        let dockerfile = format!("FROM busybox\nRUN {}\n", victims.script());
        let ran = build(&session, "alone", &dockerfile, &["--no-cache"]).ok();
        let own = printed(&ran);
        if ran.stderr.contains(SHARED) {
            assert_eq!(own[0], namespace_of_the_machine());
            eprintln!("not all tried: {}", ran.stderr.lines().find(|line| line.contains(SHARED)).unwrap_or_default());
        } else {
            assert_eq!(own.len(), 1, "{own:?}");
            assert_ne!(own[0], namespace_of_the_machine());
        }
        let ran = build(&session, "alone", &dockerfile, &["--no-cache", "--network", "none"]).ok();
        assert_eq!(printed(&ran).len(), 1, "{}", ran.stderr);
        let ran = build(&session, "alone", &dockerfile, &["--no-cache", "--network", "host"]).ok();
        assert_eq!(printed(&ran)[..2], [namespace_of_the_machine(), "hello".to_owned()], "{}", ran.stderr);
        assert_eq!(printed(&ran).last().map(String::as_str), Some("abstract"));
        assert!(!ran.stderr.contains(SHARED), "{}", ran.stderr);
    }
}

/// However many steps there are, and at once: either all have a network of their own, or it is said once that they have not.
#[test]
fn a_shared_network_is_told_once() {
    for session in everybody() {
        let dockerfile = "FROM busybox AS a\nRUN readlink /proc/self/ns/net > /a\nRUN readlink /proc/self/ns/net >> /a\n\
                          FROM busybox\nRUN readlink /proc/self/ns/net > /b\nCOPY --from=a /a /a\n";
        let ran = build(&session, "told", dockerfile, &["--no-cache"]).ok();
        let seen = session.run("told", "cat /a /b");
        let machine = namespace_of_the_machine();
        let (times, shared) =
            (ran.stderr.matches(SHARED).count(), seen.lines().filter(|seen| *seen == machine).count());
        assert!(matches!((times, shared), (0, 0) | (1, 3)), "{seen}{}", ran.stderr);
    }
}

/// What a step is told and cannot reach is named, once.
#[test]
fn proxies_of_the_loopback_are_told() {
    let Some(session) = Session::with_busybox() else { return };
    let proxied = |flags: &[&str]| {
        let flags = [flags, &["--no-cache", "--build-arg", "HTTP_PROXY=http://127.0.0.1:3128"]].concat();
        build(&session, "proxied", "FROM busybox\nRUN true\nRUN true again\n", &flags).ok()
    };
    let ran = proxied(&[]);
    if ran.stderr.contains(SHARED) {
        return eprintln!("skipped: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("on this machine's loopback").count(), 1, "{}", ran.stderr);
    ran.says(&["warning: HTTP_PROXY", "--network=host"]);
    assert!(!proxied(&["--network", "host"]).stderr.contains("loopback"));
}

/// `host-gateway` is an address by which the step reaches what the machine offers to others.
#[test]
fn a_step_finds_the_machine() {
    if !is_root() {
        return;
    }
    let Some(session) = Session::with_busybox() else { return };
    let port = greeter("0.0.0.0");
    let dockerfile = format!("FROM busybox\nRUN nc -w 60 me {port} </dev/null | grep hello\n");
    build(&session, "found", &dockerfile, &["--no-cache", "--add-host", "me:host-gateway"]).ok();
}
