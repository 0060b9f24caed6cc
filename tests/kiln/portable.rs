//! The statically linked kiln, which `./test` builds and names in `KILN_STATIC`: it runs wherever there
//! is a kernel, and does what the other does.

use std::fs;
use std::path::PathBuf;

use crate::session::Session;

fn static_kiln() -> Option<PathBuf> {
    let path = std::env::var_os("KILN_STATIC").map(PathBuf::from);
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI has no static kiln: ./test builds it");
        eprintln!("skipped: KILN_STATIC names no static kiln");
    }
    path
}

/// Whether an ELF file names a dynamic linker: a program header of type PT_INTERP (elf(5)).
fn wants_linker(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().expect("two bytes"));
    let first = u64::from_le_bytes(elf[0x20..0x28].try_into().expect("eight bytes")) as usize;
    let (size, count) = (usize::from(word(0x36)), usize::from(word(0x38)));
    (0..count).any(|number| {
        let at = first + number * size;
        u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes")) == PT_INTERP
    })
}

#[test]
fn a_static_kiln_builds_and_runs() {
    let Some(program) = static_kiln() else { return };
    assert!(!wants_linker(&fs::read(&program).expect("read the static kiln")));
    let Some(session) = Session::of(&program).and_busybox() else { return };
    session.write("app/greeting", "hello\n");
    let context = session.context(
        "app",
        "FROM busybox\nCOPY greeting /\nRUN cat greeting greeting > /twice\nCMD [\"cat\", \"/twice\"]\n",
    );
    let id = session.build("app", &context);
    assert_eq!(session.kiln(["run", "--rm", "--network=none", "app"]).ok().stdout, "hello\nhello\n");
    assert_eq!(session.build("app", &context), id);
    session.kiln(["run", "-d", "--name", "there", "--network=none", "app", "sleep", "60"]).ok();
    session.kiln(["rm", "-f", "there"]).ok();
    // Names are looked up by the system's resolver, which a static program has to find by itself.
    session.kiln(["pull", "localhost:1/none"]).fails(1).says(&["localhost:1"]);
}
