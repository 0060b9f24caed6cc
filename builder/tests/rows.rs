//! The rules of docs/dockerfile.md in rows: a Dockerfile, and the history, config, files or error it ends in.
//!
//! Each test is named for the rules it holds.

mod house;

use builder::request::{ContextDirectory, DockerfileText};
use builder::{BuildError, Built};
use house::House;

/// What the Dockerfile added to the history, a `-` before what makes no layer.
fn history(built: &Built) -> Vec<String> {
    let mark = |empty: bool| if empty { "- " } else { "" };
    built.config.history.iter().map(|entry| format!("{}{}", mark(entry.empty_layer), entry.created_by)).collect()
}

fn refusal(house: &House, dockerfile: &str) -> String {
    let error = house.try_build(&house.request(dockerfile)).map(|built| built.image).expect_err(dockerfile);
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn b002_to_b017_each_instruction_has_its_text_in_the_history() {
    let house = House::new();
    house.file("a", "1").file("b", "2");
    for (instructions, expected) in [
        ("RUN true", vec!["RUN /bin/sh -c true # buildkit"]),
        ("RUN [\"true\"]", vec!["RUN true # buildkit"]),
        ("ARG A=b\nARG C\nRUN true", vec!["- ARG A=b", "- ARG C", "RUN |2 A=b C= /bin/sh -c true # buildkit"]),
        (
            "ARG A=1\nARG B=2\nARG A=3\nRUN true",
            vec!["- ARG A=1", "- ARG B=2", "- ARG A=3", "RUN |2 A=3 B=2 /bin/sh -c true # buildkit"],
        ),
        ("RUN <<E\ntrue\nE", vec!["RUN /bin/sh -c true\n # buildkit"]),
        ("COPY --link --exclude=x a b /d/", vec!["COPY a b /d/ # buildkit"]),
        ("COPY --chown=1:2 --chmod=600 a /d", vec!["COPY --chown=1:2 --chmod=600 a /d # buildkit"]),
        ("COPY <<one <<\"two\" /d/\n1\none\n2\ntwo", vec!["COPY <<one <<two /d/ # buildkit"]),
        ("ADD a /d", vec!["ADD a /d # buildkit"]),
        ("WORKDIR /", vec!["- WORKDIR /"]),
        ("WORKDIR x\nWORKDIR ../y/", vec!["WORKDIR /x", "WORKDIR /y"]),
        ("ENV A=1 B=\"2 3\"\nENV C d e", vec!["- ENV A=1 B=2 3", "- ENV C=d e"]),
        ("LABEL a=1 b='2 3'", vec!["- LABEL a=1 b=2 3"]),
        ("CMD a \"b\"", vec!["- CMD [\"/bin/sh\" \"-c\" \"a \\\"b\\\"\"]"]),
        ("CMD []", vec!["- CMD []"]),
        ("ENTRYPOINT [\"a\", \"b\"]", vec!["- ENTRYPOINT [\"a\" \"b\"]"]),
        ("EXPOSE 2375 5000 1234/UDP", vec!["- EXPOSE [1234/udp 2375/tcp 5000/tcp]"]),
        ("EXPOSE 9-10 80", vec!["- EXPOSE [80/tcp 9/tcp 10/tcp]"]),
        ("VOLUME /a /b\nVOLUME [\"/c d\"]", vec!["- VOLUME [/a /b]", "- VOLUME [/c d]"]),
        ("USER 1:2", vec!["- USER 1:2"]),
        ("STOPSIGNAL SIGRTMIN+3", vec!["- STOPSIGNAL SIGRTMIN+3"]),
        (
            "HEALTHCHECK --interval=90s --timeout=500ms --retries=2 CMD a b",
            vec![
                "- HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:500ms StartPeriod:0s StartInterval:0s Retries:2}",
            ],
        ),
        (
            "SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN true",
            vec!["- SHELL [/bin/sh -e -c]", "RUN /bin/sh -e -c true # buildkit"],
        ),
        ("ONBUILD RUN true", vec![]),
        ("MAINTAINER me <m@e>", vec!["- MAINTAINER me <m@e>"]),
    ] {
        assert_eq!(history(&house.build(&format!("FROM base\n{instructions}\n"))), expected, "{instructions}");
    }
}

#[test]
fn a117_b020_b021_a_step_without_changes_has_a_layer_all_the_same() {
    let house = House::new();
    let built = house.build("FROM base\nRUN true\nRUN true\nCOPY none* /x/\nENV A=1\n");
    let layers = &built.config.rootfs.diff_ids;
    assert_eq!(layers.len(), 4);
    let empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(layers[2].to_string(), empty, "the first RUN made the places of its mounts");
    assert_eq!(layers[2], layers[3]);
    let made = built.config.history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!(made + 1, layers.len());
}

#[test]
fn a150_to_a163_the_config_says_what_the_instructions_said() {
    let house = House::new();
    let built = house.build(
        "FROM base\nENV A=1 B=$A A=2\nENV C=$A LEGACY=\nENV OLD two  words = \"x\"\nLABEL a=1 a=2 \"b c\"= \n\
         EXPOSE 80-81 53/udp\nVOLUME [\"/v w\"]\nUSER app:50\nSTOPSIGNAL term\nMAINTAINER me\nSHELL [\"/bin/ash\", \"-c\"]\n\
         CMD go now\nENTRYPOINT [\"e\"]\nHEALTHCHECK --start-interval=2s --start-period=1m CMD [\"t\"]\n",
    );
    let config = &built.config.config;
    assert_eq!(config.env[1..], ["A=2", "B=", "C=2", "LEGACY=", "OLD=two  words = x"]);
    assert_eq!(format!("{:?}", config.labels), r#"{"a": "2", "b c": ""}"#);
    assert_eq!(format!("{:?}", config.exposed_ports), r#"{"53/udp", "80/tcp", "81/tcp"}"#);
    assert_eq!(format!("{:?}", config.volumes), r#"{"/v w"}"#);
    assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("app:50", "term"));
    assert_eq!(
        (built.config.author.as_str(), &config.shell[..]),
        ("me", &["/bin/ash".to_owned(), "-c".to_owned()][..])
    );
    assert_eq!((&config.cmd[..], config.args_escaped), (&["/bin/ash", "-c", "go now"].map(str::to_owned)[..], true));
    let check = config.healthcheck.as_ref().unwrap();
    assert_eq!(check.test, ["CMD", "t"]);
    assert_eq!((check.start_interval, check.start_period), (2_000_000_000, 60_000_000_000));
    assert!(!house.files(&built).contains_key("/v w"), "VOLUME makes nothing (trap 22)");
}

#[test]
fn a157_entrypoint_drops_the_cmd_of_the_base_and_no_other() {
    let house = House::new();
    let cmd = |dockerfile: &str| house.build(dockerfile).config.config.cmd;
    assert!(cmd("FROM base\nENTRYPOINT [\"e\"]\n").is_empty());
    assert_eq!(cmd("FROM base\nCMD [\"own\"]\nENTRYPOINT [\"e\"]\n"), ["own"]);
    assert!(cmd("FROM base AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"e\"]\n").is_empty());
    assert!(cmd("FROM base\nCMD []\n").is_empty());
}

#[test]
fn a060_a065_a072_stages_have_names_and_numbers_and_inherit() {
    let house = House::new();
    house.file("f", "1");
    let built = house.build(
        "FROM base AS First\nARG WHO=me\nWORKDIR /w\nUSER 7\nCOPY f .\nFROM first AS second\nRUN env WHO /who\nCOPY f here\n\
         FROM base\nARG WHO\nRUN env WHO /none\nCOPY --from=first w/f /by-name\nCOPY --from=0 /w/f /by-number\n\
         COPY --from=SECOND /who /who\nCOPY --from=second /w/here /here\n",
    );
    let files = house.files(&built);
    for (path, expected) in [("/by-name", "1"), ("/by-number", "1"), ("/who", "me"), ("/here", "1"), ("/none", "")] {
        assert_eq!(files[path], format!("644 0:0 {expected}"), "{path}");
    }
}

#[test]
fn a062_a063_the_target_decides_what_is_pulled_and_run() {
    let house = House::new();
    let dockerfile =
        "FROM nowhere AS lost\nRUN fail\nFROM base AS Wanted\nENV X=1\nFROM nowhere\nCOPY --from=lost / /\n";
    for target in ["wanted", "WANTED", "1"] {
        let mut request = house.request(dockerfile);
        request.target = Some(target.to_owned());
        assert_eq!(history(&house.try_build(&request).unwrap()), ["- ENV X=1"], "{target}");
    }
    assert_eq!(house.runs(), 0);
    let mut request = house.request(dockerfile);
    request.target = Some("wonted".to_owned());
    let error: BuildError = house.try_build(&request).unwrap_err();
    assert!(error.to_string().contains("wanted"), "{error}");
}

/// Rules A126, A152, A153, A161, A162 too.
#[test]
fn a060_a066_a116_what_cannot_be_planned_is_refused() {
    let house = House::new();
    for (dockerfile, expected) in [
        ("FROM base AS a\nCOPY --from=a /x /\n", "circular dependency detected on stage: a -> a"),
        (
            "FROM base AS a\nCOPY --from=c /x /\nFROM a AS b\nFROM base AS c\nRUN --mount=from=b,target=/b true\n\
             FROM a\n",
            "circular dependency detected on stage: a -> c -> b -> a",
        ),
        (
            "FROM base AS a\nCOPY --from=b /x /\nFROM base AS b\nFROM a\n",
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ),
        ("FROM base\nCOPY --from=3 /x /\n", "invalid stage index 3"),
        ("ARG S=0\nFROM base\nCOPY --from=$S /x /\n", "variable expansion is not supported for --from"),
        ("ARG NONE\nFROM $NONE\n", "base name ($NONE) should not be blank"),
        ("FROM base AS One\nFROM One\n", "failed to parse stage name \"One\""),
        ("FROM base AS 1x\n", "invalid name for build stage: \"1x\""),
        ("FROM base\nCOPY https://example.com/x /\n", "source can't be a URL for COPY"),
        ("FROM base\nSTOPSIGNAL SIGNONE\n", "invalid signal: SIGNONE"),
        ("FROM base\nEXPOSE x:80\n", "invalid hostPort: x"),
        ("FROM base\nVOLUME [\"\"]\n", "VOLUME specified can not be an empty string"),
        ("FROM base\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger"),
    ] {
        let refusal = refusal(&house, dockerfile);
        assert!(refusal.contains(expected), "{dockerfile}\n{refusal}");
    }
}

#[test]
fn a095_a110_e010_what_does_harm_in_silence_is_refused_with_a_remedy() {
    let house = House::new();
    house.file("a", "1").file("b", "2").file(".wh.c", "3");
    for (instruction, what, remedy) in [
        ("COPY --chown=ghost a /x", "unable to find user ghost", "give its number"),
        ("ADD --chown=0:ghosts a /x", "unable to find group ghosts", "give its number"),
        ("COPY a b /x", "several files cannot be copied to the one name /x", "end the destination with a slash"),
        ("COPY .wh.c /x/", "/x/.wh.c: names that start with `.wh.` mean a removed file", "rename it"),
    ] {
        let refusal = refusal(&house, &format!("FROM base\n{instruction}\n"));
        assert!(refusal.contains(what) && refusal.contains(remedy), "{refusal}");
    }
    house.build("FROM base\nCOPY a b /data\nCOPY --chown=app a /x\n");
}

#[test]
fn a091_to_a115_flags_of_copy_work_together() {
    let house = House::new();
    house.file("d/one", "1").file("d/sub/two", "2").file("d/sub/skip.log", "x").file("d/x\\y", "3");
    let built = house.build(
        "FROM base\nCOPY --link --chmod=u=rwX,go= --chown=app d /l/m/\nCOPY --parents d/./sub/* /p/\n\
         COPY --parents --exclude=**/*.log d/**/sub /q/\nCOPY --exclude=sub ../d/ /r\nCOPY d/x\\\\y /s\n\
         COPY --chmod=0750 --chown=7 d/one /n/o/\n",
    );
    let files = house.files(&built);
    for (path, expected) in [
        ("/l", "755 1500:50 /"),
        ("/l/m/sub", "700 1500:50 /"),
        ("/l/m/one", "600 1500:50 1"),
        ("/p/sub/two", "644 0:0 2"),
        ("/q/d/sub/two", "644 0:0 2"),
        ("/r/one", "644 0:0 1"),
        ("/s", "644 0:0 3"),
        ("/n/o", "750 7:7 /"),
        ("/n/o/one", "750 7:7 1"),
    ] {
        assert_eq!(files.get(path).map(String::as_str), Some(expected), "{path}");
    }
    for absent in ["/q/d/sub/skip.log", "/r/sub", "/p/d"] {
        assert!(!files.contains_key(absent), "{absent}");
    }
}

/// Rule A178; traps 9 and 10.
#[test]
fn a105_a118_a_stage_keeps_owners_and_knows_no_ignore_file() {
    let house = House::new();
    house.file("f", "1").file("g", "2").file(".dockerignore", "g\nDockerfile\n").file("Dockerfile", "");
    let built = house.build(
        "FROM base AS s\nCOPY --chown=9:8 --chmod=4711 f /g\nFROM base\nUSER app\nCOPY --from=s /g /\nCOPY f* /plain\n",
    );
    let files = house.files(&built);
    assert_eq!(files["/g"], "4711 9:8 1");
    assert_eq!(files["/plain"], "644 0:0 1");
    assert!(refusal(&house, "FROM base\nCOPY g /\n").contains("excluded by .dockerignore"));
    assert!(refusal(&house, "FROM base\nCOPY Dockerfile /\n").contains("excluded by .dockerignore"), "A175");
}

#[test]
fn a155_workdir_is_made_with_the_user_and_stacks() {
    let house = House::new();
    let built = house.build("FROM base\nENV D=deep\nUSER app\nWORKDIR rel/$D\nWORKDIR ../two\nWORKDIR /data\n");
    let files = house.files(&built);
    assert_eq!(files["/rel"], "755 1500:50 /");
    assert_eq!(files["/rel/deep"], "755 1500:50 /");
    assert_eq!(files["/rel/two"], "755 1500:50 /");
    assert_eq!(files["/data"], "700 0:0 /", "what is there stays");
    assert_eq!(built.config.config.working_dir, "/data");
}

#[test]
fn a161_triggers_fire_in_the_child_and_not_below() {
    let house = House::new();
    house.file("f", "1");
    let dockerfile = "FROM base AS src\nCOPY f /f\nFROM base AS parent\nONBUILD ENV A=$B\nONBUILD COPY --from=src f /got\n\
                      FROM parent AS child\nENV C=1\nFROM child\nENV D=1\n";
    let built = house.build(dockerfile);
    let texts = history(&built);
    assert_eq!(texts, ["- ENV A=", "COPY f /got # buildkit", "- ENV C=1", "- ENV D=1"]);
    assert!(built.config.config.on_build.is_empty());
    let mut request = house.request(dockerfile);
    request.target = Some("parent".into());
    let parent = house.try_build(&request).unwrap();
    assert_eq!(parent.config.config.on_build, ["ENV A=$B", "COPY --from=src f /got"]);
}

#[test]
fn a070_a073_d010_d011_d012_what_makes_a_command_run_again() {
    let house = House::new();
    let run = |head: &str, arguments: &[(&str, &str)]| {
        let mut request = house.request(&format!("FROM base\n{head}\nRUN count /n\n"));
        for (name, value) in arguments {
            request.build_args.insert((*name).to_owned(), (*value).to_owned());
        }
        house.try_build(&request).unwrap();
        house.runs()
    };
    assert_eq!(run("ARG A", &[("A", "1")]), 1);
    for (head, arguments, runs, why) in [
        ("ARG A", &[("A", "1")][..], 0, "the same"),
        ("ARG A\nLABEL a=b\nCMD x\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK NONE", &[("A", "1")], 0, "config"),
        ("ARG A", &[("A", "1"), ("HTTP_PROXY", "http://p")], 0, "a proxy"),
        ("ARG A", &[("A", "1"), ("OTHER", "x")], 0, "an argument that no one declares"),
        ("ENV A=1", &[], 0, "the same variable from elsewhere"),
        ("ARG A=1\nENV B=2", &[], 1, "another variable"),
        ("ARG A\nENV A=2", &[("A", "1")], 1, "the later of ARG and ENV wins (A073)"),
        ("ENV A=2", &[], 0, "which is the same as that"),
        ("ENV A=3\nARG A=2", &[], 0, "and so is this"),
        ("ARG A\nUSER 5", &[("A", "1")], 1, "another user"),
        ("ARG A\nWORKDIR /data", &[("A", "1")], 1, "another directory"),
    ] {
        assert_eq!(run(head, arguments), runs, "{why}");
    }
}

#[test]
fn d003_d004_a_copy_depends_on_what_is_copied_and_not_on_names_or_times() {
    let house = House::new();
    house.file("f1", "1").file("f2", "2").file("other", "x");
    let dockerfile = "FROM base\nCOPY f* /d/\nRUN count /n\n";
    house.build(dockerfile);
    house.file("other", "changed").file("f1", "1");
    house.runs();
    house.build(dockerfile);
    assert_eq!(house.runs(), 0);
    house.file("f2", "changed");
    house.build(dockerfile);
    assert_eq!(house.runs(), 1);
}

#[test]
fn a108_e016_e027_odd_files_of_the_context() {
    use std::os::unix::ffi::OsStrExt;
    let house = House::new();
    house.file("d/plain", "1");
    let directory = house.context.join("d");
    std::fs::write(directory.join(std::ffi::OsStr::from_bytes(b"n\xff")), "raw").unwrap();
    std::fs::hard_link(directory.join("plain"), directory.join("twin")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
    let built = house.build("FROM scratch\nCOPY d /\n");
    let tree = house.store.root_tree(&built.layers).unwrap();
    let names: Vec<_> = tree.walk().map(|(path, _)| path.as_bytes().to_vec()).collect();
    assert_eq!(names, [&b"n\xff"[..], b"plain", b"twin"]);
    assert_eq!(tree.hard_links().groups().len(), 1, "A107");
}

#[test]
fn a170_the_ignore_file_beside_the_dockerfile_wins() {
    let house = House::new();
    house.file("a", "1").file("b", "2").file(".dockerignore", "a\n");
    let mut request = house.request("FROM scratch\nCOPY . /\n");
    let beside = DockerfileText { name: "Dockerfile.dockerignore".into(), bytes: b"b\n".to_vec() };
    request.context = Some(ContextDirectory { path: house.context.clone(), ignore_file: Some(beside) }.into());
    let files = house.files(&house.try_build(&request).unwrap());
    assert!(files.contains_key("/a") && !files.contains_key("/b"));
}

#[test]
fn a156_the_last_cmd_counts_and_an_empty_one_is_none() {
    let house = House::new();
    for (instructions, expected) in [
        ("CMD a\nCMD [\"b\", \"c\"]", &["b", "c"][..]),
        ("CMD []", &[]),
        ("CMD x  \"y\"", &["/bin/sh", "-c", "x  \"y\""]),
    ] {
        assert_eq!(house.build(&format!("FROM base\n{instructions}\n")).config.config.cmd, expected, "{instructions}");
    }
}

#[test]
fn b024_b025_an_image_is_as_old_as_its_last_step() {
    let house = House::new();
    let built = house.build("FROM base\nRUN write a 1\nLABEL a=b\n");
    let last = built.config.history.last().unwrap();
    assert!(last.created.is_some());
    assert_eq!(built.config.created, last.created);
}

#[test]
fn a109_root_is_nobody_to_look_up() {
    let house = House::new();
    house.file("a", "1");
    house.build("FROM scratch\nCOPY --chown=root a /\nADD --chown=root:root a /b/\nUSER root\nWORKDIR /w\n");
    assert!(refusal(&house, "FROM scratch\nCOPY --chown=daemon a /\n").contains("unable to find user daemon"));
}

/// Were it read, a file of a tebibyte without a byte in it would be felt.
#[test]
fn c001_what_no_step_asks_for_is_not_read() {
    let house = House::new();
    house.file("small", "1").file("d/in", "2").file("d/deep/er", "3").file("e/f", "4");
    std::os::unix::fs::symlink("small", house.context.join("link")).unwrap();
    let build = |instruction: &str| house.build(&format!("FROM base\n{instruction}\n")).layers.len();
    let all = build("COPY . /all/");
    std::fs::File::create(house.context.join("d.huge")).unwrap().set_len(1 << 40).unwrap();
    for instruction in ["COPY small /x", "COPY small d /x/", "COPY /d/deep/../in d/deep/er e /x/", "ADD e/f small /x/"]
    {
        assert_eq!(build(instruction), all, "{instruction}");
    }
    assert!(refusal(&house, "FROM base\nCOPY --from=nothing small /x\n").contains("nothing"));

    // Links and patterns may lead anywhere: everything is looked at.
    std::fs::remove_file(house.context.join("d.huge")).unwrap();
    for instruction in ["COPY link /x", "COPY li* /x", "COPY --parents d/deep/er /x/", "COPY d*/in /x/"] {
        assert_eq!(build(instruction), all, "{instruction}");
    }
    assert!(refusal(&house, "FROM base\nCOPY smal /x\n").contains("smal"));
}
