//! The process that reaches a container's files: kiln again, in the container's mounts.
//!
//! It is started before an ordinary user's kiln moves into its user namespace ([`Door`]): from outside
//! the user owns the namespaces of all the user's containers, from inside none but its own. Of a
//! container that does not run the mounts are made for the time being, and no command runs in them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};

use serde::{Deserialize, Serialize};
use store::{Area, RelPath};

use super::place::{Found, Tree};
use super::{FilesError, Links, Owner, failed, pack, unpack};
use crate::container::container::Container;
use crate::container::directory::Lock;
use crate::container::error::ContainerError;
use crate::container::joined::Joined;
use crate::container::namespaces::NamespaceOptions;
use crate::container::options::NetworkMode;
use crate::container::record::Config;
use crate::container::root;
use crate::container::spec::{Facts, spec};
use crate::container::terminal::Size;
use crate::part::Part;
use crate::sandbox::entrance::Entrance;
use crate::sandbox::{self, Command, Init, Limits, Network, PidsLimit, Process, Stdio, Terminal};
use crate::wire;

/// The visitor as a part of kiln.
pub(crate) const FILES: Part = Part { name: "kiln-files", run: main };

/// A visitor that has not entered anything yet.
#[derive(Debug)]
pub struct Door {
    socket: UnixStream,
    process: Child,
}

