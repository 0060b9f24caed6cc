//! From created to removed: what a container is at each point, and what is left of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use run::container::mount::MountRequest;
use run::container::options::{After, NetworkMode};
use run::container::port::PortMapping;
use run::container::restart::RestartPolicy;
use run::container::{
    AnonymousVolumes, Container, ContainerError, Ended, ExecOptions, Follow, Force, Signal, create, list, log, volume,
};

use crate::world::{World, attached};

fn logged(container: &Container) -> String {
    let mut text = String::new();
    let all = log::Options::default();
    let read = container.logs(all, Follow::UntilExit, |line| {
        text.push_str(&line.text);
        ControlFlow::Continue(())
    });
    read.unwrap();
    text
}

fn names_in(path: &std::path::Path) -> BTreeSet<String> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_container_lives_and_is_gone() {
    let Some(world) = World::new() else { return };
    let container = world.create(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(container.state().unwrap().status(), "created");
    assert_eq!(container.wait().unwrap(), 0);
    container.start().unwrap();
    assert_eq!(container.wait().unwrap(), 7);
    let state = container.state().unwrap();
    assert_eq!((state.status(), state.exited().unwrap().code), ("exited", 7));
    assert_eq!(logged(&container).lines().collect::<BTreeSet<_>>(), BTreeSet::from(["err", "out"]));
    container.remove(Force::No, AnonymousVolumes::Remove).unwrap();
    assert!(matches!(
        Container::find(&world.store, &container.id().to_string()),
        Err(ContainerError::NoSuchContainer(_))
    ));
    assert!(matches!(container.state(), Err(ContainerError::NoSuchContainer(_))));
}

#[test]
fn a_container_is_started_again_with_its_files() {
    let Some(world) = World::new() else { return };
    let container = world.start(&["sh", "-c", "test -e /mark && exit 3; touch /mark"]);
    assert_eq!(container.wait().unwrap(), 0);
    container.start().unwrap();
    assert_eq!(container.wait().unwrap(), 3);
}

#[test]
fn exit_codes_are_dockers() {
    let Some(world) = World::new() else { return };
    assert_eq!(world.run(&["true"]).ended, Ended::Exited(0));
    assert_eq!(world.run(&["sh", "-c", "exit 42"]).ended, Ended::Exited(42));
    assert_eq!(world.run(&["sh", "-c", "kill -9 $$; sleep 1; exit 5"]).ended, Ended::Exited(5));
    for (argv, code) in [(["/bin/nowhere"], 127), (["/etc/passwd"], 126)] {
        let container = world.create(&argv);
        let error = container.start().unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert_eq!(container.state().unwrap().status(), "created");
        assert!(container.state().unwrap().error.is_some());
    }
}

#[test]
fn removing_leaves_nothing() {
    let Some(world) = World::with(|config| config.config.volumes = ["/data".to_owned()].into()) else { return };
    let before = ["containers", "volumes", "roots", "tmp"].map(|area| names_in(&world.store.path().join(area)));
    let mut options = world.options(&["cat", "/data/seed"]);
    options.after = After::Remove;
    let said = world.run_with(&options, b"");
    assert_eq!((said.stdout.as_str(), said.ended), ("from the image\n", Ended::Exited(0)));
    let mut after = ["containers", "volumes", "roots", "tmp"].map(|area| names_in(&world.store.path().join(area)));
    after[0].remove("names");
    after[3] = before[3].clone();
    assert_eq!(after, before);
    assert!(names_in(&world.store.path().join("containers/names")).is_empty());
}

#[test]
fn stopping_asks_first_and_kills_then() {
    let Some(world) = World::new() else { return };
    let polite = world.start(&["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    while !std::fs::read_to_string(polite.log_path()).unwrap().contains("ready") {
        std::thread::sleep(Duration::from_millis(5));
    }
    polite.stop(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(polite.wait().unwrap(), 9);
    let deaf = world.start(&["sleep", "1000"]);
    let begun = Instant::now();
    deaf.stop(Some(Duration::from_millis(300))).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(deaf.wait().unwrap(), Signal::KILL.exit_code());
    deaf.stop(None).unwrap();
    assert!(matches!(deaf.kill(Signal::TERM), Err(ContainerError::NotRunning(_))));
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let Some(world) = World::new() else { return };
    let container = world.start(&["sleep", "1000"]);
    assert!(matches!(container.remove(Force::No, AnonymousVolumes::Remove), Err(ContainerError::Running(_))));
    container.remove(Force::Kill, AnonymousVolumes::Remove).unwrap();
    assert!(names_in(&world.store.path().join("containers")).iter().all(|name| name == "names"));
}

#[test]
fn names_are_unique_and_ids_may_be_cut() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["true"]);
    options.name = Some("first".parse().unwrap());
    let mut container = create(&world.store, &options).unwrap();
    assert!(matches!(create(&world.store, &options), Err(ContainerError::NameTaken { .. })));
    for text in ["first", "/first", &container.id().to_string(), &container.id().short()] {
        assert_eq!(Container::find(&world.store, text).unwrap().id(), container.id());
    }
    container.rename("second".parse().unwrap()).unwrap();
    assert!(Container::find(&world.store, "first").is_err());
    assert_eq!(Container::find(&world.store, "second").unwrap().name().as_str(), "second");
    create(&world.store, &options).unwrap();
}

#[test]
fn volumes_start_with_the_images_files_and_outlive_containers() {
    let Some(world) = World::new() else { return };
    let run = |mount: &str, script: &str| {
        let mut options = world.options(&["sh", "-c", script]);
        options.mounts.push(MountRequest::parse_volume(mount).unwrap());
        options.after = After::Remove;
        world.run_with(&options, b"").stdout
    };
    assert_eq!(
        run("kept:/data", "cat /data/seed; stat -c %a /data/seed; echo new > /data/more"),
        "from the image\n640\n"
    );
    assert_eq!(run("kept:/elsewhere", "ls /elsewhere"), "more\nseed\n");
    assert_eq!(run("kept:/data:ro", "touch /data/x 2>/dev/null || echo refused"), "refused\n");
    assert_eq!(volume::list(&world.store).unwrap().len(), 1);
    volume::remove(&world.store, "kept").unwrap();
    assert_eq!(run("empty:/data:nocopy", "ls /data"), "");
    let bind = world.directory.path().join("bound");
    assert_eq!(run(&format!("{}:/data", bind.display()), "ls /data; echo hi > /data/file"), "");
    assert_eq!(std::fs::read_to_string(bind.join("file")).unwrap(), "hi\n");
}

#[test]
fn published_ports_lead_into_the_container() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["nc", "-ll", "-p", "8080", "-e", "cat"]);
    options.network.mode = NetworkMode::Private;
    options.network.ports = PortMapping::parse("127.0.0.1::8080").unwrap();
    let container = create(&world.store, &options).unwrap();
    container.start().unwrap();
    let port = container.state().unwrap().running().unwrap().ports[0].host_port;
    let deadline = Instant::now() + Duration::from_secs(60);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"hello")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = loop {
        // Until it listens, a connection is reset.
        match ask() {
            Ok(answer) => break answer,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(answer, "hello");
    let taken = create(&world.store, &{
        let mut options = options.clone();
        options.network.ports = PortMapping::parse(&format!("127.0.0.1:{port}:80")).unwrap();
        options
    });
    let error = taken.unwrap().start().unwrap_err();
    assert!(error.exit_code() == 125 && error.to_string().contains("already allocated"), "{error}");
}

#[test]
fn many_at_once_on_one_container() {
    let Some(world) = World::new() else { return };
    let container = world.create(&["sleep", "1000"]);
    let at_once = |act: &(dyn Fn() -> bool + Sync)| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(act)).collect();
            threads.into_iter().filter(|_| true).map(|thread| thread.join().unwrap()).filter(|done| *done).count()
        })
    };
    assert_eq!(at_once(&|| container.start().is_ok()), 8);
    assert_eq!(at_once(&|| container.state().unwrap().running().is_some()), 8);
    assert_eq!(at_once(&|| container.stop(Some(Duration::ZERO)).is_ok()), 8);
    assert!(at_once(&|| container.remove(Force::Kill, AnonymousVolumes::Remove).is_ok()) >= 1);
    assert!(list(&world.store, &list::Filter { all: true, conditions: Vec::new() }).unwrap().is_empty());
}

