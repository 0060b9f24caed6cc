//! What `kiln build` says of a Dockerfile without building it, and when findings fail a build.

use crate::session::Session;

const FILE: &str = "# V is the version\nARG V=latest\n# base has the tools\nFROM busybox:$V AS base\n\
    RUN --mount=type=secret,id=token,required true\nFROM base AS final\nCOPY note .\nENV x=$nothing\nCMD echo\n";

/// Rules A178, A198, C051.
#[test]
fn a180_checks_find_what_the_file_the_plan_and_the_context_tell() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", FILE);
    session.write("app/note", "");
    session.write("app/.dockerignore", "note\n");
    let context = context.to_str().expect("UTF-8");
    session.kiln(["build", "--check", context]).fails(1).prints(&[
        "Check complete, 3 warnings have been found!",
        "CopyIgnoredFile: the source 'note' is excluded by .dockerignore",
        "UndefinedVar",
        "JSONArgsRecommended",
        "9 | CMD echo",
    ]);
    let found = session.kiln(["build", "--call=check,format=json", context]).fails(1).stdout;
    assert!(found.contains("\"ruleName\": \"CopyIgnoredFile\"") && found.contains("\"line\": 7"), "{found}");
    let skipped = format!("# check=skip=all\n{FILE}");
    session.kiln_with_input(["build", "--check", "-"], &skipped).ok().prints(&["Check complete, no warnings found."]);
}

#[test]
fn a180_checks_need_no_base_image() {
    let session = Session::new();
    let file = "FROM nowhere.invalid/none\nCMD x\n";
    session.kiln_with_input(["build", "--check", "-"], file).fails(1).prints(&["1 warning has been found!"]);
    let bad = session.kiln_with_input(["build", "--check", "-"], "FROM a\nCPOY x y\n").fails(1);
    bad.says(&["unknown instruction: CPOY", "<stdin>:2:1", "2 | CPOY x y", "did you mean COPY?"]);
}

#[test]
fn a023_findings_fail_a_build_that_says_so() {
    let session = Session::new();
    let file = "# check=error=true\nFROM scratch\nCMD x\n";
    session
        .kiln_with_input(["build", "-q", "-"], file)
        .fails(1)
        .says(&["3 | CMD x", "the build checks fail the build: JSONArgsRecommended"]);
    let argument = ["build", "-q", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended;error=true", "-"];
    session.kiln_with_input(argument, file).ok();
    let wrong = ["build", "-q", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=ture", "-"];
    session.kiln_with_input(wrong, file).fails(1).says(&["BUILDKIT_DOCKERFILE_CHECK", "ture"]);
}

#[test]
fn a061_an_image_that_is_nearly_a_stage_is_taken_for_a_slip() {
    let session = Session::new();
    let file = "FROM scratch AS build\nCOPY <<E /x\nE\nFROM scratch\nCOPY --from=biuld /x /x\n";
    let said = ["5 | COPY --from=biuld /x /x", "did you mean the stage \"build\"?"];
    session.kiln_with_input(["build", "-q", "-"], file).fails(1).says(&said);
}

#[test]
fn a010_outline_and_targets() {
    let session = Session::new();
    let context = session.context("app", FILE);
    let context = context.to_str().expect("UTF-8");
    let outline = session.kiln(["build", "--call=outline", "--build-arg", "V=1", context]).ok().stdout;
    let expected = "TARGET:      final\n\nBUILD ARG   VALUE   DESCRIPTION\nV           1       is the version\n\n\
        SECRET   REQUIRED\ntoken    true\n";
    assert_eq!(outline, expected);
    let targets = session.kiln(["build", "--call", "targets", context]).ok().stdout;
    assert_eq!(targets, "TARGET            DESCRIPTION\nbase              has the tools\nfinal (default)\n");
    session.kiln(["build", "--call=targets,format=json", context]).ok().prints(&["\"default\": true"]);
    session.kiln(["build", "--call=outline", "--target=fnal", context]).fails(1).says(&["did you mean \"final\"?"]);
    session.kiln(["build", "--call=describe", context]).fails(125).says(&["outline or targets"]);
}
