//! Tars that others wrote, and what others make of ours. Each test skips, and says so, where the
//! other program is not installed.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::tar::{Kind, Reader};

/// Runs a program in a directory; `None`, with a word about it, where it is not installed.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new(program).args(arguments).current_dir(directory).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: cannot run {program}: {error}");
            return None;
        }
    };
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    Some(output.stdout)
}

fn shell(directory: &Path, script: &str) -> Option<Vec<u8>> {
    run(directory, "sh", &["-ec", script])
}

/// Imports, and checks that reading back gives the same bytes.
fn import(store: &Store, tar: &[u8]) -> Layer {
    let layer = store.import_layer(tar, Some(DiffId(Digest::of(tar)))).unwrap();
    assert!(all(layer.read().unwrap()) == tar, "reads back differently");
    assert!(layer.verify().unwrap());
    layer
}

/// Every path with kind, mode, owner, seconds and content, as any tar format can hold them.
fn listing(layer: &Layer) -> Vec<String> {
    let tree = layer.change().unwrap().apply(&Tree::empty(Timestamp::default())).unwrap();
    let contents = layer.contents().unwrap();
    let show = |(path, entry): (RelPath, &crate::tree::Entry)| {
        let Metadata { mode, uid, gid, mtime, .. } = &entry.metadata;
        let node = match &entry.node {
            Node::Directory(_) => "directory".to_owned(),
            Node::Leaf(Leaf::File { content, .. }) => {
                format!("file of {}", Digest::of(&all(contents.open(*content).unwrap())).short())
            }
            Node::Leaf(other) => format!("{other:?}"),
        };
        format!("{path} {mode:o} {uid}:{gid} {} {node}", mtime.secs)
    };
    let links = tree.hard_links().groups().iter().map(|group| format!("{group:?}"));
    tree.walk().map(show).chain(links).collect()
}

const PLANT: &str = r#"
    umask 022; mkdir -p in/d/empty; cd in
    printf small > d/small; head -c 40000 /dev/zero | tr '\0' x > d/large; : > d/nothing
    ln d/small d/again; ln -s ../d/./small d/link; mkfifo pipe
    printf name > "$(printf 'raw\377name')"; printf utf > 'naïve'
    if [ "$LONG" ]; then
        l=$(printf '%0120d' 0); printf long > "$l"; mkdir -p "$l.d/$l"; ln -s "$l/$l" longlink; ln "$l" "$l.d/$l/hard"
    fi
    [ "$(id -u)" != 0 ] || { mknod null c 1 3; mknod block b 7 200; chown 1000:2000 d/large; }
    chmod 4755 d/large; chmod 1777 d/empty; touch -h -d @1000000000 d/link
    find . ! -type l -exec touch -d @1234567890 {} +
"#;

/// E025, E027: names of any length and any bytes, from every format.
#[test]
fn gnu_tar_in_all_its_formats() {
    for (long, formats) in [("", &["v7", "ustar", "oldgnu", "gnu", "posix"][..]), ("1", &["oldgnu", "gnu", "posix"])] {
        let directory = tempfile::tempdir().unwrap();
        let Some(_) = shell(directory.path(), &format!("LONG={long}; {PLANT}")) else { return };
        let mut listings = Vec::new();
        for format in formats {
            // V7 has neither devices nor pipes.
            let without = "--exclude=./null --exclude=./block --exclude=./pipe";
            let script = format!("cd in; tar --format={format} --sort=name {without} -cf - . 2>/dev/null");
            let Some(tar) = shell(directory.path(), &script) else { return };
            let (_directory, store) = store();
            listings.push((format, listing(&import(&store, &tar))));
        }
        for (format, listing) in &listings {
            assert_eq!(listing, &listings[0].1, "{format}");
        }
        assert!(listings[0].1.iter().any(|line| line.starts_with("/raw\\xffname 644 ")));
    }
}

