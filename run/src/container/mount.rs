//! What is mounted into a container: the words of `-v`, `--mount` and `--tmpfs`.
//!
//! A [`MountRequest`] is what was asked for; a [`Mount`] is what it became when the container was made:
//! volumes have names then, and directories on the host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::parse_bytes;

/// Why a text describes no mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The path inside the container is not absolute, or is its root.
    #[error("invalid mount {text:?}: the target {target:?} must be an absolute path other than /")]
    Target {
        /// The whole text.
        text: String,
        /// The target in it.
        target: String,
    },
    /// The path on the host is not absolute.
    #[error("invalid mount {text:?}: {path:?} is not an absolute path")]
    Source {
        /// The whole text.
        text: String,
        /// The source in it.
        path: String,
    },
    /// No target is given.
    #[error("invalid mount {0:?}: the target is missing")]
    NoTarget(String),
    /// No source is given.
    #[error("invalid mount {0:?}: the source is missing")]
    NoSource(String),
    /// The volume cannot have this name.
    #[error("invalid volume name {0:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed")]
    VolumeName(String),
    /// An option that exists and is not supported, or does not exist.
    #[error("invalid mount {text:?}: {option:?} is not supported")]
    Option {
        /// The whole text.
        text: String,
        /// The option in it.
        option: String,
    },
    /// An option whose value cannot be read.
    #[error("invalid mount {text:?}: cannot read the value of {option:?}")]
    Value {
        /// The whole text.
        text: String,
        /// The option in it.
        option: String,
    },
    /// Two mounts have the same target.
    #[error("duplicate mount point: {0}")]
    Duplicate(String),
}

/// Whether what is mounted may be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It may.
    #[default]
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// What happens if the source of a bind is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An empty directory is made, as `-v` does.
    Create,
    /// That is an error, as `--mount` has it.
    Refuse,
}

/// Whether an empty volume starts with what the image has at the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyUp {
    /// It does.
    #[default]
    Yes,
    /// It stays empty.
    No,
}

/// A wish for a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountRequest {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
        /// In the container, absolute.
        target: String,
        /// Whether it may be changed.
        access: Access,
        /// What happens if it is not there.
        missing: Missing,
    },
    /// A directory that kiln keeps.
    Volume {
        /// Its name; `None` for an anonymous one.
        name: Option<String>,
        /// In the container, absolute.
        target: String,
        /// Whether it may be changed.
        access: Access,
        /// Whether it starts with what the image has there.
        copy_up: CopyUp,
    },
    /// Memory.
    Tmpfs {
        /// In the container, absolute.
        target: String,
        /// Its options.
        options: TmpfsOptions,
    },
}

/// How a tmpfs is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    /// Its size: the kernel's default, half of the memory, if `None`.
    pub size_bytes: Option<u64>,
    /// The mode of its root.
    pub mode: u32,
    /// Whether programs on it can be executed.
    pub executable: bool,
    /// Whether it may be changed.
    pub access: Access,
}

impl Default for TmpfsOptions {
    fn default() -> Self {
        Self { size_bytes: None, mode: 0o1777, executable: false, access: Access::ReadWrite }
    }
}

/// A mount of a container that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// In the container, absolute and clean.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Whether it may be changed.
    pub access: Access,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// A volume.
    Volume {
        /// Its name, of 64 hex digits for an anonymous one.
        name: String,
        /// Whether it can go with the container.
        lifetime: Lifetime,
    },
    /// Memory.
    Tmpfs(TmpfsOptions),
}

/// Whether a volume can go with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// It is anonymous, and goes with the last container that has it if that is asked for.
    Container,
    /// It has a name of its own, and stays until it is removed by that.
    OwnName,
}

