//! What is refused, where, and what helps.

use super::*;
use crate::diagnostic::Severity;

fn refused(rule: &str, text: &str, line: usize, part: &str) {
    let found = errors(text);
    let matches = |(at, message): &(usize, String)| *at == line && message.contains(part);
    assert!(
        found.len() == 1 && found.iter().all(matches),
        "{rule}: {text:?} gives {found:?}, not {part:?} in line {line}"
    );
}

#[test]
fn files_that_are_none() {
    for (rule, text, line, part) in [
        ("A001", "FROM a\n\nFETCH x\n", 3, "unknown instruction: FETCH"),
        ("A001", "FROM a\n\\\n", 2, "nothing follows"),
        ("A002", "", 1, "no instructions"),
        ("A002", "# only\n\n", 1, "no instructions"),
        ("A002", "ARG a\n", 1, "no stages"),
        ("A002", "RUN x\nFROM a\n", 1, "no build stage"),
        ("A020", "# escape=`\n# escape=`\nFROM a\n", 2, "only one escape"),
        ("A022", "# escape=x\nFROM a\n", 1, "invalid escape token"),
        ("A023", "# check=nonsense\nFROM a\n", 1, "invalid check option"),
        ("A032", "FROM a\nRUN <<E\nb\n", 2, "unterminated heredoc"),
        ("A032", "FROM a\nCOPY <<E <<F /\nE\n f\n F\n", 2, "\"F\""),
    ] {
        refused(rule, text, line, part);
    }
}

#[test]
fn instructions_that_are_none() {
    for (rule, text, part) in [
        ("A011", "COPY --frmo=x a b", "unknown flag: --frmo"),
        ("A011", "COPY --from=a --from=b a b", "duplicate flag"),
        ("A011", "COPY --from a b", "missing a value on flag: --from"),
        ("A011", "COPY --link= a b", "missing a value"),
        ("A011", "COPY --link=maybe a b", "expecting boolean"),
        ("A011", "CMD --x y", "unknown flag: --x"),
        ("A011", "ENV --x a=b", "unknown flag: --x"),
        ("A012", "CMD [1]", "strings only"),
        ("A012", "COPY [\"a\", 2]", "strings only"),
        ("A033", "COPY a <<E\nE", "heredoc as its destination"),
        ("A049", "COPY --from=$x a b", "not supported for --from"),
        ("A049", "RUN --mount=from=$x,target=/a y", "doesn't support variable expansion"),
        ("A090", "COPY a", "requires at least two arguments"),
        ("A090", "ADD", "requires at least two arguments"),
        ("A131", "RUN --mount='target=/a,\"b' x", "failed to parse"),
        ("A131", "RUN --mount= x", "failed to parse"),
        ("A138", "RUN --network=nnoe x", "invalid network mode"),
        ("A139", "RUN --security=none x", "invalid security mode"),
        ("A150", "ENV", "requires at least one argument"),
        ("A150", "ENV a", "must have two arguments"),
        ("A150", "ENV a=b c", "can't find ="),
        ("A150", "ENV =b", "names can not be blank"),
        ("A151", "LABEL =b", "names can not be blank"),
        ("A164", "ARG =b", "names can not be blank"),
        ("A152", "EXPOSE", "requires at least one argument"),
        ("A153", "VOLUME [\" \"]", "can not be an empty string"),
        ("A154", "USER", "requires exactly one argument"),
        ("A159", "SHELL bash -c", "JSON form"),
        ("A159", "SHELL []", "requires at least one argument"),
        ("A160", "HEALTHCHECK", "requires at least one argument"),
        ("A160", "HEALTHCHECK NONE x", "takes no arguments"),
        ("A160", "HEALTHCHECK CMD", "missing command"),
        ("A160", "HEALTHCHECK RUN x", "unknown type"),
        ("A160", "HEALTHCHECK --interval=1us CMD x", "invalid duration"),
        ("A160", "HEALTHCHECK --retries=-1 CMD x", "invalid number"),
        ("A161", "ONBUILD", "requires at least one argument"),
        ("A161", "ONBUILD ONBUILD RUN x", "ONBUILD isn't allowed"),
        ("A161", "ONBUILD from x", "FROM isn't allowed"),
        ("A161", "ONBUILD ENV a", "must have two arguments"),
        ("A060", "FROM a b", "either one or three"),
        ("A060", "FROM a on b", "either one or three"),
        ("A060", "FROM", "either one or three"),
        ("A060", "FROM a AS 1", "invalid name for build stage"),
        ("A060", "FROM --after=x a", "unknown flag: --after"),
    ] {
        refused(rule, &format!("FROM base\n{text}\n"), 2, part);
    }
}

