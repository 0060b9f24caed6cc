//! From options to a mount: values expanded, each key held against the type, defaults filled in.

use super::{Access, Mount, MountError, Need, Ownership, ResolveError, RunMount, Sharing};
use crate::dockerfile::instruction::Word;
use crate::suggest::suggest;

impl RunMount {
    /// Expands the options and makes a mount of them. `from` is taken as it is (rule A049).
    ///
    /// Relative targets stay relative: the step's directory is not known here.
    pub fn resolve<E: std::error::Error>(
        &self,
        mut expand: impl FnMut(&Word) -> Result<String, E>,
    ) -> Result<Mount, ResolveError<E>> {
        let mut draft = Draft::default();
        for option in &self.options {
            let value = match &option.value {
                Some(word) if option.key != "from" => {
                    Some(expand(word).map_err(|error| ResolveError::Expand { error, span: word.span })?)
                }
                word => word.as_ref().map(|word| word.text.clone()),
            };
            let set = draft.set(&option.key, value);
            set.map_err(|error| ResolveError::Mount { error, span: option.span })?;
        }
        draft.finish().map_err(|error| ResolveError::Mount { error, span: self.span })
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
];

/// A type of mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

const KINDS: [(&str, Kind); 5] = [
    ("bind", Kind::Bind),
    ("cache", Kind::Cache),
    ("tmpfs", Kind::Tmpfs),
    ("secret", Kind::Secret),
    ("ssh", Kind::Ssh),
];

/// The options seen so far. `None` is "not given"; an empty value counts as not given, too.
#[derive(Debug, Default)]
struct Draft {
    kind: Kind,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    variable: Option<String>,
    access: Option<Access>,
    sharing: Option<Sharing>,
    required: bool,
    size_bytes: Option<u64>,
    owner: Ownership,
}

impl Draft {
    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), MountError> {
        let Some(value) = value else { return self.set_switch(key) };
        let given = Some(value.clone()).filter(|value| !value.is_empty());
        let wrong = || MountError::Value { key: key.to_owned(), value: value.clone() };
        match key {
            "type" => self.kind = kind(&value)?,
            "from" => self.from = given,
            "source" | "src" => self.source = given,
            "target" | "dst" | "destination" => self.target = given,
            "id" => self.id = given,
            "readonly" | "ro" => self.access = Some(access(boolean(&value).ok_or_else(wrong)?)),
            "readwrite" | "rw" => self.access = Some(access(!boolean(&value).ok_or_else(wrong)?)),
            "required" => {
                self.only(key, &[Kind::Secret, Kind::Ssh])?;
                self.required = boolean(&value).ok_or_else(wrong)?;
            }
            "size" => {
                self.only(key, &[Kind::Tmpfs])?;
                self.size_bytes = Some(size_bytes(&value).ok_or_else(wrong)?);
            }
            "env" => {
                self.only(key, &[Kind::Secret])?;
                self.variable = given;
            }
            "sharing" => self.sharing = Some(sharing(&value)?),
            "mode" => self.owner.mode = Some(u32::from_str_radix(&value, 8).map_err(|_| wrong())?),
            "uid" => self.owner.uid = Some(value.parse().map_err(|_| wrong())?),
            "gid" => self.owner.gid = Some(value.parse().map_err(|_| wrong())?),
            _ => {
                let suggestion = suggest(key, KEYS);
                return Err(MountError::UnknownKey {
                    key: key.to_owned(),
                    field: format!("{key}={value}"),
                    suggestion,
                });
            }
        }
        Ok(())
    }

    /// A key without a value.
    fn set_switch(&mut self, key: &str) -> Result<(), MountError> {
        match key {
            "readonly" | "ro" => self.access = Some(Access::ReadOnly),
            "readwrite" | "rw" => self.access = Some(Access::ReadWrite),
            "required" => {
                self.only(key, &[Kind::Secret, Kind::Ssh])?;
                self.required = true;
            }
            _ => return Err(MountError::NoValue { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Some keys are held against the type that was given before them, as in BuildKit.
    fn only(&self, key: &str, kinds: &[Kind]) -> Result<(), MountError> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        Err(MountError::UnexpectedKey { key: key.to_owned(), kind: self.kind.name() })
    }

    fn finish(self) -> Result<Mount, MountError> {
        self.check()?;
        let Self { from, source, owner, .. } = self;
        let need = if self.required { Need::Required } else { Need::Optional };
        let target = self.target.ok_or(MountError::NoTarget { kind: self.kind.name() });
        Ok(match self.kind {
            Kind::Bind => {
                Mount::Bind { target: target?, from, source, access: self.access.unwrap_or(Access::ReadOnly) }
            }
            Kind::Cache => Mount::Cache {
                target: target?,
                id: self.id,
                from,
                source,
                sharing: self.sharing.unwrap_or(Sharing::Shared),
                access: self.access.unwrap_or(Access::ReadWrite),
                owner,
            },
            Kind::Tmpfs => Mount::Tmpfs { target: target?, size_bytes: self.size_bytes.filter(|size| *size > 0) },
            Kind::Secret => secret(source.or(self.id), target.ok(), self.variable, need, owner)?,
            Kind::Ssh => {
                let id = source.or(self.id).unwrap_or_else(|| "default".to_owned());
                Mount::Ssh { id, target: target.ok(), need, owner }
            }
        })
    }

    fn check(&self) -> Result<(), MountError> {
        let only = |given: bool, key: &str, kinds: &[Kind]| if given { self.only(key, kinds) } else { Ok(()) };
        let owned = [Kind::Cache, Kind::Secret, Kind::Ssh];
        only(self.owner.mode.is_some(), "mode", &owned)?;
        only(self.owner.uid.is_some(), "uid", &owned)?;
        only(self.owner.gid.is_some(), "gid", &owned)?;
        only(self.sharing.is_some(), "sharing", &[Kind::Cache])?;
        if self.kind == Kind::Secret {
            only(self.from.is_some(), "from", &[])?;
            if self.source.is_some() && self.id.is_some() {
                return Err(MountError::TwoNames);
            }
        }
        Ok(())
    }
}

impl Kind {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A secret is named after its file if it has no name, and its file after its name (rule A136).
fn secret(
    id: Option<String>,
    target: Option<String>,
    variable: Option<String>,
    need: Need,
    owner: Ownership,
) -> Result<Mount, MountError> {
    let id = match (id, &target) {
        (Some(id), _) => id,
        (None, Some(target)) => base_name(target).to_owned(),
        (None, None) => return Err(MountError::NoSecret),
    };
    let default = || format!("/run/secrets/{}", base_name(&id));
    let target = if variable.is_some() { target } else { Some(target.unwrap_or_else(default)) };
    Ok(Mount::Secret { id, target, variable, need, owner })
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn kind(value: &str) -> Result<Kind, MountError> {
    let name = value.to_lowercase();
    let found = KINDS.iter().find(|(known, _)| *known == name);
    let suggestion = suggest(&name, KINDS.map(|(known, _)| known));
    found.map(|(_, kind)| *kind).ok_or_else(|| MountError::Type { value: value.to_owned(), suggestion })
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        name => {
            let suggestion = suggest(name, ["shared", "private", "locked"]);
            Err(MountError::Sharing { value: value.to_owned(), suggestion })
        }
    }
}

fn access(read_only: bool) -> Access {
    if read_only { Access::ReadOnly } else { Access::ReadWrite }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number with a unit of 1024s: `64m`, `1.5GiB`, `100`.
fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024_f64.powi(power)) as u64)
}
