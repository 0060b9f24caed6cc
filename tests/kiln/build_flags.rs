//! Flags of `kiln build` that docker, buildah, podman and kaniko have: what they change, and what is
//! refused by name. The rules are those of docs/dockerfile.md, sections "Flags of the build" and "Rules".

use crate::registries::Server;
use crate::session::{Ran, Session};

/// A build of a Dockerfile that lies in a context of its own.
pub(crate) fn build(session: &Session, name: &str, dockerfile: &str, flags: &[&str]) -> Ran {
    let context = session.context(name, dockerfile);
    let arguments = ["build", "--progress", "plain", "-t", name, context.to_str().expect("UTF-8")];
    session.kiln(arguments.iter().chain(flags))
}

/// Rules B029, C059: variables that are there from the start, and variables and labels that are taken away.
#[test]
fn the_config_is_edited() {
    let Some(session) = Session::with_busybox() else { return };
    let base = "FROM busybox\nENV BASE=1 GONE=1\nLABEL base=1 gone=1\n";
    build(&session, "base", base, &[]).ok();
    let dockerfile = "FROM base AS first\nRUN test \"$A:$B:$GONE\" = one::1\nENV C=file\nLABEL first=1\n\
                      FROM first\nRUN test \"$A:$C\" = one:file\nLABEL own=1\n";
    let flags = ["--env", "A=one", "--env=C=flag", "--env", "KILN_NOWHERE", "--unsetenv", "GONE,NONE"];
    let labels = ["--label", "given=1", "--unsetlabel=gone", "--unsetlabel", "none"];
    build(&session, "app", dockerfile, &[&flags[..], &labels[..]].concat()).ok();
    let shown = |format: &str| session.kiln(["inspect", "--format", format, "app"]).ok().stdout;
    let env = shown("{{json .Config.Env}}");
    assert!(env.contains("BASE=1") && env.contains("A=one") && env.contains("C=file"), "{env}");
    assert!(!env.contains("GONE") && !env.contains("KILN_NOWHERE"), "{env}");
    let labels = r#"{"base":"1","first":"1","given":"1","own":"1"}"#;
    assert_eq!(shown("{{json .Config.Labels}}").trim(), labels);
    assert!(!session.kiln(["history", "--no-trunc", "app"]).ok().stdout.contains("A=one"));
    let kept = ["--inherit-labels=false", "--label", "given=1", "--env=A=one", "--env=C=flag"];
    let again = build(&session, "app", dockerfile, &kept).ok();
    assert!(!again.stderr.contains("runs because"), "labels run nothing again: {}", again.stderr);
    assert_eq!(shown("{{json .Config.Labels}}").trim(), r#"{"given":"1","own":"1"}"#);
    build(&session, "app", base, &["--identity-label=false", "--inherit-annotations=false", "--unsetannotation=x"])
        .ok();
    for (flag, code) in [
        ("--identity-label", 1),
        ("--inherit-annotations=true", 1),
        ("--layer-label=a=b", 125),
        ("--stage-labels", 125),
    ] {
        let name = flag.split('=').next().unwrap_or(flag);
        build(&session, "bad", base, &[flag]).fails(code).says(&[name, "not supported"]);
    }
    build(&session, "bad", base, &["--env", "=x"]).fails(1).says(&["it has no name"]);
}

/// Rule C059: a manifest says when its image was made if it is asked to.
#[test]
fn a_manifest_says_when_the_image_was_made() {
    let Some(session) = Session::with_busybox() else { return };
    let manifest = |flags: &[&str]| {
        let out = session.path("layout");
        let output = format!("type=oci,tar=false,dest={}", out.display());
        build(&session, "app", "FROM busybox\n", &[&["-o", output.as_str()], flags].concat()).ok();
        let blobs = std::fs::read_dir(out.join("blobs/sha256")).expect("blobs").flatten();
        let texts = blobs.filter_map(|blob| std::fs::read_to_string(blob.path()).ok());
        texts.filter(|text| text.contains("\"layers\":")).collect::<String>()
    };
    assert!(!manifest(&[]).contains("image.created"));
    let said = manifest(&["--created-annotation", "--source-date-epoch=1000000000"]);
    assert!(said.contains(r#""org.opencontainers.image.created":"2001-09-09T01:46:40Z""#), "{said}");
    let docker = ["--created-annotation=true", "--format=docker"];
    build(&session, "app", "FROM busybox\n", &docker).fails(1).says(&["no annotations"]);
}

/// Rules C064, C067: the first FROM's image, stages that nobody needs, and a platform in parts.
#[test]
fn stages_and_platforms_are_chosen() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "ARG NONE\nFROM $NONE AS first\nRUN echo first > /first\nFROM busybox AS idle\nRUN echo idle && false\n\
                      FROM first\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM > /platform\nFROM scratch AS last\n";
    let target = ["--target", "2", "--from", "busybox"];
    build(&session, "app", dockerfile, &target).ok();
    assert_eq!(session.run("app", "cat /first"), "first\n");
    let all = build(&session, "app", dockerfile, &[&target[..], &["--skip-unused-stages=false"]].concat());
    all.fails(1).says(&["Dockerfile:5"]);
    build(&session, "x", dockerfile, &["--from", "A B"]).fails(1).says(&["A B"]);
    build(&session, "x", "FROM busybox\n", &["--from", "scratch"]).ok();
    let own = store::Platform::host();
    build(&session, "app", dockerfile, &[&target[..], &["--arch", &own.architecture, "--os=linux"]].concat()).ok();
    assert_eq!(session.run("app", "cat /platform"), format!("{own}\n"));
    let both = ["--arch=arm64", "--platform=linux/arm64"];
    build(&session, "x", "FROM scratch\n", &both).fails(1).says(&["--platform: give one"]);
    build(&session, "x", "FROM scratch\n", &["--arch=arm", "--variant=v7"]).ok();
    assert_eq!(session.kiln(["inspect", "--format", "{{.Architecture}}/{{.Variant}}", "x"]).ok().stdout, "arm/v7\n");
}

/// Rule C011: arguments of a file, which those of the command line come before.
#[test]
fn arguments_are_read_from_files() {
    let Some(session) = Session::with_busybox() else { return };
    let file = session.write("arguments", "# a comment\n\n A=file one \nB=file\n");
    let file = file.to_str().expect("UTF-8");
    let dockerfile = "FROM busybox\nARG A\nARG B\nRUN test \"$A:$B\" = 'file one:flag'\n";
    build(&session, "app", dockerfile, &["--build-arg-file", file, "--build-arg", "B=flag"]).ok();
    let wrong = session.write("wrong", "A=1\nnonsense\n");
    let wrong = wrong.to_str().expect("UTF-8");
    build(&session, "app", dockerfile, &["--build-arg-file", wrong]).fails(1).says(&["wrong:2", "\"nonsense\""]);
}

/// Rules B044, C057: with `--timestamp` everything new has that time, and the config and its history, too.
#[test]
fn everything_new_can_have_one_time() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context(
        "app",
        "FROM busybox AS one\nRUN touch -d @5 /old && mkdir -m 700 /etc/own\n\
         FROM busybox\nCOPY --from=one /old /copied\nCOPY file /\nWORKDIR /w/x\n\
         RUN touch -d @5 old && touch new && echo $SOURCE_DATE_EPOCH > said\n",
    );
    session.write("app/file", "x");
    let context = context.to_str().expect("UTF-8");
    let build = |flags: &[&str]| session.kiln(["build", "-t", "app", context].iter().chain(flags));
    build(&["--timestamp", "1000000000"]).ok();
    let times = session.run("app", "stat -c %Y /copied /file /w /w/x /w/x/old /w/x/new /w/x/said; cat /w/x/said");
    assert_eq!(times, "1000000000\n".repeat(8));
    let before = session.run("busybox", "stat -c %Y /bin/busybox");
    assert_eq!(session.run("app", "stat -c %Y /bin/busybox"), before, "what the base has stays");
    let shown = session.kiln(["inspect", "--format", "{{.Created}} {{.Id}}", "app"]).ok().stdout;
    assert!(shown.starts_with("2001-09-09T01:46:40Z"), "{shown}");
    build(&["--timestamp", "1000000000", "--no-cache"]).ok();
    assert_eq!(session.kiln(["inspect", "--format", "{{.Created}} {{.Id}}", "app"]).ok().stdout, shown);
    build(&["--source-date-epoch", "1000000000"]).ok();
    assert!(session.run("app", "stat -c %Y /copied /w/x/old /w/x/new").starts_with("5\n5\n1000000000\n"));
    for (flags, words) in [
        (&["--timestamp=1", "--source-date-epoch=2"][..], "cannot be used with"),
        (&["--timestamp=1", "--timestamps=preserve"], "cannot be used with"),
        (&["--timestamp=1", "--build-arg", "SOURCE_DATE_EPOCH=2"], "both set the clock"),
        (&["--rewrite-timestamp=false"], "--timestamps=preserve"),
        (&["--reproducible", "--timestamps=preserve"], "leave one of them out"),
        (&["-o", "type=image,rewrite-timestamp=false"], "--timestamps=preserve"),
        (&["-o", "type=image,rewrite-timestamp=true", "--timestamps=preserve"], "leave one of them out"),
    ] {
        build(flags).fails(1).says(&[words]);
    }
    build(&["--rewrite-timestamp", "--reproducible", "-o", "type=image,rewrite-timestamp=true"]).ok();
    build(&["--rewrite-timestamp=false", "--timestamps=preserve", "-o", "type=image,rewrite-timestamp=false"]).ok();
}

/// Rule B044: an image can be silent about how it came to be, its base included.
#[test]
fn history_can_be_omitted() {
    let Some(session) = Session::with_busybox() else { return };
    build(&session, "base", "FROM busybox\nRUN echo 1 > /one\nENV A=1\n", &[]).ok();
    build(&session, "app", "FROM base\nRUN echo 2 > /two\nENV B=1\n", &["--omit-history"]).ok();
    assert_eq!(session.kiln(["history", "-q", "app"]).ok().stdout, "");
    assert_eq!(session.run("app", "cat /one /two; echo $A$B"), "1\n2\n11\n");
    let created = session.kiln(["inspect", "--format", "{{.Created}}", "app"]).ok().stdout;
    assert_eq!(created, "1980-01-01T00:00:00Z\n");
    let archive = session.path("app.tar");
    session.kiln(["save", "-o", archive.to_str().expect("UTF-8"), "app"]).ok();
    session.kiln(["load", "-i", archive.to_str().expect("UTF-8")]).ok();
    build(&session, "next", "FROM app\nRUN test $(cat /two) = 2\n", &[]).ok();
}

/// Rule C033: one layer for what is new, or for everything; the files are the same, and what was removed is nowhere.
#[test]
fn layers_are_squashed() {
    let Some(session) = Session::with_busybox() else { return };
    build(&session, "base", "FROM busybox\nRUN echo base > /base && echo gone > /gone\nENV B=1\n", &[]).ok();
    let secret = "removed-by-a-later-step";
    let dockerfile = format!(
        "FROM base AS one\nRUN mkdir /d && echo {secret} > /d/secret && ln /d/secret /d/also && echo kept > /d/kept\n\
         FROM one\nRUN rm /d/secret /d/also /gone && chmod 700 /d\nWORKDIR /w\nENV A=1\n"
    );
    let look =
        "find / -xdev -newermt 1970-01-01 ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' | sort | xargs ls -ldn";
    let shown = |format: &str| session.kiln(["inspect", "--format", format, "app"]).ok().stdout;
    let layers = || shown("{{len .RootFS.Layers}}").trim().to_owned();
    build(&session, "app", &dockerfile, &[]).ok();
    let (whole, config, count) = (session.run("app", look), shown("{{json .Config}}"), layers());
    assert_eq!(count, "5");
    for (flag, expected) in [("--squash", "3"), ("--single-snapshot", "3"), ("--squash-all", "1")] {
        build(&session, "app", &dockerfile, &[flag]).ok();
        assert_eq!((layers().as_str(), shown("{{json .Config}}")), (expected, config.clone()), "{flag}");
        assert_eq!(session.run("app", look), whole, "{flag}");
        let id = shown("{{.Id}}");
        build(&session, "app", &dockerfile, &[flag]).ok();
        assert_eq!(shown("{{.Id}}"), id, "{flag} again");
        build(&session, "app", &dockerfile, &[flag, "--no-cache"]).ok();
        assert_eq!(shown("{{.Id}}"), id, "{flag} from nothing");
        let archive = session.path("app.tar");
        session.kiln(["save", "-o", archive.to_str().expect("UTF-8"), "app"]).ok();
        let bytes = std::fs::read(&archive).expect("an archive");
        let is_in = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!is_in(&format!("{secret}\n")) && is_in("kept\n"), "{flag}");
    }
    let history = session.kiln(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"]).ok().stdout;
    assert!(history.starts_with("squash of 5 layers\n") && history.contains("WORKDIR /w\n"), "{history}");
    build(&session, "app", "FROM base\nENV C=1\n", &["--squash"]).ok();
    assert_eq!(layers(), "2", "nothing is new");
}

/// Rules C034, C035: credentials of one file, or for the registry that the image is named after; patience; certificates.
#[test]
fn registries_are_reached_as_the_flags_say() {
    let (Some(server), Some(session)) = (Server::with_password(), Session::with_busybox()) else { return };
    let name = server.name("team/app:v1");
    let dockerfile = "FROM busybox\nLABEL a=b\n";
    let push = |flags: &[&str]| build(&session, "app", dockerfile, &[&["--push", "-t", &name], flags].concat());
    let tagged_here = format!("-t={name}");
    let file =
        session.write("auth.json", format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, server.host()));
    let file = file.to_str().expect("UTF-8");
    let context = session.context("only", dockerfile);
    let only = |flags: &[&str]| {
        let head = ["build", "--push", &tagged_here, context.to_str().expect("UTF-8")];
        session.kiln(head.iter().chain(flags))
    };
    only(&[]).fails(1).says(&["401"]);
    only(&["--creds", "user:wrong"]).fails(1).says(&["401"]);
    only(&["--creds", "user:secret", "--retry", "0", "--retry-delay=1s"]).ok();
    only(&["--authfile", file]).ok();
    push(&["--creds", "user:secret"]).fails(1).says(&["--creds is for one registry"]);
    session.kiln(["rmi", &name]).ok();
    let from = format!("FROM {name}\n");
    build(&session, "next", &from, &[]).fails(1).says(&["Dockerfile:1"]);
    build(&session, "next", &from, &["--authfile", file]).ok();
    for (flags, words) in [
        (&["--authfile", "/nowhere/auth.json"][..], "/nowhere/auth.json"),
        (&["--cert-dir", "/nowhere/certs"], "/nowhere/certs"),
        (&["--creds", "user"], "USER:PASSWORD"),
    ] {
        only(flags).fails(1).says(&[words]);
    }
    only(&["--retry-delay", "soon"]).fails(125).says(&["invalid duration"]);
}

