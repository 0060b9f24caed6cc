//! Builds with fakes on both seams: images that are made up, and commands that are functions.
//!
//! No network and no root is needed: what a fake command writes goes straight into the directory in
//! which a root filesystem shows changes.

mod house;

use std::path::Path;

use builder::build::StepReport;
use builder::executor::Exit;
use builder::progress::{Miss, Outcome, Quiet};
use builder::request::CacheUse;
use builder::{BuildError, Built, Cancel};

use house::House;

fn outcomes(built: &Built) -> Vec<(&str, Outcome)> {
    let keyed = |step: &&StepReport| step.key.is_some();
    built.steps.iter().filter(keyed).map(|report| (report.step.text.as_str(), report.outcome)).collect()
}

#[test]
fn a_build_has_files_config_and_history() {
    let house = House::new();
    house.file("a.txt", "alpha").file("sub/b.txt", "beta").file("skip.txt", "x").file(".dockerignore", "skip.txt\n");
    let built = house.build(
        "ARG TAG=latest\nFROM base:${TAG}\nARG WHO=you\nENV GREETING=hello\nWORKDIR /app\nCOPY . .\n\
         COPY --chown=app a.txt /data/\nRUN write out done\nLABEL a=1\nEXPOSE 80\nCMD [\"run\", \"it\"]\n",
    );
    let files = house.files(&built);
    assert_eq!(files["/app/a.txt"], "644 0:0 alpha");
    assert_eq!(files["/app/sub/b.txt"], "644 0:0 beta");
    assert_eq!(files["/data/a.txt"], "644 1500:50 alpha");
    assert_eq!(files["/data"], "700 0:0 /");
    assert_eq!(files["/out"], "644 0:0 done");
    assert!(!files.contains_key("/app/skip.txt"));
    let config = &built.config;
    assert_eq!(config.config.cmd, ["run", "it"]);
    assert_eq!(config.config.working_dir, "/app");
    let history: Vec<_> = config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(
        history,
        [
            "ARG WHO=you",
            "ENV GREETING=hello",
            "WORKDIR /app",
            "COPY . . # buildkit",
            "COPY --chown=app a.txt /data/ # buildkit",
            "RUN |1 WHO=you /bin/sh -c write out done # buildkit",
            "LABEL a=1",
            "EXPOSE [80/tcp]",
            "CMD [\"run\" \"it\"]",
        ]
    );
    let layers = config.history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!(layers + 1, config.rootfs.diff_ids.len());
    assert!(config.history.iter().all(|entry| entry.created.as_deref() == Some("1980-01-01T00:00:00Z")));
}

