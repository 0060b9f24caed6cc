//! Variables, quotes and escapes in the words of a Dockerfile (section A.4).
//!
//! It looks like a shell and is none: no commands, no arithmetic, no splitting unless asked, `*` and
//! `?` only within `${name#...}` and its relatives. What a shell would do with an escape or a quote
//! inside such a pattern is kept for the pattern, which has escapes of its own.

mod lexer;
mod trim;

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::Escape;

/// Where values come from.
pub trait Lookup {
    /// The value of a variable; `None` if it is not set, which is not the same as empty.
    fn lookup(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn lookup(&self, name: &str) -> Option<String> {
        self(name)
    }
}

impl Lookup for BTreeMap<String, String> {
    fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// What a word came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The whole text, blanks included.
    pub text: String,
    /// The text split at blanks that were neither quoted nor escaped, those from values included.
    pub words: Vec<String>,
    /// The variables that were used and set.
    pub used: BTreeSet<String>,
    /// The variables that were used, not set, and without anything to stand in for them. A build
    /// check reports them.
    pub undefined: BTreeSet<String>,
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {quote}")]
    Quote {
        /// The quote.
        quote: char,
    },
    /// `${` without its end.
    #[error("syntax error: missing '}}'")]
    Brace,
    /// `${name/pattern` without a replacement.
    #[error("syntax error: missing '/' in ${{{name}/...}}")]
    Slash {
        /// The variable.
        name: String,
    },
    /// `${}`, `${:...}` or `${{`.
    #[error("syntax error: bad substitution")]
    Substitution,
    /// Something after the name that has no meaning.
    #[error("unsupported modifier ({modifier}) in substitution of {name}")]
    Modifier {
        /// The variable.
        name: String,
        /// What stands after it.
        modifier: String,
    },
    /// `${name?message}` of a variable that is not set, or `${name:?message}` of an empty one.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, or that it is not set.
        message: String,
    },
    /// A pattern escapes what needs no escape.
    #[error("invalid pattern ({pattern}) in substitution of {name}: a backslash there escapes only * ? \\ / and }}")]
    Pattern {
        /// The variable.
        name: String,
        /// The pattern.
        pattern: String,
    },
    /// Substitutions of substitutions come to more than any person means, and than memory may hold.
    #[error("substitutions come to more than {} MiB", lexer::LONGEST >> 20)]
    Long,
    /// Substitutions within substitutions, too many for a person to mean.
    #[error("substitutions are nested too deeply")]
    Depth,
}

/// Expands a word: variables, quotes and escapes.
pub fn expand(word: &str, variables: &dyn Lookup, escape: Escape) -> Result<Expanded, ExpandError> {
    lexer::run(word, variables, escape.character(), lexer::Quotes::Removed)
}

