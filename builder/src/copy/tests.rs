//! COPY and ADD in rows: a base, a source, an instruction, and what is there afterwards.

use store::tree::{Metadata, Timestamp, TreeBuilder};
use store::{ObjectId, RelPath, Tree};

use super::select::select;
use super::*;

const TIME: Timestamp = Timestamp::from_secs(100);

fn path(text: &str) -> RelPath {
    RelPath::clean(text.as_bytes()).unwrap()
}

/// A tree of `path`, `path/` or `path -> target`, each with `mode uid:gid` if they are not the usual ones.
fn tree(lines: &[&str]) -> Tree {
    let mut builder = TreeBuilder::new(Metadata::root_owned(0o755, TIME));
    for line in lines {
        let (line, link) = line.split_once(" -> ").map_or((*line, None), |(line, target)| (line, Some(target)));
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let is_directory = name.ends_with('/');
        let usual = if is_directory { 0o755 } else { 0o644 };
        let mode = words.next().map_or(usual, |mode| u16::from_str_radix(mode, 8).unwrap());
        let (uid, gid) = words.next().map_or((0, 0), |owner| {
            let (uid, gid) = owner.split_once(':').unwrap();
            (uid.parse().unwrap(), gid.parse().unwrap())
        });
        let metadata = Metadata { uid, gid, ..Metadata::root_owned(mode, TIME) };
        match link {
            Some(target) => builder.put_leaf(&path(name), metadata, Leaf::Symlink(target.as_bytes().into())),
            None if is_directory => builder.put_directory(&path(name), metadata),
            None => {
                let leaf = Leaf::File { content: ObjectId::of(name.as_bytes()), size_bytes: name.len() as u64 };
                builder.put_leaf(&path(name), metadata, leaf);
            }
        }
    }
    builder.build()
}

fn base() -> Tree {
    tree(&[
        "app/ 700 7:8",
        "app/old",
        "app/sub/ 711 9:9",
        "etc/",
        "etc/conf",
        "lib -> usr/lib",
        "usr/lib/",
        "to -> etc/conf",
    ])
}

fn source() -> Tree {
    tree(&[
        "a.txt",
        "b.txt 600 5:6",
        "d/ 750 1:2",
        "d/one",
        "d/sub/ 770 3:4",
        "d/sub/two",
        "link -> d",
        "gone -> nowhere",
        "x[1].txt",
    ])
}

/// The instruction as `source... destination`, then `owner=` and `mode=`.
fn run(instruction: &str) -> Result<Copied, CopyError> {
    let (mut words, mut owner, mut mode) = (Vec::new(), None, None);
    for word in instruction.split(' ') {
        match word.split_once('=') {
            Some(("owner", value)) => owner = Some(OwnerSpec::parse(value).resolve(&Accounts::default()).unwrap()),
            Some(("mode", value)) => mode = Some(ModeChange::parse(value).unwrap()),
            _ => words.push(word),
        }
    }
    let to = words.pop().unwrap();
    let form = if to.ends_with('/') { Form::Directory } else { Form::Name };
    let destination = Destination { path: path(to), form };
    let times = Times { exactly: None, ceiling: None, new: TIME };
    let rules = Rules { destination: &destination, owner, mode: mode.as_ref(), times };
    let mut items = Vec::new();
    for word in words {
        items.extend(select(&source(), word, None)?.into_iter().map(Item::Picked));
    }
    copy(&base(), &items, &rules)
}

/// What a change puts, with `mode uid:gid` for what is not 644 or 755 of root.
fn puts(change: &Change) -> Vec<String> {
    fn collect(directory: &store::tree::ChangeDirectory, at: &RelPath, puts: &mut Vec<String>) {
        for (name, entry) in &directory.entries {
            let path = at.join(name);
            match entry {
                store::tree::ChangeEntry::Directory { metadata, directory } => {
                    puts.push(describe(&format!("{path}/"), metadata.as_ref().unwrap(), 0o755));
                    collect(directory, &path, puts);
                }
                store::tree::ChangeEntry::Leaf(metadata, _) => puts.push(describe(&path.to_string(), metadata, 0o644)),
                store::tree::ChangeEntry::Removed => puts.push(format!("-{path}")),
            }
        }
    }
    let mut all = Vec::new();
    collect(&change.directory, &RelPath::root(), &mut all);
    all
}

fn describe(path: &str, metadata: &Metadata, usual: u16) -> String {
    let Metadata { mode, uid, gid, .. } = metadata;
    if (*mode, *uid, *gid) == (usual, 0, 0) { path.to_owned() } else { format!("{path} {mode:o} {uid}:{gid}") }
}