#[test]
fn inspecting_speaks_dockers_language() {
    let Some(world) = World::with(|config| {
        config.config.exposed_ports.insert("80/tcp".to_owned());
        config.config.env.push("PATH=/bin".to_owned());
    }) else {
        return;
    };
    let container = world.start(&["sleep", "1000"]);
    let value = container.inspect().unwrap();
    let at = |pointer: &str| value.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {value:#}")).clone();
    assert_eq!(at("/Id"), container.id().to_string());
    assert_eq!(at("/Name"), format!("/{}", container.name()));
    assert_eq!(at("/State/Status"), "running");
    assert!(std::path::Path::new(&format!("/proc/{}/ns/net", at("/State/Pid"))).exists());
    assert_eq!(at("/Path"), "sleep");
    assert_eq!(at("/Args/0"), "1000");
    assert_eq!(at("/Config/Env/0"), "PATH=/bin");
    assert!(at("/Config/ExposedPorts").get("80/tcp").is_some());
    assert_eq!(at("/HostConfig/NetworkMode"), "none");
    assert_eq!(at("/RootFS/Layers").as_array().unwrap().len(), 1);
}

#[test]
fn a_network_is_joined() {
    let Some(world) = World::new() else { return };
    let first = world.start(&["sleep", "1000"]);
    let mut options = world.options(&["readlink", "/proc/self/ns/net"]);
    options.network.mode = NetworkMode::Container(first.name().to_string());
    let inode = std::fs::read_link(format!("/proc/{}/ns/net", first.state().unwrap().running().unwrap().pid)).unwrap();
    assert_eq!(world.run_with(&options, b"").stdout.trim(), inode.to_str().unwrap());
    options.network.mode = NetworkMode::Host;
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(world.run_with(&options, b"").stdout.trim(), host.to_str().unwrap());
    first.stop(Some(Duration::ZERO)).unwrap();
    options.network.mode = NetworkMode::Container(first.name().to_string());
    let error = create(&world.store, &options).unwrap().start().unwrap_err();
    assert!(matches!(error, ContainerError::NotRunning(_)), "{error}");
}

#[test]
fn running_out_of_memory_is_told() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["sh", "-c", "head -c 200000000 /dev/zero | tail -c 190000000 | wc -c"]);
    options.limits.memory_bytes = Some(32 << 20);
    let container = create(&world.store, &options).unwrap();
    match container.start() {
        Ok(_) => {}
        Err(error) => return eprintln!("skipped: {error}"),
    }
    container.wait().unwrap();
    assert!(container.state().unwrap().exited().unwrap().oom_killed);
    assert_eq!(container.inspect().unwrap().pointer("/State/OOMKilled").unwrap(), true);
}

