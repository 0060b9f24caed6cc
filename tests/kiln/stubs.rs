//! Large contents exist once, and nothing that looks at a root filesystem can tell.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::session::Session;

const MEBIBYTE: u64 = 1 << 20;

/// Large files on every level; overwritten, removed, linked, made anew, and changed in their mode alone.
const DOCKERFILE: &str = "FROM busybox
RUN yes 1 | head -c 1048576 > /one && ln /one /one-too && mkdir /d /gone && yes 2 | head -c 1048576 > /d/two && cp /one /gone/one
RUN yes 3 | head -c 1048576 > /three && rm -r /d /gone && mkdir /d && yes 4 | head -c 1048576 > /d/four
COPY five /five
RUN chmod 4711 /three && yes 6 | head -c 1048576 > /one-too && mkdir /gone && yes 7 | head -c 1048576 > /gone/seven
";

/// What is where: first bytes, sizes, modes, links, names, and how many devices all of it is on.
const LOOK: &str = "for file in /one /one-too /three /d/four /five /gone/seven; do
  echo $file $(head -c 1 $file) $(wc -c < $file) $(stat -c '%a %h' $file)
done
ls -d /d/* /gone/*
stat -c %d /one /one-too /three /d /d/four /five /gone/seven /bin/busybox | sort -u | wc -l";

const SEEN: &str = "/one 1 1048576 644 1
/one-too 6 1048576 644 1
/three 3 1048576 4711 1
/d/four 4 1048576 644 1
/five 5 1048576 644 1
/gone/seven 7 1048576 644 1
/d/four
/gone/seven
1
";

/// Builds on large files, runs, changes, compares and commits them; then weighs the store.
pub(crate) fn large_contents_exist_once(session: &Session) {
    session.write("heavy/five", vec![b'5'; 1 << 20]);
    let context = session.context("heavy", DOCKERFILE);
    session.build("heavy", &context);
    assert_eq!(session.run("heavy", LOOK).replace(" 644 2\n", " 644 1\n"), SEEN);
    let script = "echo more >> /three; chmod 600 /five; rm /d/four; mv /gone/seven /seven";
    session.kiln(["run", "--name", "changed", "--network=none", "heavy", "sh", "-c", script]).ok();
    session.kiln(["diff", "changed"]).ok().prints(&["C /three", "C /five", "D /d/four", "A /seven", "D /gone/seven"]);
    session.kiln(["cp", "changed:/one", "one"]).ok();
    assert_eq!(fs::read(session.path("one")).expect("the copy"), b"1\n".repeat(1 << 19));
    session.kiln(["commit", "changed", "heavy:v2"]).ok();
    let look = "wc -c < /three; stat -c %a /five; ls /d /gone; wc -c < /seven";
    assert_eq!(session.run("heavy:v2", look), "1048581\n600\n/d:\n\n/gone:\n1048576\n");
    session.kiln(["rm", "changed"]).ok();
    let driver = session.kiln(["info", "--format", "{{.RootFilesystems}}"]).ok().stdout;
    if driver.trim() != "overlay stubs" {
        eprintln!("skipped: the weight, as {} is used", driver.trim());
        return;
    }
    let checkouts = disk_bytes(&session.store().join("checkouts"));
    assert!(checkouts < MEBIBYTE, "{checkouts} bytes of checkouts hold no content of a mebibyte");
    let used = session.kiln(["store", "du"]).ok().stdout;
    assert!(!used.contains("twice"), "{used}");
}

fn disk_bytes(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path).expect("what was listed");
    let below =
        if metadata.is_dir() { fs::read_dir(path).expect("a directory") } else { return metadata.blocks() * 512 };
    metadata.blocks() * 512 + below.map(|entry| disk_bytes(&entry.expect("an entry").path())).sum::<u64>()
}

#[test]
fn as_whoever_this_is() {
    let Some(session) = Session::with_busybox() else { return };
    large_contents_exist_once(&session);
}