#[test]
fn copies_do_what_the_field_does() {
    for (instruction, expected) in [
        // A file becomes the name, or goes into a directory (A094, A128).
        ("a.txt /new", vec!["/new"]),
        ("a.txt /app", vec!["/app/ 700 7:8", "/app/a.txt"]),
        ("a.txt /app/old", vec!["/app/ 700 7:8", "/app/old"]),
        ("a.txt /p/q/", vec!["/p/", "/p/q/", "/p/q/a.txt"]),
        // A directory's contents are copied; a new destination is plain, an old one keeps itself (A093, A102, A103).
        ("d /new", vec!["/new/", "/new/one", "/new/sub/ 770 3:4", "/new/sub/two"]),
        ("d /app", vec!["/app/ 700 7:8", "/app/one", "/app/sub/ 770 3:4", "/app/sub/two"]),
        ("/d/ /new/", vec!["/new/", "/new/one", "/new/sub/ 770 3:4", "/new/sub/two"]),
        // Owners and modes, also of parents (A101, A109, A112).
        ("b.txt /n/b owner=1:2", vec!["/n/ 755 1:2", "/n/b 600 1:2"]),
        ("b.txt /n/b mode=0711", vec!["/n/ 711 0:0", "/n/b 711 5:6"]),
        ("b.txt /n/b mode=go+r", vec!["/n/", "/n/b 644 5:6"]),
        ("a.txt /n/b mode=1777", vec!["/n/ 777 0:0", "/n/b 1777 0:0"]),
        // Links: named ones are followed, those on the way too (A099, A100).
        ("link /new", vec!["/new/", "/new/one", "/new/sub/ 770 3:4", "/new/sub/two"]),
        ("a.txt /lib/x", vec!["/usr/", "/usr/lib/", "/usr/lib/x"]),
        ("a.txt /to", vec!["/etc/", "/etc/conf"]),
        // Wildcards (A096 to A098).
        ("*.txt /new/", vec!["/new/", "/new/a.txt", "/new/b.txt 600 5:6", "/new/x[1].txt"]),
        ("[xyz]* /new/", vec!["/new/", "/new/x[1].txt"]),
        ("x[[]1].txt /new", vec!["/new"]),
        ("*.none /new/", vec![]),
        ("../../a.txt /new", vec!["/new"]),
    ] {
        let copied = run(instruction).unwrap_or_else(|error| panic!("{instruction}: {error}"));
        assert_eq!(puts(&copied.change), expected, "{instruction}");
    }
}

#[test]
fn what_cannot_be_copied_is_refused() {
    for (instruction, expected) in [
        ("none /x", CopyError::NotFound("/none".into())),
        ("gone /x", CopyError::NotFound("/gone".into())),
        ("none/* /x/", CopyError::NotFound("/none/*".into())),
        ("a.txt b.txt /x", CopyError::SeveralToOne(path("x"))),
        ("*.txt /x", CopyError::SeveralToOne(path("x"))),
        ("a.txt /etc/conf/x", CopyError::NotADirectory(path("etc/conf"))),
        ("d /etc/conf", CopyError::NotADirectory(path("etc/conf"))),
        ("a.txt /.wh.x", CopyError::Whiteout(path(".wh.x"))),
    ] {
        assert_eq!(run(instruction).map(|copied| puts(&copied.change)), Err(expected), "{instruction}");
    }
}

#[test]
fn facts_are_what_lies_along_the_destination_and_nothing_else() {
    let facts = |instruction: &str| {
        let copied = run(instruction).unwrap();
        copied.facts.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(facts("a.txt /app/"), ["/app", "/app/a.txt"]);
    assert_eq!(facts("d /lib/x"), ["/lib", "/usr", "/usr/lib", "/usr/lib/x"]);
    assert_eq!(facts("*.none /new/"), Vec::<String>::new());
}

#[test]
fn hard_links_survive() {
    let mut builder = TreeBuilder::from_tree(&tree(&["d/", "d/a", "d/z"]));
    let leaf = Leaf::File { content: ObjectId::of(b"same"), size_bytes: 4 };
    for name in ["d/a", "d/z"] {
        builder.put_leaf(&path(name), Metadata::root_owned(0o644, TIME), leaf.clone());
    }
    builder.link(vec![path("d/a"), path("d/z")]);
    let picked = select(&builder.build(), "d", None).unwrap().into_iter().map(Item::Picked).collect::<Vec<_>>();
    let destination = Destination { path: path("new"), form: Form::Directory };
    let times = Times { exactly: None, ceiling: None, new: TIME };
    let rules = Rules { destination: &destination, owner: None, mode: None, times };
    let copied = copy(&base(), &picked, &rules).unwrap();
    assert_eq!(copied.change.hard_links.groups(), [vec![path("new/a"), path("new/z")].into_boxed_slice()]);
}
