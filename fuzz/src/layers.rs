//! Tars and layers of others: what they are read as, and where they reach.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use store::tar::{BLOCK_BYTES, Entry, Reader};
use store::tree::{Timestamp, diff};
use store::{Change, Layer, RelPath, Store, Tree};
use tempfile::TempDir;

/// A tar reads the same however its bytes arrive, and what is read of it are its bytes, each once.
pub fn tar(input: &[u8]) {
    let read = read_tar(input);
    assert_eq!(read, read_tar(Trickle(input)));
    if let Some((bytes, _)) = read {
        assert!(bytes == input, "{} of {} bytes", bytes.len(), input.len());
    }
}

/// An extended header, of the kind that the first byte says, is applied to the entry after it or refused.
pub fn headers(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let kind = *b"xgLK".get(usize::from(*kind) % 4).expect("one of four");
    let archive = archive(&[block(b"extended", kind, b"", body), block(b"name", b'0', b"", b"content")]);
    tar(&archive);
    for entry in read_tar(&archive[..]).into_iter().flat_map(|(_, entries)| entries) {
        assert!(entry.body_bytes <= archive.len() as u64, "{entry:?}");
        assert!(entry.metadata.mode <= 0o7777, "{entry:?}");
    }
}

/// Layers change nothing outside of where they are put. The input is a script of [`layers_of`], in which `$V` is
/// the path of a directory that must stay as it is.
pub fn layers(input: &[u8]) {
    WORKSHOP.with_one(|shop| {
        let victim = shop.victim();
        let before = listing(&victim);
        let layers = shop.import(input);
        let ids: Vec<_> = layers.iter().map(Layer::diff_id).collect();
        let out = shop.directory.path().join("out");
        fs::create_dir(&out).expect("make a directory");
        let _refused = shop.store.write_out(&ids, &RelPath::root(), &out);
        fs::remove_dir_all(&out).expect("remove what was written");
        let _refused = shop.store.checkout(&ids);
        assert_eq!(listing(&victim), before);
    });
}

/// What a layer does to the tree below is told by the two trees, and has no whiteout left in it.
pub fn whiteouts(input: &[u8]) {
    WORKSHOP.with_one(|shop| {
        let mut lower = Tree::empty(Timestamp::default());
        for layer in shop.import(input) {
            let change = layer.change().expect("the change of a layer");
            assert_eq!(Change::decode(&change.encode()).as_ref(), Ok(&change));
            let Ok(upper) = change.apply(&lower) else { return };
            let names = upper.walk().filter_map(|(path, _)| path.file_name());
            names.for_each(|name| assert!(!name.as_bytes().starts_with(b".wh."), "{name:?}"));
            let told = diff(&lower, &upper);
            assert_eq!(told.apply(&lower).map(|tree| tree.id()), Ok(upper.id()), "{change:?}");
            assert!(diff(&upper, &upper).is_empty());
            lower = upper;
        }
    });
}

/// One byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = out.len().min(1);
        self.0.read(&mut out[..most])
    }
}

/// All bytes that were read, and the entries; `None` if the tar is refused.
fn read_tar(input: impl Read) -> Option<(Vec<u8>, Vec<Entry>)> {
    let mut reader = Reader::new(input);
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    let mut chunk = [0; BLOCK_BYTES];
    while let Some(entry) = reader.next_entry(&mut bytes).ok()? {
        entries.push(entry);
        loop {
            match reader.read_body(&mut chunk).ok()? {
                0 => break,
                count => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }
    loop {
        match reader.read_trailing(&mut chunk).ok()? {
            0 => return Some((bytes, entries)),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Where layers are put, and a neighbour.
struct Workshop {
    directory: TempDir,
    store: Store,
    uses: u32,
}

/// One at a time, used for a while.
struct Workshops(Mutex<Option<Workshop>>);

static WORKSHOP: Workshops = Workshops(Mutex::new(None));

/// After so many inputs the store is made anew, lest it grow.
const MOST_USES: u32 = 500;

impl Workshops {
    fn with_one(&self, work: impl FnOnce(&Workshop)) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|shop| shop.uses == MOST_USES);
        let shop = slot.get_or_insert_with(Workshop::new);
        shop.uses += 1;
        work(shop);
    }
}

impl Workshop {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let victim = directory.path().join("victim");
        fs::create_dir_all(victim.join("sub")).expect("make a directory");
        fs::write(victim.join("secret"), "SECRET").expect("write a file");
        Self { directory, store, uses: 0 }
    }

    fn victim(&self) -> std::path::PathBuf {
        self.directory.path().join("victim")
    }

    /// Takes a script's layers in, up to the first that is refused.
    fn import(&self, script: &[u8]) -> Vec<Layer> {
        let victim = self.victim();
        let tars = layers_of(script, victim.to_str().expect("UTF-8"));
        tars.iter().map_while(|tar| self.store.import_layer(&tar[..], None).ok()).collect()
    }
}

/// Everything that could have been changed of a directory.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let status = path.symlink_metadata().expect("the status");
        let content = if status.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
        let times = (status.mtime(), status.mtime_nsec());
        found.push(format!("{path:?} {:o} {} {} {times:?} {content:?}", status.mode(), status.uid(), status.nlink()));
        if status.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

/// Tars of a script. A line is an entry: the type flag, the path, and after a tab the target of a link or the
/// content of a file. An empty line begins the next layer.
fn layers_of(script: &[u8], victim: &str) -> Vec<Vec<u8>> {
    let script = String::from_utf8_lossy(script).replace("$V", victim);
    script.split("\n\n").map(|layer| archive(&layer.lines().filter_map(entry_of).collect::<Vec<_>>())).collect()
}

fn entry_of(line: &str) -> Option<Vec<u8>> {
    let (kind, rest) = line.as_bytes().split_first()?;
    let (path, more) =
        std::str::from_utf8(rest).ok()?.split_once('\t').unwrap_or((std::str::from_utf8(rest).ok()?, ""));
    match kind {
        b'1' | b'2' => Some(block(path.as_bytes(), *kind, more.as_bytes(), b"")),
        b'3'..=b'6' => Some(block(path.as_bytes(), *kind, b"", b"")),
        _ => Some(block(path.as_bytes(), b'0', b"", more.as_bytes())),
    }
}

/// A ustar header and its body; names that are too long come as GNU's headers before it.
fn block(path: &[u8], kind: u8, link: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, long) in [(b'L', path), (b'K', link)] {
        if long.len() > 100 {
            bytes.extend(block(b"long", kind, b"", &[long, b"\0"].concat()));
        }
    }
    let mut header = [0; BLOCK_BYTES];
    let fields: [(usize, &[u8]); 8] = [
        (0, &path[..path.len().min(100)]),
        (100, b"0000755\x000000000\x000000000"),
        (124, &format!("{:011o}", body.len()).into_bytes()),
        (136, b"00000000001"),
        (148, b"        "),
        (156, &[kind]),
        (157, &link[..link.len().min(100)]),
        (257, b"ustar\x0000"),
    ];
    for (at, field) in fields {
        header[at..at + field.len()].copy_from_slice(field);
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 2 * BLOCK_BYTES]].concat()
}
