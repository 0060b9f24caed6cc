//! A box's cgroup: limits set, processes counted, removed afterwards.
//!
//! The same few operations on version 2 and on the hierarchies of version 1, one directory a
//! controller. Only the controllers that a limit needs are used.

mod freezer;
mod layout;
mod settings;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::spec::{Freezer, Limits};
use super::{Notice, SandboxError};

pub use freezer::{Motion, freeze};
pub use layout::{Hierarchy, Layout};
use settings::{Setting, Wish, settings};

/// A controller of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// Processor time.
    Cpu,
    /// Which processors.
    Cpuset,
    /// The number of processes.
    Pids,
    /// Whether processes run at all.
    Freezer,
    /// Which devices can be opened.
    Devices,
    /// Reading from disks and writing to them.
    Blkio,
}

/// The version of the interface that a directory speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// A hierarchy a controller.
    One,
    /// One directory for all.
    Two,
}

/// A directory in which a box's processes are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What it was made for; on version 2 it serves the others, too.
    pub controller: Controller,
    /// What it speaks.
    pub version: Version,
    /// The directory.
    pub path: PathBuf,
}

impl Place {
    fn freezes(&self) -> bool {
        self.version == Version::Two || self.controller == Controller::Freezer
    }
}

/// The directories of one box.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    directories: Vec<(Controller, Version, PathBuf)>,
}

/// Open ways into a cgroup, which hold in whatever namespaces the process that takes them is.
#[derive(Debug, Default)]
pub(super) struct Doors {
    tasks: Vec<File>,
    birthplace: Option<OwnedFd>,
}

impl Doors {
    /// Where to be born (version 2).
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.birthplace.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which has one thread (version 1).
    pub(super) fn enter(&self) -> io::Result<()> {
        self.tasks.iter().try_for_each(|mut tasks| tasks.write_all(b"0"))
    }
}

/// What a box used, as its cgroup counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) oom_killed: bool,
    pub(super) cpu: Option<Duration>,
    pub(super) peak_memory_bytes: Option<u64>,
}

impl Cgroup {
    /// Makes a cgroup with `limits`. A limit that was asked for and cannot be had is an error.
    pub(super) fn create(layout: &Layout, limits: &Limits, notices: &mut Vec<Notice>) -> Result<Self, SandboxError> {
        let mut cgroup = Self::default();
        for setting in settings(limits) {
            let made = cgroup.directory(layout, limits.parent.as_deref(), setting.controller);
            let result = made.and_then(|(version, directory)| setting.write(version, &directory));
            match (result, setting.wish) {
                (Ok(()), _) => {}
                (Err(_), Wish::Default) if setting.controller == Controller::Memory => {}
                (Err(error), Wish::Default) => notices.push(Notice::NoPidsLimit { why: layout.obstacle(&error) }),
                (Err(error), Wish::Asked) => {
                    cgroup.remove();
                    return Err(SandboxError::Limit {
                        what: setting.controller.describe().to_owned(),
                        why: layout.obstacle(&error),
                    });
                }
            }
        }
        if limits.freezer == Freezer::Wanted {
            cgroup.provide_freezer(layout, limits.parent.as_deref());
        }
        Ok(cgroup)
    }

