//! What goes wrong: bad input, full disks, Ctrl-C, killed processes, cut power. Each time the error is clear, nothing
//! is left running or mounted, and the store is whole.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::registries::ClosedPort;
use crate::running::{PATIENCE, eventually};
use crate::session::{Ran, Session, installed, is_root};

#[test]
fn what_cannot_be_built_is_told_in_a_line_with_its_place() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM busybox AS base\nRUN --mount=type=secret,id=key,required true\n");
    let app = context.to_str().unwrap();
    session.write("empty/file", "");
    for (arguments, code, words) in [
        (&["build", app][..], 1, &["secret \"key\" is required", "Dockerfile:2"][..]),
        (&["build", "--secret", "id=key,src=/gone", app], 1, &["secret \"key\"", "/gone"]),
        (&["build", "--target", "bse", app], 1, &["\"bse\" could not be found", "did you mean \"base\""]),
        (&["build", "--build-arg", "SOURCE_DATE_EPOCH=soon", app], 1, &["invalid SOURCE_DATE_EPOCH"]),
        (&["build", "gone"], 1, &["cannot read the build context gone"]),
        (&["build", "empty"], 1, &["cannot read empty/Dockerfile"]),
        (&["build", "-f", "gone", app], 1, &["cannot read gone"]),
        (&["build", "--nonsense", app], 125, &["--nonsense"]),
        (&["build", "-t", "UPPER", app], 125, &["must be lowercase"]),
    ] {
        session.kiln(arguments).fails(code).says(words);
    }
    assert_whole(&session);
}

#[test]
fn a_base_that_cannot_be_had_is_told() {
    let Some(session) = Session::with_busybox() else { return };
    let closed = ClosedPort::new();
    let context = session.context("app", &format!("FROM 127.0.0.1:{}/base:1\nRUN true\n", closed.number()));
    let ran = session.kiln(["build", context.to_str().unwrap()]).fails(1);
    ran.says(&["base:1", "refused", "Dockerfile:1:6"]);
}

