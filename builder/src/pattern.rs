//! Patterns for paths, in the two grammars that a Dockerfile has.
//!
//! [`Glob`] is Go's `filepath.Match`, for the sources of COPY and ADD (rule A096). [`Pattern`] adds
//! `**`, for `.dockerignore`, `--exclude` and `--parents` (rule A173). Both see a path as bytes
//! without a leading slash, where `?` and a class take one UTF-8 character or one stray byte. Time is
//! proportional to pattern times path, whatever they are.

/// A bracket is not closed or empty, a range has no end, or nothing follows a backslash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {}", store::path::display(.0))]
pub struct BadPattern(Vec<u8>);

/// A pattern in which nothing crosses a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Matcher);

/// A pattern in which `**` stands for any number of directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Matcher);

impl Glob {
    /// Reads `*`, `?`, `[a-z]`, `[^a]` and `\`.
    pub fn parse(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (token, length) = token(rest).ok_or_else(|| BadPattern(pattern.to_owned()))?;
            tokens.push(token);
            rest = &rest[length..];
        }
        Ok(Self(Matcher::new(tokens)))
    }

    /// Whether it is the whole path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.0.matches(path)
    }

    /// The pattern that matches a text and nothing else.
    pub fn literal(text: &str) -> String {
        let escape = |c: char| if matches!(c, '*' | '?' | '[' | '\\') { vec!['\\', c] } else { vec![c] };
        text.chars().flat_map(escape).collect()
    }

    /// Whether a text has something that would match more than itself. A character after a
    /// backslash does not count.
    pub fn has_wildcards(text: &[u8]) -> bool {
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => drop(bytes.next()),
                b'*' | b'?' | b'[' => return true,
                _ => {}
            }
        }
        false
    }
}

impl Pattern {
    /// Reads what [`Glob::parse`] reads, and `**`.
    ///
    /// As in Docker's matcher, `**` before the end stands for nothing or for anything up to a slash,
    /// whether a slash follows it or not; before a plain name at the very start, for anything.
    pub fn parse(pattern: &[u8]) -> Result<Self, BadPattern> {
        Glob::parse(pattern)?;
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (token, length) =
                deep_token(rest).or_else(|| token(rest)).ok_or_else(|| BadPattern(pattern.to_owned()))?;
            if token == Token::Directories {
                tokens.push(Token::Optional);
            }
            tokens.push(token);
            rest = &rest[length..];
        }
        if tokens.first() == Some(&Token::Optional) && !pattern.starts_with(b"**/") && is_plain(&pattern[2..]) {
            tokens.splice(..2, [Token::Anything]);
        }
        Ok(Self(Matcher::new(tokens)))
    }

    /// Whether it is the whole path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.0.matches(path)
    }

    /// Whether there can be a path below a directory that it matches.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.0.reached(units(directory).chain([b'/'.into()])).is_some()
    }
}

/// A character, or a byte that is none: those lie above all characters.
type Unit = u32;

const STRAY: Unit = 0x11_0000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This unit.
    Unit(Unit),
    /// One unit other than a slash.
    Any,
    /// Any text without a slash.
    Star,
    /// The next token, or nothing instead of it.
    Optional,
    /// Any text that ends with a slash.
    Directories,
    /// Any text.
    Anything,
    /// One unit of a set.
    Class(Class),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(Unit, Unit)>,
}

impl Class {
    fn holds(&self, unit: Unit) -> bool {
        // To Go, a stray byte in a class is the replacement character.
        let unit = if unit < STRAY { unit } else { char::REPLACEMENT_CHARACTER.into() };
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit)) != self.negated
    }
}

/// `**` with the slash after it.
fn deep_token(rest: &[u8]) -> Option<(Token, usize)> {
    match rest {
        b"**" | b"**/" => Some((Token::Anything, rest.len())),
        [b'*', b'*', b'/', ..] => Some((Token::Directories, 3)),
        [b'*', b'*', ..] => Some((Token::Directories, 2)),
        _ => None,
    }
}

/// The first token and its length; `None` for a syntax error.
fn token(rest: &[u8]) -> Option<(Token, usize)> {
    match rest {
        [b'*', ..] => Some((Token::Star, 1)),
        [b'?', ..] => Some((Token::Any, 1)),
        [b'[', ..] => class(rest),
        [b'\\', escaped @ ..] => unit(escaped).map(|(unit, length)| (Token::Unit(unit), length + 1)),
        _ => unit(rest).map(|(unit, length)| (Token::Unit(unit), length)),
    }
}

