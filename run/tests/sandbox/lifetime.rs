//! How a box ends: by itself, by a signal, with its starter; and its terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use run::sandbox::{Exit, Init, Process, Spec, Stdio, Terminal, start};
use rustix::process::Signal;

use crate::world::World;

fn null() -> Stdio {
    Stdio::null().expect("null")
}

/// Starts a box that says so when it is ready.
fn ready(spec: &Spec) -> Process {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let open = || File::options().read(true).write(true).open("/dev/null").expect("null");
    let process = start(spec, Stdio::new(open(), writer, open())).expect("it starts");
    reader.read_exact(&mut [0; 6]).expect("it is ready");
    process
}

fn is_gone(pid: i32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    // Dead, and collected by whoever adopted it.
    let is_alive = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    };
    while is_alive() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn signals_and_kill() {
    let Some(world) = World::new() else { return };
    let process = ready(&world.shell("trap 'exit 7' TERM; echo ready; sleep 600 & wait"));
    process.signal(Signal::TERM).expect("a signal");
    assert_eq!(process.wait().expect("it ends").exit, Exit::Code(7));
    let process = start(&world.shell("sleep 60 & sleep 60"), null()).expect("it starts");
    process.kill().expect("a kill");
    assert_eq!(process.wait().expect("it ends").exit, Exit::Signal(9));
    process.kill().expect("no error after the end");
}

/// Rule F022.
#[test]
fn what_runs_in_the_background_ends_too() {
    let Some(world) = World::new() else { return };
    // So long does nobody else sleep on this machine.
    let seconds = format!("4711{:010}", std::process::id());
    assert_eq!(
        world.prints(&world.shell(&format!("/bin/busybox setsid sleep {seconds} >/dev/null 2>&1 & exit 0"))),
        ""
    );
    let seconds = seconds.as_bytes();
    let alive = fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.windows(seconds.len()).any(|part| part == seconds))
    });
    assert!(!alive);
}

/// Rule F023.
#[test]
fn a_dropped_box_is_dead() {
    let Some(world) = World::new() else { return };
    let process = start(&world.shell("sleep 60"), null()).expect("it starts");
    let pid = process.pid();
    drop(process);
    assert!(is_gone(pid));
}

#[test]
fn a_box_dies_with_its_supervisor() {
    let Some(world) = World::new() else { return };
    let process = start(&world.shell("sleep 60"), null()).expect("it starts");
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent");
    let parent = rustix::process::Pid::from_raw(parent.parse().expect("a number")).expect("a process");
    rustix::process::kill_process(parent, Signal::KILL).expect("a kill");
    assert!(is_gone(process.pid()));
    assert!(process.wait().is_err());
}

#[test]
fn the_reaper_is_process_1() {
    let Some(world) = World::new() else { return };
    let spec = |script: &str| Spec { init: Init::Reaper, ..world.shell(script) };
    assert_eq!(world.prints(&spec("echo $$")), "2\n");
    assert_eq!(world.run(&spec("exit 9")).expect("it runs").outcome.exit, Exit::Code(9));
    assert_eq!(world.run(&spec("kill -9 $$")).expect("it runs").outcome.exit, Exit::Code(137));
    let process = ready(&spec("trap 'exit 5' TERM; echo ready; sleep 600 & wait"));
    process.signal(Signal::TERM).expect("a signal");
    assert_eq!(process.wait().expect("it ends").exit, Exit::Code(5));
}

#[test]
fn a_terminal_is_one() {
    let Some(world) = World::new() else { return };
    let script = "tty() { readlink /proc/self/fd/0; }; tty; /bin/busybox stty size; read line; echo got $line; ls -l /dev/console | head -c 1";
    let terminal = Terminal::Console { rows: 33, columns: 101 };
    let mut process = start(&Spec { terminal, ..world.shell(script) }, null()).expect("it starts");
    let mut console = File::from(process.take_console().expect("a console"));
    console.write_all(b"hello\n").expect("a line");
    let mut bytes = Vec::new();
    // Reading ends with EIO when the last process has closed its side.
    let _eio = console.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    assert_eq!(process.wait().expect("it ends").exit, Exit::Code(0), "{text}");
    for expected in ["/dev/pts/0\n", "33 101\n", "got hello\n"] {
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
    assert!(text.ends_with('c'), "{text:?}");
}
