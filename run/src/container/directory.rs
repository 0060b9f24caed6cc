//! Where containers are kept, and who may change what.
//!
//! ```text
//!   containers/names/NAME -> ID    a symbolic link for each name; the directory is flocked to claim one
//!   containers/ID/config.json      what it is
//!   containers/ID/state.json       how it is; written only under the lock of `monitor`
//!   containers/ID/lock             flocked by whoever starts, renames or removes it
//!   containers/ID/monitor          flocked by its monitor for as long as the container may run
//!   containers/ID/socket           where the monitor listens
//!   containers/ID/log              what it said
//!   containers/ID/root/            what it changed in its root file system
//! ```
//!
//! Locks are flocks: they end with their holder, so that a lost monitor is known by what it no longer
//! holds, and no process id is ever believed. Records are replaced by a rename.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::Store;
use store::store::Area;

use super::error::ContainerError;
use super::id::ContainerId;
use super::name::ContainerName;
use super::record::{Config, State};

/// The directory of one container.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held, not used")] File);

/// What came of trying to take a lock.
#[derive(Debug)]
pub(super) enum Locked {
    /// It is ours.
    Held(Lock),
    /// Another process has it.
    Busy,
    /// There is no such container (any more).
    Gone,
}

impl Directory {
    pub(super) fn of(store: &Store, id: ContainerId) -> Self {
        Self::at(store.dir(Area::Containers).join(id.to_string()))
    }

    /// A container's directory that is still being filled somewhere else.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// Reads what the container is; `None` if there is no such container (any more).
    pub(super) fn config(&self) -> Result<Option<Config>, ContainerError> {
        read(&self.path.join("config.json"))
    }

    pub(super) fn write_config(&self, config: &Config) -> Result<(), ContainerError> {
        write(&self.path.join("config.json"), config)
    }

    /// Reads how the container was, when somebody last wrote it down.
    pub(super) fn state(&self) -> Result<Option<State>, ContainerError> {
        read(&self.path.join("state.json"))
    }

    pub(super) fn write_state(&self, state: &State) -> Result<(), ContainerError> {
        write(&self.path.join("state.json"), state)
    }

    /// Waits until nobody else starts, renames or removes the container; `None` if it was removed.
    pub(super) fn lock(&self) -> Result<Option<Lock>, ContainerError> {
        match self.take("lock", FlockOperation::LockExclusive)? {
            Locked::Held(lock) => Ok(Some(lock)),
            Locked::Busy | Locked::Gone => Ok(None),
        }
    }

    /// Takes the place of the monitor, when whoever has it lets go.
    pub(super) fn lock_monitor(&self) -> Result<Locked, ContainerError> {
        self.take("monitor", FlockOperation::LockExclusive)
    }

    /// Takes the place of the monitor if nobody has it.
    pub(super) fn try_lock_monitor(&self) -> Result<Locked, ContainerError> {
        self.take("monitor", FlockOperation::NonBlockingLockExclusive)
    }

    /// Connects to the monitor; `None` if none listens.
    pub(super) fn connect(&self) -> Result<Option<UnixStream>, ContainerError> {
        let connected = self.with_socket_path(|path| UnixStream::connect(path));
        match connected {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(source) => Err(ContainerError::Io { doing: "connect to", path: self.path.join("socket"), source }),
        }
    }

    /// Listens as the monitor, in place of an earlier one.
    pub(super) fn listen(&self) -> Result<UnixListener, ContainerError> {
        let path = self.path.join("socket");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ContainerError::io("remove", path)(error));
            }
            _ => {}
        }
        self.with_socket_path(|path| UnixListener::bind(path)).map_err(ContainerError::io("listen on", path))
    }

    /// Stops listening.
    pub(super) fn unlisten(&self) {
        // If it stays, connecting to it is refused, which says the same.
        let _ = fs::remove_file(self.path.join("socket"));
    }

    /// A socket's path has at most 107 bytes and a store's may be longer: the way leads through the
    /// directory's descriptor.
    fn with_socket_path<T>(&self, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let directory = File::open(&self.path)?;
        act(&PathBuf::from(format!("/proc/self/fd/{}/socket", directory.as_raw_fd())))
    }

    fn take(&self, name: &str, operation: FlockOperation) -> Result<Locked, ContainerError> {
        let path = self.path.join(name);
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::Gone),
            Err(source) => return Err(ContainerError::Io { doing: "open", path, source }),
        };
        match rustix::io::retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Locked::Busy),
            Err(error) => return Err(ContainerError::io("lock", path)(error.into())),
        }
        // Who waited for a remover holds the lock of a container that is no more.
        if path.exists() { Ok(Locked::Held(Lock(file))) } else { Ok(Locked::Gone) }
    }
}

