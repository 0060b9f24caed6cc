//! `--annotation [LEVEL[[PLATFORM]][,…]:]KEY=VALUE`: what is said about an image beside its config.

use store::Platform;
use store::oci::Annotations;

use crate::report::{Failure, UsageError};

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The image's manifest.
    Manifest,
    /// The index of several images.
    Index,
    /// What is said about the manifest where it is listed: in the index, or, without one, in a layout.
    ManifestDescriptor,
    /// What is said about the index where that is listed: in a layout.
    IndexDescriptor,
}

/// One annotation, for all platforms or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    level: Level,
    platform: Option<Platform>,
    key: String,
    value: String,
}

impl Annotation {
    /// Reads what the flag says; several levels make several annotations.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>, Failure> {
        let (before, value) =
            text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| wrong(text, "KEY=VALUE"))?;
        let (levels, key) = match before.split_once(':') {
            Some((levels, key)) if levels.split(',').all(is_level) => (levels, key),
            _ => ("manifest", before),
        };
        let one = |level: &str| {
            let (name, platform) = match level.strip_suffix(']').and_then(|level| level.split_once('[')) {
                Some((name, platform)) => (name, Some(platform.parse()?)),
                None => (level, None),
            };
            Self::new(name, platform, key, value).map_err(|why| wrong(text, &why))
        };
        levels.split(',').map(one).collect()
    }

    /// Reads an attribute of `--output`: `annotation-index.KEY`, `annotation[linux/arm64].KEY`.
    pub(super) fn of_attribute(name: &str, value: &str) -> Option<Result<Self, Failure>> {
        let (level, key) = name.strip_prefix("annotation")?.split_once('.')?;
        let (level, platform) = match level.strip_suffix(']').and_then(|level| level.split_once('[')) {
            Some((level, platform)) => (level, Some(platform)),
            None => (level, None),
        };
        let level = level.strip_prefix('-').unwrap_or("manifest");
        let platform = match platform.map(str::parse).transpose() {
            Ok(platform) => platform,
            Err(error) => return Some(Err(Failure::from(error))),
        };
        Some(Self::new(level, platform, key, value).map_err(|why| wrong(name, &why)))
    }

    fn new(level: &str, platform: Option<Platform>, key: &str, value: &str) -> Result<Self, String> {
        let level = match level {
            "manifest" => Level::Manifest,
            "index" => Level::Index,
            "manifest-descriptor" => Level::ManifestDescriptor,
            "index-descriptor" => Level::IndexDescriptor,
            other => {
                return Err(format!(
                    "there is no level {other:?}: manifest, index, manifest-descriptor, index-descriptor"
                ));
            }
        };
        if matches!(level, Level::Index | Level::IndexDescriptor) && platform.is_some() {
            return Err("an index is for all platforms".to_owned());
        }
        Ok(Self { level, platform, key: key.to_owned(), value: value.to_owned() })
    }

    /// Whether it can only be said in an index.
    pub(super) fn needs_index(&self) -> bool {
        matches!(self.level, Level::Index | Level::IndexDescriptor)
    }
}

/// What is said at a level, about a platform where the level has any.
pub(super) fn said(annotations: &[Annotation], level: Level, platform: Option<&Platform>) -> Annotations {
    let is_meant =
        |one: &&Annotation| one.level == level && one.platform.as_ref().is_none_or(|wanted| Some(wanted) == platform);
    annotations.iter().filter(is_meant).map(|one| (one.key.clone(), one.value.clone())).collect()
}

fn is_level(text: &str) -> bool {
    let (name, rest) = text.split_once('[').unwrap_or((text, "]"));
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && rest.ends_with(']')
}

fn wrong(text: &str, why: &str) -> Failure {
    UsageError::wrong(format!("invalid annotation {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about linux/arm64 at each level: manifest, index, manifest-descriptor, index-descriptor.
    fn check(text: &str, expected: [&[(&str, &str)]; 4]) {
        let annotations = Annotation::parse(text).unwrap();
        let platform = "linux/arm64".parse().unwrap();
        let levels = [Level::Manifest, Level::Index, Level::ManifestDescriptor, Level::IndexDescriptor];
        for (level, expected) in levels.into_iter().zip(expected) {
            let found = said(&annotations, level, Some(&platform));
            let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text} {level:?}");
        }
    }

    #[test]
    fn levels_and_platforms_stand_before_the_key() {
        check("a=b", [&[("a", "b")], &[], &[], &[]]);
        check("org.x/y:z=b=c", [&[("org.x/y:z", "b=c")], &[], &[], &[]]);
        check("index:a=b", [&[], &[("a", "b")], &[], &[]]);
        check("index,manifest:a=b", [&[("a", "b")], &[("a", "b")], &[], &[]]);
        check("manifest-descriptor:a=", [&[], &[], &[("a", "")], &[]]);
        check("index-descriptor:a=b", [&[], &[], &[], &[("a", "b")]]);
        check("manifest[linux/arm64/v8]:a=b", [&[("a", "b")], &[], &[], &[]]);
        check("manifest[linux/amd64],manifest-descriptor[linux/arm64]:a=b", [&[], &[], &[("a", "b")], &[]]);
        for text in [
            "a",
            "=b",
            "nonsense:a=b",
            "index[linux/arm64]:a=b",
            "index-descriptor[linux/arm64]:a=b",
            "manifest[x y]:a=b",
        ] {
            assert!(Annotation::parse(text).is_err(), "{text}");
        }
    }
}
