//! What is cached, what is not, and what kiln tells about it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::session::Session;

/// A build, with everything that it said.
fn said(session: &Session, context: &Path, more: &[&str]) -> String {
    let arguments = ["build", "--progress", "plain", "-t", "app", context.to_str().unwrap()];
    session.kiln(arguments.iter().chain(more)).ok().stderr
}

fn why(session: &Session, step: &str) -> String {
    session.kiln(["why", step]).ok().stdout
}

#[test]
fn why_names_what_changed() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session
        .context("app", "FROM busybox\nARG WHO=one\nCOPY src /src\nRUN echo $WHO > /who\nRUN cat /src/a > /out\n");
    let (a, _) = (session.write("app/src/a", "1"), session.write("app/src/b", "1"));
    said(&session, &context, &[]);
    assert!(why(&session, "COPY").contains("because no earlier run of it is known"));
    said(&session, &context, &[]);
    assert!(why(&session, "COPY src").contains("reused: it ran with the same inputs"));
    fs::write(&a, "22").unwrap();
    let dry = session.kiln(["build", "--dry-run", context.to_str().unwrap()]).ok().stdout;
    assert!(dry.contains("would run, because src/a changed"), "{dry}");
    assert!(dry.contains("depends on what runs before"), "{dry}");
    assert!(said(&session, &context, &[]).contains("runs because src/a changed\n"));
    assert!(why(&session, "copy").contains("because src/a changed\n"));
    assert!(why(&session, "3").contains("COPY src /src"), "the number that the build showed");
    assert!(why(&session, "echo").contains("because what COPY src /src made changed\n"));
    said(&session, &context, &["--build-arg", "WHO=two"]);
    assert!(why(&session, "echo").contains("because variable WHO changed: one -> two"));
    said(&session, &context, &["--no-cache"]);
    assert!(why(&session, "cat").contains("because of --no-cache"));
    let reasons = session.kiln(["why", "--format", "{{.Number}} {{.Outcome}} {{.Reason}}"]).ok().stdout;
    assert!(reasons.starts_with("3 built of --no-cache\n"), "{reasons}");
}

#[test]
fn why_tells_of_the_base_and_of_what_is_gone() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "ARG BASE=busybox\nFROM $BASE\nRUN cat /etc/passwd > /out\n");
    said(&session, &context, &[]);
    let base = session.context("base", "FROM busybox\nRUN echo other:x:7:7::/: >> /etc/passwd\n");
    session.build("other", &base);
    session.kiln(["tag", "busybox", "first"]).ok();
    session.kiln(["tag", "other", "busybox"]).ok();
    assert!(said(&session, &context, &[]).contains("runs because the base image busybox:latest changed"));
    let key = session.kiln(["cache", "ls", "--format", "{{.Key}} {{.Step}}"]).ok().stdout;
    let key = key.lines().find(|line| line.contains("cat /etc")).unwrap().split(' ').next().unwrap().to_owned();
    assert!(why(&session, &key).contains("the base image busybox:latest changed"));
    session.kiln(["store", "rm", &key]).ok();
    assert!(said(&session, &context, &[]).contains("runs because its result is no longer in the store"));
    session.kiln(["rmi", "app"]).ok();
    session.kiln(["store", "gc"]).ok();
    assert!(said(&session, &context, &[]).contains("runs because its result was collected"));
}

#[test]
fn why_knows_builds_that_failed() {
    let Some(session) = Session::with_busybox() else { return };
    session.kiln(["why"]).fails(1).says(&["the store remembers no build"]);
    let context = session.context("app", "FROM busybox\nRUN echo fine\nRUN exit 3\n");
    session.kiln(["build", context.to_str().unwrap()]).fails(1);
    let told = session.kiln(["why"]).ok().says(&["failed to build"]).stdout;
    assert!(told.contains("RUN echo fine\n    ran in"), "{told}");
    assert!(told.contains("RUN exit 3\n    failed after"), "{told}");
    session.kiln(["why", "nonsense"]).fails(1).says(&["no step", "nonsense"]);
}

