//! What makes a step run again, and what does not. Each test is named for the rules of docs/dockerfile.md that it holds.

mod house;

use std::time::{Duration, UNIX_EPOCH};

use builder::progress::Outcome;
use builder::request::ContextDirectory;
use house::House;

/// How many commands a build runs.
fn runs(house: &House, dockerfile: &str) -> usize {
    house.build(dockerfile);
    house.runs()
}

#[test]
fn a038_d012_the_text_of_a_command_is_what_the_shell_gets() {
    let house = House::new();
    for (dockerfile, expected, why) in [
        ("FROM base\nRUN <<E\ncount /n\nE\n", 1, "new"),
        ("FROM base\n# note\nRUN <<E\ncount /n\nE\n", 0, "a comment"),
        ("FROM base\nRUN <<OTHER\ncount /n\nOTHER\n", 0, "another end, the same body"),
        ("FROM base\nRUN <<E\ncount /m\nE\n", 1, "another body"),
        ("FROM base\nRUN count /n\n", 1, "no new line at the end"),
        ("FROM base\nRUN \\\n# note\n  count /n\n", 0, "nor are comments and blanks before it"),
    ] {
        assert_eq!(runs(&house, dockerfile), expected, "{why}");
    }
}

/// Traps 13 and 41: where the context is and how old its files are does not matter, what they hold does, even if
/// neither size nor time tells.
#[test]
fn d008_a_context_is_what_its_files_hold() {
    let house = House::new();
    let write = |text: &str| {
        house.file("f", text);
        let file = std::fs::File::options().write(true).open(house.context.join("f")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_600_000_000)).unwrap();
    };
    let dockerfile = "FROM base\nCOPY . /x\nRUN count /n\n";
    write("one");
    assert_eq!(runs(&house, dockerfile), 1);
    let moved = house.context.with_file_name("moved");
    std::fs::create_dir(&moved).unwrap();
    std::fs::write(moved.join("f"), "one").unwrap();
    let mut request = house.request(dockerfile);
    request.context = Some(ContextDirectory { path: moved, ignore_file: None }.into());
    house.try_build(&request).unwrap();
    assert_eq!(house.runs(), 0);
    write("two");
    assert_eq!(runs(&house, dockerfile), 1);
}

/// Trap 14: modes are content.
#[test]
fn d004_a_mode_is_content() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    house.file("f", "1");
    let mode = |mode| std::fs::set_permissions(house.context.join("f"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let dockerfile = "FROM base\nCOPY f /f\nRUN count /n\n";
    assert_eq!(runs(&house, dockerfile), 1);
    mode(0o755);
    assert_eq!(runs(&house, dockerfile), 1);
}

/// A directory is made again for another owner, path or parent, and not for another history.
#[test]
fn d009_a_working_directory_is_a_step() {
    let house = House::new();
    let outcome = |dockerfile: &str| {
        let built = house.build(dockerfile);
        let step = built.steps.iter().find(|step| step.step.text.starts_with("WORKDIR")).unwrap();
        matches!(step.outcome, Outcome::Hit { .. })
    };
    assert!(!outcome("FROM base\nWORKDIR /data/w\n"));
    assert!(outcome("FROM base\nRUN write /elsewhere 1\nWORKDIR /data/w\n"));
    assert!(!outcome("FROM base\nUSER app\nWORKDIR /data/w\n"));
    assert!(!outcome("FROM base\nWORKDIR /data/v\n"));
    assert!(!outcome("FROM base\nCOPY --chmod=711 . /data/\nRUN write /data/w/x 1\nWORKDIR /data/w\n"));
}

/// A linked layer is the same whatever it lies on; another one carries the directories above.
#[test]
fn d014_a_linked_copy_knows_no_base() {
    let house = House::new();
    house.file("f", "1");
    let last =
        |from: &str, flag: &str| *house.build(&format!("FROM {from}\nCOPY {flag} f /data/f\n")).layers.last().unwrap();
    assert_eq!(last("base", "--link"), last("scratch", "--link"));
    assert_ne!(last("base", ""), last("scratch", ""), "/data of the base is 700");
}

#[test]
fn d015_the_same_step_in_two_stages_runs_once() {
    let house = House::new();
    let dockerfile = "FROM base AS a\nRUN count /n\nFROM base AS b\nLABEL b=b\nRUN count /n\n\
                      FROM scratch\nCOPY --from=a /n /a\nCOPY --from=b /n /b\n";
    let mut request = house.request(dockerfile);
    request.jobs = std::num::NonZeroUsize::new(4).unwrap();
    let built = house.try_build(&request).unwrap();
    assert_eq!(house.runs(), 1);
    let files = house.files(&built);
    assert_eq!(files["/a"], files["/b"]);
}
