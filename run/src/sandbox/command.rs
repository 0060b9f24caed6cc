//! Which program a command names, as a shell finds it, but inside and before anything is executed.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FileType, OFlags};
use rustix::io::Errno;

use super::paths::{self, Root};
use super::spec::Command;
use super::{SandboxError, account::Account};

/// A command with everything that execve wants.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
}

impl Executable {
    /// Finds `command`'s program below `root`, where the working directory is `cwd` already.
    pub(super) fn find(root: &Root, command: &Command, account: &Account) -> Result<Self, SandboxError> {
        let program = command.argv.first().filter(|program| !program.is_empty()).ok_or(SandboxError::NoCommand)?;
        let path = look_up(root, command, program)?;
        let argv = command.argv.iter().map(|argument| terminated(argument.clone(), program));
        Ok(Self {
            path: terminated(path.into_os_string(), program)?,
            argv: argv.collect::<Result<_, _>>()?,
            env: environment(command, account, program)?,
        })
    }

    /// Executes it in place of this process.
    pub(super) fn become_it(&self) -> Result<Infallible, SandboxError> {
        nix::unistd::execve(&self.path, &self.argv, &self.env).map_err(|error| SandboxError::CommandNotExecutable {
            command: self.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
            source: Errno::from_raw_os_error(error as i32).into(),
        })
    }
}

fn look_up(root: &Root, command: &Command, program: &OsStr) -> Result<PathBuf, SandboxError> {
    if program.as_bytes().contains(&b'/') {
        let path = command.cwd.join(program);
        return check(root, &path).map(|()| path).map_err(|error| refusal(program, error));
    }
    let mut denied = Errno::NOENT;
    for directory in std::env::split_paths(variable(command, "PATH").unwrap_or_default()) {
        let path = command.cwd.join(directory).join(program);
        match check(root, &path) {
            Ok(()) => return Ok(path),
            Err(Errno::ACCESS) => denied = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(refusal(program, denied))
}

/// Whether `path` is a file that the caller may execute. A magic link, as `/proc/self/exe`, is not:
/// at this moment it leads to kiln itself.
fn check(root: &Root, path: &Path) -> Result<(), Errno> {
    let file = root.open(path, OFlags::PATH)?;
    if paths::kind(file.as_fd())? != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    // Real and effective ids are the same by now, and the root is the box's.
    rustix::fs::access(path, Access::EXEC_OK)
}

fn refusal(program: &OsStr, error: Errno) -> SandboxError {
    let command = program.to_string_lossy().into_owned();
    match error {
        Errno::NOENT | Errno::NOTDIR => SandboxError::CommandNotFound { command },
        source => SandboxError::CommandNotExecutable { command, source: source.into() },
    }
}

fn environment(command: &Command, account: &Account, program: &OsStr) -> Result<Vec<CString>, SandboxError> {
    let home = variable(command, "HOME").filter(|home| !home.is_empty()).is_none();
    let own = command.env.iter().filter(|(name, _)| !(home && name == "HOME"));
    let added = home.then(|| ("HOME".into(), account.home.clone().into_os_string()));
    own.cloned().chain(added).map(|(name, value)| terminated(joined(name, &value), program)).collect()
}

fn joined(mut name: OsString, value: &OsStr) -> OsString {
    name.push("=");
    name.push(value);
    name
}

fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a OsStr> {
    command.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
}

fn terminated(string: OsString, program: &OsStr) -> Result<CString, SandboxError> {
    CString::new(string.into_vec()).map_err(|_| refusal(program, Errno::INVAL))
}
