//! What holds for every input.

use proptest::prelude::*;

use super::*;

/// Without the places, which differ between a file and its print.
fn without_spans(dockerfile: &Dockerfile) -> String {
    let text = format!("{dockerfile:?}");
    text.split(' ')
        .filter(|part| !part.trim_end_matches([',', '}', ')', ']']).contains(".."))
        .collect::<Vec<_>>()
        .join(" ")
}

fn prints_as_it_reads(source: &[u8]) -> Result<(), TestCaseError> {
    let parsed = parse(source);
    if parsed.has_errors() {
        return Ok(());
    }
    let printed = parsed.dockerfile.to_string();
    let again = parse(printed.as_bytes());
    prop_assert!(!again.has_errors(), "{printed:?}: {:?}", again.diagnostics);
    prop_assert_eq!(without_spans(&again.dockerfile), without_spans(&parsed.dockerfile), "{:?}", printed);
    prop_assert_eq!(again.dockerfile.to_string(), printed);
    Ok(())
}

/// Spans lie within the source, and on the boundaries of its characters.
fn spans_are_sound(source: &[u8]) -> Result<(), TestCaseError> {
    let parsed = parse(source);
    for found in &parsed.diagnostics {
        prop_assert!(found.span.start <= found.span.end && found.span.end <= source.len(), "{found:?}");
    }
    for statement in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let keyword = &source[statement.keyword.start..statement.keyword.end];
        prop_assert!(!keyword.is_empty() || statement.text.is_empty(), "{statement:?}");
        prop_assert!(statement.span.end <= source.len());
    }
    Ok(())
}

/// Files made of the parts that matter.
fn lines() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "FROM",
        "from a",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "LABEL",
        "ARG",
        "CMD",
        "ONBUILD",
        "HEALTHCHECK",
        "VOLUME",
        "SHELL",
        "EXPOSE",
        "AS",
        "--from=",
        "--mount=",
        "--",
        "--link",
        "target=/a",
        "type=cache",
        "a",
        "b=c",
        "$x",
        "${y:-z}",
        "'",
        "\"",
        "\\",
        "`",
        "\\\n",
        "\n",
        "\r\n",
        " ",
        "\t",
        "<<E",
        "<<-E",
        "<<'E'",
        "E",
        "\nE\n",
        "[",
        "]",
        "[\"a\", \"b\"]",
        ",",
        "#",
        "# escape=`\n",
        "# syntax=x\n",
        "# check=skip=all\n",
        "\u{a0}",
        "\u{b}",
        "ü",
        "\u{feff}",
        "NONE",
        "#!",
        "/x",
        ":",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_no_harm(source in prop::collection::vec(any::<u8>(), 0..400)) {
        spans_are_sound(&source)?;
        prints_as_it_reads(&source)?;
    }

    #[test]
    fn arbitrary_lines_print_as_they_read(source in lines()) {
        let source = format!("FROM a\n{source}\nRUN z\n");
        spans_are_sound(source.as_bytes())?;
        prints_as_it_reads(source.as_bytes())?;
        prints_as_it_reads(&source.as_bytes()["FROM a\n".len()..])?;
    }

    #[test]
    fn arbitrary_words_expand_or_do_not(word in "[a$\\\\{}:\\-+?#%/*'\" `<]{0,24}") {
        let lookup = |name: &str| (name == "a").then(|| "va/l".to_owned());
        let _ = crate::expand::expand(&word, &lookup, Escape::Backslash);
        let _ = crate::expand::expand(&word, &lookup, Escape::Backtick);
        let _ = crate::expand::expand_document(&word, &lookup);
    }
}

#[test]
fn deep_nesting_does_no_harm() {
    for text in [
        format!("FROM a\nRUN {} <<E\nE\n", "${a:-".repeat(100_000)),
        format!("FROM a\nRUN {}\n", "[".repeat(100_000)),
        format!("FROM a\n{}RUN a\n", "ONBUILD ".repeat(100_000)),
        format!("FROM a\nENV a={}\n", "\"".repeat(100_001)),
        format!("FROM a\nRUN {}\n", "<<".repeat(100_000)),
    ] {
        parse(text.as_bytes());
    }
}

#[test]
fn printing_keeps_the_odd_end_of_a_line() {
    for source in
        ["FROM a\nRUN x \\ \\", "FROM a\nRUN x \\\u{b}\nRUN y\n", "# escape=`\nFROM a\nRUN x `\u{b}\nRUN y `\n"]
    {
        prints_as_it_reads(source.as_bytes()).unwrap();
    }
}