/// What a mount comes to is only known once its variables are.
#[test]
fn mounts_that_are_none() {
    for (rule, text, part) in [
        ("A131", "RUN --mount=typ=tmpfs,target=/a x", "(did you mean type?)"),
        ("A131", "RUN --mount=type=tmp,target=/a x", "(did you mean tmpfs?)"),
        ("A131", "RUN --mount=target=/a,tmpcopyup x", "'tmpcopyup' must be a key=value pair"),
        ("A132", "RUN --mount=type=cache x", "needs a target"),
        ("A134", "RUN --mount=type=cache,target=/a,sharing=share x", "unsupported sharing"),
        ("A134", "RUN --mount=type=cache,target=/a,mode=9 x", "invalid value for mode"),
        ("A135", "RUN --mount=type=bind,target=/a,size=1 x", "size is not allowed for bind"),
        ("A136", "RUN --mount=type=secret x", "needs an id or a target"),
        ("A136", "RUN --mount=target=/a,env=b x", "env is not allowed for bind"),
    ] {
        let Instruction::Run(run) = instruction(text) else { panic!("{text}") };
        let found = run.mounts[0].resolve(|word| Ok::<_, std::convert::Infallible>(word.text.clone()));
        let message = found.expect_err(text).to_string();
        assert!(message.contains(part), "{rule}: {text} gives {message}");
    }
}

#[test]
fn several_errors_are_reported_at_once() {
    let found = errors("FROM a\nNO x\nCOPY a\nRUN ok\nENV a\n");
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 5]);
    // Nothing is said of what follows a FROM that cannot be read.
    assert_eq!(errors("FROM a b c\nRUN x\nCMD y\n").len(), 1);
}

#[test]
fn what_is_not_utf8_is_refused_where_it_matters() {
    let bad = parse(b"# \xff\nFROM a\nRUN x \\\n y\xff\n");
    let found: Vec<_> = bad.diagnostics.iter().map(|found| (found.severity, found.span)).collect();
    assert_eq!(found, [(Severity::Error, crate::diagnostic::Span::new(21, 22))]);
    assert!(parse(b"FROM a\nCOPY <<E /x\n\xff\nE\n").has_errors());
}

#[test]
fn a004_files_that_are_no_text_are_refused_by_what_they_are() {
    let first =
        |source: &[u8]| parse(source).diagnostics.first().map(|found| found.message.clone()).unwrap_or_default();
    for source in [b"\xff\xfeF\0R\0".as_slice(), b"\xfe\xff\0F", b"F\0R\0O\0M\0", b"\0#\0 "] {
        assert!(first(source).contains("UTF-16"), "{source:?}");
    }
    assert!(first(b"FROM a\nRUN x\0y\n").contains("NUL"));
    assert!(!parse(b"FROM a\n# \0\nCOPY <<E /b\n\0\nE\n").has_errors(), "a file may hold anything");
    let bad = parse(b"FROM a\nRUN <<E\xff\n");
    assert_eq!(bad.diagnostics[0].message, "the line is not valid UTF-8");
}

#[test]
fn suggestions_are_made() {
    let help = |text: &str| parse(format!("FROM a\n{text}\n").as_bytes()).diagnostics[0].help.clone();
    assert_eq!(help("COPPY a b").as_deref(), Some("did you mean COPY?"));
    assert_eq!(help("run --mont=x y").as_deref(), Some("did you mean --mount?"));
    assert_eq!(help("RUN --network=hots y").as_deref(), Some("did you mean host?"));
    assert_eq!(help("BADCMD"), None);
    for (name, line) in [("EOF", "EOFF"), ("EOF", "  EOF"), ("EOF", "eof"), ("-EOF", " EOF")] {
        let found = help(&format!("RUN <<{name}\nx\n{line}"));
        assert!(found.is_some_and(|help| help.contains(&format!("{line:?}"))), "A032: {line:?}");
    }
    assert_eq!(help("RUN <<E\nx\ny"), None);
}

#[test]
fn what_means_nothing_is_told() {
    for text in ["ARG --x a", "STOPSIGNAL --x 9", "HEALTHCHECK --interval=1s NONE", "ONBUILD COPY --no a b"] {
        let parsed = parse(format!("FROM a\n{text}\n").as_bytes());
        assert!(parsed.diagnostics.iter().any(|found| !found.is_error() && found.lint.is_none()), "{text}");
        assert!(!parsed.has_errors(), "{text}");
    }
    assert_eq!(parse(b"# syntax=docker.io/docker/dockerfile:1@sha256:0\nFROM a\n").diagnostics, []);
    assert_eq!(parse(b"# syntax=other/frontend\nFROM a\n").diagnostics.len(), 1);
}
