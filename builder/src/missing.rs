//! Why a source of COPY, ADD or a mount names nothing.
//!
//! The ignore file hides it, a name close to it is there, or the file lies in another directory: whoever reads the
//! error should not have to look for himself. It only explains; whether something is missing is decided elsewhere.

use std::fmt;

use store::tree::{Directory, Node};
use store::{Name, RelPath, Tree};

use crate::diagnostic::Span;
use crate::ignore::{IgnoreFile, Origin};
use crate::pattern::Glob;
use crate::suggest::suggest;

/// A source that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// It, as a path from the root of what was searched, wildcards and all.
    pub source: String,
    /// Why that may be.
    pub why: Option<Why>,
    /// Sources of other steps that are missing from the same place.
    pub also: Vec<AlsoMissing>,
}

/// What a person may have overlooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A line of an ignore file.
    Excluded {
        /// The ignore file.
        file: String,
        /// Which line.
        origin: Origin,
    },
    /// This is there.
    Near(String),
    /// It leads out of what can be copied.
    Above,
}

/// A source that is missing, too, and is named at another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlsoMissing {
    /// The instruction.
    pub span: Span,
    /// The line that it starts in.
    pub line: usize,
    /// What is missing.
    pub missing: Missing,
}

impl Missing {
    /// Looks around where it should be.
    pub fn explain(source: &str, tree: &Tree, ignored: Option<&(String, IgnoreFile)>) -> Self {
        let (path, pattern) = literal(source);
        let excluded = || {
            let (file, rules) = ignored?;
            let origin = rules.excluded_by(&path)?.clone();
            Some(Why::Excluded { file: file.clone(), origin })
        };
        let near = || {
            let found = near(tree, &path).or_else(|| elsewhere(tree, &path))?;
            let root = if source.starts_with('/') { "/" } else { "" };
            let text = String::from_utf8_lossy(found.as_bytes()).into_owned();
            Some(Why::Near(format!("{root}{text}{pattern}")))
        };
        let above = || source.split('/').next().filter(|first| *first == "..").map(|_| Why::Above);
        let shown = if source.starts_with('/') { source.to_owned() } else { format!("/{source}") };
        Self { source: shown, why: excluded().or_else(near).or_else(above), also: Vec::new() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: not found", self.source)?;
        match &self.why {
            Some(Why::Excluded { file, origin }) => {
                write!(f, ": it is excluded by {file}, line {}: {}", origin.line, origin.text)?;
            }
            Some(Why::Near(path)) => write!(f, ": did you mean {path:?}?")?,
            Some(Why::Above) => f.write_str(": \"..\" does not lead out of the build context")?,
            None => {}
        }
        let lines: Vec<String> = self.also.iter().map(|also| format!("line {}", also.line)).collect();
        match lines.as_slice() {
            [] => Ok(()),
            [line] => write!(f, " (nor is what {line} copies)"),
            [lines @ .., last] => write!(f, " (nor is what {} and {last} copy)", lines.join(", ")),
        }
    }
}

/// What of a source is no pattern, and the rest with the slash before it.
fn literal(source: &str) -> (RelPath, String) {
    let names: Vec<&str> = source.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let plain = names.iter().take_while(|name| !Glob::has_wildcards(name.as_bytes())).count();
    let path = RelPath::clean(names[..plain].join("/").as_bytes()).unwrap_or_default();
    (path, names[plain..].iter().map(|name| format!("/{name}")).collect())
}

/// The path with its first missing name replaced by one that is there, if that leads to something.
fn near(tree: &Tree, path: &RelPath) -> Option<RelPath> {
    let names: Vec<Name> = path.components().filter_map(|name| Name::new(name).ok()).collect();
    let (mut at, mut directory) = (RelPath::root(), tree.directory());
    for (place, name) in names.iter().enumerate() {
        match directory.get(name).map(|entry| &entry.node) {
            Some(Node::Directory(below)) => (at, directory) = (at.join(name), below),
            Some(Node::Leaf(_)) => return None,
            None => {
                let meant = at.join(&near_name(directory, name)?);
                let meant = names[place + 1..].iter().fold(meant, |path, name| path.join(name));
                return tree.get(&meant).is_some().then_some(meant);
            }
        }
    }
    None
}

fn near_name(directory: &Directory, wanted: &Name) -> Option<Name> {
    let wanted = std::str::from_utf8(wanted).ok()?;
    let names = || directory.entries().iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
    let found = names().find(|name| name.eq_ignore_ascii_case(wanted)).or_else(|| suggest(wanted, names()))?;
    Name::new(found.as_bytes()).ok()
}

/// The one place where a file of that name is.
fn elsewhere(tree: &Tree, path: &RelPath) -> Option<RelPath> {
    let name = path.file_name()?;
    let mut found = Vec::new();
    search(tree.directory(), &RelPath::root(), &name, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

fn search(directory: &Directory, at: &RelPath, wanted: &Name, found: &mut Vec<RelPath>) {
    for (name, entry) in directory.entries() {
        match &entry.node {
            Node::Leaf(_) if name == wanted => found.push(at.join(name)),
            Node::Leaf(_) => {}
            Node::Directory(below) => search(below, &at.join(name), wanted, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::ObjectId;
    use store::tree::{Entry, HardLinks, Leaf, Metadata, Timestamp};

    use super::*;

    fn directory(entries: Vec<(&str, Node)>) -> Node {
        let metadata = Metadata::root_owned(0o755, Timestamp::default());
        let entry = |(name, node): (&str, Node)| {
            (Name::new(name.as_bytes()).unwrap(), Entry { metadata: metadata.clone(), node })
        };
        Node::Directory(Arc::new(Directory::new(entries.into_iter().map(entry).collect())))
    }

    fn tree() -> Tree {
        let file = || Node::Leaf(Leaf::File { content: ObjectId::of(b""), size_bytes: 0 });
        let src = directory(vec![("main.rs", file()), ("only.txt", file())]);
        let root = directory(vec![("README.md", file()), ("package.json", file()), ("src", src)]);
        let Node::Directory(root) = root else { unreachable!("a directory") };
        Tree::new(Metadata::root_owned(0o755, Timestamp::default()), root, HardLinks::default())
    }

    #[test]
    fn a097_a_missing_source_says_what_may_have_been_meant() {
        let rules = IgnoreFile::parse(b"# no\n*.log\n!keep.log\n").unwrap();
        let ignored = Some((".dockerignore".to_owned(), rules));
        for (source, expected) in [
            ("readme.md", r#""/readme.md": not found: did you mean "README.md"?"#),
            ("/pakcage.json", r#""/pakcage.json": not found: did you mean "/package.json"?"#),
            ("scr/main.rs", r#""/scr/main.rs": not found: did you mean "src/main.rs"?"#),
            ("./scr/*.rs", r#""/./scr/*.rs": not found: did you mean "src/*.rs"?"#),
            ("only.txt", r#""/only.txt": not found: did you mean "src/only.txt"?"#),
            ("scr/other", r#""/scr/other": not found"#),
            ("x.log", r#""/x.log": not found: it is excluded by .dockerignore, line 2: *.log"#),
            ("keep.log", r#""/keep.log": not found"#),
            ("../secret", r#""/../secret": not found: ".." does not lead out of the build context"#),
        ] {
            assert_eq!(Missing::explain(source, &tree(), ignored.as_ref()).to_string(), expected);
        }
    }
}
