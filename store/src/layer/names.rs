//! What the name of a layer's entry means.
//!
//! Names of a layer are untrusted bytes: absolute, with `..`, below symbolic links that the same
//! layer made, or malformed. Here they become paths within the root, or a refusal.

use super::ImportError;
use crate::tree::{ChangeBuilder, ChangeEntry, Leaf, MOST_COMPONENTS};
use crate::{Name, RelPath};

/// What Linux allows a name and a path.
const MOST_NAME_BYTES: usize = 255;
const MOST_PATH_BYTES: usize = 4096;
const MOST_LINKS: usize = 255;

/// What an entry of that name does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It puts something at a path.
    Put(RelPath),
    /// It removes what is there (image-spec, layer.md, "Whiteouts").
    Whiteout(RelPath),
    /// It hides what a directory holds (the same, "Opaque Whiteout").
    Opaque(RelPath),
    /// It is AUFS's own and means nothing to others, as all unpackers agree.
    Ignored,
}

/// Reads a name, following symbolic links that the layer has made so far, the last component aside.
/// Links of the layers below are followed when the change is applied.
pub(super) fn meaning(raw: &[u8], builder: &ChangeBuilder) -> Result<Meaning, ImportError> {
    let path = path(raw)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Meaning::Put(path)) };
    if parent.components().any(|name| name.starts_with(b".wh..wh.")) {
        return Ok(Meaning::Ignored);
    }
    let parent = follow(&parent, builder)?;
    if parent.components().any(|name| name.starts_with(b".wh.")) {
        return Err(ImportError::Whiteout { path: raw.into() });
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Meaning::Put(parent.join(&name))),
        Some(b".wh..opq") => Ok(Meaning::Opaque(parent)),
        Some(rest) if rest.starts_with(b".wh.") => Ok(Meaning::Ignored),
        Some(rest) => match Name::new(rest) {
            Ok(name) => Ok(Meaning::Whiteout(parent.join(&name))),
            Err(_) => Err(ImportError::Whiteout { path: raw.into() }),
        },
    }
}

/// The path that a hard link names.
pub(super) fn target(raw: &[u8], builder: &ChangeBuilder) -> Result<RelPath, ImportError> {
    let path = path(raw)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(follow(&parent, builder)?.join(&name)),
        _ => Ok(path),
    }
}

fn path(raw: &[u8]) -> Result<RelPath, ImportError> {
    let path = RelPath::clean(raw).map_err(|_| ImportError::Name { path: raw.into() })?;
    let too_deep = path.components().count() > MOST_COMPONENTS;
    if too_deep || raw.len() > MOST_PATH_BYTES || path.components().any(|name| name.len() > MOST_NAME_BYTES) {
        return Err(ImportError::LongName { path: raw.into() });
    }
    Ok(path)
}

/// Replaces symbolic links of the layer on the way to a directory by what they lead to.
fn follow(parent: &RelPath, builder: &ChangeBuilder) -> Result<RelPath, ImportError> {
    if !builder.passes_link(parent) {
        return Ok(parent.clone());
    }
    let mut at = RelPath::root();
    let mut links_left = MOST_LINKS;
    // Components still to go, the next one last; the target of a link is pushed on top.
    let mut todo: Vec<Vec<u8>> = parent.components().rev().map(<[u8]>::to_vec).collect();
    while let Some(component) = todo.pop() {
        if component == b".." {
            at = at.parent().unwrap_or_default();
            continue;
        }
        let Ok(name) = Name::new(component) else { continue }; // `.`, or nothing between two slashes
        let next = at.join(&name);
        match builder.get(&next) {
            Some(ChangeEntry::Leaf(_, Leaf::Symlink(target))) => {
                let looped = || ImportError::TooManyLinks { path: parent.as_bytes().into() };
                links_left = links_left.checked_sub(1).ok_or_else(looped)?;
                if target.first() == Some(&b'/') {
                    at = RelPath::root();
                }
                todo.extend(target.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
            }
            _ => at = next,
        }
    }
    path(at.as_bytes())
}