/// `[^a-z\]]`: at least one character or range; `-` and `]` only count as such when escaped.
fn class(rest: &[u8]) -> Option<(Token, usize)> {
    let negated = rest.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut ranges = Vec::new();
    while ranges.is_empty() || rest.get(at) != Some(&b']') {
        let low = class_unit(rest, &mut at)?;
        let mut high = low;
        if rest.get(at) == Some(&b'-') {
            at += 1;
            high = class_unit(rest, &mut at)?;
        }
        ranges.push((low, high));
    }
    Some((Token::Class(Class { negated, ranges }), at + 1))
}

fn class_unit(rest: &[u8], at: &mut usize) -> Option<Unit> {
    match rest.get(*at)? {
        b'-' | b']' => return None,
        b'\\' => *at += 1,
        _ => {}
    }
    let (unit, length) = unit(rest.get(*at..)?)?;
    *at += length;
    Some(unit)
}

/// The first unit and its length.
fn unit(bytes: &[u8]) -> Option<(Unit, usize)> {
    let head = &bytes[..bytes.len().min(4)];
    match head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
        Some(character) => Some((character.into(), character.len_utf8())),
        None => bytes.first().map(|byte| (STRAY + Unit::from(*byte), 1)),
    }
}

fn units(mut bytes: &[u8]) -> impl Iterator<Item = Unit> {
    std::iter::from_fn(move || {
        let (unit, length) = unit(bytes)?;
        bytes = &bytes[length..];
        Some(unit)
    })
}

fn is_plain(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\'))
}

/// Tokens, and the plain bytes at their ends, which settle most paths at once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Matcher {
    tokens: Vec<Token>,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl Matcher {
    fn new(tokens: Vec<Token>) -> Self {
        let plain = tokens.iter().take_while(|token| token.is_unit()).count();
        let plain_end = tokens.iter().rev().take_while(|token| token.is_unit()).count();
        let prefix = tokens[..plain].iter().flat_map(Token::bytes).collect();
        let suffix = tokens[tokens.len() - plain_end..].iter().flat_map(Token::bytes).collect();
        Self { tokens, prefix, suffix }
    }

    fn matches(&self, path: &[u8]) -> bool {
        if self.tokens.iter().all(Token::is_unit) {
            return path == self.prefix;
        }
        path.starts_with(&self.prefix)
            && path.ends_with(&self.suffix)
            && self.reached(units(path)).is_some_and(|places| places.last() == Some(&true))
    }

    /// The places in the pattern that some text leads to; `None` if it leads nowhere.
    fn reached(&self, text: impl Iterator<Item = Unit>) -> Option<Vec<bool>> {
        let mut places = vec![false; self.tokens.len() + 1];
        places[0] = true;
        self.skip(&mut places);
        for unit in text {
            places = self.step(&places, unit);
            if !places.contains(&true) {
                return None;
            }
        }
        Some(places)
    }

    fn step(&self, places: &[bool], unit: Unit) -> Vec<bool> {
        let slash = unit == Unit::from(b'/');
        let mut next = vec![false; places.len()];
        for (index, token) in self.tokens.iter().enumerate().filter(|(index, _)| places[*index]) {
            let (stays, advances) = match token {
                Token::Unit(expected) => (false, *expected == unit),
                Token::Any => (false, !slash),
                Token::Class(class) => (false, class.holds(unit)),
                Token::Star => (!slash, false),
                Token::Anything => (true, false),
                Token::Directories => (true, slash),
                Token::Optional => (false, false),
            };
            next[index] |= stays;
            next[index + 1] |= advances;
        }
        self.skip(&mut next);
        next
    }

    /// Goes past the tokens that may stand for nothing.
    fn skip(&self, places: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.may_be_nothing()) {
            places[index + 1] |= places[index];
            if *token == Token::Optional {
                places[index + 2] |= places[index];
            }
        }
    }
}

impl Token {
    fn may_be_nothing(&self) -> bool {
        matches!(self, Self::Star | Self::Anything | Self::Optional)
    }

    fn is_unit(&self) -> bool {
        matches!(self, Self::Unit(_))
    }

    /// The bytes of a unit.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Unit(unit) if *unit >= STRAY => vec![(unit - STRAY) as u8],
            Self::Unit(unit) => char::from_u32(*unit).unwrap_or_default().to_string().into_bytes(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, matching: &[&str], others: &[&str]) {
        let parsed = Glob::parse(pattern.as_bytes()).unwrap();
        assert!(matching.iter().all(|path| parsed.matches(path.as_bytes())), "{pattern}: {matching:?}");
        assert!(!others.iter().any(|path| parsed.matches(path.as_bytes())), "{pattern}: {others:?}");
    }

