//! Variables, arguments, stages and the build's clock: who sees which value. Each test is named for the
//! rules of docs/dockerfile.md that it holds.

mod house;

use builder::request::Timestamps;
use builder::{BuildError, Built};
use house::{House, path};

/// A build with arguments.
fn given(house: &House, dockerfile: &str, arguments: &[(&str, &str)]) -> Result<Built, BuildError> {
    let mut request = house.request(dockerfile);
    request.build_args = arguments.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    house.try_build(&request)
}

fn label(built: &Built, name: &str) -> String {
    built.config.config.labels.get(name).cloned().unwrap_or_default()
}

#[test]
fn a033_a048_instructions_of_the_builder_expand_variables() {
    let house = House::new();
    house.file("f", "1");
    let built = house.build(
        "ARG I=base\nFROM --platform=$BUILDPLATFORM $I\nENV K=A V=v U=app D=/made M=600 S=9 P=80 SRC=f\nENV $K=$V\n\
         LABEL $K=$V\nEXPOSE $P/udp\nSTOPSIGNAL $S\nVOLUME /$V\nCOPY --chown=$U --chmod=$M $SRC $D/\nADD --chown=$U $SRC ${D}/added\n\
         COPY <<E $D/doc\n$V \"\\$V\" '$V'\nE\nCOPY <<'E' $D/raw\n$V\nE\nWORKDIR $D\nUSER $U\nARG N=$V\nRUN env N /data/n\n",
    );
    let files = house.files(&built);
    for (path, expected) in [
        ("/made/f", "600 1500:50 1"),
        ("/made/added", "644 1500:50 1"),
        ("/made/doc", "644 0:0 v \"$V\" 'v'\n"),
        ("/made/raw", "644 0:0 $V\n"),
        ("/data/n", "644 0:0 v"),
    ] {
        assert_eq!(files.get(path).map(String::as_str), Some(expected), "{path}");
    }
    let config = &built.config.config;
    assert!(config.env.contains(&"A=v".to_owned()), "{:?}", config.env);
    assert_eq!((label(&built, "A").as_str(), config.stop_signal.as_str()), ("v", "9"));
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/made"));
    assert_eq!(format!("{:?} {:?}", config.exposed_ports, config.volumes), r#"{"80/udp"} {"/v"}"#);
}

#[test]
fn a013_a049_what_the_shell_expands_stays_as_it_is() {
    let house = House::new();
    let built = house.build(
        "FROM base\nENV V=v\nMAINTAINER $V\nSHELL [\"/bin/sh\", \"-$V\"]\nCMD echo $V\nENTRYPOINT [\"$V\"]\nHEALTHCHECK CMD $V\n\
         ONBUILD LABEL a=$V\nRUN write /a $V\n",
    );
    let config = &built.config.config;
    assert_eq!(built.config.author, "$V");
    assert_eq!(config.cmd, ["/bin/sh", "-$V", "echo $V"]);
    assert_eq!((&config.entrypoint[..], &config.on_build[..]), (&["$V".into()][..], &["LABEL a=$V".into()][..]));
    assert_eq!(config.healthcheck.as_ref().unwrap().test, ["CMD-SHELL", "$V"]);
    assert_eq!(house.files(&built)["/a"], "644 0:0 $V");
}

/// Traps 16 and 17: one line of ENV or LABEL sees what was before it, one of ARG what stands before on it; and an
/// argument before FROM is seen in a stage only where that declares it.
#[test]
fn a050_a070_a071_a072_a074_arguments_are_seen_where_they_are_declared() {
    let house = House::new();
    let dockerfile = "ARG G=global\nARG H=$G-2\nFROM base AS one\nENV a=1\nENV a=2 b=$a\nLABEL b=$b c=$a d=$G\n\
                      ARG x=1 y=$x\nARG G\nARG H=own\nLABEL y=$y g=$G h=$H\nRUN env y /y\nFROM base\nLABEL y=$y\nRUN env y /none\n";
    let mut request = house.request(dockerfile);
    request.target = Some("one".into());
    let built = house.try_build(&request).unwrap();
    for (name, value) in [("b", "1"), ("c", "2"), ("d", ""), ("y", "1"), ("g", "global"), ("h", "own")] {
        assert_eq!(label(&built, name), value, "{name}");
    }
    assert_eq!(house.files(&built)["/y"], "644 0:0 1");
    assert!(!built.config.config.env.iter().any(|entry| entry.starts_with("y=")), "an argument is in no config");
    assert_eq!(house.runs(), 1, "the other stage is not wanted");
    let sibling = house.build(dockerfile);
    assert_eq!((label(&sibling, "y").as_str(), house.files(&sibling)["/none"].as_str()), ("", "644 0:0 "));
    let built = given(&house, "ARG G=1\nFROM base\nARG G\nLABEL g=$G\n", &[("G", "2")]).unwrap();
    assert_eq!(label(&built, "g"), "2");
}

#[test]
fn a061_a064_b001_b018_b029_what_a_stage_starts_with() {
    let mut house = House::new();
    house.file("f", "1");
    let base = &mut house.source.config.config;
    base.env = vec!["LANG=C".into()];
    base.user = "app".into();
    base.working_dir = "/data".into();
    base.entrypoint = vec!["e".into()];
    base.shell = vec!["/bin/ash".into(), "-c".into()];
    base.stop_signal = "9".into();
    base.labels.insert("from".into(), "base".into());
    base.on_build = vec!["LABEL trigger=fired".into()];
    let mut request = house.request("FROM base\nENV X=1\n");
    request.edits.labels.insert("from".into(), "command line".into());
    let built = house.try_build(&request).unwrap();
    let config = &built.config.config;
    let search = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(config.env, ["LANG=C", search, "X=1"]);
    assert_eq!((config.user.as_str(), config.working_dir.as_str(), config.stop_signal.as_str()), ("app", "/data", "9"));
    assert_eq!((&config.cmd[..], &config.entrypoint[..]), (&["sh".into()][..], &["e".into()][..]));
    assert_eq!((&config.shell[..], config.on_build.len()), (&["/bin/ash".into(), "-c".into()][..], 0));
    assert_eq!((label(&built, "from").as_str(), label(&built, "trigger").as_str()), ("command line", "fired"));
    let texts: Vec<_> = built.config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert!(!texts.iter().any(|text| text.contains("command line")), "{texts:?}");

    // A stage's name wins over an image's, and nothing is at / of scratch.
    let built = house.build("FROM scratch AS base\nCOPY f here\nFROM base\nWORKDIR w\n");
    assert_eq!(house.files(&built).into_keys().collect::<Vec<_>>(), ["/here", "/w"]);
}

/// Trap 46: without a declaration they are for FROM lines only.
#[test]
fn a067_a078_a193_platforms_are_arguments() {
    let house = House::new();
    let dockerfile = "FROM scratch\nLABEL before=$TARGETARCH\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETSTAGE BUILDPLATFORM\n\
                      LABEL all=$TARGETPLATFORM,$TARGETOS,$TARGETARCH,$TARGETVARIANT,$TARGETSTAGE build=$BUILDPLATFORM\n";
    let mut request = house.request(dockerfile);
    request.platform = Some("linux/arm/v7".parse().unwrap());
    let built = house.try_build(&request).unwrap();
    assert_eq!(
        (label(&built, "all").as_str(), label(&built, "before").as_str()),
        ("linux/arm/v7,linux,arm,v7,default", "")
    );
    assert_eq!(label(&built, "build"), store::Platform::host().to_string());
    assert_eq!((built.config.architecture.as_str(), built.config.variant.as_str()), ("arm", "v7"));
    request.build_args.insert("TARGETARCH".into(), "mine".into());
    assert!(label(&house.try_build(&request).unwrap(), "all").contains(",mine,"));
    let other = house.build("FROM --platform=linux/s390x base\nLABEL a=b\n");
    assert!(format!("{:?}", other.diagnostics).contains("InvalidBaseImagePlatform"), "{:?}", other.diagnostics);
}

#[test]
fn a021_the_language_is_built_in() {
    let house = House::new();
    let warned = |head: &str| house.build(&format!("{head}\nFROM base\n")).diagnostics.len();
    assert_eq!(warned("# syntax=docker/dockerfile:1"), 0);
    assert_eq!(warned("# syntax = docker/dockerfile:1.9-labs@sha256:0000"), 0);
    assert_eq!(warned("# syntax=example.com/other/language:2"), 1);
}

#[test]
fn a080_b040_the_clock_is_an_argument() {
    let house = House::new();
    let dated = "ARG SOURCE_DATE_EPOCH=1500000000\nFROM base\nLABEL a=b\n";
    let plain = "FROM base\nLABEL a=b\n";
    for (dockerfile, argument, expected) in [
        (plain, None, "1980-01-01T00:00:00Z"),
        (plain, Some("1500000000"), "2017-07-14T02:40:00Z"),
        (plain, Some(""), "1980-01-01T00:00:00Z"),
        (dated, None, "2017-07-14T02:40:00Z"),
        (dated, Some("0"), "1970-01-01T00:00:00Z"),
    ] {
        let arguments: Vec<_> = argument.map(|value| ("SOURCE_DATE_EPOCH", value)).into_iter().collect();
        let built = given(&house, dockerfile, &arguments).unwrap();
        assert_eq!(built.config.created.as_deref(), Some(expected), "{argument:?}");
        assert_eq!(built.config.history.last().unwrap().created.as_deref(), Some(expected));
    }
    let error = given(&house, plain, &[("SOURCE_DATE_EPOCH", "yesterday")]).unwrap_err().to_string();
    assert!(error.contains("SOURCE_DATE_EPOCH") && error.contains("yesterday"), "{error}");
}

/// Trap 49: with times preserved, as BuildKit has it, the clock is for what the build makes and not for what it copies.
#[test]
fn b041_the_clock_and_the_times_of_files() {
    let house = House::new();
    house.file("f", "1");
    let own = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::options().write(true).open(house.context.join("f")).unwrap().set_modified(own).unwrap();
    let times = |timestamps| {
        let mut request = house.request("FROM scratch\nCOPY f /\nWORKDIR /w\n");
        request.build_args.insert("SOURCE_DATE_EPOCH".into(), "1500000000".into());
        request.timestamps = timestamps;
        let tree = house.store.root_tree(&house.try_build(&request).unwrap().layers).unwrap();
        ["f", "w"].map(|name| tree.get(&path(name)).unwrap().metadata.mtime.secs)
    };
    assert_eq!(times(Timestamps::Preserve), [1_600_000_000, 1_500_000_000]);
    assert_eq!(times(Timestamps::Clamp), [1_500_000_000, 1_500_000_000]);
}

/// Traps 2, 12 and 13: bits and times of files survive; those of the copied directory itself do not.
#[test]
fn a106_modes_and_times_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    house.file("d/s", "1").file("d/sub/t", "2");
    for (name, mode) in [("d/s", 0o6755), ("d/sub", 0o1777), ("d", 0o700)] {
        std::fs::set_permissions(house.context.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut request = house.request("FROM base AS a\nCOPY d /x\nFROM base\nCOPY --from=a /x /y\n");
    request.timestamps = Timestamps::Preserve;
    let tree = house.store.root_tree(&house.try_build(&request).unwrap().layers).unwrap();
    let at = |name: &str| tree.get(&path(name)).unwrap().metadata.clone();
    assert_eq!([at("y").mode, at("y/s").mode, at("y/sub").mode], [0o755, 0o6755, 0o1777]);
    let before = std::fs::metadata(house.context.join("d/s")).unwrap().modified().unwrap();
    let seconds = before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(at("y/s").mtime.secs.unsigned_abs(), seconds);
}

/// A file never takes a directory's place, nor a directory a file's; what is linked asks nobody.
#[test]
fn a104_a113_clashes() {
    let house = House::new();
    house.file("d/one", "1").file("d/sub/two", "2");
    for (there, clash) in [("/c/one/x", "/c/one"), ("/c/sub", "/c/sub")] {
        let copy = |flags: &str| {
            house.try_build(&house.request(&format!("FROM base\nRUN write {there} old\nCOPY {flags} d /c/\n")))
        };
        let error = copy("").unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        assert!(format!("{error}: {cause}").contains(clash), "{error}: {cause}");
        let files = house.files(&copy("--link").unwrap());
        assert_eq!((files["/c/one"].as_str(), files["/c/sub/two"].as_str()), ("644 0:0 1", "644 0:0 2"));
    }
}
