//! `--mount=type=ssh`: a socket of a step's own in front of an SSH agent.
//!
//! The socket has the owner and mode that the step asks for, whatever the user's has, and lets through
//! only what uses keys: a step can have something signed, and cannot add, remove or lock keys (as in
//! BuildKit). Behind it is the user's agent, or `agent`, which has a few private keys in memory. Nothing
//! here knows Dockerfiles, sandboxes or the store.

mod agent;
mod keys;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::graph::SecretFile;
use crate::request::SshSource;
use agent::Request;
use keys::PrivateKey;

pub use keys::KeyError;

/// The most that agents and clients take for one message.
const LARGEST_BYTES: u32 = 256 << 10;

/// As many connections as a step has at once; each has a thread.
const MOST_CONNECTIONS: usize = 64;

/// Why there is no agent for a step.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The user's agent does not answer.
    #[error("no agent listens at {}", path.display())]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A private key cannot be used.
    #[error("cannot use the private key {}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The step's socket cannot be made.
    #[error("cannot make a socket")]
    Socket(#[source] io::Error),
}

/// A socket that leads to an agent, until this is dropped.
#[derive(Debug)]
pub(crate) struct Forward {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// Who answers.
#[derive(Clone)]
enum Behind {
    Agent(PathBuf),
    Keys(Arc<Vec<PrivateKey>>),
}

impl Forward {
    /// Listens in a directory that is the caller's alone.
    pub(crate) fn start(source: &SshSource, directory: &Path, look: SecretFile) -> Result<Self, SshError> {
        let behind = Behind::of(source)?;
        let socket = directory.join("agent");
        let listener = listen(directory, &socket, look).map_err(SshError::Socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let accepting = std::thread::spawn(move || accept(&listener, &behind, &stopped));
        Ok(Self { socket, stop, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one, and sees that it is over.
        let woken = connect(&self.socket);
        if let Some(accepting) = self.accepting.take().filter(|_| woken.is_ok()) {
            let _ended = accepting.join();
        }
    }
}

impl Behind {
    fn of(source: &SshSource) -> Result<Self, SshError> {
        match source {
            SshSource::Agent(path) => {
                let agent = |source| SshError::Agent { path: path.clone(), source };
                UnixStream::connect(path).map_err(agent)?;
                Ok(Self::Agent(path.clone()))
            }
            SshSource::Keys(paths) => {
                let read = |path: &PathBuf| {
                    PrivateKey::read(path).map_err(|source| SshError::Key { path: path.clone(), source })
                };
                Ok(Self::Keys(Arc::new(paths.iter().map(read).collect::<Result<_, _>>()?)))
            }
        }
    }
}

/// A socket's name is short, a store's path need not be: the directory goes by its descriptor.
fn listen(directory: &Path, socket: &Path, look: SecretFile) -> io::Result<UnixListener> {
    let opened = std::fs::File::open(directory)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", opened.as_raw_fd()))?;
    let SecretFile { mode, uid, gid } = look;
    chown(socket, Some(uid), Some(gid))?;
    std::fs::set_permissions(socket, Permissions::from_mode(mode.into()))?;
    Ok(listener)
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let directory = std::fs::File::open(socket.parent().unwrap_or(Path::new("/")))?;
    UnixStream::connect(format!("/proc/self/fd/{}/agent", directory.as_raw_fd()))
}

fn accept(listener: &UnixListener, behind: &Behind, stop: &AtomicBool) {
    let open = Arc::new(());
    for connection in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        // Too many are closed at once: a step is not to use up what kiln has of threads and files.
        if Arc::strong_count(&open) > MOST_CONNECTIONS {
            continue;
        }
        let (behind, held) = (behind.clone(), Arc::clone(&open));
        // It ends with the connection, which ends with the step at the latest.
        let _served = std::thread::Builder::new().spawn(move || {
            let _ended = serve(connection, &behind);
            drop(held);
        });
    }
}

/// Answers until the client is gone. Its mistakes, and the loss of the agent, end the connection.
fn serve(mut client: UnixStream, behind: &Behind) -> io::Result<()> {
    let mut agent = match behind {
        Behind::Agent(path) => Some(UnixStream::connect(path)?),
        Behind::Keys(_) => None,
    };
    loop {
        let message = receive(&mut client)?;
        let request = Request::of(&message);
        let answer = match (behind, &mut agent) {
            _ if request == Request::Other => agent::failure(),
            (_, Some(agent)) => {
                send(agent, &message)?;
                receive(agent)?
            }
            (Behind::Keys(keys), None) => agent::answer(request, &message, keys),
            (Behind::Agent(_), None) => agent::failure(),
        };
        send(&mut client, &answer)?;
    }
}

fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LARGEST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}
