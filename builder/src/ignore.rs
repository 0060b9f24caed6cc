//! `.dockerignore`, and the patterns of `--exclude` (section A.9).
//!
//! The last rule that matches a path or a directory above it wins. Matching goes along the path from
//! the top, as Docker's walk does: a rule that would change nothing at a directory is not tried
//! there, and so is not inherited by what is below. A walk keeps a [`Standing`] a directory; it must
//! not skip an ignored directory while [`IgnoreFile::may_keep_below`] it.

use store::RelPath;

use crate::pattern::{BadPattern, Pattern};

/// An ignore file, or the `--exclude` patterns of one COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    kind: Kind,
    origin: Origin,
}

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The number of the line, counted from one.
    pub line: usize,
    /// The line, without the blanks around it.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ignore,
    /// The pattern stood after `!`.
    Keep,
}

/// What is known of one path: whether it is ignored, and which rules what is below it inherits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    verdict: Verdict,
    matched: Vec<bool>,
}

/// Whether a path is part of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// It is.
    #[default]
    Kept,
    /// It is not, unless something below it is.
    Ignored,
}

/// Why an ignore file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` with nothing after it.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// A pattern that Go does not read.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
}

impl IgnoreFile {
    /// Reads an ignore file: a pattern a line, anchored at the context's root whether or not it
    /// starts with a slash. `#` makes a comment in the first column only (rules A171, A172).
    pub fn parse(source: &[u8]) -> Result<Self, IgnoreError> {
        let source = source.strip_prefix("\u{feff}".as_bytes()).unwrap_or(source);
        let lines = source.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.starts_with(b"#"));
        let rule = |(index, line)| Rule::parse(index + 1, line, without_root);
        Ok(Self { rules: lines.filter_map(|line| rule(line).transpose()).collect::<Result<_, _>>()? })
    }

    /// Reads `--exclude` patterns: the same without comments, and a leading slash is not dropped
    /// (rule A115).
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        let rule = |(index, text): (usize, &str)| Rule::parse(index + 1, text.as_bytes(), |pattern| pattern);
        let patterns = patterns.into_iter().enumerate();
        Ok(Self { rules: patterns.filter_map(|text| rule(text).transpose()).collect::<Result<_, _>>()? })
    }

    /// Whether it ignores nothing.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.kind == Kind::Keep)
    }

    /// Whether a path is ignored. For many paths, [`IgnoreFile::below`] is cheaper.
    pub fn matches(&self, path: &RelPath) -> bool {
        self.standing(path).verdict() == Verdict::Ignored
    }

    /// The rule that a path is ignored by.
    pub fn excluded_by(&self, path: &RelPath) -> Option<&Origin> {
        let standing = self.standing(path);
        let deciding = standing.matched.iter().rposition(|matched| *matched)?;
        (standing.verdict() == Verdict::Ignored).then(|| &self.rules[deciding].origin)
    }

    fn standing(&self, path: &RelPath) -> Standing {
        let mut standing = Standing::default();
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([bytes.len()]) {
            standing = self.step(&standing, &bytes[..end]);
        }
        standing
    }

    /// The standing of a path, given that of the directory it is in; the root's is the default.
    pub fn below(&self, directory: &Standing, path: &RelPath) -> Standing {
        self.step(directory, path.as_bytes())
    }

    /// Whether something below an ignored directory may be kept, so that a walk has to look.
    pub fn may_keep_below(&self, directory: &RelPath) -> bool {
        let path = directory.as_bytes();
        path.is_empty() || self.rules.iter().any(|rule| rule.kind == Kind::Keep && rule.pattern.may_match_below(path))
    }

    fn step(&self, directory: &Standing, path: &[u8]) -> Standing {
        if path.is_empty() {
            return Standing::default();
        }
        let mut verdict = Verdict::Kept;
        let mut matched = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            let inherited = directory.matched.get(index).copied().unwrap_or(false);
            let matches = inherited || (rule.would_change(verdict) && rule.pattern.matches(path));
            if matches {
                verdict = rule.verdict();
            }
            matched.push(matches);
        }
        Standing { verdict, matched }
    }
}

impl Standing {
    /// Whether the path is ignored.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl Rule {
    /// Blanks around a pattern do not count, nor do they after `!`; an empty line is no rule.
    fn parse(number: usize, line: &[u8], normalise: impl Fn(&[u8]) -> &[u8]) -> Result<Option<Self>, IgnoreError> {
        let line = trim(line);
        let (kind, text) = match line.strip_prefix(b"!") {
            Some(rest) => (Kind::Keep, trim(rest)),
            None => (Kind::Ignore, line),
        };
        match (kind, text) {
            (Kind::Ignore, b"") => Ok(None),
            (Kind::Keep, b"") => Err(IgnoreError::LoneExclamation),
            _ => {
                let origin = Origin { line: number, text: String::from_utf8_lossy(line).into_owned() };
                Ok(Some(Self { pattern: Pattern::parse(normalise(&clean(text)))?, kind, origin }))
            }
        }
    }

    fn verdict(&self) -> Verdict {
        match self.kind {
            Kind::Ignore => Verdict::Ignored,
            Kind::Keep => Verdict::Kept,
        }
    }

    fn would_change(&self, verdict: Verdict) -> bool {
        self.verdict() != verdict
    }
}

/// A path as Go's `path.Clean` leaves it.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => drop(names.pop()),
            b".." if rooted => {}
            name => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

