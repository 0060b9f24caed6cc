//! A user at a terminal: a real pseudo-terminal, what is typed and what is seen.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::running::PATIENCE;

/// A command in a terminal of 50 columns and 20 rows.
pub(crate) struct Terminal {
    master: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Runs it there.
    pub(crate) fn run(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end");
        tcsetwinsize(&master, Winsize { ws_row: 20, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("open it");
        let end = || slave.try_clone().expect("a descriptor");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("run kiln");
        Self { master: master.into(), child, seen: String::new() }
    }

    /// Makes the window another size.
    pub(crate) fn resizes(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("a size");
        // Only who has this for its terminal is told by the kernel, and the test's kiln has another, or none.
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::WINCH)
            .expect("tell kiln");
    }

    /// Lets the shell start something long, and presses Ctrl-C once it runs.
    #[track_caller]
    pub(crate) fn interrupts_a_command(&mut self) {
        // Sooner, it could be the shell that is interrupted, on its way to the command.
        self.types("sh -c 'echo up $((40 + 2)); exec sleep 600'\r");
        self.shows("up 42");
        self.types("\u{3}");
    }

    /// Presses keys.
    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("type");
    }

    /// Waits until the text has appeared after everything that was waited for before.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline && self.read(), "no {text:?} in {:?}", self.seen);
        }
        let end = self.seen.find(text).expect("it was there") + text.len();
        self.seen.drain(..end);
    }

    /// Waits for the end and says the exit code.
    pub(crate) fn code(mut self) -> Option<i32> {
        while self.child.try_wait().expect("wait for kiln").is_none() && self.read() {}
        self.child.wait().expect("wait for kiln").code()
    }

    /// Reads what is there; whether there can be more. A second without anything is not the end.
    fn read(&mut self) -> bool {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&second)).expect("poll") == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        match self.master.read(&mut buffer) {
            Ok(length @ 1..) => {
                self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
                true
            }
            // The other end is closed.
            Ok(_) | Err(_) => false,
        }
    }
}