#[test]
fn the_cache_can_be_looked_at() {
    let Some(session) = Session::with_busybox() else { return };
    let context = session.context("app", "FROM busybox\nCOPY data /data\nRUN echo hello > /hello\n");
    session.write("app/data", "data");
    said(&session, &context, &[]);
    said(&session, &context, &[]);
    session.kiln(["cache", "ls"]).ok().prints(&["KEY", "RUN echo hello > /hello", "COPY data /data", "present"]);
    let keys = session.kiln(["cache", "ls", "-q"]).ok().stdout;
    let uses = session.kiln(["cache", "ls", "--format", "{{.Hits}}"]).ok().stdout;
    assert_eq!(uses, "1\n1\n");
    let run = keys.lines().next().unwrap();
    session.kiln(["cache", "show", run]).ok().prints(&[
        "echo hello > /hello",
        "root filesystem",
        "variable PATH",
        "hits   1",
    ]);
    let shown = session.kiln(["cache", "show", "--format", "json", run]).ok().stdout;
    assert!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["Inputs"].is_array());
    session.kiln(["cache", "show", "xyz"]).fails(1).says(&["xyz"]);
    let used = session.kiln(["store", "du", "-v", "--format", "json"]).ok().stdout;
    assert!(used.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["Bytes"].is_u64()));
    session.kiln(["store", "gc", "--dry-run"]).ok().prints(&["would free"]);
    assert_eq!(said(&session, &context, &[]).matches("CACHED").count(), 2, "a dry run removes nothing");
    session.kiln(["store", "verify"]).ok().says(&["0 faults"]);
    let key = rows(&session.kiln(["store", "rm", "--format", "json", run]).ok().stdout);
    assert!(key.len() == 1 && key[0]["Key"].as_str().unwrap().starts_with(run));
    session.kiln(["rmi", "app"]).ok();
    let gone = rows(&session.kiln(["store", "gc", "--format", "json"]).ok().stdout);
    let total = gone.last().unwrap();
    assert!(gone.iter().any(|row| row["Type"] == "layer" && row["ID"].as_str().unwrap().len() == 71), "{gone:?}");
    assert!(total["Type"] == "all" && total["Bytes"].as_u64().unwrap() > 0);
    assert_eq!(session.kiln(["store", "verify", "--format", "json"]).ok().stdout, "");
}

/// An object a line, as programs read it.
fn rows(printed: &str) -> Vec<serde_json::Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_damaged_store_is_told() {
    let Some(session) = Session::with_busybox() else { return };
    let object = fs::read_dir(session.store().join("objects")).unwrap().next().unwrap().unwrap().path();
    let object = fs::read_dir(object).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&object).unwrap();
    fs::write(&object, "nonsense").unwrap();
    let told = session.kiln(["store", "verify"]).fails(1).says(&["2 faults"]);
    told.prints(&[object.file_name().unwrap().to_str().unwrap()]);
    let faults = rows(&session.kiln(["store", "verify", "--format", "json"]).fails(1).stdout);
    assert!(faults.len() == 2 && faults.iter().any(|fault| fault["Type"] == "object"), "{faults:?}");
}

#[test]
fn what_no_command_sees_runs_nothing() {
    let Some(session) = Session::with_busybox() else { return };
    let steps = "FROM busybox\nRUN env > /env\nWORKDIR /app\nRUN echo x > y\n";
    let context = session.context("app", steps);
    said(&session, &context, &[]);
    let metadata = "LABEL a=b\nCMD [\"sh\"]\nEXPOSE 80\nSTOPSIGNAL 9\nENTRYPOINT [\"env\"]\nVOLUME /v\n";
    session.context("app", &steps.replace("FROM busybox\n", &format!("FROM busybox\n{metadata}")));
    let again = said(&session, &context, &["--label", "c=d"]);
    assert_eq!(again.matches("CACHED").count(), 3, "{again}");
    let proxied = said(&session, &context, &["--build-arg", "http_proxy=http://192.0.2.1:3128"]);
    assert_eq!(proxied.matches("CACHED").count(), 3, "{proxied}");
}

