//! What a build that cannot be done says: the line, its excerpt, the cause, and what to do.

use crate::session::{Ran, Session};

/// A session with an image and a context that has a few files.
fn session() -> Option<Session> {
    let session = Session::with_busybox()?;
    session.write("app/README.md", "x");
    session.write("app/src/main.rs", "x");
    session.write("app/.dockerignore", "# what stays here\n*.log\n");
    Some(session)
}

fn refused(session: &Session, dockerfile: &str, flags: &[&str]) -> String {
    session.write("app/Dockerfile", dockerfile);
    let Ran { code, stderr, .. } = session.kiln(["build"].iter().chain(flags).chain(&["app"]));
    assert_eq!(code, 1, "{dockerfile}: {stderr}");
    stderr
}

/// A097, A177: a source that is not there names what may have been meant, and the pattern that hides it; all that are
/// missing are named at once.
#[test]
fn a097_a_missing_source_is_explained() {
    let Some(session) = session() else { return };
    for (dockerfile, parts) in [
        ("FROM busybox\nCOPY readme.md /\n", vec![r#""/readme.md": not found: did you mean "README.md"?"#, ":2:1"]),
        ("FROM busybox\nADD x.log /\n", vec![r#""/x.log": not found: it is excluded by .dockerignore, line 2: *.log"#]),
        ("FROM busybox\nCOPY none/*.txt /\n", vec![r#""/none/*.txt": not found"#]),
        ("FROM busybox\nCOPY --parents scr/main.rs /\n", vec!["did you mean"]),
        ("FROM busybox\nCOPY --from=busybox /bin/shh /\n", vec![r#"did you mean "/bin/sh"?"#]),
        ("FROM busybox\nRUN --mount=source=scr,target=/x true\n", vec![r#"cannot mount "/scr": not found"#, "/src"]),
        (
            "FROM busybox\nCOPY main.rs /\nCOPY x.log /\nCOPY README.md /\nCOPY y.log /\n",
            vec!["did you mean \"src/main.rs\"? (nor is what line 3 and line 5 copy)", "3 | COPY x.log /\n"],
        ),
    ] {
        let stderr = refused(&session, dockerfile, &[]);
        for part in parts {
            assert!(stderr.contains(part), "{dockerfile}: {part}: {stderr}");
        }
    }
}