/// Fills a directory with what every container has besides its root.
pub(super) fn lay_out(directory: &Directory, config: &Config, state: &State) -> Result<(), ContainerError> {
    directory.write_config(config)?;
    directory.write_state(state)?;
    for name in ["lock", "monitor", "log"] {
        let path = directory.path().join(name);
        File::create(&path).map_err(ContainerError::io("make", path))?;
    }
    Ok(())
}

/// The ids of all containers.
pub(super) fn ids(store: &Store) -> Result<Vec<ContainerId>, ContainerError> {
    let path = store.dir(Area::Containers);
    let entries = fs::read_dir(&path).map_err(ContainerError::io("list", path))?;
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The names that containers have, while this exists nobody else changes them.
#[derive(Debug)]
pub(super) struct Names {
    path: PathBuf,
    containers: PathBuf,
    _lock: Lock,
}

impl Names {
    /// Waits until nobody else changes names.
    pub(super) fn lock(store: &Store) -> Result<Self, ContainerError> {
        let containers = store.dir(Area::Containers);
        let path = containers.join("names");
        let open = || {
            fs::create_dir_all(&path)?;
            let directory = File::open(&path)?;
            rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockExclusive))?;
            Ok(directory)
        };
        let lock = Lock(open().map_err(ContainerError::io("lock", &path))?);
        Ok(Self { path, containers, _lock: lock })
    }

    /// Who has a name; a link that leads nowhere is what a crash left.
    pub(super) fn owner(&self, name: &ContainerName) -> Option<ContainerId> {
        let id = read_link(&self.path, name)?;
        self.containers.join(id.to_string()).exists().then_some(id)
    }

    /// Gives a container a name that nobody has.
    pub(super) fn claim(&self, name: &ContainerName, id: ContainerId) -> Result<(), ContainerError> {
        if let Some(owner) = self.owner(name) {
            return Err(ContainerError::NameTaken { name: name.clone(), by: owner.short() });
        }
        let link = self.path.join(name.as_str());
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(id.to_string(), &link).map_err(ContainerError::io("make", link))
    }

    /// Forgets names that lead nowhere.
    pub(super) fn forget_unowned(&self) -> Result<(), ContainerError> {
        let entries = fs::read_dir(&self.path).map_err(ContainerError::io("list", &self.path))?;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_str().and_then(|name| name.parse::<ContainerName>().ok());
            if name.is_none_or(|name| self.owner(&name).is_none()) {
                fs::remove_file(entry.path()).map_err(ContainerError::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Takes a name away from a container, if it is its.
    pub(super) fn release(&self, name: &ContainerName, id: ContainerId) {
        if read_link(&self.path, name) == Some(id) {
            let _ = fs::remove_file(self.path.join(name.as_str()));
        }
    }
}

/// Who has a name, without waiting for anybody.
pub(super) fn owner_of(store: &Store, name: &ContainerName) -> Option<ContainerId> {
    read_link(&store.dir(Area::Containers).join("names"), name)
}

/// The directory of a container by its name, its id or the beginning of that, in a store that is not opened.
pub(super) fn find_in(root: &Path, text: &str) -> Option<Directory> {
    let containers = root.join("containers");
    let named = text.parse().ok().and_then(|name| read_link(&containers.join("names"), &name)).map(|id| id.to_string());
    let begins =
        |name: &String| text.len() <= name.len() && name.starts_with(text) && name.parse::<ContainerId>().is_ok();
    let by_id = || {
        let entries = fs::read_dir(&containers).ok()?.flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).find(begins)
    };
    Some(Directory::at(containers.join(named.or_else(by_id)?)))
}

fn read_link(names: &Path, name: &ContainerName) -> Option<ContainerId> {
    fs::read_link(names.join(name.as_str())).ok()?.to_str()?.parse().ok()
}

/// Reads a record; `None` if it is not there.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ContainerError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| ContainerError::Record { path: path.to_owned(), source }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(ContainerError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// Writes a record whole or not at all. The draft beside it needs no other name: writers hold a lock.
pub(super) fn write(path: &Path, record: &impl Serialize) -> Result<(), ContainerError> {
    let draft = path.with_extension("draft");
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs::rename(&draft, path)
    };
    write().map_err(ContainerError::io("write", path))
}