/// Rules B030, B043.
#[test]
fn the_same_inputs_give_the_same_image_on_another_store() {
    let dockerfile = "FROM base\nCOPY . /x/\nRUN write /y z\n";
    let ids: Vec<_> = (0..2)
        .map(|round| {
            let house = House::new();
            house.file("f", "1").file("d/g", "2");
            filetime(&house.context.join("f"), 1_500_000_000 + round);
            house.build(dockerfile).image
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn nothing_runs_twice() {
    let house = House::new();
    house.file("f", "1");
    let dockerfile = "FROM base\nWORKDIR /w\nCOPY f /x/\nRUN count /n\n";
    let first = house.build(dockerfile);
    assert_eq!(house.runs(), 1);
    let second = house.build(dockerfile);
    assert_eq!((first.image, house.runs()), (second.image, 0));
    assert!(outcomes(&second).iter().all(|(_, outcome)| matches!(outcome, Outcome::Hit { .. })));
    house.build(&format!("{dockerfile}LABEL new=1\nCMD x\n"));
    assert_eq!(house.runs(), 0, "metadata runs nothing");
    let mut request = house.request(dockerfile);
    request.cache = CacheUse::None;
    house.try_build(&request).unwrap();
    assert_eq!(house.runs(), 1, "--no-cache runs everything");
}

#[test]
fn what_a_step_leaves_decides_and_not_that_it_ran() {
    let house = House::new();
    house.file("f", "1");
    let dockerfile =
        "FROM base AS one\nCOPY f /f\nRUN write /out same\nFROM base\nCOPY --from=one /out /out\nRUN count /n\n";
    house.build(dockerfile);
    assert_eq!(house.runs(), 2);
    house.file("f", "2");
    let built = house.build(dockerfile);
    assert_eq!(house.runs(), 1, "the last RUN sees the same files as before");
    let reasons: Vec<_> = built.steps.iter().filter_map(|step| step.miss.as_ref()).collect();
    let Miss::Changed(differences) = reasons[0] else { panic!("{reasons:?}") };
    assert!(format!("{differences:?}").contains("\"f\""), "{differences:?}");
}

#[test]
fn a_copied_layer_is_reused_on_a_base_that_agrees_along_the_path() {
    let house = House::new();
    house.file("f", "1");
    let one = house.build("FROM base\nRUN write /one 1\nCOPY f /data/\n");
    let two = house.build("FROM base\nRUN write /two 2\nCOPY f /data/\n");
    assert_eq!(one.layers.last(), two.layers.last());
    assert!(matches!(outcomes(&two)[1], (_, Outcome::Hit { .. })));
}

#[test]
fn only_what_the_target_needs_is_done() {
    let house = House::new();
    let dockerfile =
        "FROM nowhere/at/all AS unused\nRUN fail\nFROM base AS used\nRUN write /a 1\nFROM used\nRUN write /b 2\n";
    house.build(dockerfile);
    assert_eq!(house.runs(), 2);
    let mut request = house.request(dockerfile);
    request.target = Some("USED".into());
    assert_eq!(house.try_build(&request).unwrap().layers.len(), 2);
    request.target = Some("usde".into());
    let error = house.try_build(&request).unwrap_err().to_string();
    assert_eq!(error, "target stage \"usde\" could not be found (did you mean \"used\"?)");
}

#[test]
fn a_failing_command_ends_the_build_with_its_log() {
    let house = House::new();
    let error = house.try_build(&house.request("FROM base\nRUN true\nRUN fail now\n")).unwrap_err();
    let BuildError::Failed { step, exit, last_lines, log, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*exit, step.text.as_str()), (Exit::Code(3), "RUN fail now"));
    assert_eq!(last_lines, &["fail now"]);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "fail now\n");
    assert_eq!(error.to_string(), "process \"/bin/sh -c fail now\" did not complete successfully: exit code: 3");
    house.runs();
    house.try_build(&house.request("FROM base\nRUN true\nRUN fail now\n")).unwrap_err();
    assert_eq!(house.runs(), 1, "what failed is not remembered, what went well is");
}

/// Rules A141, C037.
#[test]
fn the_first_error_stops_the_others_and_so_does_a_cancelled_request() {
    let house = House::new();
    let dockerfile =
        "FROM base AS a\nRUN sleep\nFROM base AS b\nRUN fail\nFROM base\nCOPY --from=a / /a\nCOPY --from=b / /b\n";
    let mut request = house.request(dockerfile);
    request.jobs = std::num::NonZeroUsize::new(2).unwrap();
    assert!(matches!(house.try_build(&request), Err(BuildError::Failed { .. })));
    let mut request = house.request("FROM base\nRUN sleep\n");
    request.cancel = Cancel::default();
    let cancel = request.cancel.clone();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| house.try_build(&request));
        std::thread::sleep(std::time::Duration::from_millis(50));
        cancel.cancel();
        assert!(matches!(build.join().unwrap(), Err(BuildError::Cancelled)));
    });
}

#[test]
fn arguments_and_variables_reach_commands_and_proxies_no_key() {
    let house = House::new();
    let dockerfile = "FROM base\nARG A=1\nARG B\nENV C=${A}2\nRUN env C /c\n";
    let mut request = house.request(dockerfile);
    request.build_args.insert("HTTP_PROXY".into(), "http://one".into());
    let built = house.try_build(&request).unwrap();
    assert_eq!(house.files(&built)["/c"], "644 0:0 12");
    let seen = house.executor.seen.lock().unwrap().pop().unwrap();
    let value = |name: &str| seen.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    assert_eq!(value("http_proxy"), Some("http://one"));
    assert_eq!(value("SOURCE_DATE_EPOCH"), Some("315532800"));
    assert_eq!((value("A"), value("B")), (Some("1"), None));
    house.runs();
    request.build_args.insert("HTTP_PROXY".into(), "http://two".into());
    house.try_build(&request).unwrap();
    assert_eq!(house.runs(), 0);
    request.build_args.insert("A".into(), "7".into());
    house.try_build(&request).unwrap();
    assert_eq!(house.runs(), 1);
}

