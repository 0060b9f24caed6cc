//! Where the hierarchies of cgroups are mounted, and where in them a box's cgroup can be made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How this machine arranges cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Layout {
    /// None are mounted.
    Absent,
    /// Version 2 alone.
    Unified {
        /// kiln's own cgroup, as a directory.
        path: PathBuf,
    },
    /// Version 1, perhaps with a version 2 beside it that has no controllers of interest (hybrid).
    Legacy {
        /// Each of them.
        hierarchies: Vec<Hierarchy>,
    },
}

/// One hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Its controllers or `name=...`; empty for the version 2 of a hybrid.
    pub options: Vec<String>,
    /// kiln's own cgroup in it, as a directory; not known if it is not mounted.
    pub path: Option<PathBuf>,
}

/// The version of a place for cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unified,
    Legacy,
}

/// A mounted hierarchy, of `/proc/self/mountinfo`.
struct Mounted {
    root: PathBuf,
    place: PathBuf,
    kind: String,
    options: Vec<String>,
}

impl Layout {
    /// Reads it for this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&own, &mounts)
    }

    fn parse(own: &str, mounts: &str) -> Self {
        let mounted: Vec<Mounted> = mounts.lines().filter_map(Mounted::parse).collect();
        let hierarchies: Vec<Hierarchy> = own.lines().filter_map(|line| Hierarchy::parse(line, &mounted)).collect();
        match hierarchies.as_slice() {
            [] => Self::Absent,
            [Hierarchy { options, path }] if options.is_empty() => match path {
                Some(path) => Self::Unified { path: path.clone() },
                None => Self::Absent,
            },
            _ => Self::Legacy { hierarchies },
        }
    }

    /// The directory in which to make a cgroup with `controller`.
    /// `named` is what the user wants it to be below.
    pub(super) fn parent(&self, controller: &str, named: Option<&str>) -> io::Result<(Kind, PathBuf)> {
        match self {
            Self::Absent => Err(io::ErrorKind::NotFound.into()),
            Self::Unified { path } => {
                let controller = if controller == "blkio" { "io" } else { controller };
                let parent = match named {
                    Some(named) => named_parent(path, named, controller)?,
                    None => unified_parent(path, controller)?,
                };
                Ok((Kind::Unified, parent))
            }
            Self::Legacy { hierarchies } => {
                let has = |hierarchy: &&Hierarchy| hierarchy.options.iter().any(|option| option == controller);
                let hierarchy = hierarchies.iter().find(has).ok_or(io::ErrorKind::NotFound)?;
                let own = hierarchy.path.clone().ok_or(io::ErrorKind::NotFound)?;
                Ok((Kind::Legacy, named.map_or(Ok(own.clone()), |named| legacy_parent(&own, named, controller))?))
            }
        }
    }

    /// Why `error` came of making or using a cgroup, in a user's words.
    pub(super) fn obstacle(&self, error: &io::Error) -> String {
        match (self, error.kind()) {
            (Self::Absent, _) => "no cgroups are mounted".to_owned(),
            (_, io::ErrorKind::Unsupported) => "the kernel's cgroups of this version have no such limit".to_owned(),
            (_, io::ErrorKind::NotFound) => "the cgroup has no controller for it".to_owned(),
            (_, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                "the cgroup may not be changed by this user (systemd-run --user --scope delegates one)".to_owned()
            }
            _ => format!("the cgroup refuses it: {error}"),
        }
    }
}

impl Hierarchy {
    /// What its directory below `/sys/fs/cgroup` is called.
    pub(in super::super) fn directory_name(&self) -> String {
        match self.options.first() {
            None => "unified".to_owned(),
            Some(first) => match first.strip_prefix("name=") {
                Some(name) => name.to_owned(),
                None => self.options.join(","),
            },
        }
    }

    fn parse(line: &str, mounted: &[Mounted]) -> Option<Self> {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?.split(',').filter(|controller| !controller.is_empty());
        let options: Vec<String> = controllers.map(str::to_owned).collect();
        let path = mounted.iter().find_map(|mounted| mounted.directory_of(&options, Path::new(fields.clone().next()?)));
        Some(Self { options, path })
    }
}

