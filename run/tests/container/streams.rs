//! Input, output and the terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use run::container::options::After;
use run::container::terminal::{DetachKeys, Size};
use run::container::{Attachment, Ended, SignalProxy, create};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::world::{Said, World, attached};

#[test]
fn both_streams_arrive_whole_and_apart() {
    let Some(world) = World::new() else { return };
    let said = world.run(&["sh", "-c", "seq 1 20000; seq 1 20000 >&2"]);
    let expected: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert_eq!(said, Said { stdout: expected.clone(), stderr: expected, ended: Ended::Exited(0) });
}

#[test]
fn input_passes_through_without_deadlock() {
    let Some(world) = World::new() else { return };
    let input: String = (0..400_000).map(|number| format!("{number}\n")).collect();
    let mut options = world.options(&["cat"]);
    options.process.stdin_open = true;
    options.after = After::Remove;
    let said = world.run_with(&options, input.as_bytes());
    assert_eq!(said.stdout.len(), input.len());
    assert!(said.stdout == input);
}

#[test]
fn a_command_that_ignores_its_input_ends_all_the_same() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["true"]);
    options.process.stdin_open = true;
    assert_eq!(world.run_with(&options, &vec![b'x'; 1 << 20]).ended, Ended::Exited(0));
}

#[test]
fn visitors_see_what_comes_and_leave_it_running() {
    let Some(world) = World::new() else { return };
    // It goes on saying something, so that the watcher can tell that it watches.
    let script = "(while :; do echo tick; sleep 0.05; done) & read line; echo got $line; exit 4";
    let mut options = world.options(&["sh", "-c", script]);
    options.process.stdin_open = true;
    let container = create(&world.store, &options).unwrap();
    container.start().unwrap();
    let (mut seen, screen) = std::io::pipe().unwrap();
    let watcher = std::thread::spawn({
        let container = container.clone();
        move || {
            let attachment = Attachment {
                stdin: None,
                stdout: Some(screen.as_fd()),
                stderr: None,
                detach_keys: DetachKeys::none(),
                signals: SignalProxy::Keep,
            };
            container.attach(&attachment).unwrap()
        }
    });
    seen.read_exact(&mut [0; 5]).unwrap();
    let said = attached(b"word\n", |attachment| container.attach(attachment).unwrap());
    assert!(said.stdout.contains("got word\n") && said.ended == Ended::Exited(4), "{said:?}");
    let mut rest = String::new();
    seen.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("got word\n"), "{rest}");
    assert_eq!(watcher.join().unwrap(), Ended::Exited(4));
}

/// A terminal of this test's own: what a person types at, and what they see.
struct Person {
    hand: File,
    terminal: OwnedFd,
}

impl Person {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        Size { rows: 33, columns: 111 }.apply(&master).unwrap();
        Self { hand: master.into(), terminal }
    }

    fn attachment(&self) -> Attachment<'_> {
        Attachment {
            stdin: Some(self.terminal.as_fd()),
            stdout: Some(self.terminal.as_fd()),
            stderr: Some(self.terminal.as_fd()),
            detach_keys: DetachKeys::default(),
            signals: SignalProxy::Keep,
        }
    }

    fn types(&mut self, text: &[u8]) {
        self.hand.write_all(text).unwrap();
    }

    /// Reads what is on the screen until it ends so.
    fn sees(&mut self, end: &str) -> String {
        let mut screen = String::new();
        let mut buffer = [0; 4096];
        while !screen.ends_with(end) {
            let length = self.hand.read(&mut buffer).unwrap();
            screen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        screen
    }
}

#[test]
fn a_terminal_is_a_terminal_and_can_be_left_and_entered_again() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["sh", "-c", "stty size; tty; while read line; do echo got $line; done; exit 6"]);
    options.process.stdin_open = true;
    options.process.terminal = true;
    let container = create(&world.store, &options).unwrap();
    let mut person = Person::new();
    let other_end = person.attachment().stdin.unwrap().try_clone_to_owned().unwrap();
    let (has_left, leaving) = std::sync::mpsc::channel();
    let runner = std::thread::spawn({
        let container = container.clone();
        move || {
            let terminal = Some(other_end.as_fd());
            let attachment = Attachment {
                stdin: terminal,
                stdout: terminal,
                stderr: terminal,
                detach_keys: DetachKeys::default(),
                signals: SignalProxy::Keep,
            };
            let left = container.run(&attachment).unwrap();
            has_left.send(()).unwrap();
            (left, container.attach(&attachment).unwrap())
        }
    });
    assert_eq!(person.sees("/dev/pts/0\r\n"), "33 111\r\n/dev/pts/0\r\n");
    person.types(b"one\r");
    person.sees("got one\r\n");
    person.types(b"\x10\x11");
    leaving.recv().unwrap();
    person.types(b"two\r");
    person.sees("got two\r\n");
    person.types(b"\x04");
    assert_eq!(runner.join().unwrap(), (Ended::Detached, Ended::Exited(6)));
}

#[test]
fn signals_to_the_caller_are_the_containers() {
    let Some(world) = World::new() else { return };
    let container = world.create(&["sh", "-c", "trap 'exit 33' USR1; echo ready; while :; do sleep 0.02; done"]);
    let sender = std::thread::spawn({
        let log = container.log_path();
        move || {
            while !std::fs::read_to_string(&log).unwrap().contains("ready") {
                std::thread::sleep(Duration::from_millis(5));
            }
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::USR1).unwrap();
        }
    });
    let null = File::options().write(true).open("/dev/null").unwrap();
    let attachment = Attachment {
        stdin: None,
        stdout: Some(null.as_fd()),
        stderr: Some(null.as_fd()),
        detach_keys: DetachKeys::none(),
        signals: SignalProxy::Forward,
    };
    assert_eq!(container.run(&attachment).unwrap(), Ended::Exited(33));
    sender.join().unwrap();
}

#[test]
fn output_that_nobody_reads_ends_the_container() {
    let Some(world) = World::new() else { return };
    let container = world.create(&["yes"]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let head = std::thread::spawn(move || {
        let mut start = [0; 4];
        File::from(reader).read_exact(&mut start).unwrap();
        start
    });
    let attachment = Attachment {
        stdin: None,
        stdout: Some(writer.as_fd()),
        stderr: None,
        detach_keys: DetachKeys::none(),
        signals: SignalProxy::Keep,
    };
    assert_eq!(container.run(&attachment).unwrap(), Ended::Exited(141));
    assert_eq!(&head.join().unwrap(), b"y\ny\n");
    assert!(container.state().unwrap().running().is_none());
}

#[test]
fn bytes_are_bytes() {
    let Some(world) = World::new() else { return };
    let said = world.run(&["printf", "\\377\\000\\033[2J\\n"]);
    assert_eq!(said.stdout, "\u{fffd}\0\u{1b}[2J\n");
}