/// Rules C057, C081.
#[test]
fn the_clock_of_the_build_reaches_commands_and_files() {
    let Some(session) = Session::with_busybox() else { return };
    let context =
        session.context("app", "FROM busybox\nCOPY file /\nRUN echo $SOURCE_DATE_EPOCH > /epoch; touch /new\n");
    let file = session.write("app/file", "");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
    let times = "cat /epoch; stat -c %Y /file /new";
    said(&session, &context, &[]);
    assert_eq!(session.run("app", times), "315532800\n315532800\n315532800\n");
    said(&session, &context, &["--build-arg", "SOURCE_DATE_EPOCH=1500000000"]);
    assert_eq!(session.run("app", times), "1500000000\n1500000000\n1500000000\n");
    said(&session, &context, &["--timestamps=preserve"]);
    let kept = session.run("app", times);
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(lines[..2], ["", "1000000000"]);
    assert!(lines[2].parse::<u64>().unwrap() > 1_600_000_000, "{kept}");
}

#[test]
fn secrets_leave_no_trace() {
    let Some(session) = Session::with_busybox() else { return };
    let secret = "hunter2-kiln-was-here";
    let run =
        "--mount=type=secret,id=key --mount=type=secret,id=key,env=KEY test \"$KEY\" = \"$(cat /run/secrets/key)\"";
    let context = session.context("app", &format!("FROM busybox\nRUN {run}\n"));
    let file = session.write("secret", secret);
    said(&session, &context, &["--secret", &format!("id=key,src={}", file.display())]);
    assert!(!session.run("app", "find / -xdev -name key -o -xdev -name secrets").contains("run"));
    for (path, bytes) in files_below(&session.store()) {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{path}");
    }
}

#[test]
fn make_in_a_cache_mount_sees_every_edit() {
    let Some(session) = Session::with_busybox() else { return };
    let context =
        session.context("app", "FROM busybox\nCOPY . /src\nRUN --mount=type=cache,target=/cache cd /src && sh make\n");
    // Stops at the first module that is broken, as make does.
    session.write(
        "app/make",
        "set -e\nfor m in a b; do\n  [ $m.c -nt /cache/$m.o ] || [ ! -e /cache/$m.o ] || continue\n  grep -q broken $m.c && exit 1\n  echo compile $m\n  cp $m.c /cache/$m.o\ndone\nmkdir -p /out\ncat /cache/*.o > /out/app\n",
    );
    let edit = |name: &str, text: &str| {
        // busybox compares whole seconds.
        std::thread::sleep(Duration::from_millis(1050));
        session.write(&format!("app/{name}.c"), text);
    };
    let app = || session.run("app", "cat /out/app");
    edit("a", "a1\n");
    edit("b", "b1\n");
    said(&session, &context, &[]);
    assert_eq!(app(), "a1\nb1\n");
    edit("b", "b2\n");
    let edited = said(&session, &context, &[]);
    assert!(edited.contains("compile b") && !edited.contains("compile a"), "{edited}");
    assert_eq!(app(), "a1\nb2\n");
    edit("a", "broken\n");
    edit("b", "b3\n");
    session.kiln(["build", context.to_str().unwrap()]).fails(1);
    edit("a", "a2\n");
    said(&session, &context, &[]);
    assert_eq!(app(), "a2\nb3\n", "what a failed make did not come to is not forgotten");
}

/// All regular files below a directory, with their bytes.
fn files_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        match fs::symlink_metadata(&path).unwrap().file_type() {
            kind if kind.is_dir() => files.extend(files_below(&path)),
            kind if kind.is_file() => files.push((path.display().to_string(), fs::read(&path).unwrap())),
            _ => {}
        }
    }
    files
}
