//! `--chown` and `USER`: from names to numbers, with the image's own files.
//!
//! Names are looked up in `/etc/passwd` and `/etc/group` of the root filesystem that is written to,
//! never in the machine's. What a name that is not there means is the caller's decision.

use std::fmt;

use store::RelPath;

/// A user or a group as written: a number, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// The id itself.
    Id(u32),
    /// A name in the image.
    Name(String),
}

/// `user[:group]` as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerSpec {
    /// Before the colon.
    pub user: Account,
    /// After it, if it is there.
    pub group: Option<Account>,
}

/// Numeric owner of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

/// Why an owner has no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// The user is not in the image's `/etc/passwd`.
    #[error(
        "unable to find user {0}: no such user in the image's /etc/passwd; add it in a RUN before, or give its number"
    )]
    UnknownUser(String),
    /// The group is not in the image's `/etc/group`.
    #[error(
        "unable to find group {0}: no such group in the image's /etc/group; add it in a RUN before, or give its number"
    )]
    UnknownGroup(String),
}

/// The image's account files; what is absent is empty.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// `/etc/passwd`.
    pub passwd: Vec<u8>,
    /// `/etc/group`.
    pub group: Vec<u8>,
}

impl Accounts {
    /// Where users are named.
    pub fn passwd_path() -> RelPath {
        RelPath::clean(b"etc/passwd").expect("a constant path")
    }

    /// Where groups are named.
    pub fn group_path() -> RelPath {
        RelPath::clean(b"etc/group").expect("a constant path")
    }
}

impl OwnerSpec {
    /// Reads `user`, `user:group`, and numbers in place of either. An empty user is root.
    pub fn parse(text: &str) -> Self {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let user = if user.is_empty() { Account::Id(0) } else { Account::parse(user) };
        Self { user, group: group.filter(|group| !group.is_empty()).map(Account::parse) }
    }

    /// Whether the image's files must be asked.
    pub fn needs_accounts(&self) -> bool {
        matches!(self.user, Account::Name(_)) || matches!(self.group, Some(Account::Name(_)))
    }

    /// The numbers. A number alone stands for the group of the same number too; a name alone has
    /// its primary group.
    pub fn resolve(&self, accounts: &Accounts) -> Result<Owner, OwnerError> {
        let (uid, primary) = match &self.user {
            Account::Id(uid) => (*uid, *uid),
            Account::Name(name) => {
                find_user(&accounts.passwd, name).ok_or_else(|| OwnerError::UnknownUser(name.clone()))?
            }
        };
        let gid = match &self.group {
            None => primary,
            Some(Account::Id(gid)) => *gid,
            Some(Account::Name(name)) => {
                find_group(&accounts.group, name).ok_or_else(|| OwnerError::UnknownGroup(name.clone()))?
            }
        };
        Ok(Owner { uid, gid })
    }
}

impl fmt::Display for OwnerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Account {
    /// `root` is 0 in every image, also in one without account files (docs/dockerfile.md, A109).
    fn parse(text: &str) -> Self {
        if text == "root" {
            return Self::Id(0);
        }
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

/// `name:password:uid:gid:...` gives uid and primary gid.
fn find_user(passwd: &[u8], name: &str) -> Option<(u32, u32)> {
    fields_of(passwd, name).find_map(|fields| Some((number(fields.get(2)?)?, number(fields.get(3)?)?)))
}

/// `name:password:gid:members` gives the gid.
fn find_group(group: &[u8], name: &str) -> Option<u32> {
    fields_of(group, name).find_map(|fields| number(fields.get(2)?))
}

fn fields_of<'a>(file: &'a [u8], name: &'a str) -> impl Iterator<Item = Vec<&'a [u8]>> {
    file.split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii().split(|byte| *byte == b':').collect::<Vec<_>>())
        .filter(move |fields| fields[0] == name.as_bytes())
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_resolve_with_the_images_files() {
        let accounts = Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:44::/var/www:/bin/false\n".to_vec(),
            group: b"root:x:0:\nstaff:x:50:web\n".to_vec(),
        };
        for (text, expected) in [
            ("1000", Ok((1000, 1000))),
            ("1000:0", Ok((1000, 0))),
            ("web", Ok((33, 44))),
            ("web:staff", Ok((33, 50))),
            ("web:7", Ok((33, 7))),
            ("7:staff", Ok((7, 50))),
            ("web:", Ok((33, 44))),
            ("web:root", Ok((33, 0))),
            ("nobody", Err(OwnerError::UnknownUser("nobody".into()))),
            ("web:nobody", Err(OwnerError::UnknownGroup("nobody".into()))),
        ] {
            let owner = OwnerSpec::parse(text).resolve(&accounts).map(|owner| (owner.uid, owner.gid));
            assert_eq!(owner, expected, "{text}");
        }
    }

    #[test]
    fn a109_root_needs_no_account_files() {
        for text in ["root", "root:root", "0:root", "root:0"] {
            let spec = OwnerSpec::parse(text);
            assert!(!spec.needs_accounts(), "{text}");
            assert_eq!(spec.resolve(&Accounts::default()), Ok(Owner::default()), "{text}");
        }
    }
}