/// Rules B064, C065: how layers are compressed where they go, by flags as by attributes.
#[test]
fn layers_are_compressed_as_the_flags_say() {
    let Some(session) = Session::with_busybox() else { return };
    let types = |flags: &[&str]| {
        let out = session.path("layout");
        let _ = std::fs::remove_dir_all(&out);
        let output = format!("type=oci,tar=false,dest={}", out.display());
        build(&session, "app", "FROM busybox\nRUN echo 1 > /f\n", &[&["-o", output.as_str()], flags].concat()).ok();
        let blobs = std::fs::read_dir(out.join("blobs/sha256")).expect("blobs").flatten();
        let texts = blobs.filter_map(|blob| std::fs::read_to_string(blob.path()).ok());
        let manifest = texts.filter(|text| text.contains("\"layers\":")).collect::<String>();
        ["tar+gzip", "tar+zstd", "tar\""].map(|kind| manifest.matches(&format!("image.layer.v1.{kind}")).count())
    };
    assert_eq!(types(&[]), [2, 0, 0]);
    assert_eq!(types(&["--compression-format", "zstd", "--compression-level=9", "--force-compression"]), [0, 2, 0]);
    assert_eq!(types(&["--compression=uncompressed"]), [0, 0, 2]);
    assert_eq!(types(&["--disable-compression"]), [0, 0, 2]);
    assert_eq!(types(&["--compress", "--compression-level=1"]), [2, 0, 0]);
    for (flags, words) in [
        (&["--compression=estargz"][..], "estargz is not supported"),
        (&["--compression=lzma"], "there is no compression"),
        (&["--compression=zstd", "--format=docker"], "none for zstd"),
        (&["--disable-compression", "--compression-level=1"], "cannot be used with"),
    ] {
        build(&session, "app", "FROM busybox\n", flags).fails(1).says(&[words]);
    }
}

