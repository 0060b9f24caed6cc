//! What a step can make of the socket that it is given (threats.md A38): signatures, and nothing else.

use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;

use super::*;

/// A socket of the test's own in front of an agent, with the modes that a step asks for.
fn forward(source: &SshSource) -> (tempfile::TempDir, Forward) {
    let directory = tempfile::tempdir().unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let forward = Forward::start(source, directory.path(), SecretFile { mode: 0o600, uid, gid }).unwrap();
    (directory, forward)
}

/// An agent that tells what it was asked, and always says the same.
fn agent(directory: &Path) -> (PathBuf, mpsc::Receiver<Vec<u8>>) {
    let path = directory.join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                while let Ok(message) = receive(&mut connection) {
                    tell.send(message).unwrap();
                    send(&mut connection, b"said").unwrap();
                }
            });
        }
    });
    (path, told)
}

fn ask(client: &mut UnixStream, message: &[u8]) -> io::Result<Vec<u8>> {
    send(client, message)?;
    receive(client)
}

#[test]
fn only_what_uses_keys_reaches_the_agent() {
    let place = tempfile::tempdir().unwrap();
    let (path, told) = agent(place.path());
    let (_directory, forward) = forward(&SshSource::Agent(path));
    let mut client = connect(forward.socket()).unwrap();
    for uses_keys in [&[11][..], &[13, 0, 0], &[27, 1]] {
        assert_eq!(ask(&mut client, uses_keys).unwrap(), b"said");
        assert_eq!(told.recv().unwrap(), uses_keys);
    }
    // Adding, removing, locking and unlocking of keys, those of smart cards, version 1, and nonsense.
    for other in (0..=255_u8).filter(|kind| ![11, 13, 27].contains(kind)) {
        assert_eq!(ask(&mut client, &[other, 0, 0, 0, 0]).unwrap(), agent::failure(), "{other}");
    }
    assert_eq!(ask(&mut client, &[]).unwrap(), agent::failure());
    assert!(told.try_recv().is_err(), "nothing of that was passed on");
}

#[test]
fn the_socket_is_for_whom_the_step_says() {
    let (_directory, forward) = forward(&SshSource::Keys(Vec::new()));
    assert_eq!(std::fs::symlink_metadata(forward.socket()).unwrap().mode() & 0o7777, 0o600);
    let mut client = connect(forward.socket()).unwrap();
    assert_eq!(ask(&mut client, &[11]).unwrap(), [12, 0, 0, 0, 0]);
    let socket = forward.socket().to_owned();
    drop(forward);
    assert!(connect(&socket).is_err(), "it ends with the step");
}

#[test]
fn a_step_cannot_use_up_memory_and_threads() {
    let (_directory, forward) = forward(&SshSource::Keys(Vec::new()));
    let mut greedy = connect(forward.socket()).unwrap();
    greedy.write_all(&(LARGEST_BYTES + 1).to_be_bytes()).unwrap();
    assert!(receive(&mut greedy).is_err(), "no message is that long");
    let listen = || connect(forward.socket()).and_then(|mut client| ask(&mut client, &[11]).map(|_| client));
    // The greedy one's thread may take a moment to end.
    let mut open: Vec<UnixStream> = Vec::new();
    while open.len() < MOST_CONNECTIONS {
        open.extend(listen());
    }
    assert!(listen().is_err(), "there are enough");
    open.clear();
    while listen().is_err() {
        std::thread::yield_now();
    }
}