impl MountRequest {
    /// Reads the value of one `-v`: `TARGET`, `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`.
    pub fn parse_volume(text: &str) -> Result<Self, MountError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, options] => (Some(source), target, options),
            _ => return Err(MountError::Option { text: text.to_owned(), option: parts[3..].join(":") }),
        };
        let (mut access, mut copy_up) = (Access::ReadWrite, CopyUp::Yes);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "rw" => access = Access::ReadWrite,
                "ro" => access = Access::ReadOnly,
                "nocopy" => copy_up = CopyUp::No,
                "copy" => copy_up = CopyUp::Yes,
                // Labels for SELinux: without it there is nothing to relabel, as in Docker.
                "z" | "Z" => {}
                other => return Err(MountError::Option { text: text.to_owned(), option: other.to_owned() }),
            }
        }
        let target = check_target(text, target)?;
        Ok(match source {
            Some("") => return Err(MountError::NoSource(text.to_owned())),
            Some(path) if path.starts_with(['/', '.', '~']) => {
                Self::Bind { source: check_source(text, path)?, target, access, missing: Missing::Create }
            }
            Some(name) => Self::Volume { name: Some(check_volume_name(name)?), target, access, copy_up },
            None => Self::Volume { name: None, target, access, copy_up },
        })
    }

    /// Reads the value of one `--mount`: `type=bind,src=..,dst=..,readonly`.
    pub fn parse_mount(text: &str) -> Result<Self, MountError> {
        let mut fields = Fields::of(text);
        let kind = fields.take(&["type"]).unwrap_or("volume");
        let source = fields.take(&["source", "src"]);
        let target = fields.take(&["target", "destination", "dst"]).unwrap_or_default();
        let target = check_target(text, target)?;
        let access = if fields.flag(&["readonly", "ro"])? { Access::ReadOnly } else { Access::ReadWrite };
        let request = match kind {
            "bind" => {
                let source = source.ok_or_else(|| MountError::NoSource(text.to_owned()))?;
                Self::Bind { source: check_source(text, source)?, target, access, missing: Missing::Refuse }
            }
            "volume" => {
                let copy_up = if fields.flag(&["volume-nocopy"])? { CopyUp::No } else { CopyUp::Yes };
                let name = source.filter(|name| !name.is_empty()).map(check_volume_name).transpose()?;
                Self::Volume { name, target, access, copy_up }
            }
            "tmpfs" => Self::Tmpfs { target, options: fields.tmpfs(access)? },
            other => return Err(MountError::Option { text: text.to_owned(), option: format!("type={other}") }),
        };
        fields.none_left().map(|()| request)
    }

    /// Reads the value of one `--tmpfs`: `TARGET` or `TARGET:OPTIONS`.
    pub fn parse_tmpfs(text: &str) -> Result<Self, MountError> {
        let (target, words) = text.split_once(':').unwrap_or((text, ""));
        let target = check_target(text, target)?;
        let mut options = TmpfsOptions::default();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "rw" => options.access = Access::ReadWrite,
                "ro" => options.access = Access::ReadOnly,
                "exec" => options.executable = true,
                "noexec" => options.executable = false,
                // So it is anyway, as in Docker; the opposites are refused.
                "nosuid" | "nodev" => {}
                "size" => options.size_bytes = Some(parse_bytes(value).ok_or_else(|| bad_value(text, name))?),
                "mode" => options.mode = octal(value).ok_or_else(|| bad_value(text, name))?,
                _ => return Err(MountError::Option { text: text.to_owned(), option: word.to_owned() }),
            }
        }
        Ok(Self::Tmpfs { target, options })
    }

    /// Where it is mounted in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Volume { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// The `name=value` fields of one `--mount`, taken out one after another.
struct Fields<'a> {
    text: &'a str,
    left: BTreeMap<&'a str, &'a str>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Self {
        let left = text.split(',').map(|field| field.split_once('=').unwrap_or((field, "true"))).collect();
        Self { text, left }
    }

    fn take(&mut self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.left.remove(*name))
    }

    fn flag(&mut self, names: &[&str]) -> Result<bool, MountError> {
        match self.take(names) {
            Some("true" | "1") => Ok(true),
            None | Some("false" | "0") => Ok(false),
            Some(_) => Err(bad_value(self.text, names[0])),
        }
    }

    fn tmpfs(&mut self, access: Access) -> Result<TmpfsOptions, MountError> {
        let mut options = TmpfsOptions { access, ..TmpfsOptions::default() };
        if let Some(size) = self.take(&["tmpfs-size"]) {
            options.size_bytes = Some(parse_bytes(size).ok_or_else(|| bad_value(self.text, "tmpfs-size"))?);
        }
        if let Some(mode) = self.take(&["tmpfs-mode"]) {
            options.mode = octal(mode).ok_or_else(|| bad_value(self.text, "tmpfs-mode"))?;
        }
        Ok(options)
    }

    fn none_left(&self) -> Result<(), MountError> {
        match self.left.keys().next() {
            Some(option) => Err(MountError::Option { text: self.text.to_owned(), option: (*option).to_owned() }),
            None => Ok(()),
        }
    }
}