impl Mounted {
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let mut tail = tail.split(' ');
        let mounted = Self {
            root: head.next()?.into(),
            place: head.next()?.into(),
            kind: tail.next()?.to_owned(),
            options: tail.nth(1)?.split(',').map(str::to_owned).collect(),
        };
        mounted.kind.starts_with("cgroup").then_some(mounted)
    }

    fn directory_of(&self, options: &[String], path: &Path) -> Option<PathBuf> {
        let fits = match (self.kind.as_str(), options) {
            ("cgroup2", []) => true,
            ("cgroup", [_, ..]) => options.iter().all(|option| self.options.contains(option)),
            _ => false,
        };
        let below = path.strip_prefix(&self.root).ok()?;
        fits.then(|| self.place.join(below))
    }
}

/// The top of a hierarchy.
fn top(own: &Path) -> &Path {
    own.ancestors().take_while(|path| path.join("cgroup.procs").exists()).last().unwrap_or(own)
}

/// The directories from the top of a hierarchy, without that, down to what is named.
fn on_the_way<'a>(own: &'a Path, named: &'a str) -> impl Iterator<Item = PathBuf> {
    let names = named.split('/').filter(|name| !name.is_empty());
    names.scan(top(own).to_owned(), |path, name| {
        path.push(name);
        Some(path.clone())
    })
}

fn legacy_parent(own: &Path, named: &str, controller: &str) -> io::Result<PathBuf> {
    let mut parent = top(own).to_owned();
    for path in on_the_way(own, named) {
        if !path.exists() {
            fs::create_dir(&path)?;
            if controller == "cpuset" {
                super::inherit_cpuset(path.parent().unwrap_or(&path), &path)?;
            }
        }
        parent = path;
    }
    Ok(parent)
}

/// Only what has no processes of its own can be such a parent.
fn named_parent(own: &Path, named: &str, controller: &str) -> io::Result<PathBuf> {
    let mut parent = top(own).to_owned();
    for path in on_the_way(own, named) {
        prepare(&path, controller)?;
        parent = path;
    }
    Ok(parent)
}

/// In version 2 a cgroup has either processes or children with controllers. So a box's is made below a
/// cgroup of kiln's own at the top, or, where only a part of the hierarchy is the user's, beside kiln's.
fn unified_parent(own: &Path, controller: &str) -> io::Result<PathBuf> {
    let top = top(own);
    let candidates = [Some(top.join("kiln")), own.parent().filter(|_| own != top).map(Path::to_owned)];
    let mut result = Err(io::ErrorKind::PermissionDenied.into());
    for candidate in candidates.into_iter().flatten() {
        result = prepare(&candidate, controller).map(|()| candidate);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn prepare(directory: &Path, controller: &str) -> io::Result<()> {
    if !directory.exists() {
        fs::create_dir(directory)?;
    }
    // One that root's kiln has made is of no use to others.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?;
    for path in [directory.parent().unwrap_or(directory), directory] {
        let enabled = fs::read_to_string(path.join("cgroup.subtree_control"))?;
        if !enabled.split_ascii_whitespace().any(|enabled| enabled == controller) {
            fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(own: &str, mounts: &[&str]) -> Layout {
        let line = |mount: &&str| format!("30 20 0:25 {mount} rw\n");
        Layout::parse(own, &mounts.iter().map(line).collect::<String>())
    }

    #[test]
    fn unified() {
        let mount = "/ /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let path = "/sys/fs/cgroup/user.slice/a".into();
        assert_eq!(layout("0::/user.slice/a\n", &[mount]), Layout::Unified { path });
        assert_eq!(layout("0::/user.slice/a\n", &[]), Layout::Absent);
    }

    #[test]
    fn hybrid() {
        let mounts = [
            "/ /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids",
            "/docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
            "/ /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
            "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ];
        let own = "4:name=systemd:/\n3:pids:/a\n2:cpu,cpuacct:/docker/x/b\n1:memory:/\n0::/\n";
        let Layout::Legacy { hierarchies } = layout(own, &mounts) else { panic!("not hybrid") };
        let shown: Vec<_> = hierarchies.iter().map(|known| (known.directory_name(), known.path.clone())).collect();
        let expected = [
            ("systemd", Some("/sys/fs/cgroup/systemd/")),
            ("pids", Some("/sys/fs/cgroup/pids/a")),
            ("cpu,cpuacct", Some("/sys/fs/cgroup/cpu,cpuacct/b")),
            ("memory", None),
            ("unified", Some("/sys/fs/cgroup/unified/")),
        ];
        assert_eq!(shown, expected.map(|(name, path)| (name.to_owned(), path.map(PathBuf::from))));
    }
}