#[test]
fn what_a_crash_leaves_is_tidied() {
    let Some(world) = World::with(|config| config.config.volumes = ["/data".to_owned()].into()) else { return };
    let kept = world.create(&["true"]);
    let lost = world.create(&["true"]);
    let damaged = world.create(&["true"]);
    let path = |container: &Container| world.store.path().join("containers").join(container.id().to_string());
    std::fs::remove_dir_all(path(&lost)).unwrap();
    std::fs::write(path(&damaged).join("config.json"), "").unwrap();
    let everything = list::Filter { all: true, conditions: Vec::new() };
    assert_eq!(list(&world.store, &everything).unwrap().len(), 1);
    run::container::tidy(&world.store).unwrap();
    let names = |area: &str| names_in(&world.store.path().join(area));
    // Anonymous volumes may hold what somebody wants: they wait for `volume prune`.
    assert_eq!((names("volumes").len(), names("roots").len(), names("containers/names").len()), (3, 1, 1));
    assert_eq!(names("containers"), BTreeSet::from(["names".to_owned(), kept.id().to_string()]));
    kept.start().unwrap();
    assert_eq!(kept.wait().unwrap(), 0);
}

#[test]
fn a_hundred_in_a_row_leave_nothing() {
    let Some(world) = World::new() else { return };
    let before = names_in(&world.store.path().join("tmp")).len();
    for _ in 0..100 {
        assert_eq!(world.run(&["true"]).ended, Ended::Exited(0));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    // Monitors end a moment after they have said so.
    while names_in(&world.store.path().join("tmp")).len() > before + 1 {
        assert!(Instant::now() < deadline, "{:?}", names_in(&world.store.path().join("tmp")));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(world.store.path().to_str().unwrap()), "{mounts}");
    assert!(names_in(&world.store.path().join("containers")).iter().all(|name| name == "names"));
}

#[test]
fn a_further_command_says_everything_before_it_ends() {
    let Some(world) = World::new() else { return };
    let container = world.start(&["sleep", "1000"]);
    // Quick ones: they may have ended before anybody has heard that they began.
    for number in 0..20 {
        let argv = ["sh", "-c", &format!("echo {number}; echo error >&2; exit {number}")].map(str::to_owned).to_vec();
        let options = ExecOptions { argv, ..ExecOptions::default() };
        let said = attached(b"", |attachment| container.exec(&options, Some(attachment)).unwrap());
        assert_eq!((said.stdout, said.stderr), (format!("{number}\n"), "error\n".to_owned()));
        assert_eq!(said.ended, Ended::Exited(number));
    }
    let options = ExecOptions { argv: vec!["/nowhere".to_owned()], ..ExecOptions::default() };
    assert_eq!(container.exec(&options, None).unwrap_err().exit_code(), 127);
    container.remove(Force::Kill, AnonymousVolumes::Remove).unwrap();
    assert!(matches!(container.exec(&options, None), Err(ContainerError::NotRunning(_))));
}

#[test]
fn a_container_is_started_again_until_it_is_stopped() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["sh", "-c", "echo run; exit 1"]);
    options.restart = RestartPolicy::Always;
    let container = create(&world.store, &options).unwrap();
    container.start().unwrap();
    let since = Instant::now();
    while logged_so_far(&container) < 3 {
        assert!(since.elapsed() < Duration::from_secs(60), "it is not started again");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(since.elapsed() >= Duration::from_millis(300), "100 and 200 ms lie between");
    container.stop(Some(Duration::ZERO)).unwrap();
    let state = container.state().unwrap();
    assert_eq!(state.status(), "exited");
    assert!(state.restarts >= 2);
    options.after = After::Remove;
    assert!(matches!(create(&world.store, &options), Err(ContainerError::Conflict(..))));
}

fn logged_so_far(container: &Container) -> usize {
    std::fs::read_to_string(container.log_path()).unwrap().lines().count()
}

/// Whenever it is asked: while it runs, as it ends, and while it waits to be started again.
#[test]
fn a_stop_is_never_lost_between_two_lives() {
    let Some(world) = World::new() else { return };
    let mut options = world.options(&["true"]);
    options.restart = RestartPolicy::Always;
    for microseconds in (0..40).map(|round| round * 500) {
        let container = create(&world.store, &options).unwrap();
        container.start().unwrap();
        std::thread::sleep(Duration::from_micros(microseconds));
        container.stop(Some(Duration::ZERO)).unwrap();
        assert_eq!(container.state().unwrap().status(), "exited", "after {microseconds} us");
        container.remove(Force::No, AnonymousVolumes::Remove).unwrap();
    }
}
