//! The lines of `/etc/passwd` and `/etc/group`, as far as a box needs them. What does not parse is no line.

/// `name:password:uid:gid:comment:home:shell`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

/// `name:password:gid:member,member`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

impl User {
    /// Reads one line; `None` if it is none of these.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_ascii().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or_default().to_owned();
        Some(Self { name, uid, gid, home })
    }
}

impl Group {
    /// Reads one line; `None` if it is none of these.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_ascii().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty());
        Some(Self { name, gid, members: members.map(str::to_owned).collect() })
    }
}