/// Rule C066: a result that is too old is made anew; copies are not, as they depend on their inputs alone.
#[test]
fn old_results_are_made_anew() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nCOPY <<EOF /copied\nx\nEOF\nRUN echo ran\n";
    build(&session, "app", dockerfile, &[]).ok();
    let young = build(&session, "app", dockerfile, &["--cache-ttl", "24h"]).ok();
    assert!(!young.stderr.contains("runs because"), "{}", young.stderr);
    let old = build(&session, "app", dockerfile, &["--cache-ttl", "0"]).ok();
    old.says(&["runs because its result is older than", "ran", "CACHED"]);
    build(&session, "app", dockerfile, &["--cache-ttl=soon"]).fails(125).says(&["invalid duration"]);
}

/// Rule C038: what is said goes to a file, what comes out does not.
#[test]
fn what_is_said_goes_to_a_file() {
    let Some(session) = Session::with_busybox() else { return };
    let file = session.path("log");
    let flag = ["--logfile", file.to_str().expect("UTF-8")];
    let context = session.context("app", "FROM busybox\nRUN echo heard\n");
    let context = context.to_str().expect("UTF-8");
    let ran = session.kiln([&["build", "-q"], &flag[..], &[context]].concat()).ok();
    assert!(ran.stdout.starts_with("sha256:") && ran.stderr.is_empty(), "{} {}", ran.stdout, ran.stderr);
    session.kiln([&["build", "--no-cache"], &flag[..], &[context]].concat()).ok();
    let failed = session.kiln([&["build", "--target=none"], &flag[..], &[context]].concat()).fails(1);
    let said = std::fs::read_to_string(&file).expect("the file");
    assert!(said.contains("heard") && said.contains("none") && failed.stderr.is_empty(), "{said}{}", failed.stderr);
    session.kiln(["build", "--logfile", "/nowhere/log", context]).fails(1).says(&["/nowhere/log"]);
}

