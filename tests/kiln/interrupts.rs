//! Ctrl-C ends long work at once wherever it is: one line, status 130, nothing left over.
//!
//! Each test waits until kiln is seen at what it is to be ended in, which without an end would take hours.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::running::eventually;
use crate::session::{Ran, Session, installed};

/// So long that nobody reads it to its end.
const ENDLESS_BYTES: u64 = 1 << 43;

fn start<S: AsRef<OsStr>>(session: &Session, arguments: impl IntoIterator<Item = S>) -> Child {
    spawn(session.command().args(arguments).stdin(Stdio::piped()))
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run kiln")
}

fn signal(kiln: &Child, signal: Signal) {
    kill(Pid::from_raw(kiln.id().cast_signed()), signal).expect("signal kiln");
}

/// Ends kiln by a signal: it says so in one line, and its part of the store's `tmp/` is gone, which it would not be if
/// kiln had not come to an orderly end.
#[track_caller]
fn ends(session: &Session, kiln: Child, by: Signal) {
    signal(&kiln, by);
    let ran = Ran::from(kiln.wait_with_output().expect("wait for kiln")).fails(130);
    assert_eq!(ran.stderr.lines().filter(|line| *line == "cancelled").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().last(), Some("cancelled"), "{}", ran.stderr);
    for area in ["tmp", "leases"] {
        let left: Vec<_> = fs::read_dir(session.store().join(area)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whether a process has that file open.
fn reads(process: &Child, file: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == file)
}

/// How many bytes a process has written into files of the store's `tmp/`.
fn spooled_bytes(session: &Session) -> u64 {
    let sessions = fs::read_dir(session.store().join("tmp")).into_iter().flatten().flatten();
    let files = sessions.flat_map(|directory| fs::read_dir(directory.path()).into_iter().flatten().flatten());
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[test]
fn the_scan_of_a_context() {
    let session = Session::new();
    let context = session.context("app", "FROM scratch\nCOPY . /\n");
    let file = session.write("app/endless", "");
    File::options().write(true).open(&file).unwrap().set_len(ENDLESS_BYTES).unwrap();
    let build = start(&session, [OsStr::new("build"), context.as_os_str()]);
    eventually(|| reads(&build, &file));
    ends(&session, build, Signal::SIGINT);
}

#[test]
fn a_context_or_an_archive_that_does_not_come() {
    let session = Session::new();
    for arguments in [&["build", "-"][..], &["build", "-f", "-", "."], &["load"], &["import", "-", "x"]] {
        let mut kiln = start(&session, arguments);
        // What is written is read only by one that has come so far. Zeros are a tar that may go on.
        let mut input = kiln.stdin.take().unwrap();
        input.write_all(&[0; 200_000]).unwrap();
        ends(&session, kiln, Signal::SIGINT);
    }
}

#[test]
fn taking_in_a_layer() {
    let session = Session::new();
    let mut header = tar::Header::new_gnu();
    header.set_size(ENDLESS_BYTES);
    header.set_mode(0o644);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    let rootfs = session.write("rootfs.tar", header.as_bytes());
    File::options().write(true).open(&rootfs).unwrap().set_len(ENDLESS_BYTES).unwrap();
    let import = start(&session, [OsStr::new("import"), rootfs.as_os_str()]);
    eventually(|| spooled_bytes(&session) > 1 << 20);
    ends(&session, import, Signal::SIGTERM);
}

#[test]
fn waiting_for_a_server() {
    let session = Session::new();
    session.build("x", &session.context("app", "FROM scratch\nLABEL a=b\n"));
    for work in ["pull", "push", "FROM", "ADD", "ADD git", "build"] {
        // One each: what another kiln had begun to say would be taken for this one's.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let (name, url) = (format!("{address}/x"), format!("http://{address}/x"));
        let build = |dockerfile: &str| {
            let context = session.context(&format!("from-{}", address.port()), dockerfile);
            vec!["build".to_owned(), context.display().to_string()]
        };
        let arguments = match work {
            "push" => {
                session.kiln(["tag", "x", &name]).ok();
                vec![work.to_owned(), name]
            }
            "pull" => vec![work.to_owned(), name],
            "FROM" => build(&format!("FROM {name}\n")),
            "ADD" => build(&format!("FROM scratch\nADD {url} /\n")),
            "ADD git" if installed("git", "git").is_none() => continue,
            "ADD git" => build(&format!("FROM scratch\nADD {url}.git /\n")),
            _ => vec![work.to_owned(), format!("{url}.tar")],
        };
        let kiln = start(&session, &arguments);
        let _asked = silent.accept().unwrap();
        ends(&session, kiln, Signal::SIGINT);
    }
}

/// Where kiln itself cannot look it is not waited for: the second one ends it at once.
#[test]
fn the_second_one_does_not_wait() {
    let session = Session::new();
    let bytes = "x".repeat(1 << 20);
    session.write("app/file", bytes);
    session.build("large", &session.context("app", "FROM scratch\nCOPY file /\n"));
    let mut save = start(&session, ["save", "large"]);
    // It writes to a pipe that is full, and nobody reads on.
    std::io::Read::read_exact(save.stdout.as_mut().unwrap(), &mut [0; 512]).unwrap();
    signal(&save, Signal::SIGINT);
    signal(&save, Signal::SIGINT);
    let status = save.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(save.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(said, "cancelled\n");
    session.kiln(["images"]).ok();
    assert!(fs::read_dir(session.store().join("tmp")).unwrap().next().is_none(), "the next command clears");
}