/// Accepts what can be the name of a volume.
///
/// # Errors
/// If it cannot.
pub fn check_volume_name(name: &str) -> Result<String, MountError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = starts_well && name.len() <= 255 && name.bytes().all(good);
    if fits { Ok(name.to_owned()) } else { Err(MountError::VolumeName(name.to_owned())) }
}

fn check_target(text: &str, target: &str) -> Result<String, MountError> {
    let error = || MountError::Target { text: text.to_owned(), target: target.to_owned() };
    if target.is_empty() {
        return Err(MountError::NoTarget(text.to_owned()));
    }
    let path = store::RelPath::clean(target.as_bytes()).map_err(|_| error())?;
    if !target.starts_with('/') || path.is_root() {
        return Err(error());
    }
    Ok(format!("/{}", String::from_utf8_lossy(path.as_bytes())))
}

fn check_source(text: &str, path: &str) -> Result<PathBuf, MountError> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(MountError::Source { text: text.to_owned(), path: path.to_owned() })
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

fn bad_value(text: &str, option: &str) -> MountError {
    MountError::Value { text: text.to_owned(), option: option.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(request: Result<MountRequest, MountError>) -> String {
        let access = |access| if access == Access::ReadOnly { " ro" } else { "" };
        match request {
            Ok(MountRequest::Bind { source, target, access: how, missing }) => {
                format!("bind {} {target}{} {missing:?}", source.display(), access(how))
            }
            Ok(MountRequest::Volume { name, target, access: how, copy_up }) => {
                format!("volume {} {target}{} {copy_up:?}", name.as_deref().unwrap_or("-"), access(how))
            }
            Ok(MountRequest::Tmpfs { target, options }) => {
                let size = options.size_bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
                format!("tmpfs {target}{} {size} {:o}", access(options.access), options.mode)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn volumes_and_binds_of_v() {
        for (text, expected) in [
            ("/test", "volume - /test Yes"),
            ("/home:/test", "bind /home /test Create"),
            ("/home:/test:ro", "bind /home /test ro Create"),
            ("data:/a/../test/", "volume data /test Yes"),
            ("data:/test:ro,nocopy", "volume data /test ro No"),
            ("data:/test:z", "volume data /test Yes"),
        ] {
            assert_eq!(show(MountRequest::parse_volume(text)), expected);
        }
        for text in ["", "/", "a", "x:y", ":/a", "./a:/b", "a b:/c", "/a:/b:rshared", "/a:/b:ro:x", "a:/"] {
            assert!(MountRequest::parse_volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_of_mount() {
        for (text, expected) in [
            ("type=bind,src=/a,dst=/b", "bind /a /b Refuse"),
            ("type=bind,source=/a,target=/b,readonly", "bind /a /b ro Refuse"),
            ("type=bind,src=/a,dst=/b,ro=false", "bind /a /b Refuse"),
            ("dst=/b", "volume - /b Yes"),
            ("type=volume,src=v,destination=/b,volume-nocopy", "volume v /b No"),
            ("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700", "tmpfs /t 1048576 700"),
        ] {
            assert_eq!(show(MountRequest::parse_mount(text)), expected);
        }
        for text in [
            "",
            "type=bind,dst=/b",
            "type=bind,src=a,dst=/b",
            "type=npipe,dst=/b",
            "dst=/b,bind-propagation=shared",
            "dst=b",
        ] {
            assert!(MountRequest::parse_mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_of_tmpfs() {
        for (text, expected) in [
            ("/run", "tmpfs /run - 1777"),
            ("/run:rw,noexec,size=64m,mode=755", "tmpfs /run 67108864 755"),
            ("/run:ro", "tmpfs /run ro - 1777"),
        ] {
            assert_eq!(show(MountRequest::parse_tmpfs(text)), expected);
        }
        for text in ["run", "/run:mode=9", "/run:huge=always", "/run:uid=1", "/run:suid", "/run:size=x"] {
            assert!(MountRequest::parse_tmpfs(text).is_err(), "{text}");
        }
    }
}
