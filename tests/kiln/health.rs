//! HEALTHCHECK in containers (H039): what is looked at, what becomes of it, and where it is told.

use std::thread::sleep;
use std::time::Duration;

use crate::running::eventually;
use crate::session::{Session, is_root};

impl Session {
    /// A container that idles, with a health check that is done over and over.
    fn watched(&self, name: &str, flags: &[&str]) {
        let quick = ["--health-interval=20ms", "--health-start-interval=20ms", "--network=none", "--name", name];
        self.background(&[flags, &quick, &["busybox", "sleep", "600"]].concat());
    }

    fn health(&self, name: &str) -> String {
        self.field(name, "{{.State.Health.Status}}")
    }
}

#[test]
fn h039_starting_then_unhealthy_then_healthy_and_told() {
    let Some(session) = Session::with_busybox() else { return };
    session.watched("well", &["--health-cmd", "echo looked >&2; test -e /well", "--health-retries=2"]);
    session.background(&["--name", "plain", "--network=none", "busybox", "sleep", "600"]);
    eventually(|| session.health("well") == "unhealthy");
    session.kiln(["ps", "--filter", "health=unhealthy"]).ok().prints(&["well", " (unhealthy)"]);
    session.kiln(["exec", "well", "touch", "/well"]).ok();
    eventually(|| session.health("well") == "healthy");
    assert_eq!(session.field("well", "{{.State.Health.FailingStreak}}"), "0");
    session.kiln(["ps"]).ok().prints(&[" (healthy)"]);
    eventually(|| session.field("well", "{{len .State.Health.Log}}") == "5");
    let last = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
    eventually(|| session.field("well", last) == ["0 looked"; 5].join("\n"));
    for (health, names) in [("none", "plain\n"), ("healthy", "well\n"), ("starting", "")] {
        let shown = session.kiln(["ps", "--format", "{{.Names}}", "-f", &format!("health={health}")]).ok().stdout;
        assert_eq!(shown, names, "{health}");
    }
    session.kiln(["ps", "-f", "health=odd"]).fails(1).says(&["health=odd"]);
    assert_eq!(session.field("plain", "{{if .State.Health}}looked at{{else}}nobody looks{{end}}"), "nobody looks");
    let check = session.field("well", "{{json .Config.Healthcheck}}");
    assert!(check.contains(r#""Test":["CMD-SHELL","echo looked >&2; test -e /well"]"#), "{check}");
    assert!(check.contains(r#""Interval":20000000"#) && check.contains(r#""Retries":2"#), "{check}");
    session.kiln(["stop", "-t0", "well"]).ok();
    assert_eq!(session.health("well"), "unhealthy");
    let status = session.kiln(["ps", "-a", "--filter", "name=well", "--format", "{{.Status}}"]).ok().stdout;
    assert!(status.starts_with("Exited (137)") && !status.contains("healthy"), "{status}");
}

/// What fails in the start period does not count.
#[test]
fn h039_a_start_period_is_patient() {
    let Some(session) = Session::with_busybox() else { return };
    session.watched("slow", &["--health-cmd=false", "--health-retries=1", "--health-start-period=1h"]);
    eventually(|| session.field("slow", "{{len .State.Health.Log}}") == "5");
    assert_eq!(session.field("slow", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"), "starting 0");
    session.kiln(["ps"]).ok().prints(&[" (health: starting)"]);
}

/// A probe that takes too long is killed with what it has started, and one that is not there is a failure.
#[test]
fn h039_probes_that_do_not_end_well() {
    let Some(session) = Session::with_busybox() else { return };
    let command = "echo begun; sleep 987 & wait";
    session.watched("slow", &["--health-cmd", command, "--health-timeout=50ms", "--health-retries=1"]);
    eventually(|| session.health("slow") == "unhealthy");
    let first = session.field("slow", "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(first.starts_with("-1 Health check exceeded timeout (50ms)"), "{first}");
    session.write("check/Dockerfile", "FROM busybox\nHEALTHCHECK --interval=20ms CMD [\"/nowhere\"]\nCMD sleep 600\n");
    session.build("check", &session.path("check"));
    session.background(&["--name", "missing", "--network=none", "check"]);
    eventually(|| session.health("missing") == "unhealthy");
    let first = session.field("missing", "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(first.starts_with("-1 ") && first.contains("/nowhere"), "{first}");
    let output = "{{range .State.Health.Log}}{{.Output}}{{end}}";
    let long = "head -c 5000 /dev/zero | tr '\\0' x; false";
    session.watched("long", &["--health-cmd", long, "--health-retries=1"]);
    eventually(|| session.health("long") == "unhealthy");
    let said = session.field("long", output);
    assert!(said.starts_with(&format!("{}...", "x".repeat(4096))), "{} bytes", said.len());
}

/// The image's check, the shell that it is written in, what flags put in its place, and what a commit keeps.
#[test]
fn h039_of_the_image() {
    let Some(session) = Session::with_busybox() else { return };
    let dockerfile = "FROM busybox\nSHELL [\"/bin/busybox\", \"ash\", \"-c\"]\n\
        HEALTHCHECK --interval=20ms --retries=7 CMD ls -l /proc/$$/exe; echo $NAME as $(id -u) in $PWD\n\
        ENV NAME=value\nUSER user\nWORKDIR /tmp\nCMD sleep 600\n";
    session.build("check", &session.context("check", dockerfile));
    session.background(&["--name", "own", "--network=none", "check"]);
    eventually(|| session.health("own") == "healthy");
    let said = session.field("own", "{{with index .State.Health.Log 0}}{{.Output}}{{end}}");
    assert!(said.contains("busybox") && said.ends_with("value as 1000 in /tmp"), "{said}");
    session.background(&["--name", "other", "--network=none", "--health-cmd=exit 3", "check"]);
    eventually(|| session.health("other") == "unhealthy");
    assert_eq!(session.field("other", "{{.Config.Healthcheck.Retries}}"), "7");
    session.background(&["--name", "unwatched", "--network=none", "--no-healthcheck", "check"]);
    assert_eq!(
        session.field("unwatched", "{{json .Config.Healthcheck.Test}} {{json .State.Health}}"),
        r#"["NONE"] null"#
    );
    session.kiln(["commit", "other", "kept"]).ok();
    let kept = session.kiln(["image", "inspect", "-f", "{{json .Config.Healthcheck.Test}}", "kept"]).ok().stdout;
    assert_eq!(kept, "[\"CMD-SHELL\",\"exit 3\"]\n");
    for (flags, words) in [
        (&["--no-healthcheck", "--health-retries=3"][..], "--no-healthcheck conflicts"),
        (&["--health-interval=-1s"], "invalid duration"),
        (&["--health-timeout=3us"], "1ms or more"),
        (&["--health-retries=-3"], "--health-retries"),
    ] {
        session.once(&[flags, &["check", "true"]].concat()).fails(125).says(&[words]);
    }
}

/// Nobody looks at a container that stands still, and its monitor takes little.
#[test]
fn h039_a_paused_container_is_let_alone() {
    let Some(session) = Session::with_busybox() else { return };
    session.watched("still", &["--health-cmd=true"]);
    eventually(|| session.health("still") == "healthy");
    if !is_root() || session.kiln(["pause", "still"]).code != 0 {
        eprintln!("skipped: no freezer here");
        return;
    }
    let log = "{{range .State.Health.Log}}{{.Start}} {{end}}";
    let before = session.field("still", log);
    sleep(Duration::from_millis(200));
    assert_eq!(session.field("still", log), before);
    session.kiln(["unpause", "still"]).ok();
    eventually(|| session.field("still", log) != before && session.health("still") == "healthy");
    let id = session.field("still", "{{.Id}}");
    let state =
        std::fs::read_to_string(session.store().join("containers").join(id).join("state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let monitor = &state["phase"]["running"]["monitor_pid"];
    let status = std::fs::read_to_string(format!("/proc/{monitor}/status")).expect("a monitor");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 3 * 1024, "{kib} KiB");
}