/// A script that gives switches their truth values finds what it finds in docker.
#[test]
fn switches_take_truth_values() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN echo ran\n";
    build(&session, "app", dockerfile, &["--no-cache=true", "--load=true", "--push=false"]).ok();
    let again = build(&session, "app", dockerfile, &["--no-cache=false", "--squash=0"]).ok();
    assert!(!again.stderr.contains("runs because"), "{}", again.stderr);
    build(&session, "app", dockerfile, &["--no-cache=x"]).fails(1).says(&["--no-cache"]);
}

/// Rule C064: an image is built for every platform that its bases are there for, here or at their registry.
#[test]
fn every_platform_of_the_bases() {
    let (Some(server), session) = (Server::anonymous(), Session::new()) else { return };
    let base = server.name("bases/several:1");
    let several = ["--platform=linux/amd64,linux/arm64,linux/s390x", "-t", &base];
    build(&session, "several", "FROM scratch\nLABEL a=b\n", &several).ok();
    let fewer = ["--platform=linux/s390x,linux/amd64", "-t", "fewer"];
    build(&session, "fewer", "FROM scratch\nLABEL c=d\n", &fewer).ok();
    let dockerfile = format!(
        "FROM --platform=linux/arm64 {base} AS tool\nFROM {base} AS one\nFROM fewer\nARG TARGETARCH\n\
         COPY --from=one / /one\nCOPY --from=tool / /tool\nLABEL arch=$TARGETARCH\n"
    );
    let platforms = |ran: Ran| {
        let said = ran.ok().stderr;
        let lines = said.lines().filter_map(|line| line.strip_prefix("building for "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let found = platforms(build(&session, "app", &dockerfile, &["--all-platforms"]));
    assert_eq!(found, ["linux/amd64", "linux/s390x"]);
    session.kiln(["push", &base]).ok();
    let other = Session::new();
    let from_there = format!("FROM {base}\n");
    let found = platforms(build(&other, "app", &from_there, &["--all-platforms", "--dry-run"]));
    assert_eq!(found, ["linux/amd64", "linux/arm64", "linux/s390x"]);
    build(&other, "app", &from_there, &["--all-platforms", "--pull=never"]).fails(1).says(&["bases/several"]);
    build(&other, "app", "FROM scratch\n", &["--all-platforms"]).fails(1).says(&["name --platform"]);
    build(&other, "app", &from_there, &["--all-platforms", "--arch=arm64"]).fails(1).says(&["cannot be used with"]);
}
