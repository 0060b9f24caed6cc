//! Docker's rules for names, as rows.

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn names_are_normalised_as_docker_does() {
    for (text, whole, familiar) in [
        ("python", "docker.io/library/python:latest", "python:latest"),
        ("python:2.7-slim", "docker.io/library/python:2.7-slim", "python:2.7-slim"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/python", "docker.io/library/python:latest", "python:latest"),
        ("index.docker.io/library/python", "docker.io/library/python:latest", "python:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"),
        (
            "harbor.example.com/p/a__b--c.d_e",
            "harbor.example.com/p/a__b--c.d_e:latest",
            "harbor.example.com/p/a__b--c.d_e:latest",
        ),
        ("UPPER/x", "UPPER/x:latest", "UPPER/x:latest"),
        ("host:1", "docker.io/library/host:1", "host:1"),
        ("a:b", "docker.io/library/a:b", "a:b"),
    ] {
        let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((&*reference.to_string(), &*reference.familiar()), (whole, familiar), "{text}");
        assert_eq!(whole.parse(), Ok(reference), "normalising twice changes nothing");
    }
}

#[test]
fn what_breaks_the_grammar_is_refused() {
    let long = "a".repeat(256);
    let id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for text in [
        "",
        ":tag",
        "a:",
        "a@",
        "a:b:c",
        "A",
        "a/B",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a/",
        "/a",
        "a//b",
        "a b",
        "scratch",
        "docker.io/library/scratch",
        "http://x/y",
        "a@sha256:xyz",
        "a:.b",
        "a.b:x/y",
        "[::1/x",
        "[zz]/x",
        "-h.x/y",
        id,
        &long,
        "a:\u{1b}",
        "./a",
        "../a",
        "a@md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
    assert_eq!("a/B".parse::<Reference>(), Err(ReferenceError::Uppercase("a/B".into())));
}

#[test]
fn a_digest_decides_and_the_tag_informs() {
    let pinned: Reference = format!("a:1@{DIGEST}").parse().unwrap();
    assert_eq!((pinned.tag(), pinned.manifest_name().as_str()), (Some("1"), DIGEST));
    assert_eq!(pinned.pinned().unwrap().to_string(), format!("docker.io/library/a@{DIGEST}"));
    let untagged: Reference = format!("a@{DIGEST}").parse().unwrap();
    assert_eq!((untagged.tag(), untagged.familiar()), (None, format!("a@{DIGEST}")));
    assert_eq!(untagged.without_digest().to_string(), "docker.io/library/a:latest");
}

#[test]
fn docker_hub_answers_elsewhere() {
    let host = |text: &str| text.parse::<Reference>().unwrap().repository().api_host().to_owned();
    assert_eq!(host("python"), "registry-1.docker.io");
    assert_eq!(host("localhost:5000/x"), "localhost:5000");
}