/// A visitor in a container's mounts.
#[derive(Debug)]
pub struct Inside {
    door: Door,
    /// What keeps the mounts of a container that does not run, and somebody else from starting it.
    _still: Option<(Process, Lock)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Open(i32),
    Enter,
    Examine(#[serde(with = "crate::sandbox::text")] PathBuf, Links),
    Pack {
        #[serde(with = "crate::sandbox::text")]
        path: PathBuf,
        name: Vec<u8>,
    },
    Unpack {
        #[serde(with = "crate::sandbox::text")]
        directory: PathBuf,
        owner: Owner,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Found(Found),
}

impl Door {
    /// Starts the visitor. To be called before [`identity::enter`](crate::identity::enter).
    ///
    /// # Errors
    /// If kiln cannot be executed again.
    pub fn open() -> Result<Self, FilesError> {
        let start = || {
            let (ours, theirs) = UnixStream::pair()?;
            Ok(Self { process: FILES.command(theirs.into()).spawn()?, socket: ours })
        };
        start().map_err(failed::<std::io::Error>("execute", "kiln again"))
    }

    /// Has it enter the mounts of a container.
    ///
    /// # Errors
    /// If the container's mounts cannot be had.
    pub fn enter(self, container: &Container) -> Result<Inside, ContainerError> {
        if let Some(running) = container.state()?.running() {
            self.ask(&Ask::Open(running.pid), &[])?;
            // The id of a process is its own only as long as it is there.
            let still_it = container.state()?.running().is_some_and(|now| now.pid == running.pid);
            if !still_it {
                return Err(ContainerError::NotRunning(container.name().clone()));
            }
            self.ask(&Ask::Enter, &[])?;
            return Ok(Inside { door: self, _still: None });
        }
        let gone = || ContainerError::NoSuchContainer(container.name().to_string());
        let lock = container.directory().lock()?.ok_or_else(gone)?;
        let process = still(container)?;
        self.ask(&Ask::Open(process.pid()), &[])?;
        self.ask(&Ask::Enter, &[])?;
        Ok(Inside { door: self, _still: Some((process, lock)) })
    }

    fn ask(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> Result<Answer, FilesError> {
        wire::send(&self.socket, ask, descriptors).map_err(|_| FilesError::Lost)?;
        let answer = wire::receive::<Result<Answer, FilesError>>(&self.socket).map_err(|_| FilesError::Lost)?;
        answer.ok_or(FilesError::Lost)?.0
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It ends when its socket closes.
        let _closed_already = self.socket.shutdown(std::net::Shutdown::Both);
        let _ended = self.process.wait();
    }
}

impl Inside {
    pub(super) fn examine(&self, path: &Path, links: Links) -> Result<Found, FilesError> {
        match self.door.ask(&Ask::Examine(path.to_owned(), links), &[])? {
            Answer::Found(found) => Ok(found),
            Answer::Done => Err(FilesError::Lost),
        }
    }

    pub(super) fn pack(&self, path: &Path, name: &RelPath, output: OwnedFd) -> Result<(), FilesError> {
        let ask = Ask::Pack { path: path.to_owned(), name: name.as_bytes().to_vec() };
        self.hand_over(&ask, output)
    }

    pub(super) fn unpack(&self, directory: &Path, input: OwnedFd, owner: Owner) -> Result<(), FilesError> {
        self.hand_over(&Ask::Unpack { directory: directory.to_owned(), owner }, input)
    }

    /// The descriptor is the visitor's alone from then on: its other end sees when it is done.
    fn hand_over(&self, ask: &Ask, descriptor: OwnedFd) -> Result<(), FilesError> {
        wire::send(&self.door.socket, ask, &[descriptor.as_fd()]).map_err(|_| FilesError::Lost)?;
        drop(descriptor);
        let answer = wire::receive::<Result<Answer, FilesError>>(&self.door.socket).map_err(|_| FilesError::Lost)?;
        answer.ok_or(FilesError::Lost)?.0.map(drop)
    }
}

/// Makes the box of a container that does not run: its mounts, and nothing that runs in them.
fn still(container: &Container) -> Result<Process, ContainerError> {
    let (store, config) = (container.store(), container.config());
    let facts = Facts {
        rootfs: root::prepare(store, container.directory(), config)?,
        volumes: store.dir(Area::Volumes),
        joined: Joined::default(),
        size: Size { rows: 24, columns: 80 },
    };
    let mut network = config.network.clone();
    network.mode = NetworkMode::None;
    let namespaces = NamespaceOptions::default();
    let mut spec = spec(&Config { network, namespaces, devices: Vec::new(), ..config.clone() }, facts)?;
    spec.command = Command::new(vec!["kiln".into()]);
    spec.network = Network::None;
    spec.limits = Limits { pids: PidsLimit::Unlimited, ..Limits::default() };
    spec.rlimits = Vec::new();
    spec.terminal = Terminal::Pipes;
    spec.init = Init::Still;
    let stdio = Stdio::null().map_err(ContainerError::io("open", "/dev/null"))?;
    Ok(sandbox::start(&spec, stdio)?)
}

fn main() -> ExitCode {
    let Ok(control) = crate::sys::inherited(0) else { return ExitCode::FAILURE };
    crate::sys::ignore_broken_pipes();
    let control = UnixStream::from(control);
    let mut visitor = Visitor::default();
    while let Ok(Some((ask, mut descriptors))) = wire::receive::<Ask>(&control) {
        let answer = visitor.answer(ask, descriptors.pop());
        if wire::send(&control, &answer, &[]).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Visitor {
    entrance: Option<Entrance>,
    tree: Option<Tree>,
}

impl Visitor {
    fn answer(&mut self, ask: Ask, descriptor: Option<OwnedFd>) -> Result<Answer, FilesError> {
        match ask {
            Ask::Open(pid) => {
                let open = Entrance::of(pid);
                self.entrance = Some(open.map_err(failed("reach the mounts of", format!("process {pid}")))?);
            }
            Ask::Enter => {
                let entrance = self.entrance.take().ok_or(FilesError::Lost)?;
                let root = entrance.enter().map_err(failed("enter", "the container's mounts"))?;
                self.tree = Some(Tree::of_container(root));
            }
            Ask::Examine(path, links) => return Ok(Answer::Found(self.tree()?.examine(&path, links)?)),
            Ask::Pack { path, name } => {
                let name = RelPath::clean(&name).map_err(|error| FilesError::Archive(error.to_string()))?;
                pack::pack(self.tree()?, &path, &name, descriptor.ok_or(FilesError::Lost)?)?;
            }
            Ask::Unpack { directory, owner } => {
                unpack::unpack(self.tree()?, &directory, descriptor.ok_or(FilesError::Lost)?, owner)?;
            }
        }
        Ok(Answer::Done)
    }

    fn tree(&self) -> Result<&Tree, FilesError> {
        self.tree.as_ref().ok_or(FilesError::Lost)
    }
}