#[test]
fn gnu_tar_devices_and_attributes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(_) = shell(directory.path(), PLANT) else { return };
    let script = "cd in; setfattr -n user.color -v blue d/small 2>/dev/null || :; tar --xattrs --numeric-owner -cf - .";
    let Some(tar) = shell(directory.path(), script) else { return };
    let (_directory, store) = store();
    let layer = import(&store, &tar);
    let listing = listing(&layer).join("\n");
    assert!(listing.contains("/pipe 644 "), "{listing}");
    if rustix::process::geteuid().is_root() {
        assert!(listing.contains("Device { kind: Character, major: 1, minor: 3 }"), "{listing}");
        assert!(listing.contains("Device { kind: Block, major: 7, minor: 200 }"), "{listing}");
        assert!(listing.contains("/d/large 4755 1000:2000 1234567890"), "{listing}");
    }
    if tar.windows(10).any(|window| window == b"user.color") {
        let change = layer.change().unwrap();
        let Some(crate::tree::ChangeEntry::Leaf(metadata, _)) = change.get(&path("d/small")) else { panic!() };
        assert_eq!(metadata.xattrs.iter().collect::<Vec<_>>(), [(&b"user.color"[..], &b"blue"[..])]);
    } else {
        eprintln!("skipped: no extended attributes here");
    }
}

/// E029: every kind of sparse file that GNU tar writes.
#[test]
fn gnu_tar_sparse_files() {
    let directory = tempfile::tempdir().unwrap();
    let script = "
        printf start > holes; truncate -s 3000000 holes; printf end >> holes; truncate -s 4000000 holes
        truncate -s 1000000 hollow; printf tail > short; truncate -s 9000 short
        i=0; while [ $i -lt 60 ]; do printf part | dd of=many bs=1 seek=$((i * 20000)) conv=notrunc status=none; i=$((i + 1)); done";
    let Some(_) = shell(directory.path(), script) else { return };
    let plain = shell(directory.path(), "tar -cf - --format=ustar holes hollow short many").unwrap();
    let (_plain_directory, store) = store();
    let expected = listing(&import(&store, &plain));
    for options in ["--format=oldgnu", "--format=gnu"]
        .map(str::to_owned)
        .into_iter()
        .chain(["0.0", "0.1", "1.0"].map(|version| format!("--format=posix --sparse-version={version}")))
    {
        let script = format!("tar --sparse --hole-detection=raw {options} -cf - holes hollow short many");
        let tar = shell(directory.path(), &script).unwrap();
        assert!(tar.len() < plain.len() / 2, "{options} is not sparse");
        assert_eq!(listing(&import(&store, &tar)), expected, "{options}");
    }
}

/// E022, E023: large owners and early times.
#[test]
fn python_in_all_its_formats() {
    let script = r#"
import io, sys, tarfile
format, = sys.argv[1:]
out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=getattr(tarfile, format))
def add(name, kind=tarfile.REGTYPE, body=b'', **fields):
    entry = tarfile.TarInfo(name); entry.type = kind; entry.size = len(body)
    for key, value in fields.items(): setattr(entry, key, value)
    out.addfile(entry, io.BytesIO(body))
add('a', body=b'small', mode=0o644, mtime=7)
add('b' * 90 + '/' + 'c' * 90, body=b'x' * 20000, uid=1000, gid=1000)
add('link', tarfile.SYMTYPE, linkname='/a/../a')
add('hard', tarfile.LNKTYPE, linkname='a', mtime=7)
add('dir', tarfile.DIRTYPE, mode=0o755)
add('raw\udcff', body=b'')
if format != 'USTAR_FORMAT':
    add('d' * 200, body=b'long', uid=3000000000, mtime=-5)
    add('longlink', tarfile.SYMTYPE, linkname='e' * 300)
out.close()
"#;
    let directory = tempfile::tempdir().unwrap();
    for format in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let Some(tar) = run(directory.path(), "python3", &["-c", script, format]) else { return };
        let (_directory, store) = store();
        let listing = listing(&import(&store, &tar)).join("\n");
        assert!(listing.contains("/a 644 0:0 7 file of "), "{format}: {listing}");
        assert!(listing.contains("[\"a\", \"hard\"]"), "{format}: {listing}");
        assert_eq!(listing.contains("3000000000:0 -5 file of"), format != "USTAR_FORMAT", "{format}: {listing}");
    }
}

