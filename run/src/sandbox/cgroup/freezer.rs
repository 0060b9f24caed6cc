//! Stopping every process of a box where it is, and letting them go on (`pause`, `unpause`).

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Place, Version};

/// How long the kernel may take to stop everybody.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether processes stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// They do.
    Frozen,
    /// They run.
    Thawed,
}

/// Brings all processes of a box to that state, and waits until they are in it.
pub fn freeze(places: &[Place], motion: Motion) -> io::Result<()> {
    let place = places.iter().find(|place| place.freezes()).ok_or(io::ErrorKind::Unsupported)?;
    let since = Instant::now();
    loop {
        // On version 1 a process that forks at that moment can keep the state from being reached: asked again.
        ask(&place.path, place.version, motion)?;
        if is_reached(&place.path, place.version, motion)? {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn ask(directory: &Path, version: Version, motion: Motion) -> io::Result<()> {
    let (file, value) = match (version, motion) {
        (Version::One, Motion::Frozen) => ("freezer.state", "FROZEN"),
        (Version::One, Motion::Thawed) => ("freezer.state", "THAWED"),
        (Version::Two, Motion::Frozen) => ("cgroup.freeze", "1"),
        (Version::Two, Motion::Thawed) => ("cgroup.freeze", "0"),
    };
    fs::write(directory.join(file), value)
}

fn is_reached(directory: &Path, version: Version, motion: Motion) -> io::Result<bool> {
    let is_frozen = match version {
        Version::One => fs::read_to_string(directory.join("freezer.state"))?.trim() == "FROZEN",
        Version::Two => fs::read_to_string(directory.join("cgroup.events"))?.lines().any(|line| line == "frozen 1"),
    };
    Ok(is_frozen == (motion == Motion::Frozen))
}