#[test]
fn a_store_that_is_not_ours_is_refused_in_a_line() {
    let Some(session) = Session::with_busybox().filter(|_| is_root()) else { return };
    chown(session.store().join("format"), Some(12345), None).unwrap();
    let refused = session.kiln(["images"]).fails(1).says(&["belongs to another user", "--root"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    chown(session.store().join("format"), Some(0), None).unwrap();
    let busy = session.write("busy/file", "");
    let other = busy.parent().unwrap().to_str().unwrap();
    session.kiln(["--root", other, "images"]).fails(1).says(&["neither a kiln store nor empty"]);
}

#[test]
fn a_store_that_cannot_be_written_can_be_read() {
    let Some(disk) = Disk::new() else { return };
    let context = disk.session.context("app", "FROM busybox\nRUN true\n");
    disk.kiln(&["build", "-q", "-t", "app", context.to_str().unwrap()]).ok();
    disk.mount(&["-o", "remount,ro"]);
    disk.kiln(&["images"]).ok().prints(&["app"]);
    let refused = disk.kiln(&["tag", "app", "other"]).fails(1).says(&["Read-only file system"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    disk.mount(&["-o", "remount,rw"]);
}

#[test]
fn a_full_disk_costs_the_build_and_nothing_else() {
    let Some(disk) = Disk::new() else { return };
    let small = disk.session.context("small", "FROM busybox\nRUN echo small > /file\n");
    disk.kiln(&["build", "-q", "-t", "small", small.to_str().unwrap()]).ok();
    for (name, dockerfile) in [
        ("run", "FROM busybox\nRUN head -c 60000000 /dev/urandom > /big\n"),
        ("copy", "FROM busybox\nCOPY . /app\n"),
        (
            "layers",
            "FROM busybox\nRUN head -c 15000000 /dev/urandom > /one\nRUN head -c 30000000 /dev/urandom > /two\n",
        ),
    ] {
        let context = disk.session.context(name, dockerfile);
        disk.session.write(&format!("{name}/big"), noise(60_000_000));
        let failed = disk.kiln(&["build", "-t", name, context.to_str().unwrap()]).fails(1);
        if name == "copy" {
            failed.says(&["No space left", "kiln store gc", "COPY . /app"]);
        }
        disk.kiln(&["store", "verify"]).ok();
        disk.kiln(&["store", "gc"]).ok();
    }
    disk.kiln(&["build", "-q", "-t", "again", small.to_str().unwrap()]).ok();
    disk.kiln(&["images", "--format", "{{.Repository}}"]).ok().prints(&["small", "again", "busybox"]);
}

#[test]
fn after_a_power_cut_what_was_acknowledged_is_there() {
    let (Some(disk), Some(python)) = (Disk::new(), installed("python3", "python3")) else { return };
    let context = disk.session.context("app", "FROM busybox\nCOPY . /app\nRUN cp -r /app /copy\n");
    disk.session.write("app/large", noise(300_000));
    let id = disk.kiln(&["build", "-q", "-t", "app", context.to_str().unwrap()]).ok().stdout;
    let marked =
        format!("FROM busybox\nRUN head -c 900000 /dev/urandom > /x\nRUN : {}; sleep 600\n", disk.session.name());
    let slow = disk.session.context("slow", &marked);
    let mut cut = disk.start(&["build", "-t", "slow", slow.to_str().unwrap()]);
    sleep(Duration::from_millis(700));
    disk.cut_power(&python);
    let _ = cut.kill();
    cut.wait().unwrap();
    assert_no_process(&disk.session.name());
    assert!(disk.unmount());
    disk.mount(&[]);
    assert_eq!(disk.kiln(&["images", "-q", "--no-trunc", "app"]).ok().stdout, id);
    let check = "cmp /app/large /copy/large && echo same";
    disk.kiln(&["run", "--rm", "--net", "none", "app", "sh", "-c", check]).ok().prints(&["same"]);
    let again = disk.kiln(&["build", "-t", "app", "--progress", "plain", context.to_str().unwrap()]).ok();
    assert_eq!(again.stderr.matches("CACHED").count(), 2, "{}", again.stderr);
}

#[test]
fn ctrl_c_ends_what_waits() {
    let Some(session) = Session::with_busybox() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let resolving = session.context("resolving", &format!("FROM {}/x\nRUN true\n", silent.local_addr().unwrap()));
    let running = session.context("running", &format!("FROM busybox\nRUN : {}; sleep 600\n", session.name()));
    let locked = "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked sleep 600\n";
    let cache = session.context("cache", locked);
    for context in [&resolving, &running, &cache] {
        let one = start(&session, context);
        let other = start(&session, context);
        // Before they listen to signals, one ends them as it ends any program.
        [&one, &other].into_iter().for_each(|build| eventually(|| awaits_interrupts(build)));
        sleep(Duration::from_millis(600));
        // Which of them works and which waits for it is theirs to decide.
        [one, other].into_iter().for_each(interrupt);
    }
    assert_whole(&session);
}

#[test]
fn ctrl_c_at_any_point_leaves_nothing() {
    end_at_random_points(Signal::SIGINT, &|code| code != Some(1));
}

#[test]
fn a_kill_at_any_point_leaves_nothing_that_the_next_command_does_not_clear() {
    end_at_random_points(Signal::SIGKILL, &|code| code.is_none() || code == Some(0));
}

#[test]
fn two_builds_that_need_a_step_at_once_run_it_once() {
    let Some(session) = Session::with_busybox() else { return };
    // The step goes on until all the others wait for it.
    let counted = "FROM busybox\nRUN --mount=type=cache,target=/c echo ran >> /c/log; until [ -e /gate/open ]; do sleep 0.05; done\n";
    let context = session.context("app", counted);
    fs::create_dir(session.path("gate")).unwrap();
    let gate = format!("{}:/gate", session.path("gate").display());
    let waiting = AtomicUsize::new(0);
    let build = || {
        let mut command = session.command();
        command.args(["build", "--progress", "plain", "-v", &gate, context.to_str().unwrap()]);
        let mut build = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(build.stderr.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = lines
            .inspect(|line| {
                if line.contains("waits for another kiln") && waiting.fetch_add(1, Ordering::SeqCst) == 1 {
                    session.write("gate/open", "");
                }
            })
            .collect();
        assert!(build.wait().unwrap().success(), "{said:?}");
        said.join("\n")
    };
    let said: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..3).map(|_| scope.spawn(build)).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(said.iter().filter(|said| said.contains("(by another kiln)")).count() == 2, "{said:?}");
    let count = "FROM busybox\nRUN --mount=type=cache,target=/c cp /c/log /log\n";
    session.build("count", &session.context("count", count));
    assert_eq!(session.run("count", "cat /log"), "ran\n");
}

#[test]
fn collecting_breaks_no_build() {
    let Some(session) = Session::with_busybox() else { return };
    let contexts: Vec<PathBuf> = (0..3)
        .map(|number| {
            let name = format!("app{number}");
            session.write(&format!("{name}/data"), noise(100_000 + number));
            session
                .context(&name, "FROM busybox\nCOPY data /data\nRUN cp /data /copy\nRUN cmp /data /copy && sleep 0.3\n")
        })
        .collect();
    for _ in 0..2 {
        let mut builds: Vec<Child> = contexts.iter().map(|context| start(&session, context)).collect();
        while builds.iter_mut().any(|build| build.try_wait().unwrap().is_none()) {
            session.kiln(["store", "gc"]).ok();
        }
        builds.into_iter().for_each(|build| drop(Ran::from(build.wait_with_output().unwrap()).ok()));
    }
    assert_whole(&session);
}

/// Ends builds that copy, run and write layers, each a little later than the one before.
fn end_at_random_points(signal: Signal, is_fine: &dyn Fn(Option<i32>) -> bool) {
    let Some(session) = Session::with_busybox() else { return };
    let rounds = if std::env::var_os("CI").is_some() { 20 } else { 8 };
    for number in 0..200 {
        session.write(&format!("app/files/{number}"), noise(20_000 + number));
    }
    let script = "cp -r /files /copy; head -c 3000000 /dev/urandom > /big; sleep 0.2";
    let marked = format!("FROM busybox\nCOPY files /files\nRUN : {}; {script}\nRUN rm /big\n", session.name());
    let context = session.context("app", &marked);
    for round in 0..rounds {
        let mut command = session.command();
        command.args(["build", "--no-cache", "-t", "app", context.to_str().unwrap()]);
        let mut build = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(5 + 600 * round / rounds));
        let _ = kill(pid(&build), signal);
        let status = build.wait().unwrap();
        assert!(is_fine(status.code()), "{status} in round {round}");
        assert_nothing_is_left(&session);
    }
    assert_whole(&session);
    session.build("app", &context);
}

fn start(session: &Session, context: &Path) -> Child {
    let mut command = session.command();
    command.args(["build", "--progress", "plain", context.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn interrupt(build: Child) {
    kill(pid(&build), Signal::SIGINT).unwrap();
    // What it waits for goes on far longer than the test does.
    Ran::from(build.wait_with_output().unwrap()).fails(130);
}

/// Whether a process has blocked SIGINT, as kiln does to wait for it (proc_pid_status(5), `SigBlk`).
fn awaits_interrupts(process: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
    blocked.is_some_and(|set| u64::from_str_radix(set, 16).is_ok_and(|set| set & 1 << (Signal::SIGINT as u32 - 1) != 0))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// No process has the session in its arguments, and nothing of the session is mounted.
#[track_caller]
fn assert_nothing_is_left(session: &Session) {
    let name = session.name();
    assert_no_process(&name);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}

#[track_caller]
fn assert_no_process(name: &str) {
    eventually(|| process_of(name).is_none());
}

fn process_of(name: &str) -> Option<String> {
    let commands = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ")).find(|command| command.contains(name))
}

/// The next command works, clears what was in progress, and everything is what its digest says.
#[track_caller]
fn assert_whole(session: &Session) {
    session.kiln(["images"]).ok();
    session.kiln(["store", "verify"]).ok();
    assert_nothing_is_left(session);
    for area in ["tmp", "leases", "locks"] {
        let left: Vec<_> = fs::read_dir(session.store().join(area)).unwrap().collect();
        assert!(left.is_empty(), "{area}: {left:?}");
    }
}

/// Bytes that do not compress, the same for the same length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A small disk of its own for a store that has an image `busybox`.
struct Disk {
    session: Session,
}

impl Disk {
    fn new() -> Option<Self> {
        let session = Session::with_busybox().filter(|_| is_root())?;
        let mkfs = installed("mkfs.ext4", "e2fsprogs")?;
        let image = session.path("disk.img");
        fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
        assert!(Command::new(mkfs).args(["-q", "-m", "0"]).arg(&image).status().unwrap().success());
        let disk = Self { session };
        fs::create_dir(disk.place()).unwrap();
        if !disk.try_mount(&[]) {
            eprintln!("skipped: no loop devices here");
            return None;
        }
        disk.kiln(&["import", "busybox.tar", "busybox"]).ok();
        Some(disk)
    }

    fn place(&self) -> PathBuf {
        self.session.path("disk")
    }

    fn kiln(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.session.command();
        command.env("KILN_ROOT", self.place().join("store")).args(arguments);
        command
    }

    #[track_caller]
    fn mount(&self, options: &[&str]) {
        assert!(self.try_mount(options));
    }

    fn try_mount(&self, options: &[&str]) -> bool {
        let mut mount = Command::new("mount");
        match options {
            [] => mount.args(["-o", "loop"]).arg(self.session.path("disk.img")),
            options => mount.args(options),
        };
        mount.arg(self.place()).status().is_ok_and(|status| status.success())
    }

    /// Unmounts the disk and waits until no mount namespace has it any more.
    fn unmount(&self) -> bool {
        let begun = Instant::now();
        let is_free = || {
            let devices = Command::new("losetup").arg("-j").arg(self.session.path("disk.img")).output();
            devices.is_ok_and(|output| output.stdout.is_empty())
        };
        while begun.elapsed() < PATIENCE {
            let _ = Command::new("umount").arg(self.place()).stderr(Stdio::null()).status();
            if is_free() {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    /// Stops the file system as it is, without writing what it still has in memory (`FS_IOC_SHUTDOWN`).
    fn cut_power(&self, python: &Path) {
        let code = "import fcntl, os, struct, sys\nfcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        assert!(Command::new(python).args(["-c", code]).arg(self.place()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}
