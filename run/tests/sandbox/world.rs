//! A root filesystem to run in, and a box that runs in it.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use run::sandbox::{Durability, Lower, Outcome, Rootfs, SandboxError, Spec, Stdio, start};
use tempfile::TempDir;

/// A base directory with busybox in it, and what changes on top.
pub(crate) struct World {
    directory: TempDir,
}

/// What a box said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) outcome: Outcome,
    pub(crate) notices: Vec<String>,
}

impl World {
    /// `None`, with the reason on standard error, where boxes cannot be tested.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: boxes are tested as root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: there is no /bin/busybox");
            return None;
        }
        let world = Self { directory: tempfile::tempdir().expect("a directory") };
        for name in ["lower/bin", "lower/etc", "upper", "work"] {
            fs::create_dir_all(world.path(name)).expect("a directory");
        }
        fs::copy("/bin/busybox", world.path("lower/bin/busybox")).expect("busybox");
        for applet in ["sh", "cat", "ls", "id", "echo", "true", "false", "sleep", "stat", "grep", "mount", "readlink"] {
            symlink("busybox", world.path("lower/bin").join(applet)).expect("a link");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
        fs::write(world.path("lower/etc/passwd"), passwd).expect("passwd");
        fs::write(world.path("lower/etc/group"), "root:x:0:\napp:x:1001:\nvideo:x:44:app\n").expect("group");
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn overlay(&self) -> Rootfs {
        Rootfs::Overlay {
            lowers: vec![Lower::direct(self.path("lower"))],
            data: None,
            upper: self.path("upper"),
            work: self.path("work"),
            durability: Durability::Volatile,
        }
    }

    /// `script` by the shell, in the box of a RUN step.
    pub(crate) fn shell(&self, script: &str) -> Spec {
        Spec::new(self.overlay(), ["/bin/sh", "-c", script].map(Into::into).into())
    }

    /// Runs `spec` to its end.
    pub(crate) fn run(&self, spec: &Spec) -> Result<Said, SandboxError> {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let create = |path: &Path| File::create(path).expect("a file");
        let stdio = Stdio::new(File::open("/dev/null").expect("null"), create(&stdout), create(&stderr));
        let process = start(spec, stdio)?;
        let notices = process.notices().iter().map(ToString::to_string).collect();
        let outcome = process.wait()?;
        Ok(Said { stdout: read(&stdout), stderr: read(&stderr), outcome, notices })
    }

    /// What `script` prints; it must succeed.
    pub(crate) fn prints(&self, spec: &Spec) -> String {
        let said = self.run(spec).expect("the box starts");
        assert_eq!(said.outcome.exit.code(), 0, "{said:?}");
        said.stdout
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("readable output");
    text
}
