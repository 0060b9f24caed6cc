//! A user's session: a fresh directory, a fresh store, and the compiled command.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Where a test works; everything in it goes when it is dropped, containers first.
pub(crate) struct Session {
    directory: TempDir,
    program: PathBuf,
    user: Option<User>,
}

/// Somebody who is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Session {
    /// An empty directory and no store yet.
    pub(crate) fn new() -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_kiln")))
    }

    /// The same with another kiln than the one that was just compiled.
    pub(crate) fn of(program: &Path) -> Self {
        let directory = TempDir::with_prefix("kiln-session-").expect("a temporary directory");
        Self { directory, program: program.to_owned(), user: None }
    }

    /// The same as another user, whose home it is; the store is where kiln puts it by itself.
    pub(crate) fn of_user(user: User) -> Self {
        let mut session = Self::new();
        let program = session.path("kiln");
        copy_program(&session.program, &program);
        chown(session.directory.path(), Some(user.uid), Some(user.gid)).expect("a home");
        session.program = program;
        session.user = Some(user);
        session
    }

    /// The same with an image `busybox`, made from the machine's static busybox.
    pub(crate) fn with_busybox() -> Option<Self> {
        Self::new().and_busybox()
    }

    /// Imports that image.
    pub(crate) fn and_busybox(self) -> Option<Self> {
        let busybox = installed("busybox", "busybox-static")?;
        let rootfs = self.path("busybox.tar");
        fs::write(&rootfs, busybox_rootfs(&busybox)).expect("write the root filesystem");
        self.kiln(["import", rootfs.to_str().expect("UTF-8"), "busybox"]).ok();
        Some(self)
    }

    /// A path in the session's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A word that no other session has, for finding what belongs to this one.
    pub(crate) fn name(&self) -> String {
        self.directory.path().file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// The session's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path(if self.user.is_some() { ".local/share/kiln" } else { "store" })
    }

    /// Writes a file, with its directories.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make directories");
        fs::write(&path, content).expect("write a file");
        path
    }

    /// A build context `name` with just a Dockerfile in it.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        self.write(&format!("{name}/Dockerfile"), dockerfile);
        self.path(name)
    }

    /// The command, ready to be run with other arguments or environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path());
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        match self.user {
            Some(user) => command.uid(user.uid).gid(user.gid),
            None => command.env("KILN_ROOT", self.store()),
        };
        command
    }

    /// Runs kiln to its end.
    pub(crate) fn kiln<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::from(self.command().args(arguments).output().expect("run kiln"))
    }

    /// Runs kiln to its end with that on its standard input.
    pub(crate) fn kiln_with_input<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: impl AsRef<[u8]>,
    ) -> Ran {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run kiln");
        // A command that fails early does not read it.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_ref());
        Ran::from(child.wait_with_output().expect("wait for kiln"))
    }

    /// Builds a context and returns the image id; fails the test if the build fails.
    pub(crate) fn build(&self, tag: &str, context: &Path) -> String {
        let context = context.to_str().expect("UTF-8");
        self.kiln(["build", "-q", "-t", tag, context]).ok().stdout.trim().to_owned()
    }

    /// What a command in a container of an image prints.
    pub(crate) fn run(&self, image: &str, script: &str) -> String {
        self.kiln(["run", "--rm", "--net", "none", image, "sh", "-c", script]).ok().stdout
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.store().join("containers").is_dir() {
            let containers = self.kiln(["ps", "-aq"]).stdout;
            for container in containers.lines() {
                self.kiln(["rm", "-f", container]);
            }
        }
    }
}

impl Ran {
    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "kiln failed\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the command ended with that status.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless standard error holds all the words.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in\n{}", self.stderr);
        }
        self
    }

    /// Fails the test unless standard output holds all the words.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "no {word:?} in\n{}", self.stdout);
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Copies a program, by a process of its own: a child that another test just forks holds every file open that is
/// written here, and what is open for writing is not executed.
fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().expect("run cp");
    assert!(status.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// Where a program is; `None`, with a printed reason, if the machine does not have it.
pub(crate) fn installed(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0));
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI has no {program}: install {package}");
        eprintln!("skipped: no {program} here (Debian package {package})");
    }
    found
}

/// Whether this is root; prints why a test is skipped if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn busybox_rootfs(busybox: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode) in [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777)] {
        append(&mut archive, tar::EntryType::Directory, name, mode, b"");
    }
    append(
        &mut archive,
        tar::EntryType::Regular,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    append(&mut archive, tar::EntryType::Regular, "etc/group", 0o644, b"root:x:0:\nuser:x:1000:\n");
    append(&mut archive, tar::EntryType::Regular, "bin/busybox", 0o755, &fs::read(busybox).expect("read busybox"));
    let applets = Command::new(busybox).arg("--list").output().expect("list applets").stdout;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("append a link");
    }
    archive.into_inner().expect("finish the archive")
}

fn append(archive: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).expect("append to the archive");
}
