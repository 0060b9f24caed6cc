//! Each check finds what it is for, and nothing else.

use super::*;
use crate::dockerfile::parse;

/// The checks that find something, with the line, apart from other warnings.
fn check(source: &str, expected: &[(Lint, usize)]) {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{source}: {:?}", parsed.diagnostics);
    let lines =
        parsed.diagnostics.iter().filter_map(|found| Some((found.lint?, found.span.first_line(source.as_bytes()))));
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{source}");
}

#[test]
fn a180_a181_a184_a185_names_of_stages() {
    check("FROM a AS Two\nFROM b AS two\n", &[(Lint::StageNameCasing, 1), (Lint::DuplicateStageName, 2)]);
    check("FROM a as x\nFROM b AS y\n", &[(Lint::FromAsCasing, 1)]);
    check("from a AS x\nfrom b as y\n", &[(Lint::FromAsCasing, 1)]);
    check("FROM a AS scratch\nFROM b AS context\n", &[(Lint::ReservedStageName, 1), (Lint::ReservedStageName, 2)]);
}

#[test]
fn a182_a183_lines_and_case() {
    check("FROM a\nRUN x \\\n\n  y\n", &[(Lint::NoEmptyContinuation, 3)]);
    check("FROM a\nrun x\nRUN y\n", &[(Lint::ConsistentInstructionCasing, 2)]);
    check("from a\nrun x\nRun y\n", &[(Lint::ConsistentInstructionCasing, 3)]);
    check("from a\nrun x\n", &[]);
}

#[test]
fn a186_a187_a191_a192_instructions() {
    check("FROM a\nCMD x\nENTRYPOINT y\n", &[(Lint::JSONArgsRecommended, 2), (Lint::JSONArgsRecommended, 3)]);
    check("FROM a AS b\nSHELL [\"x\"]\nCMD x\nFROM b\nENTRYPOINT y\n", &[]);
    check("FROM a\nMAINTAINER me\n", &[(Lint::MaintainerDeprecated, 2)]);
    check("FROM a\nCMD []\nCMD []\nFROM b\nCMD []\n", &[(Lint::MultipleInstructionsDisallowed, 2)]);
    check("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n", &[(Lint::MultipleInstructionsDisallowed, 2)]);
    check("FROM a\nENV b c\nLABEL d e\n", &[(Lint::LegacyKeyValueFormat, 2), (Lint::LegacyKeyValueFormat, 3)]);
}

#[test]
fn a188_a196_arguments_in_from() {
    check("ARG VERSION=1\nFROM a:$VERSOIN\n", &[(Lint::UndefinedArgInFrom, 2)]);
    let source = b"ARG VERSION=1\nFROM a:$VERSOIN\n";
    assert_eq!(parse(source).diagnostics[0].help.as_deref(), Some("did you mean VERSION?"));
    check("ARG V=1\nARG W=$V\nFROM --platform=$BUILDPLATFORM a:${W}-${TARGETARCH}\n", &[]);
    check("FROM a:${V:-1}\n", &[]);
    check("ARG V\nFROM a:$V\n", &[(Lint::InvalidDefaultArgInFrom, 2)]);
    check("ARG I\nFROM $I\nFROM ${I:-a}\n", &[(Lint::InvalidDefaultArgInFrom, 2)]);
    check("FROM a AS x1\nARG N=1\nFROM x1\n", &[]);
}

#[test]
fn a189_a194_a195_a197_values() {
    check("FROM a\nWORKDIR b\nWORKDIR c\n", &[(Lint::WorkdirRelativePath, 2)]);
    check("FROM a AS s\nWORKDIR /b\nFROM s\nWORKDIR c\nFROM t\nWORKDIR $X/d\n", &[]);
    check("FROM --platform=$TARGETPLATFORM a\n", &[(Lint::RedundantTargetPlatform, 1)]);
    check("FROM --platform=linux/arm64 a\n", &[(Lint::FromPlatformFlagConstDisallowed, 1)]);
    check("FROM --platform=linux/arm64 a AS build_arm64\n", &[]);
    check(
        "ARG DB_PASSWORD\nFROM a\nENV x=1 API_Token=y\n",
        &[(Lint::SecretsUsedInArgOrEnv, 1), (Lint::SecretsUsedInArgOrEnv, 3)],
    );
    check("FROM a\nENV PUBLIC_KEY=x TOKEN_FILE=y keyboard=z\n", &[]);
}

#[test]
fn a199_descriptions_only_on_request() {
    check("# what it is\nFROM a AS b\n", &[]);
    let source = "# check=experimental=all\n\n# what it is\nFROM a AS b\n# c is it\nARG c\n# d\nARG e\n";
    check(source, &[(Lint::InvalidDefinitionDescription, 4), (Lint::InvalidDefinitionDescription, 8)]);
}

#[test]
fn a200_a201_ports() {
    check("FROM a\nEXPOSE 80/TCP 90/udp\n", &[(Lint::ExposeProtoCasing, 2)]);
    check("FROM a\nEXPOSE 127.0.0.1:80:80 $X:1\n", &[(Lint::ExposeInvalidFormat, 2)]);
    assert_eq!(expose("80-90/tcp", Span::default()), None);
}

#[test]
fn a023_a024_checks_are_skipped() {
    check("# check=skip=JSONArgsRecommended\nFROM a\nCMD x\nMAINTAINER y\n", &[(Lint::MaintainerDeprecated, 4)]);
    check("# check=skip=all;error=true\nFROM a\nCMD x\nMAINTAINER y\n", &[]);
    check("FROM a\n# check=skip=all\nCMD x\nMAINTAINER y\n", &[(Lint::MaintainerDeprecated, 4)]);
    check("FROM a\n# check=skip=FromAsCasing\nCMD x\n", &[(Lint::JSONArgsRecommended, 3)]);
    let none = Checks::parse("skip=all").unwrap();
    assert_eq!(crate::dockerfile::parse_with(b"FROM a\nCMD x\n", Some(&none)).diagnostics, []);
    assert!(!crate::dockerfile::parse_with(b"# check=bad\nFROM a\n", Some(&none)).has_errors());
}

#[test]
fn names_and_addresses() {
    assert_eq!("JSONArgsRecommended".parse(), Ok(Lint::JSONArgsRecommended));
    assert!("Nothing".parse::<Lint>().is_err());
    assert_eq!(Lint::FromAsCasing.url(), "https://docs.docker.com/go/dockerfile/rule/from-as-casing/");
    assert_eq!(Lint::ALL.len(), 22);
    let undefined = undefined_variable("foo", Span::default(), ["fooo", "bar"]);
    assert_eq!(undefined.help.as_deref(), Some("did you mean $fooo?"));
}
