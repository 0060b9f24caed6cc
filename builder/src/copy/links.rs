//! Following symbolic links inside a root that is only data.
//!
//! A link's target never leaves the root: `..` stops there and absolute targets start there. What
//! does not exist is kept as it is, so that a destination can be resolved before it is made.

use std::collections::VecDeque;

use store::{Name, RelPath};

/// As many links as Linux follows; more are taken for a loop.
const MOST_LINKS: usize = 255;

/// A path runs through more links than anybody means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many levels of symbolic links in {0}")]
pub struct LinkLoop(pub RelPath);

/// What a lookup of one path finds, as far as following links is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A symbolic link with this target.
    Link(Box<[u8]>),
    /// Anything else, or nothing.
    Other,
}

/// Whether a link in the last place is followed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The path names what the link points to.
    Follow,
    /// The path names the link.
    Keep,
}

/// Resolves the links of a path, asking `look` about each component in turn.
pub fn follow(path: &RelPath, last: Last, mut look: impl FnMut(&RelPath) -> Found) -> Result<RelPath, LinkLoop> {
    let mut pending: VecDeque<Box<[u8]>> = path.components().map(Box::from).collect();
    let mut resolved = RelPath::root();
    let mut links = 0;
    while let Some(component) = pending.pop_front() {
        let Some(next) = step(&mut resolved, &component) else { continue };
        if pending.is_empty() && last == Last::Keep {
            return Ok(next);
        }
        match look(&next) {
            Found::Other => resolved = next,
            Found::Link(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(LinkLoop(path.clone()));
                }
                if target.first() == Some(&b'/') {
                    resolved = RelPath::root();
                }
                for part in target.split(|byte| *byte == b'/').rev() {
                    pending.push_front(part.into());
                }
            }
        }
    }
    Ok(resolved)
}

/// The path one component further; `None` where the component names nothing new.
fn step(resolved: &mut RelPath, component: &[u8]) -> Option<RelPath> {
    if component == b".." {
        *resolved = resolved.parent().unwrap_or_default();
    }
    Name::new(component).ok().map(|name| resolved.join(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &RelPath) -> Found {
        let target: &[u8] = match path.as_bytes() {
            b"abs" => b"/real",
            b"real/rel" => b"../other",
            b"esc" => b"../../../../real",
            b"loop" => b"loop",
            b"deep/down" => b"./x//y/",
            _ => return Found::Other,
        };
        Found::Link(target.into())
    }

    #[test]
    fn links_stay_in_the_root() {
        for (path, expected) in [
            ("abs/1", "real/1"),
            ("abs/rel/2", "other/2"),
            ("esc/3", "real/3"),
            ("deep/down/4", "deep/x/y/4"),
            ("none/at/all", "none/at/all"),
            ("abs", "real"),
            ("", ""),
        ] {
            let path = RelPath::clean(path.as_bytes()).unwrap();
            let expected = RelPath::clean(expected.as_bytes()).unwrap();
            assert_eq!(follow(&path, Last::Follow, look), Ok(expected));
        }
    }

    #[test]
    fn the_last_link_can_be_kept_and_loops_end() {
        let path = |text: &str| RelPath::clean(text.as_bytes()).unwrap();
        assert_eq!(follow(&path("abs/rel"), Last::Keep, look), Ok(path("real/rel")));
        assert_eq!(follow(&path("loop/x"), Last::Follow, look), Err(LinkLoop(path("loop/x"))));
    }
}