fn without_root(pattern: &[u8]) -> &[u8] {
    match pattern {
        [b'/', rest @ ..] if !rest.is_empty() => rest,
        _ => pattern,
    }
}

/// Takes blanks off both ends, as Unicode has them where the bytes are UTF-8.
fn trim(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &str, file: &str, ignored: &[&str], kept: &[&str]) {
        let parsed = IgnoreFile::parse(file.as_bytes()).unwrap();
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        for text in ignored {
            assert!(parsed.matches(&path(text)), "{rule}: {text} is ignored by {file:?}");
        }
        for text in kept {
            assert!(!parsed.matches(&path(text)), "{rule}: {text} is kept by {file:?}");
        }
    }

    #[test]
    fn a171_lines() {
        check("A171", "\u{feff}# comment\n\n  a  \r\n #b\n", &["a", "#b"], &["b", "# comment"]);
        check("A171", "*\n!  a\n", &["b"], &["a"]);
        check("A171", "!!a\n", &[], &["a"]);
        for file in ["!", "a\n ! \n"] {
            assert_eq!(IgnoreFile::parse(file.as_bytes()), Err(IgnoreError::LoneExclamation), "{file:?}");
        }
        assert!(IgnoreFile::parse(b"[a").is_err());
        assert!(IgnoreFile::parse(b"# [a\n").unwrap().is_empty());
    }

    #[test]
    fn a172_patterns_are_cleaned_and_anchored() {
        check("A172", "/a\nb/\n./c//d/\ne/../f\n", &["a", "b", "b/x", "c/d", "f"], &["x/a", "c", "e", "x/b"]);
        check("A172", ".\n/\n..\n../x\n", &[], &["a", "x"]);
        check("A172", "a b\n", &["a b"], &["a", "b"]);
    }

    #[test]
    fn a173_patterns() {
        check("A173", "*.md\n", &["a.md"], &["x/a.md"]);
        check("A173", "**/*.md\n", &["a.md", "x/a.md", "x/y/a.md/z"], &["a.mdx"]);
        check("A173", "*/temp*\n", &["x/temp", "x/temporary/y"], &["temp", "x/y/temp"]);
        check("A173", "temp?\n", &["tempa", "tempb/x"], &["temp", "tempab"]);
        check("A173", "a/**\n", &["a/b", "a/b/c"], &["a"]);
        check("A173", "\\#a\n[!a]x\n", &["#a", "!x", "ax"], &["bx"]);
    }

    #[test]
    fn a174_the_last_match_wins_and_directories_hand_down() {
        check("A174", "dir\n!dir/keep\n", &["dir", "dir/x", "dir/x/keep"], &["dir/keep", "dir/keep/x"]);
        check("A174", "!dir/keep\ndir\n", &["dir/keep"], &["other"]);
        check("A174", "a\n!a/b\na/b/c\n!a/b/c/d\n", &["a", "a/b/c", "a/b/c/x"], &["a/b", "a/b/x", "a/b/c/d"]);
        check(
            "A174",
            "**/node_modules\n!x/node_modules/y\n",
            &["node_modules/y", "x/node_modules"],
            &["x/node_modules/y"],
        );
        // Docker's walk does not try `!docs` at docs, since it would change nothing there.
        check("A174", "docs/x\n!docs\n", &["docs/x"], &["docs", "docs/y"]);
    }

    #[test]
    fn a176_allow_lists() {
        check("A176", "*\n!src\n!*.md\nREADME.md\n", &["a", "README.md", "x/b.md"], &["src", "src/a/b", "b.md"]);
        check("A176", "**\n!a/b\n", &["a", "a/c", "x"], &["a/b", "a/b/c"]);
    }

    #[test]
    fn a174_a_walk_knows_where_to_look() {
        let parsed = IgnoreFile::parse(b"*\n!a/b/*.txt\n!**/x\n").unwrap();
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        assert!(parsed.may_keep_below(&path("a")) && parsed.may_keep_below(&path("z/y")));
        let parsed = IgnoreFile::parse(b"*\n!a/b/*.txt\n").unwrap();
        assert!(parsed.may_keep_below(&RelPath::root()) && parsed.may_keep_below(&path("a/b")));
        assert!(!parsed.may_keep_below(&path("b")) && !parsed.may_keep_below(&path("a/c")));
        assert!(!IgnoreFile::parse(b"a").unwrap().may_keep_below(&path("a")));
    }

    #[test]
    fn a174_the_rule_that_decides_can_be_named() {
        let parsed = IgnoreFile::parse(b"# x\n*.log\n!a.log\n  a.log \ndir\n").unwrap();
        let line = |text: &str| parsed.excluded_by(&RelPath::new(text.as_bytes()).unwrap()).map(|origin| origin.line);
        assert_eq!([line("b.log"), line("a.log"), line("dir/x"), line("c")], [Some(2), Some(4), Some(5), None]);
        assert_eq!(parsed.excluded_by(&RelPath::new(*b"a.log").unwrap()).unwrap().text, "a.log");
    }

    #[test]
    fn a115_exclude_patterns() {
        let parsed = IgnoreFile::from_patterns(["*.txt", "!keep.txt", "#x", " "]).unwrap();
        let ignored = |text: &str| parsed.matches(&RelPath::new(text.as_bytes()).unwrap());
        assert!(ignored("a.txt") && ignored("#x") && !ignored("keep.txt") && !ignored("dir/a.txt"));
        assert!(parsed.has_exceptions());
    }
}
