//! `USER` resolved by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The host's name service has no say. What is a number is an id and never looked up as a name, so
//! that an entry called `1` cannot make `USER 1` root (CVE-2026-46680).

mod lines;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use rustix::fs::OFlags;

use self::lines::{Group, User};
use super::SandboxError;
use super::paths::Root;
use super::spec::Command;
use crate::identity::IdMap;

/// An image's account files are read up to here; the largest seen in the wild have some kilobytes.
const LIMIT_BYTES: u64 = 8 << 20;

/// Whom a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// From the user's entry; `/` without one.
    pub(super) home: PathBuf,
}

/// The ids that exist in a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Existing<'a> {
    pub(super) uids: &'a IdMap,
    pub(super) gids: &'a IdMap,
}

impl Account {
    /// Looks `command`'s user and groups up in the files below `root`.
    pub(super) fn find(root: &Root, command: &Command, existing: Existing<'_>) -> Result<Self, SandboxError> {
        let users = read(root, "etc/passwd", User::parse);
        let groups = read(root, "etc/group", Group::parse);
        Self::look_up(&users, &groups, command, existing)
    }

    fn look_up(
        users: &[User],
        groups: &[Group],
        command: &Command,
        existing: Existing<'_>,
    ) -> Result<Self, SandboxError> {
        let (user, group) = match command.user.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (command.user.as_str(), None),
        };
        let uid = uid_of(user, users, existing.uids)?;
        let entry =
            users.iter().find(|entry| entry.uid == uid && (is_number(user) || user.is_empty() || entry.name == user));
        let mut account = Self {
            uid,
            gid: entry.map_or(0, |entry| entry.gid),
            groups: Vec::new(),
            home: entry.map(|entry| entry.home.as_str()).filter(|home| !home.is_empty()).unwrap_or("/").into(),
        };
        match group {
            Some(group) => account.gid = gid_of(group, groups, existing.gids)?,
            None => {
                let mine = |group: &&Group| entry.is_some_and(|entry| group.members.contains(&entry.name));
                account.groups.extend(groups.iter().filter(mine).map(|group| group.gid));
            }
        }
        for group in &command.additional_groups {
            account.groups.push(gid_of(group, groups, existing.gids)?);
        }
        account.groups.retain(|gid| existing.gids.contains(*gid));
        account.groups.sort_unstable();
        account.groups.dedup();
        check(account.gid, existing.gids, &account.gid.to_string())?;
        Ok(account)
    }
}

fn uid_of(user: &str, users: &[User], existing: &IdMap) -> Result<u32, SandboxError> {
    if user.is_empty() {
        return Ok(0);
    }
    if is_number(user) {
        return number(user, existing);
    }
    let entry = users.iter().find(|entry| entry.name == user);
    let uid = entry.map(|entry| entry.uid).ok_or_else(|| SandboxError::UnknownUser { user: user.to_owned() })?;
    check(uid, existing, user)
}

fn gid_of(group: &str, groups: &[Group], existing: &IdMap) -> Result<u32, SandboxError> {
    if is_number(group) {
        return number(group, existing);
    }
    let entry = groups.iter().find(|entry| entry.name == group);
    let gid = entry.map(|entry| entry.gid).ok_or_else(|| SandboxError::UnknownGroup { group: group.to_owned() })?;
    check(gid, existing, group)
}

fn number(text: &str, existing: &IdMap) -> Result<u32, SandboxError> {
    let out_of_range = || SandboxError::IdOutOfRange { id: text.to_owned(), maximum: existing.greatest() };
    check(text.parse().map_err(|_| out_of_range())?, existing, text)
}

fn check(id: u32, existing: &IdMap, text: &str) -> Result<u32, SandboxError> {
    let known = existing.contains(id);
    known.then_some(id).ok_or_else(|| SandboxError::IdOutOfRange { id: text.to_owned(), maximum: existing.greatest() })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read<T>(root: &Root, path: &str, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = root.open(path, flags).map(File::from) else { return Vec::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Vec::new();
    }
    let lines = BufReader::new(file.take(LIMIT_BYTES)).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| parse(&String::from_utf8_lossy(&line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdRange;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1:x:0:0::/:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n\
                          bad\nbig:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\nvideo:x:44:app\n";

    fn find(user: &str, additional: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let map = IdMap(vec![IdRange { inside: 0, outside: 100_000, count: 65_536 }]);
        let users: Vec<_> = PASSWD.lines().filter_map(User::parse).collect();
        let groups: Vec<_> = GROUP.lines().filter_map(Group::parse).collect();
        let mut command = Command::new(vec!["true".into()]);
        command.user = user.to_owned();
        command.additional_groups = additional.iter().map(|&group| group.to_owned()).collect();
        Account::look_up(&users, &groups, &command, Existing { uids: &map, gids: &map })
            .map(|account| (account.uid, account.gid, account.groups, account.home.display().to_string()))
            .map_err(|error| error.to_string())
    }

    /// User, additional groups, and the ids, groups and home that come of them.
    type Row = (&'static str, &'static [&'static str], (u32, u32, &'static [u32], &'static str));

    #[test]
    fn users_are_found() {
        let rows: [Row; 9] = [
            ("", &[], (0, 0, &[10], "/root")),
            ("root", &[], (0, 0, &[10], "/root")),
            ("app", &[], (1000, 1001, &[10, 44], "/home/app")),
            ("1000", &[], (1000, 1001, &[10, 44], "/home/app")),
            ("app:video", &[], (1000, 44, &[], "/home/app")),
            ("app:7", &["wheel", "9"], (1000, 7, &[9, 10], "/home/app")),
            ("1", &[], (1, 0, &[], "/")),
            ("12:34", &[], (12, 34, &[], "/")),
            ("app:", &[], (1000, 1001, &[10, 44], "/home/app")),
        ];
        for (user, additional, (uid, gid, groups, home)) in rows {
            assert_eq!(find(user, additional), Ok((uid, gid, groups.to_vec(), home.to_owned())), "{user:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for user in ["nobody", "app:nogroup", "65536", "4294967296", "-1", "+1", "big", "99999999999999999999"] {
            assert!(find(user, &[]).is_err(), "{user:?} was accepted");
        }
    }
}