    /// The directories, for whoever looks at the box from outside.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |(controller, version, path): &(Controller, Version, PathBuf)| Place {
            controller: *controller,
            version: *version,
            path: path.clone(),
        };
        self.directories.iter().map(place).collect()
    }

    /// Lets the processes go on, if they were stopped: one that stands still cannot die (version 1).
    pub(super) fn thaw(&self) {
        for place in self.places().iter().filter(|place| place.freezes()) {
            let _runs_already = freezer::ask(&place.path, place.version, Motion::Thawed);
        }
    }

    /// A box without a freezer cannot be paused, and lives as well otherwise.
    fn provide_freezer(&mut self, layout: &Layout, parent: Option<&str>) {
        let controller = match layout {
            Layout::Unified { .. } => Controller::Pids,
            Layout::Legacy { .. } | Layout::Absent => Controller::Freezer,
        };
        let _cannot_be_paused = self.directory(layout, parent, controller);
    }

    /// The ways in, for a process that is about to be made. Moving a process from outside makes the kernel wait
    /// for every processor (5 to 14 ms); to be born in the cgroup, or to move oneself, costs nothing.
    pub(super) fn doors(&self) -> io::Result<Doors> {
        let mut doors = Doors::default();
        for (_, version, directory) in &self.directories {
            match version {
                Version::One => doors.tasks.push(File::options().write(true).open(directory.join("tasks"))?),
                Version::Two => doors.birthplace = Some(File::open(directory)?.into()),
            }
        }
        Ok(doors)
    }

    /// Moves a process in that could not be born there: with version 1 it goes by itself.
    pub(super) fn add_where_it_cannot_go_itself(&self, pid: Pid) -> io::Result<()> {
        let pid = pid.as_raw_nonzero().to_string();
        let two = self.directories.iter().filter(|(_, version, _)| *version == Version::Two);
        two.map(|(_, _, directory)| directory).try_for_each(|directory| fs::write(directory.join("cgroup.procs"), &pid))
    }

    /// Whether the number of processes is limited by it.
    pub(super) fn limits_pids(&self) -> bool {
        self.directories.iter().any(|(controller, _, _)| *controller == Controller::Pids)
    }

    /// What its processes used until now.
    pub(super) fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for (controller, version, directory) in &self.directories {
            match (controller, version) {
                (_, Version::Two) => {
                    counted.oom_killed |= field(&directory.join("memory.events"), "oom_kill").unwrap_or(0) > 0;
                    counted.peak_memory_bytes = number(&directory.join("memory.peak"));
                    counted.cpu = field(&directory.join("cpu.stat"), "usage_usec").map(Duration::from_micros);
                }
                (Controller::Memory, Version::One) => {
                    counted.oom_killed |= field(&directory.join("memory.oom_control"), "oom_kill").unwrap_or(0) > 0;
                    counted.peak_memory_bytes = number(&directory.join("memory.max_usage_in_bytes"));
                }
                _ => {}
            }
        }
        counted
    }

    /// Kills the processes in it: those of a box whose first process is not the init of a namespace.
    pub(super) fn kill(&self) {
        for (_, version, directory) in &self.directories {
            match version {
                Version::Two => drop(fs::write(directory.join("cgroup.kill"), "1")),
                Version::One => kill_each(directory),
            }
        }
    }

    /// Kills what is left in it and removes it.
    pub(super) fn remove(&mut self) {
        for (_, version, directory) in self.directories.drain(..) {
            if version == Version::Two {
                let _absent_before_5_14 = fs::write(directory.join("cgroup.kill"), "1");
            }
            remove_directory(&directory);
        }
    }

    fn directory(
        &mut self,
        layout: &Layout,
        parent: Option<&str>,
        controller: Controller,
    ) -> io::Result<(Version, PathBuf)> {
        let known = self.directories.iter().find(|(own, version, _)| *own == controller || *version == Version::Two);
        if let Some((_, version, directory)) = known {
            return Ok((*version, directory.clone()));
        }
        let (version, parent) = match layout.parent(controller.name(), parent)? {
            (layout::Kind::Unified, parent) => (Version::Two, parent),
            (layout::Kind::Legacy, parent) => (Version::One, parent),
        };
        sweep(&parent);
        let directory = parent.join(own_name());
        fs::create_dir(&directory)?;
        self.directories.push((controller, version, directory.clone()));
        if (controller, version) == (Controller::Cpuset, Version::One) {
            inherit_cpuset(&parent, &directory)?;
        }
        Ok((version, directory))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Devices => "devices",
            Self::Blkio => "blkio",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "processor time",
            Self::Cpuset => "the set of processors",
            Self::Pids => "the number of processes",
            Self::Freezer => "stopping processes",
            Self::Devices => "what devices can be opened for",
            Self::Blkio => "reading from disks and writing to them",
        }
    }
}

/// Changes limits of a box that runs from `before` to `after`; a controller that it has no cgroup of, as it had no such
/// limit, cannot be had later.
pub(crate) fn change(places: &[Place], before: &Limits, after: &Limits) -> Result<(), SandboxError> {
    let old = settings(before);
    let mut changed: Vec<Setting> = settings(after).into_iter().filter(|setting| !old.contains(setting)).collect();
    let mut result = write_all(places, &changed);
    if result.is_err() {
        // Memory is never to be more than memory and swap: which comes first depends on which way it goes.
        changed.reverse();
        result = write_all(places, &changed);
    }
    result
}

fn write_all(places: &[Place], settings: &[Setting]) -> Result<(), SandboxError> {
    for setting in settings {
        let failed = |why: String| SandboxError::Limit { what: setting.controller.describe().to_owned(), why };
        let place = places.iter().find(|place| place.version == Version::Two || place.controller == setting.controller);
        let result = match place {
            Some(place) => setting.write(place.version, &place.path).map_err(|error| failed(error.to_string())),
            None => Err(failed("it was started without such a limit: stop it first".to_owned())),
        };
        match (result, setting.wish) {
            (Err(error), Wish::Asked) => return Err(error),
            (Ok(()), _) | (Err(_), Wish::Default) => {}
        }
    }
    Ok(())
}

/// The controllers that a cgroup can be made with here, by name.
pub(super) fn usable_controllers(layout: &Layout) -> Vec<String> {
    let all = [Controller::Memory, Controller::Cpu, Controller::Cpuset, Controller::Pids];
    let usable = all.into_iter().filter(|controller| Cgroup::default().directory(layout, None, *controller).is_ok());
    usable.map(|controller| controller.name().to_owned()).collect()
}

/// The name that a supervisor gives its cgroup: its process, told apart from a later one of that id.
fn own_name() -> String {
    let pid = std::process::id();
    format!("kiln-{pid}-{}", started(pid).unwrap_or(0))
}

/// Removes what supervisors left that were killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("kiln-")?.split_once('-'));
        let Some((pid, start)) = owner else { continue };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse::<u64>()) else { continue };
        if started(pid) != Some(start) {
            let _is_no_freezer = freezer::ask(&entry.path(), Version::One, Motion::Thawed);
            remove_directory(&entry.path());
        }
    }
}

/// When a process started, in ticks since boot: field 22 of `proc_pid_stat(5)`.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Kills all processes of a cgroup of version 1, and those that they make meanwhile.
fn kill_each(directory: &Path) {
    for _round in 0..1000 {
        let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<Pid> = pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ended_already = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::yield_now();
    }
}

fn remove_directory(directory: &Path) {
    // A process that was killed leaves its cgroup a moment after it has been waited for.
    for _attempt in 0..50 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(2)),
            _ => return,
        }
    }
}

/// A new cpuset of version 1 is empty, and takes no process until it is not.
fn inherit_cpuset(parent: &Path, directory: &Path) -> io::Result<()> {
    ["cpuset.cpus", "cpuset.mems"]
        .into_iter()
        .try_for_each(|file| fs::write(directory.join(file), fs::read(parent.join(file))?))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