/// Expands the body of a heredoc: variables and escapes, while quotes stay (rule A033). Its escape
/// is the backslash whatever the `escape` directive says.
pub fn expand_document(text: &str, variables: &dyn Lookup) -> Result<Expanded, ExpandError> {
    lexer::run(text, variables, '\\', lexer::Quotes::Kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        let pairs = [
            ("FULL", "value"),
            ("EMPTY", ""),
            ("PATHS", "/usr/local/bin"),
            ("TWO", "two words"),
            ("Ü_1", "unicode"),
            ("STARS", "a*b*c"),
            ("BRACE", "a}b"),
            ("BACK", "a\\b"),
            ("NESTED", "FULL"),
            ("FILE", "archive.tar.gz"),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn check(rule: &str, rows: &[(&str, &str)]) {
        for (word, expected) in rows {
            let found = expand(word, &variables(), Escape::Backslash);
            assert_eq!(found.map(|found| found.text).as_deref(), Ok(*expected), "{rule}: {word}");
        }
    }

    fn refuse(rule: &str, words: &[&str]) {
        for word in words {
            let found = expand(word, &variables(), Escape::Backslash);
            assert!(found.is_err(), "{rule}: {word} came to {found:?}");
        }
    }

    #[test]
    fn a040_names() {
        check(
            "A040",
            &[
                ("plain", "plain"),
                ("$FULL", "value"),
                ("${FULL}", "value"),
                ("a${FULL}b", "avalueb"),
                ("$FULL.x", "value.x"),
                ("$FULLx", ""),
                ("$UNSET", ""),
                ("[${UNSET}]", "[]"),
                ("$Ü_1", "unicode"),
                ("$FULL$EMPTY$FULL", "valuevalue"),
                ("$", "$"),
                ("a$", "a$"),
                ("$ x", "$ x"),
                ("$/x", "$/x"),
                ("$(FULL)", "$(FULL)"),
                ("한${FULL}글", "한value글"),
            ],
        );
    }

    #[test]
    fn a041_a042_alternatives() {
        check(
            "A041",
            &[
                ("${UNSET:-x}", "x"),
                ("${EMPTY:-x}", "x"),
                ("${FULL:-x}", "value"),
                ("${UNSET-x}", "x"),
                ("${EMPTY-x}", ""),
                ("${UNSET:-}", ""),
                ("${UNSET:-$FULL}", "value"),
                ("${UNSET:-${ALSO:-${FULL}}}", "value"),
                ("${UNSET:-\"a b\"}", "a b"),
                ("${UNSET:-'}'}", "}"),
                ("${UNSET:-\\}}", "}"),
                ("${UNSET:-a}b}", "ab}"),
            ],
        );
        check(
            "A042",
            &[
                ("${FULL:+x}", "x"),
                ("${EMPTY:+x}", ""),
                ("${UNSET:+x}", ""),
                ("${EMPTY+x}", "x"),
                ("${UNSET+x}", ""),
                ("v${FULL:+-${FULL}}", "v-value"),
            ],
        );
    }

    #[test]
    fn a043_required_variables() {
        check("A043", &[("${FULL:?no}", "value"), ("${EMPTY?no}", ""), ("${FULL?}", "value")]);
        for (word, message) in [
            ("${UNSET:?say $FULL}", "UNSET: say value"),
            ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
            ("${UNSET?}", "UNSET: is not allowed to be unset"),
            ("${UNSET:?}", "UNSET: is not allowed to be unset"),
        ] {
            let error = expand(word, &variables(), Escape::Backslash).unwrap_err();
            assert_eq!(error.to_string(), message, "{word}");
        }
    }

    #[test]
    fn a044_prefixes_and_suffixes() {
        check(
            "A044",
            &[
                ("${PATHS#*/}", "usr/local/bin"),
                ("${PATHS##*/}", "bin"),
                ("${PATHS%/*}", "/usr/local"),
                ("${PATHS%%/*}", ""),
                ("${FILE%.*}", "archive.tar"),
                ("${FILE%%.*}", "archive"),
                ("${FILE#*.}", "tar.gz"),
                ("${FILE##*.}", "gz"),
                ("${FULL#v?l}", "ue"),
                ("${FULL#x}", "value"),
                ("${FULL#}", "value"),
                ("${FULL%%}", "value"),
                ("${STARS#*\\*}", "b*c"),
                ("${STARS##*\\*}", "c"),
                ("${STARS%%\\**}", "a"),
                ("${BRACE%\\}b}", "a"),
                ("${BACK#a\\\\}", "b"),
                ("${FULL#$UNSET}", "value"),
                ("${FULL%e}", "valu"),
                ("${FULL#[v]}", "value"),
                ("${UNSET#x}", ""),
                ("${PATHS##\"/usr\"}", "/local/bin"),
            ],
        );
        refuse("A044", &["${FULL#\\x}", "${FULL%\\v*}"]);
    }

    #[test]
    fn a045_replacements() {
        check(
            "A045",
            &[
                ("${FULL/a/o}", "volue"),
                ("${PATHS/\\//:}", ":usr/local/bin"),
                ("${PATHS//\\//:}", ":usr:local:bin"),
                ("${FULL/l*/x}", "vax"),
                ("${FULL//?/x}", "xxxxx"),
                ("${FULL/zz/x}", "value"),
                ("${FULL/a/}", "vlue"),
                ("${FULL/a/$FULL}", "vvaluelue"),
                ("${STARS//\\*/-}", "a-b-c"),
                ("${FULL///}", "value"),
                ("${FULL/$EMPTY/x}", "xvalue"),
                ("${PATHS//\\//\\/}", "\\/usr\\/local\\/bin"),
                ("${UNSET/a/b}", ""),
            ],
        );
        refuse("A045", &["${FULL/a}", "${FULL//}", "${FULL/a/b", "${FULL/\\x/b}"]);
    }

    #[test]
    fn a045_replacements_of_replacements_have_a_limit() {
        let mut word = "12345678".to_owned();
        for _ in 0..12 {
            word = format!("${{FULL//?/{word}}}");
        }
        assert_eq!(expand(&word, &variables(), Escape::Backslash), Err(ExpandError::Long));
        let doubled = |name: &str| (name == "HALF").then(|| "x".repeat(lexer::LONGEST / 2 + 1));
        assert_eq!(expand("$HALF$HALF", &doubled, Escape::Backslash), Err(ExpandError::Long));
        assert!(expand("$HALF", &doubled, Escape::Backslash).is_ok());
    }

    #[test]
    fn a046_specials_and_mistakes() {
        check("A046", &[("$1x", "x"), ("$10x", "x"), ("$@$*$#$?$-$$$!$0|", "|")]);
        refuse(
            "A046",
            &[
                "${}",
                "${:}",
                "${:-x}",
                "${{FULL}}",
                "${FULL",
                "${FULL:-x",
                "${",
                "${FULL:",
                "${FULL=x}",
                "${FULL:=x}",
                "${FULL:#v}",
                "${FULL:%v}",
                "${FULL:/v/x}",
                "${FULL^^}",
                "${FULL[0]}",
                "${FULL:0:2}",
                "${UNSET:-'a}",
            ],
        );
        assert_eq!(expand(&"${A:-".repeat(5000), &variables(), Escape::Backslash), Err(ExpandError::Depth));
    }

    #[test]
    fn a047_quotes_and_escapes() {
        check(
            "A047",
            &[
                ("'$FULL'", "$FULL"),
                ("\"$FULL\"", "value"),
                ("\"'$FULL'\"", "'value'"),
                ("'a\"b'", "a\"b"),
                ("\\$FULL", "$FULL"),
                ("\\\\$FULL", "\\value"),
                ("a\\ b", "a b"),
                ("\\a\\'", "a'"),
                ("\"\\$FULL \\\" \\\\ \\a\"", "$FULL \" \\ \\a"),
                ("a\\", "a"),
                ("''", ""),
                ("a'b'\"c\"d", "abcd"),
                ("it\\'s", "it's"),
                ("'\\'", "\\"),
            ],
        );
        refuse("A047", &["'a", "\"a", "a\"b'c", "\"a\\\"", "'a\\'b'"]);
    }

    #[test]
    fn a022_the_other_escape() {
        for (word, expected) in
            [("`$FULL", "$FULL"), ("\\$FULL", "\\value"), ("\"`\"\"", "\""), ("c:\\x`\\", "c:\\x\\")]
        {
            let found = expand(word, &variables(), Escape::Backtick);
            assert_eq!(found.map(|found| found.text).as_deref(), Ok(expected), "{word}");
        }
    }

    #[test]
    fn a048_words_are_split_after_expansion() {
        for (word, expected) in [
            ("a $TWO b", vec!["a", "two", "words", "b"]),
            ("\"$TWO\" b", vec!["two words", "b"]),
            ("a\\ b", vec!["a b"]),
            ("x$TWO", vec!["xtwo", "words"]),
            ("$EMPTY", vec![]),
            ("'' \"\"", vec![]),
            ("  ", vec![]),
        ] {
            assert_eq!(expand(word, &variables(), Escape::Backslash).unwrap().words, expected, "{word}");
        }
    }

    #[test]
    fn a033_documents_keep_their_quotes() {
        let text = "\"$FULL\" '$FULL' \\$FULL \\\\ it's\n${UNSET:-\"x\"}\n";
        let expected = "\"value\" 'value' $FULL \\ it's\n\"x\"\n";
        assert_eq!(expand_document(text, &variables()).unwrap().text, expected);
    }

    #[test]
    fn a190_undefined_variables_are_told_unless_something_stands_in() {
        let found = expand("$FULL $A ${B} ${C:-x} ${D+x} ${E%x} $1 \\$F", &variables(), Escape::Backslash).unwrap();
        assert_eq!(found.undefined.iter().map(String::as_str).collect::<Vec<_>>(), ["A", "B", "E"]);
        assert_eq!(found.used.iter().map(String::as_str).collect::<Vec<_>>(), ["FULL"]);
    }
}