    fn deep(pattern: &str, matching: &[&str], others: &[&str]) {
        let parsed = Pattern::parse(pattern.as_bytes()).unwrap();
        assert!(matching.iter().all(|path| parsed.matches(path.as_bytes())), "{pattern}: {matching:?}");
        assert!(!others.iter().any(|path| parsed.matches(path.as_bytes())), "{pattern}: {others:?}");
    }

    #[test]
    fn a096_globs_are_those_of_go() {
        glob("abc", &["abc"], &["ab", "abcd", "a/bc"]);
        glob("*", &["", "abc", ".hidden"], &["a/b"]);
        glob("a*c", &["ac", "abc", "abcc"], &["abcd", "a/c"]);
        glob("*/b*", &["a/b", "/bc"], &["b", "a/b/c"]);
        glob("a*b?c*x", &["abxbbxdbxebxczzx"], &["abxbbxdbxebxczzy"]);
        glob("a?b", &["a☺b", "axb"], &["a/b", "axxb", "ab"]);
        glob("[a-c]x[^0-9]", &["axy", "cx☺"], &["dxy", "ax5", "ax"]);
        glob("[\\-x\\]]", &["-", "x", "]"], &["a", "\\"]);
        glob("a\\*b\\☺", &["a*b☺"], &["axb☺"]);
        glob("**", &["ab"], &["a/b"]);
        glob("a]", &["a]"], &["a"]);
        assert!(Glob::parse(b"?").unwrap().matches(b"\xff"));
        assert!(!Glob::parse(b"\xff").unwrap().matches("ÿ".as_bytes()));
    }

    #[test]
    fn a096_bad_patterns_are_refused() {
        for pattern in
            ["[", "[a", "[]", "[]a]", "[-x]", "[x-]", "[^]", "[^a", "[a-b-c]", "a[", "\\", "a\\", "[\\", "[a\\"]
        {
            assert!(Glob::parse(pattern.as_bytes()).is_err(), "{pattern}");
            assert!(Pattern::parse(pattern.as_bytes()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a098_an_escaped_character_is_no_wildcard() {
        for (text, expected) in
            [("a*", true), ("a\\*", false), ("[[]", true), ("a?b", true), ("a\\", false), ("", false)]
        {
            assert_eq!(Glob::has_wildcards(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a173_two_stars_stand_for_directories() {
        deep("**", &["a", "a/b/c"], &[]);
        deep("**/x", &["x", "a/x", "a/b/x"], &["ax", "x/a", "a/bx"]);
        deep("**x", &["x", "ax", "a/bx"], &["xa"]);
        deep("**x*", &["x", "xa", "a/xb"], &["ax", "a/bx"]);
        deep("a/**", &["a/b", "a/b/c", "a/"], &["a", "ab/c"]);
        deep("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "b"]);
        deep("a**", &["a", "ab", "a/b", "ab/c"], &["b"]);
        deep("a**b", &["ab", "ax/b", "a/b", "axx/y/b"], &["axb"]);
        deep("**/*.go", &["x.go", "a/x.go", ".go"], &["x.goo", "a/x.go/y"]);
        deep("**/a/**", &["a/b", "x/a/b", "x/y/a/b/c"], &["a", "xa/b"]);
        deep("a/*/b", &["a/x/b"], &["a/b", "a/x/y/b"]);
        deep("***", &["a", "a/b"], &[]);
        deep("**/**/x", &["x", "a/x"], &["ax"]);
        deep("a.b+(c)|{d}$^", &["a.b+(c)|{d}$^"], &["aXb+(c)|{d}$^"]);
        deep("dir/file?", &["dir/file1"], &["dir/file", "dir/file/"]);
    }

    #[test]
    fn a174_what_may_match_below_a_directory_is_known() {
        for (pattern, directory, expected) in [
            ("a/b/c", "a", true),
            ("a/b/c", "a/b", true),
            ("a/b/c", "a/b/c", false),
            ("a/b/c", "b", false),
            ("*/b", "x", true),
            ("**/x", "a/b/c", true),
            ("a/**", "a/b", true),
            ("a/**/z", "b", false),
            ("x*", "x", false),
            ("**x", "a", true),
        ] {
            let parsed = Pattern::parse(pattern.as_bytes()).unwrap();
            assert_eq!(parsed.may_match_below(directory.as_bytes()), expected, "{pattern} below {directory}");
        }
    }
}