#[test]
fn a_dry_run_says_what_would_run_and_why() {
    let house = House::new();
    house.file("f", "1");
    let dockerfile = "FROM base\nCOPY f /f\nRUN write /x y\nCOPY f /g\n";
    house.build(dockerfile);
    house.runs();
    house.file("f", "2");
    let steps = builder::dry_run(&house.request(dockerfile), &house.store, &house.source, &Quiet).unwrap();
    let steps: Vec<_> = steps.iter().filter(|step| step.step.position.is_some()).map(|step| step.outcome).collect();
    assert_eq!(steps, [Outcome::WouldRun, Outcome::Unknown, Outcome::Unknown]);
    assert_eq!(house.runs(), 0);
}

#[test]
fn refusals_name_the_place() {
    let house = House::new();
    house.file("a", "1").file("b", "2").file("hidden", "3").file(".dockerignore", "hidden\n");
    for (dockerfile, expected) in [
        ("FROM base\nCOPY nothing /x\n", "\"/nothing\": not found"),
        ("FROM base\nCOPY hidden /x\n", "\"/hidden\": not found: it is excluded by .dockerignore"),
        ("FROM base\nCOPY a b /x\n", "several files cannot be copied to the one name /x"),
        ("FROM base\nCOPY --chown=nobody a /x\n", "unable to find user nobody"),
        ("FROM base\nCOPY a /etc/passwd/x\n", "cannot copy below /etc/passwd: not a directory"),
        ("FROM base AS x\nCOPY --from=x /a /b\n", "circular dependency"),
        (
            "FROM base AS x\nCOPY --from=y /a /b\nFROM base AS y\nFROM x\n",
            "it needs to be defined before current stage",
        ),
        ("FROM base\nRUN --mount=type=ssh,required true\n", "ssh agent \"default\" is required"),
        ("FROM base\nRUN --network=host true\n", "network.host is not allowed"),
        ("FROM base\nRUN --security=insecure true\n", "security.insecure is not allowed"),
        ("FROM base\nRUN --mount=type=secret,id=x,required=true true\n", "secret \"x\" is required"),
        ("FROM missing\n", "missing:latest: not found"),
    ] {
        let error = house.try_build(&house.request(dockerfile)).unwrap_err();
        let chain = chain(&error);
        assert!(chain.contains(expected), "{dockerfile}: {chain}");
        assert!(error.span().is_some(), "{dockerfile}");
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.join(": ")
}

fn filetime(path: &Path, secs: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a190_undefined_variables_warn_unless_checks_or_comments_skip_them() {
    let house = House::new();
    let found = |dockerfile: &str| {
        let built = house.build(dockerfile);
        built.diagnostics.iter().map(|found| found.message.clone()).collect::<Vec<_>>()
    };
    let warning = vec!["usage of undefined variable '$NOWHERE'".to_owned()];
    assert_eq!(found("FROM base\nARG SET\nLABEL a=$SET$NOWHERE\n"), warning);
    assert_eq!(found("FROM base\nRUN write /a $NOWHERE\n"), Vec::<String>::new());
    assert_eq!(found("FROM base\nLABEL a=${NOWHERE:-x} b=$HTTP_PROXY\n"), Vec::<String>::new());
    assert_eq!(found("# check=skip=UndefinedVar\nFROM base\nLABEL a=$NOWHERE\n"), Vec::<String>::new());
    assert_eq!(found("FROM base\n# check=skip=UndefinedVar\nLABEL a=$NOWHERE\n"), Vec::<String>::new());
}
