//! Other programs that kiln calls: found in the system's directories, never by a caller's `PATH`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EgressError;

const DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where `name` is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// Runs a program to its end; what it complains of becomes the error.
pub(super) fn run(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), EgressError> {
    let failed = |why: String| EgressError::Program { program: program.to_owned(), why };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(failed(complaint.lines().next().unwrap_or("it failed").to_owned()))
}
