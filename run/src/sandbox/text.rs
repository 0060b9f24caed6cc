//! Serde forms of operating system strings and paths: text where it is UTF-8, else bytes.
//!
//! A state file stays readable, and a name that is no UTF-8 survives the way through it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize)]
#[serde(untagged)]
enum Borrowed<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Owned {
    Text(String),
    Bytes(Vec<u8>),
}

impl<'a> From<&'a OsStr> for Borrowed<'a> {
    fn from(string: &'a OsStr) -> Self {
        string.to_str().map_or_else(|| Self::Bytes(string.as_bytes()), Self::Text)
    }
}

impl From<Owned> for OsString {
    fn from(string: Owned) -> Self {
        match string {
            Owned::Text(text) => text.into(),
            Owned::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// For `#[serde(with = "text")]` on an `OsString` or a `PathBuf`.
pub(crate) fn serialize<S: Serializer>(value: &impl AsRef<OsStr>, serializer: S) -> Result<S::Ok, S::Error> {
    Borrowed::from(value.as_ref()).serialize(serializer)
}

/// See [`serialize`].
pub(crate) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(T::from(OsString::from(Owned::deserialize(deserializer)?)))
}

/// The same for anything iterable: `#[serde(with = "text::many")]`.
pub(super) mod many {
    use super::{Borrowed, Owned};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::ffi::{OsStr, OsString};

    pub(in super::super) fn serialize<S: Serializer, T: AsRef<OsStr>>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Borrowed::from(value.as_ref())))
    }

    pub(in super::super) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let values = Vec::<Owned>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| T::from(OsString::from(value))).collect())
    }
}

/// The same for what may be missing: `#[serde(with = "text::optional")]`.
pub(super) mod optional {
    use super::{Borrowed, Owned};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::{OsStr, OsString};

    pub(in super::super) fn serialize<S: Serializer, T: AsRef<OsStr>>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|value| Borrowed::from(value.as_ref())).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let value = Option::<Owned>::deserialize(deserializer)?;
        Ok(value.map(|value| T::from(OsString::from(value))))
    }
}

/// The same for pairs: `#[serde(with = "text::pairs")]`.
pub(super) mod pairs {
    use super::{Borrowed, Owned};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::ffi::OsString;

    type Pair = (OsString, OsString);

    pub(in super::super) fn serialize<S: Serializer>(values: &[Pair], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            values.iter().map(|(name, value)| (Borrowed::from(name.as_os_str()), Borrowed::from(value.as_os_str()))),
        )
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pair>, D::Error> {
        let values = Vec::<(Owned, Owned)>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
