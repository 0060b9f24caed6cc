//! What becomes of a container when its monitor, or the machine, is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use run::container::options::After;
use run::container::record::Seen;
use run::container::{AnonymousVolumes, Container, Force, create, list};
use rustix::process::{Pid, Signal, kill_process};
use store::{BootId, Store};

use crate::world::World;

fn kill_monitor(container: &Container) -> i32 {
    let state = container.state().unwrap();
    let running = state.running().unwrap();
    let monitor = Pid::from_raw(i32::try_from(running.monitor_pid).unwrap()).unwrap();
    kill_process(monitor, Signal::KILL).unwrap();
    running.pid
}

fn wait_until_gone(pid: i32) {
    until(|| !Path::new(&format!("/proc/{pid}/root/bin")).exists());
}

/// A killed process is dying for a moment, during which it still holds its lock.
fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it takes more than a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_container_dies_with_its_monitor_and_is_seen_to() {
    let Some(world) = World::new() else { return };
    for _ in 0..10 {
        let container = world.start(&["sleep", "1000"]);
        let pid = kill_monitor(&container);
        wait_until_gone(pid);
        assert_eq!(container.wait().unwrap(), 137);
        let state = container.state().unwrap();
        assert_eq!(state.exited().unwrap().seen, Seen::MonitorLost);
        container.start().unwrap();
        container.remove(Force::Kill, AnonymousVolumes::Remove).unwrap();
    }
}

#[test]
fn waiting_ends_when_the_monitor_is_lost() {
    let Some(world) = World::new() else { return };
    let container = world.start(&["sleep", "1000"]);
    let waiter = std::thread::spawn({
        let container = container.clone();
        move || container.wait()
    });
    std::thread::sleep(Duration::from_millis(50));
    kill_monitor(&container);
    assert_eq!(waiter.join().unwrap().unwrap(), 137);
}

#[test]
fn a_lost_container_that_was_to_be_removed_is() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["sleep", "1000"]);
    options.after = After::Remove;
    let container = create(&world.store, &options).unwrap();
    container.start().unwrap();
    kill_monitor(&container);
    let everything = list::Filter { all: true, conditions: Vec::new() };
    until(|| list(&world.store, &everything).unwrap().is_empty());
    assert!(Container::open(&world.store, container.id()).is_err());
}

#[test]
fn after_a_reboot_no_pid_is_believed() {
    let Some(world) = World::new() else { return };
    let container = world.start(&["sleep", "1000"]);
    let pid = kill_monitor(&container);
    wait_until_gone(pid);
    let other_boot: BootId = "0123456789abcdef0123456789abcdef".parse().unwrap();
    let store = Store::open_in_boot(world.store.path(), other_boot).unwrap();
    let seen = Container::open(&store, container.id()).unwrap();
    until(|| seen.state().unwrap().running().is_none());
    let state = seen.state().unwrap();
    assert_eq!((state.exited().unwrap().seen, state.exited().unwrap().code), (Seen::LostAtReboot, 255));
    let text = list::status_text(&state, jiff::Timestamp::now());
    assert!(text.starts_with("Exited (255)") && text.ends_with("(lost at reboot)"), "{text}");
}
