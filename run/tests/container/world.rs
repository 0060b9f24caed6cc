//! A store with a busybox image in it, and containers of that.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use run::container::options::{After, NetworkMode};
use run::container::terminal::DetachKeys;
use run::container::{AnonymousVolumes, Attachment, Container, CreateOptions, Ended, Force, SignalProxy, create, list};
use store::oci::ImageConfig;
use store::{ImageId, Platform, Store};
use tempfile::TempDir;

/// A store with an image.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) image: ImageId,
    /// Last, since fields are dropped in order and the store is in it.
    pub(crate) directory: TempDir,
}

/// What a container said while one was attached to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) ended: Ended,
}

impl World {
    /// `None`, with the reason on standard error, where containers cannot be tested.
    pub(crate) fn new() -> Option<Self> {
        Self::with(|_| {})
    }

    /// The same with an image whose config is changed first.
    pub(crate) fn with(change: impl FnOnce(&mut ImageConfig)) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: containers are tested as root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: there is no /bin/busybox");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let layer = store.import_layer(&*busybox(), None).expect("a layer");
        let mut config = ImageConfig::empty(&Platform::host());
        config.rootfs.diff_ids.push(layer.diff_id());
        config.config.cmd = vec!["sh".to_owned()];
        change(&mut config);
        let image = store.put_image(&config.to_bytes()).expect("an image");
        Some(Self { directory, store, image })
    }

    pub(crate) fn options(&self, argv: &[&str]) -> CreateOptions {
        let mut options = CreateOptions::new(self.image, "busybox");
        options.process.command = Some(argv.iter().map(|word| (*word).to_owned()).collect());
        options.network.mode = NetworkMode::None;
        options
    }

    /// A container of `argv`, not yet started.
    pub(crate) fn create(&self, argv: &[&str]) -> Container {
        create(&self.store, &self.options(argv)).expect("a container")
    }

    /// A container of `argv` that runs in the background.
    pub(crate) fn start(&self, argv: &[&str]) -> Container {
        let container = self.create(argv);
        container.start().expect("it starts");
        container
    }

    /// Runs `argv` in the foreground to its end.
    pub(crate) fn run(&self, argv: &[&str]) -> Said {
        let mut options = self.options(argv);
        options.after = After::Remove;
        self.run_with(&options, b"")
    }

    /// Runs a container in the foreground with these bytes as its input.
    pub(crate) fn run_with(&self, options: &CreateOptions, input: &[u8]) -> Said {
        let container = create(&self.store, options).expect("a container");
        attached(input, |attachment| container.run(attachment).expect("it runs"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let everything = list::Filter { all: true, conditions: Vec::new() };
        for listed in list(&self.store, &everything).unwrap_or_default() {
            let _ = listed.container.remove(Force::Kill, AnonymousVolumes::Remove);
        }
        // Monitors end a moment after they have said so, and until then have a directory in `tmp/`.
        let sessions = || std::fs::read_dir(self.store.path().join("tmp")).map_or(0, Iterator::count);
        for _ in 0..400 {
            if sessions() <= 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Attaches files to what `act` does, and says what was written to them.
pub(crate) fn attached(input: &[u8], act: impl FnOnce(&Attachment<'_>) -> Ended) -> Said {
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).and_then(|()| file.rewind()).expect("a file");
        file
    };
    let (stdin, stdout, stderr) = (file(input), file(b""), file(b""));
    let ended = act(&Attachment {
        stdin: (!input.is_empty()).then(|| stdin.as_fd()),
        stdout: Some(stdout.as_fd()),
        stderr: Some(stderr.as_fd()),
        detach_keys: DetachKeys::default(),
        signals: SignalProxy::Keep,
    });
    Said { stdout: text(stdout), stderr: text(stderr), ended }
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("readable output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A tar of a root file system: busybox under its names, and a few files.
fn busybox() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, mode: u32, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).expect("an entry");
    };
    for directory in ["bin", "etc", "tmp", "data", "root"] {
        let mode = if directory == "tmp" { 0o1777 } else { 0o755 };
        put(directory, mode, tar::EntryType::Directory, b"");
    }
    put("bin/busybox", 0o755, tar::EntryType::Regular, &std::fs::read("/bin/busybox").expect("busybox"));
    put("etc/passwd", 0o644, tar::EntryType::Regular, b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n");
    put("etc/group", 0o644, tar::EntryType::Regular, b"root:x:0:\napp:x:1001:\n");
    put("data/seed", 0o640, tar::EntryType::Regular, b"from the image\n");
    for applet in APPLETS {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("a link");
    }
    tar.into_inner().expect("a tar")
}

const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "id", "echo", "true", "false", "sleep", "stat", "yes", "seq", "nc", "kill", "stty", "tty",
    "env", "hostname", "head", "dd", "touch", "wc", "md5sum", "trap", "printf", "ip", "readlink", "tail",
];
