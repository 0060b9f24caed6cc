//! Names and paths inside a root filesystem: bytes, as Linux has them.
//!
//! A [`Name`] is one component and can be nothing else; a [`RelPath`] is a sequence of names from
//! the root. Neither can hold `.`, `..`, an empty component, a NUL or a leading slash, so a path
//! that exists as a value cannot leave the tree it is looked up in. Neither knows the disk.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;

/// Why bytes are no name or path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component is empty, `.` or `..`, or holds a slash or a NUL byte.
    #[error("{} is not a file name", crate::path::display(.0))]
    NotAName(Box<[u8]>),
    /// The path starts with a slash.
    #[error("{} is not relative", crate::path::display(.0))]
    Absolute(Box<[u8]>),
}

/// One component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Accepts any bytes that can stand between two slashes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if is_name(&bytes) { Ok(Self(bytes)) } else { Err(PathError::NotAName(bytes)) }
    }

    /// Takes what [`RelPath::components`] gave, which is a name already.
    pub(crate) fn of_component(component: &[u8]) -> Self {
        debug_assert!(is_name(component));
        Self(component.into())
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the operating system takes it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", display(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", display(&self.0).to_string())
    }
}

/// A path from a root: names joined by single slashes. The empty path is the root itself.
///
/// The order is that of a tree walk: a directory comes before what is in it, and siblings stand in
/// byte order of their names.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Accepts names joined by single slashes; refuses everything that would need interpretation.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute(bytes));
        }
        if bytes.is_empty() {
            return Ok(Self(bytes));
        }
        match bytes.split(|byte| *byte == b'/').find(|part| !is_name(part)) {
            Some(part) => Err(PathError::NotAName(part.into())),
            None => Ok(Self(bytes)),
        }
    }

    /// Reads a path as if the root were `/`: slashes collapse, `.` vanishes, `..` goes up and stops
    /// at the root. Fails only on a NUL byte.
    pub fn clean(bytes: &[u8]) -> Result<Self, PathError> {
        let mut names: Vec<&[u8]> = Vec::new();
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                name if is_name(name) => names.push(name),
                other => return Err(PathError::NotAName(other.into())),
            }
        }
        Ok(Self(names.join(&b'/').into()))
    }

    /// Takes components of other paths, joined again.
    pub(crate) fn of_components(joined: Vec<u8>) -> Self {
        debug_assert!(Self::new(joined.clone()).is_ok());
        Self(joined.into())
    }

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the operating system takes it, relative to the root's descriptor.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + '_ {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The path of an entry in this directory.
    pub fn join(&self, name: &Name) -> Self {
        if self.is_root() {
            return Self(name.0.clone());
        }
        Self([&self.0[..], b"/", &name.0].concat().into())
    }

    /// This path followed by another.
    pub fn join_path(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self([&self.0[..], b"/", &below.0].concat().into()),
        }
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last name; `None` for the root.
    pub fn file_name(&self) -> Option<Name> {
        self.components().next_back().map(|name| Name(name.into()))
    }

    /// What is left of this path below `ancestor`; `None` if it is not below it.
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<Self> {
        if ancestor.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&ancestor.0[..])? {
            b"" => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl From<&Name> for RelPath {
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", display(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", display(&self.0).to_string())
    }
}

/// Shows bytes of an untrusted path to a person: what is not printable UTF-8 becomes `\xNN`, so
/// that no escape sequence reaches a terminal.
pub fn display(bytes: &[u8]) -> impl fmt::Display + '_ {
    struct Printable<'a>(&'a [u8]);
    impl fmt::Display for Printable<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for chunk in self.0.utf8_chunks() {
                for character in chunk.valid().chars() {
                    if character.is_control() {
                        write!(f, "{}", character.escape_default())?
                    } else {
                        write!(f, "{character}")?
                    }
                }
                for byte in chunk.invalid() {
                    write!(f, "\\x{byte:02x}")?;
                }
            }
            Ok(())
        }
    }
    Printable(bytes)
}

fn is_name(bytes: &[u8]) -> bool {
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_canonical_paths_are_accepted() {
        for text in ["", "a", "a/b", "a/..b", ".wh.a", "\u{1b}"] {
            assert!(RelPath::new(text.as_bytes()).is_ok(), "{text:?}");
        }
        for text in ["/", "/a", "a/", "a//b", ".", "./a", "a/..", "..", "a\0b"] {
            assert!(RelPath::new(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn cleaning_never_leaves_the_root() {
        for (text, expected) in
            [("/", ""), ("a/./b//c/", "a/b/c"), ("../../a", "a"), ("a/../../b", "b"), ("/a/b/..", "a")]
        {
            assert_eq!(RelPath::clean(text.as_bytes()), Ok(path(expected)), "{text}");
        }
        assert!(RelPath::clean(b"a\0").is_err());
    }

    #[test]
    fn order_is_that_of_a_walk() {
        let mut paths = [path("a.b"), path("a/c"), path("a"), path("")];
        paths.sort();
        assert_eq!(paths, [path(""), path("a"), path("a/c"), path("a.b")]);
    }

    #[test]
    fn parts_fit_together_again() {
        let whole = path("usr/lib/x");
        assert_eq!(whole.parent().unwrap().join(&whole.file_name().unwrap()), whole);
        assert_eq!(whole.strip_prefix(&path("usr")), Some(path("lib/x")));
        assert_eq!(whole.strip_prefix(&path("us")), None);
        assert_eq!(path("usr").join_path(&path("lib/x")), whole);
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(path("usr").parent(), Some(RelPath::root()));
    }

    #[test]
    fn display_hides_escapes() {
        assert_eq!(path("\u{1b}[2J").to_string(), "/\\u{1b}[2J");
        assert_eq!(RelPath::new(&b"\xff"[..]).unwrap().to_string(), "/\\xff");
    }
}
