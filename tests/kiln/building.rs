//! From a Dockerfile to an image, as a user types it.

use crate::session::Session;
use crate::terminal::Terminal;

#[test]
fn a_second_build_runs_nothing_and_makes_the_same_image() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session
        .context("app", "FROM busybox\nWORKDIR /srv\nCOPY note .\nRUN cat note > copy\nCMD [\"cat\", \"copy\"]\n");
    session.write("app/note", "hello\n");
    let first = session.build("app", &context);
    let again = session.kiln(["build", "--progress=plain", "-t", "app", context.to_str().unwrap()]).ok();
    assert_eq!(again.stderr.matches("CACHED").count(), 3, "{}", again.stderr);
    assert_eq!(session.build("app", &context), first);
    assert_eq!(session.kiln(["run", "--rm", "--net", "none", "app"]).ok().stdout, "hello\n");
}

#[test]
fn two_stores_make_the_same_image_of_the_same_sources() {
    let (Some(one), Some(other)) = (Session::with_busybox(), Session::with_busybox()) else { return };
    let ids = [&one, &other].map(|session| {
        let context = session.context(
            "app",
            "FROM busybox\nCOPY . /app\nRUN mkdir /new; touch /new/file; echo $SOURCE_DATE_EPOCH > /epoch\n",
        );
        session.write("app/a/b", "content");
        session.build("app", &context)
    });
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn an_equal_result_leaves_what_follows_cached() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context(
        "app",
        "FROM busybox\nRUN --mount=type=bind,source=noise,target=/noise cat /noise; echo fixed > /out\nRUN cp /out /out2\n",
    );
    session.write("app/noise", "first");
    let id = session.build("app", &context);
    session.write("app/noise", "second");
    let again = session.kiln(["build", "--progress=plain", "-t", "app", context.to_str().unwrap()]).ok();
    assert!(again.stderr.contains("second"), "the step that reads the file runs again: {}", again.stderr);
    assert_eq!(again.stderr.matches("CACHED").count(), 1, "what follows does not: {}", again.stderr);
    assert_eq!(session.build("app", &context), id);
}

#[test]
fn stages_that_the_target_does_not_need_do_not_run() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context(
        "app",
        "FROM busybox AS broken\nRUN false\nFROM nowhere.invalid/none AS unreachable\nFROM busybox AS made\nRUN echo made > /made\nFROM scratch\nCOPY --from=made /made /made\n",
    );
    session.build("app", &context);
}

#[test]
fn a_failing_step_shows_its_line_status_and_log() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM busybox\nRUN echo before\nRUN echo the reason >&2; exit 7\n");
    let failed = session.kiln(["build", context.to_str().unwrap()]).fails(1);
    failed.says(&["Dockerfile", "RUN echo the reason", "3", "exit code: 7", "the reason"]);
}

#[test]
fn what_is_wrong_with_a_dockerfile_is_shown_with_its_line() {
    let Some(session) = Session::with_busybox() else { return };
    for (dockerfile, words) in [
        ("FROM busybox\nRUNN true\n", &["RUNN", "unknown instruction", "RUN"][..]),
        ("FROM busybox\nCOPY --form=x a b\n", &["--form", "from"]),
        ("FROM busybox\nCOPY gone /\n", &["gone", "not found"]),
        ("FROM not/here:1\nRUN true\n", &["not/here:1"]),
        ("RUN true\n", &["no build stage"]),
        ("", &["no instructions"]),
    ] {
        let context = session.context("app", dockerfile);
        session.kiln(["build", context.to_str().unwrap()]).fails(1).says(words);
    }
}

/// Whoever wrote a context chose what its Dockerfile is; `-f` is the user's own word.
#[test]
fn a_dockerfile_shows_no_file_outside_of_its_context() {
    let session = Session::new();
    let outside = session.write("outside", "a secret of this machine\n");
    let context = session.context("context", "FROM scratch\n");
    std::fs::remove_file(context.join("Dockerfile")).expect("the Dockerfile");
    std::os::unix::fs::symlink(&outside, context.join("Dockerfile")).expect("a link");
    let refused = session.kiln(["build".as_ref(), context.as_os_str()]).fails(1).says(&["Dockerfile"]);
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    session
        .kiln(["build".as_ref(), "-f".as_ref(), outside.as_os_str(), context.as_os_str()])
        .fails(1)
        .says(&["secret"]);
}

/// threats.md A44: what others chose reaches a program as it is, and a terminal only harmlessly.
#[test]
fn a_label_does_not_drive_the_terminal() {
    let session = Session::new();
    session.build("app", &session.context("app", "FROM scratch\nLABEL a=\"be\u{1b}]0;pwn\u{7}\u{1b}[2Jfore\"\n"));
    let arguments = ["inspect", "-f", "{{.Config.Labels.a}} after", "app"];
    assert_eq!(session.kiln(arguments).ok().stdout, "be\u{1b}]0;pwn\u{7}\u{1b}[2Jfore after\n");
    let mut command = session.command();
    command.args(arguments);
    Terminal::run(command).shows("before after");
}
