//! Flags and variables of `kiln build`, as scripts for docker, podman and kaniko use them. The rules are those of
//! docs/dockerfile.md.

use std::path::Path;

use crate::session::{Ran, Session};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The labels of an image, as JSON.
fn labels(session: &Session, image: &str) -> String {
    session.kiln(["inspect", "--format", "{{json .Config.Labels}}", image]).ok().stdout.trim().to_owned()
}

/// A build of what stands on standard input.
fn from_input(session: &Session, dockerfile: &str, flags: &[&str]) -> Ran {
    session.kiln_with_input(["build"].iter().chain(flags).chain(&["-"]), dockerfile)
}

/// Rules A075, A076, A079, C010 to C012, C020, C023: names, arguments, target and labels of a build.
#[test]
fn a_build_is_told_what_it_is() {
    let session = Session::new();
    let dockerfile = "FROM scratch AS one\nARG A=none\nARG B=none\nLABEL a=$A b=$B\nFROM scratch\nLABEL other=1\n";
    let mut command = session.command();
    let context = session.context("app", dockerfile);
    let words = ["build", "-q", "-t", "first", "-t", "example.com/second:v1", "--target", "ONE", "--build-arg", "A=1"];
    command.args(words).args(["--build-arg", "B", "--label", "own=label", "--build-arg", "LOST", text(&context)]);
    let ran = Ran::from(command.env("B", "from outside").output().expect("kiln")).ok();
    let id = ran.stdout.trim();
    assert!(id.starts_with("sha256:") && !id.contains('\n'), "{id}");
    for name in ["first", "docker.io/library/first:latest", "example.com/second:v1", id] {
        assert_eq!(labels(&session, name), r#"{"a":"1","b":"from outside","own":"label"}"#, "{name}");
    }
    from_input(&session, dockerfile, &["--target", "one", "-t", "unset", "--build-arg", "B"]).ok();
    assert_eq!(labels(&session, "unset"), r#"{"a":"none","b":"none"}"#);

    let unused = ["--build-arg", "NOBODY=1", "--build-arg", "TARGETARCH=x", "--build-arg", "BUILDKIT_INLINE_CACHE=1"];
    let said = from_input(&session, dockerfile, &unused).ok();
    let said = said.says(&["not consumed: NOBODY\n", "without effect in kiln: BUILDKIT_INLINE_CACHE\n"]);
    assert!(!said.stderr.contains("TARGETARCH"), "{}", said.stderr);
    from_input(&session, dockerfile, &["--target", "tow"]).fails(1).says(&["\"tow\" could not be found"]);
}

/// Rules A003, A170, C004, C055: where the Dockerfile and its ignore file are.
#[test]
fn the_dockerfile_is_where_it_is_looked_for() {
    let session = Session::new();
    for (name, label) in [("dockerfile", "small"), ("Containerfile", "containers"), ("Dockerfile", "docker")] {
        session.write(&format!("app/{name}"), format!("FROM scratch\nLABEL from={label}\n"));
        session.kiln(["build", "-q", "-t", "app", "app"]).ok();
        assert_eq!(labels(&session, "app"), format!(r#"{{"from":"{label}"}}"#));
    }
    // `-f` is looked up from here, not from the context, as with docker.
    session.write("other/Special", "FROM scratch\nCOPY . /\nFROM scratch\nCOPY --from=0 /kept /\n");
    session.write("other/Special.dockerignore", "hidden\n");
    session.write("app/kept", "1");
    session.write("app/hidden", "2");
    session.kiln(["build", "-q", "-f", "other/Special", "app"]).ok();
    let hidden = "FROM scratch\nCOPY hidden /\n";
    session.write("other/Special", hidden);
    session.kiln(["build", "-f", "other/Special", "app"]).fails(1).says(&["hidden", "excluded by", "Special:2"]);
    session.write("nothing", "kept\n");
    session.kiln(["build", "-q", "--ignorefile", "nothing", "-f", "other/Special", "app"]).ok();
    let input = session.kiln_with_input(["build", "-q", "-f", "-", "app"], hidden);
    input.ok();
    session.kiln(["build", "-f", "Nowhere", "app"]).fails(1).says(&["Nowhere"]);
    session.kiln(["build", "nodirectory"]).fails(1).says(&["nodirectory"]);
}

/// Rules C052, C056, C057, C071: what others have and what changes nothing here is taken.
#[test]
fn flags_that_change_nothing_are_taken() {
    let session = Session::new();
    let dockerfile = "FROM scratch\nLABEL a=b\n";
    let plain = from_input(&session, dockerfile, &["-q"]).ok().stdout;
    for flag in [
        "--provenance=false",
        "--sbom=false",
        "--attest=type=provenance,disabled=true",
        "--rm",
        "--force-rm",
        "--layers",
        "--rewrite-timestamp",
        "--builder=default",
        "--disable-content-trust",
        "--jobs=3",
        "--load",
    ] {
        assert_eq!(from_input(&session, dockerfile, &["-q", flag]).ok().stdout, plain, "{flag}");
    }
}

/// Rules B071, C005, C017, C038, C053, C059, C064, C066 to C070: what kiln has not is refused by
/// name, before anything is built.
#[test]
fn flags_that_kiln_has_not_are_refused_by_name() {
    let session = Session::new();
    for flag in "--cache-from --cache-to --debug --log-level --layer-label --manifest \
                 --os-version --os-feature --save-stages --stage-labels --stdin --runtime \
                 --runtime-flag --hooks-dir --registry-mirror --registry-map --no-push --context-sub-path --policy \
                 --source-policy-file"
        .split_whitespace()
    {
        let named = format!("kiln build {flag} is not supported");
        from_input(&session, "FROM scratch\nLABEL a=b\n", &[&format!("{flag}=x")]).fails(125).says(&[&named]);
    }
    for (flag, named) in [
        ("--provenance=true", "--provenance=true"),
        ("--provenance=mode=max", "--provenance=mode=max"),
        ("--sbom=true", "--sbom=true"),
        ("--attest=type=sbom", "--attest type=sbom"),
        ("--layers=false", "--layers=false"),
        ("--network=pasta", "--network pasta"),
        ("--allow=device", "--allow device"),
        ("--security-opt=apparmor=x", "--security-opt apparmor=x"),
    ] {
        let ran = from_input(&session, "FROM scratch\nLABEL a=b\n", &[flag]).fails(1);
        ran.says(&[&format!("{named} is not supported yet")]);
    }
    assert_eq!(session.kiln(["images", "-aq"]).stdout, "");
}

/// Rules C016, C084: the platform, from a flag or Docker's variable; C024, C026, C036: what is written beside the image.
#[test]
fn platforms_and_files_beside_the_image() {
    let session = Session::new();
    let context = session.context("app", "FROM scratch\nLABEL a=b\n");
    let architecture = |name: &str| session.kiln(["inspect", "--format", "{{.Architecture}}", name]).ok().stdout;
    session.kiln(["build", "-q", "-t", "flag", "--platform", "linux/arm64", text(&context)]).ok();
    let mut command = session.command();
    command.args(["build", "-q", "-t", "variable", text(&context)]).env("DOCKER_DEFAULT_PLATFORM", "linux/s390x");
    Ran::from(command.output().expect("kiln")).ok();
    // An empty one names none, and one that names nothing is told by its name.
    for verb in [&["build", "-q", text(&context)][..], &["create", "flag", "x"], &["pull", "127.0.0.1:1/no"]] {
        let with = |value: &str| {
            let mut command = session.command();
            Ran::from(command.args(verb).env("DOCKER_DEFAULT_PLATFORM", value).output().expect("kiln"))
        };
        assert!(!with("").stderr.contains("platform"), "{verb:?}");
        with("no").says(&["DOCKER_DEFAULT_PLATFORM is \"no\""]);
    }
    assert_eq!((architecture("flag").as_str(), architecture("variable").as_str()), ("arm64\n", "s390x\n"));
    for (format, family) in [("oci", "application/vnd.oci.image"), ("docker", "application/vnd.docker.")] {
        let words =
            ["build", "-q", "-t", "app", "--load", "--format", format, "--iidfile", "id", "--metadata-file", "meta"];
        let id = session.kiln(words.iter().chain(&[text(&context)])).ok().stdout;
        let read = |name: &str| std::fs::read_to_string(session.path(name)).expect("a file");
        assert_eq!(read("id").trim(), id.trim());
        assert!(read("meta").contains("containerimage.digest") && read("meta").contains(family), "{}", read("meta"));
    }
}

/// Rules C014, C050, C072, D005, D013: what is told to run again, what would run, and that names of images decide nothing.
#[test]
fn steps_run_again_on_request() {
    let Some(session) = Session::with_busybox() else { return };
    let file = |base: &str| {
        format!("FROM {base} AS one\nRUN echo 1 > /1\nFROM {base}\nRUN echo 2 > /2\nCOPY --from=one /1 /1\n")
    };
    let context = session.context("app", &file("busybox"));
    let build = |flags: &[&str]| {
        let words = ["build", "--progress", "plain", text(&context)];
        let said = session.kiln(words.iter().chain(flags)).ok().stderr;
        ["echo 1", "echo 2"].map(|step| {
            let name = said.lines().find(|line| line.contains(&format!("RUN {step}"))).expect("a step");
            let number = name.split(' ').next().expect("a number");
            !said.lines().any(|line| line.starts_with(number) && line.contains("CACHED"))
        })
    };
    session.kiln(["build", "--dry-run", text(&context)]).ok();
    assert_eq!(session.kiln(["images", "-q"]).stdout.lines().count(), 1, "a dry run makes nothing");
    assert_eq!(build(&[]), [true, true]);
    assert_eq!(build(&[]), [false, false]);
    assert_eq!(build(&["--no-cache-filter", "one"]), [true, false]);
    assert_eq!(build(&["--no-cache"]), [true, true]);
    session.kiln(["tag", "busybox", "renamed:v2"]).ok();
    session.context("app", &file("renamed:v2"));
    assert_eq!(build(&[]), [false, false]);
}

/// Rule A158: how ENTRYPOINT and CMD, in both forms, and the words of `run` come together.
#[test]
fn entrypoint_and_cmd() {
    let Some(session) = Session::with_busybox() else { return };
    for (instructions, expected) in [
        ("CMD echo $0 shell", "/bin/sh shell\n"),
        ("CMD [\"echo\", \"$0\", \"exec\"]", "$0 exec\n"),
        ("ENTRYPOINT [\"echo\", \"e\"]\nCMD [\"c\", \"d\"]", "e c d\n"),
        ("ENTRYPOINT [\"echo\", \"e\"]\nCMD c d", "e /bin/sh -c c d\n"),
        ("ENTRYPOINT echo e\nCMD [\"c\"]", "e\n"),
        ("ENTRYPOINT echo e $0\nCMD c", "e /bin/sh\n"),
    ] {
        from_input(&session, &format!("FROM busybox\n{instructions}\n"), &["-q", "-t", "app"]).ok();
        let ran = session.kiln(["run", "--rm", "--net", "none", "app"]).ok();
        let first = ran.stdout.replace("/bin/sh -c /bin/sh", "/bin/sh");
        assert_eq!(first, expected, "{instructions}");
    }
    from_input(&session, "FROM busybox\nENTRYPOINT [\"echo\"]\nCMD [\"c\"]\n", &["-q", "-t", "app"]).ok();
    assert_eq!(session.kiln(["run", "--rm", "--net", "none", "app", "own"]).ok().stdout, "own\n");
}

/// Rules A037: a heredoc's script ends as its last command does; A120, A121 and trap 15: what is an archive is told by its
/// contents, and what unpacking keeps.
#[test]
fn archives_are_unpacked_by_what_they_are() {
    let Some(session) = Session::with_busybox() else { return };
    session.write("tree/sub/f", "1");
    session.write("app/fake.tar", "no archive");
    let pack = |option: &str, name: &str| {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--owner=7", "--group=8", "--mode=u=rwx,g=,o=", option]).arg(session.path("app").join(name));
        assert!(tar.args(["-C", "tree", "."]).current_dir(session.path(".")).status().expect("tar").success());
    };
    pack("-cf", "plain.bin");
    pack("-czf", "packed.bin");
    let dockerfile = "FROM busybox\nADD plain.bin /plain/\nADD packed.bin /packed/\nADD --chown=9 --chmod=711 packed.bin /owned/\n\
        ADD --unpack=false plain.bin /whole/\nCOPY plain.bin /copied/\nADD fake.tar /fake/\nRUN <<E\nfalse\ntrue\nE\n";
    let context = session.context("app", dockerfile);
    session.build("app", &context);
    let list = "cd /; for f in plain plain/sub/f packed/sub owned/sub owned/sub/f whole/plain.bin copied/plain.bin fake/fake.tar; do \
                stat -c '%n %a %u:%g' $f; done";
    let expected = "plain 755 0:0\nplain/sub/f 700 7:8\npacked/sub 700 7:8\nowned/sub 700 9:9\nowned/sub/f 700 9:9\n\
                    whole/plain.bin 644 0:0\ncopied/plain.bin 644 0:0\nfake/fake.tar 644 0:0\n";
    assert_eq!(session.run("app", list), expected);
}
