//! Subordinate ids: which ranges a user was granted, and having them mapped.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::{IdRange, NoSubordinate};
use crate::network::find_program;
use crate::wire;

/// Waits until `pid`, the other end of `socket`, is in its namespace; maps its ids and tells it.
pub(super) fn serve(socket: &UnixStream, pid: Pid, uid: u32, gid: u32) -> i32 {
    let Ok(Some(((), _))) = wire::receive::<()>(socket) else { return 1 };
    let result = map(pid, uid, gid);
    i32::from(wire::send(socket, &result, &[]).is_err())
}

fn map(pid: Pid, uid: u32, gid: u32) -> Result<(), NoSubordinate> {
    let programs = (find_program("newuidmap"), find_program("newgidmap"));
    let (Some(newuidmap), Some(newgidmap)) = programs else { return Err(NoSubordinate::NotInstalled) };
    let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
    let granted = |path| ranges(&fs::read_to_string(path).unwrap_or_default(), name.as_deref(), uid);
    let (uids, gids) = (granted("/etc/subuid"), granted("/etc/subgid"));
    if uids.is_empty() || gids.is_empty() {
        return Err(NoSubordinate::NotGranted);
    }
    let pid = pid.as_raw_nonzero().to_string();
    // The user's own id is root inside; those granted follow.
    run(&newuidmap, &pid, &with_own(uid, &uids))?;
    run(&newgidmap, &pid, &with_own(gid, &gids))
}

fn run(program: &Path, pid: &str, map: &[IdRange]) -> Result<(), NoSubordinate> {
    let numbers = map.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let status = Command::new(program)
        .arg(pid)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(NoSubordinate::Refused) }
}

fn with_own(id: u32, granted: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: id, count: 1 }];
    for (outside, count) in granted {
        let inside = map.last().map_or(1, |last| last.inside + last.count);
        map.push(IdRange { inside, outside: *outside, count: *count });
    }
    map
}

/// The ranges that `subuid(5)` grants a user, by name or number.
fn ranges(text: &str, name: Option<&str>, id: u32) -> Vec<(u32, u32)> {
    let number = id.to_string();
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let mine = Some(owner) == name || owner == number;
        let range = (fields.next()?.trim().parse().ok()?, fields.next()?.trim().parse().ok()?);
        (mine && range.1 > 0).then_some(range)
    };
    text.lines().filter_map(parse).collect()
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_the_user_s_own() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nann:x:1\n# ann:1:1\n";
        assert_eq!(ranges(text, Some("ann"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, None, 7), []);
        let map = with_own(1000, &[(100_000, 65_536), (300_000, 10)]);
        let shown: Vec<_> = map.iter().map(|range| (range.inside, range.outside, range.count)).collect();
        assert_eq!(shown, [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)]);
    }
}