/// A layer with everything that the canonical tar treats in its own way.
fn everything(store: &Store) -> Layer {
    let mut builder = ChangeBuilder::new();
    let long = "n".repeat(150);
    let deep = format!("{}/{}", "p".repeat(90), "q".repeat(90));
    for name in ["a", "é", &long, &deep] {
        builder.put_leaf(&path(name), metadata(0o4755), file(b"small"));
    }
    builder.put_leaf(&path("z"), metadata(0o4755), file(b"small"));
    builder.link(vec![path("a"), path("z")]);
    builder.put_directory(&path("d"), metadata(0o1777));
    builder.put_leaf(&path("d/large"), Metadata { uid: 3_000_000, ..metadata(0o600) }, file(&[b'x'; 70_000]));
    builder.put_leaf(&path("d/to"), metadata(0o777), Leaf::Symlink("ü".repeat(80).into_bytes().into()));
    for raw in [vec![b'r', 0xff], [&b"r"[..], &[0xfe; 130]].concat()] {
        builder.put_leaf(&RelPath::new(raw).unwrap(), metadata(0o644), file(b"raw"));
    }
    builder.put_leaf(&path("old"), Metadata { mtime: Timestamp::from_secs(-9), ..metadata(0o644) }, file(b"old"));
    builder.set_root(metadata(0o755));
    let contents = Contents::of_bytes([&b"small"[..], &[b'x'; 70_000], b"raw", b"old"]);
    store.write_layer(&builder.build(), &contents).unwrap()
}

#[test]
fn gnu_tar_unpacks_what_we_write() {
    let (directory, store) = store();
    let layer = everything(&store);
    std::fs::write(directory.path().join("ours.tar"), all(layer.read().unwrap())).unwrap();
    let script =
        "mkdir out && tar --numeric-owner -xpf ours.tar -C out && tar --numeric-owner --format=posix -C out -cf - .";
    let Some(theirs) = shell(directory.path(), script) else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: owners need root");
        return;
    }
    let theirs = listing(&import(&store, &theirs));
    // The one directory that the change does not describe has their time.
    let described =
        |lines: Vec<String>| lines.into_iter().filter(|line| !line.ends_with("directory")).collect::<Vec<_>>();
    assert_eq!(described(theirs), described(listing(&layer)));
}

#[test]
fn python_reads_what_we_write() {
    let (directory, store) = store();
    let layer = everything(&store);
    std::fs::write(directory.path().join("ours.tar"), all(layer.read().unwrap())).unwrap();
    let script = r#"
import sys, tarfile
sys.stdout.reconfigure(errors='surrogateescape')
for m in sorted(tarfile.open('ours.tar'), key=lambda m: m.name.encode(errors='surrogateescape')):
    if m.name != '.': print(m.name, oct(m.mode), m.uid, int(m.mtime), m.type.decode(), m.linkname, m.size)
"#;
    let Some(theirs) = run(directory.path(), "python3", &["-c", script]) else { return };
    let mut ours = Vec::new();
    let mut reader = Reader::new(layer.read().unwrap());
    while let Some(entry) = reader.next_entry(&mut Vec::new()).unwrap() {
        let (kind, link) = match &entry.kind {
            Kind::HardLink(target) => ('1', target.clone()),
            Kind::Symlink(target) => ('2', target.clone()),
            Kind::Directory => ('5', Box::default()),
            _ => ('0', Box::default()),
        };
        let Metadata { mode, uid, mtime, .. } = entry.metadata;
        let name = entry.path.strip_suffix(b"/").unwrap_or(&entry.path);
        let fields = format!(" 0o{mode:o} {uid} {} {kind} ", mtime.secs);
        ours.push([name, fields.as_bytes(), &link, format!(" {}\n", entry.body_bytes).as_bytes()].concat());
    }
    ours.retain(|line| !line.starts_with(b". "));
    ours.sort();
    assert_eq!(String::from_utf8_lossy(&theirs), String::from_utf8_lossy(&ours.concat()));
}

#[test]
fn the_tar_crate_sees_the_same_entries() {
    let (_directory, store) = store();
    let tar = all(everything(&store).read().unwrap());
    let mut reader = Reader::new(&tar[..]);
    let mut oracle = ::tar::Archive::new(&tar[..]);
    for theirs in oracle.entries().unwrap() {
        let theirs = theirs.unwrap();
        let ours = reader.next_entry(&mut Vec::new()).unwrap().unwrap();
        assert_eq!(&*ours.path, &*theirs.path_bytes());
        assert_eq!(ours.body_bytes, theirs.size());
    }
    assert!(reader.next_entry(&mut Vec::new()).unwrap().is_none());
}
