//! The user's directories: read once, without what an ignore file excludes.
//!
//! A context's files belong to root and have the build's time, whoever owns them here and whenever
//! they were checked out. Links are never followed out of it, and files are opened by descriptor.

mod wanted;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::compress::{Expansion, decompress};
use store::fs::{Dir, Kind};
use store::scan::{Attributes, Ownership, ScanError, ScanOptions, Times, Verdict, scan};
use store::tree::{Directory, Leaf, Node, Timestamp};
use store::{Contents, DiffId, RelPath, StatCache, Store, StoreError, Tree};

use crate::copy::select::{entry_at, resolve};
use crate::error::StepError;
use crate::graph::Clock;
use crate::ignore::{IgnoreError, IgnoreFile};
use crate::request::{ContextDirectory, DockerfileText};
use crate::solve::Rootfs;

pub use wanted::Wanted;

/// The name of the ignore file in a context.
const IGNORE_FILE: &str = ".dockerignore";

/// What a Dockerfile may be called without anybody saying so (docs/dockerfile.md, A003).
const NAMES: [&str; 3] = ["Dockerfile", "Containerfile", "dockerfile"];

/// How large a Dockerfile or an ignore file may be.
const TEXT_LIMIT_BYTES: u64 = 16 << 20;

/// Why a directory of the user cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The build has no context, but a step reads it.
    #[error("the build has no context")]
    None,
    /// The directory or a file of it is not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in it cannot be read.
    #[error("cannot read the build context {}; what no step needs can be named in {IGNORE_FILE}", path.display())]
    Scan {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: ScanError,
    },
    /// The ignore file is malformed.
    #[error("{file}: {source}")]
    IgnoreFile {
        /// The file.
        file: String,
        /// What is wrong.
        #[source]
        source: IgnoreError,
    },
    /// A context that is a layer cannot be read.
    #[error("cannot read the build context")]
    Layer(#[source] Box<StepError>),
    /// What is remembered of earlier scans cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A directory of the user as a tree.
#[derive(Debug)]
pub struct ContextTree {
    /// What is in it.
    pub tree: Arc<Tree>,
    /// Where the bytes are.
    pub contents: Contents,
    /// What was left out, and the file that says so.
    pub ignored: Option<(String, IgnoreFile)>,
}

/// Reads of a directory of the user what is wanted.
pub fn read(
    store: &Store,
    directory: &ContextDirectory,
    wanted: Wanted,
    clock: Clock,
) -> Result<ContextTree, ContextError> {
    let path = &directory.path;
    let root = Dir::open(path).map_err(|errno| read_error(path)(errno.into()))?;
    let ignored = ignore_file(&root, directory)?;
    let rules = ignored.as_ref().map(|(_, rules)| rules).filter(|rules| !rules.is_empty());
    let wanted = wanted.in_directory(&root);
    let filter = |path: &RelPath, kind: Kind| match (wanted.verdict(path, kind), rules) {
        (Verdict::Skip, _) => Verdict::Skip,
        (asked, None) => asked,
        (asked, Some(rules)) => match verdict(rules, path, kind) {
            Verdict::Keep => asked,
            other => other,
        },
    };
    let options = ScanOptions {
        filter: &filter,
        times: times(clock),
        ownership: Ownership::Root,
        attributes: Attributes::Drop,
        cancel: store.cancel(),
    };
    let mut cache = StatCache::open(store, path)?;
    let scan =
        scan(&root, &options, Some(&mut cache)).map_err(|source| ContextError::Scan { path: path.clone(), source })?;
    if scan.files_read > 0 {
        cache.save(store)?;
    }
    Ok(ContextTree { tree: Arc::new(scan.tree), contents: scan.contents, ignored })
}

/// The ignore file that holds for a directory, if there is one.
pub fn ignored(directory: &ContextDirectory) -> Result<Option<(String, IgnoreFile)>, ContextError> {
    let root = Dir::open(&directory.path).map_err(|errno| read_error(&directory.path)(errno.into()))?;
    ignore_file(&root, directory)
}

/// Finds the Dockerfile of a context, and the ignore file that belongs to it.
///
/// Without a name it is `Dockerfile`, `Containerfile` or `dockerfile` in the context; with one it is a path of the
/// user's. What is in the context may be somebody else's: no link there leads out, or the excerpt of an error would
/// show any file of this machine. The ignore file is `<Dockerfile>.dockerignore`
/// beside it, if that exists (docs/dockerfile.md, A003, A170).
pub fn locate(context: &Path, file: Option<&Path>) -> Result<(DockerfileText, Option<DockerfileText>), ContextError> {
    let root = || Dir::open(context).map_err(|errno| read_error(context)(errno.into()));
    if let Some(file) = file {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".dockerignore");
        let read = |path: &Path| match inside(context, path) {
            Some(name) => read_named(&root()?, path, &name),
            None => read_path(path),
        };
        return Ok((read(file)?.ok_or_else(|| not_found(file))?, read(Path::new(&beside))?));
    }
    let root = root()?;
    for name in NAMES {
        if let Some(dockerfile) = read_inside(&root, context, name)? {
            return Ok((dockerfile, read_inside(&root, context, &format!("{name}.dockerignore"))?));
        }
    }
    Err(not_found(&context.join("Dockerfile")))
}

/// Finds the Dockerfile in a context that is a layer: by name, or under the usual ones. Links lead nowhere but into
/// the layer.
pub fn locate_in_layer(store: &Store, layer: DiffId, file: Option<&str>) -> Result<DockerfileText, ContextError> {
    let rootfs = Rootfs::of_image(vec![layer]);
    let failed = |error: StepError| ContextError::Layer(Box::new(error));
    let tree = rootfs.tree(store).map_err(|error| failed(error.into()))?;
    let contents = rootfs.contents(store).map_err(failed)?;
    let names = file.map_or_else(|| NAMES.to_vec(), |file| vec![file]);
    for name in &names {
        let Ok(path) =
            RelPath::clean(name.as_bytes()).map_err(drop).and_then(|path| resolve(&tree, &path).map_err(drop))
        else {
            continue;
        };
        if let Some((_, Node::Leaf(Leaf::File { content, size_bytes }))) = entry_at(&tree, &path)
            && size_bytes <= TEXT_LIMIT_BYTES
        {
            let bytes = contents.read(content, size_bytes).map_err(|error| failed(error.into()))?;
            return Ok(DockerfileText { name: (*name).to_owned(), bytes });
        }
    }
    Err(not_found(Path::new(names[0])))
}

/// Unpacks an archive, compressed or not, into the store; `None` for what is no archive. Nobody here made it, so that
/// it may be made to fill the disk.
pub fn unpack(store: &Store, file: &mut File) -> Result<Option<DiffId>, StepError> {
    let mut again = || file.rewind().and_then(|()| file.try_clone()).map_err(StepError::Archive);
    if !starts_archive(again()?) {
        return Ok(None);
    }
    let plain = decompress(again()?).map_err(StepError::Archive)?.limit(Expansion::default());
    Ok(Some(store.import_layer(plain, None)?.diff_id()))
}

/// The time of the newest file in a layer.
pub fn newest(store: &Store, layer: DiffId) -> Result<Option<Timestamp>, StepError> {
    let rootfs = Rootfs::of_image(vec![layer]);
    Ok(newest_below(rootfs.tree(store)?.directory()))
}

/// The time of the newest file in an archive that is the one file of a layer; `None` for what is no archive.
pub(crate) fn newest_in_archive(store: &Store, layer: DiffId) -> Result<Option<Timestamp>, StepError> {
    match crate::solve::unpacked(store, layer)? {
        unpacked if unpacked == layer => Ok(None),
        unpacked => newest(store, unpacked),
    }
}

fn newest_below(directory: &Directory) -> Option<Timestamp> {
    let times = directory.entries().iter().filter_map(|(_, entry)| match &entry.node {
        Node::Directory(below) => newest_below(below),
        Node::Leaf(Leaf::File { .. }) => Some(entry.metadata.mtime),
        Node::Leaf(_) => None,
    });
    times.max()
}

/// Whether something is a tar, compressed or not: whether its first header adds up.
pub(crate) fn starts_archive(input: impl Read + Send) -> bool {
    let Ok(mut reader) = decompress(input) else { return false };
    let mut header = [0; 512];
    reader.read_exact(&mut header).is_ok() && adds_up(&header)
}

fn ignore_file(root: &Dir, directory: &ContextDirectory) -> Result<Option<(String, IgnoreFile)>, ContextError> {
    let text = match &directory.ignore_file {
        Some(text) => Some(text.clone()),
        None => read_inside(root, &directory.path, IGNORE_FILE)?,
    };
    let parse = |text: DockerfileText| match IgnoreFile::parse(&text.bytes) {
        Ok(rules) => Ok((text.name, rules)),
        Err(source) => Err(ContextError::IgnoreFile { file: text.name, source }),
    };
    text.map(parse).transpose()
}

fn verdict(rules: &IgnoreFile, path: &RelPath, kind: Kind) -> Verdict {
    match (rules.matches(path), kind) {
        (false, _) => Verdict::Keep,
        (true, Kind::Directory) if rules.may_keep_below(path) => Verdict::Descend,
        (true, _) => Verdict::Skip,
    }
}

fn times(clock: Clock) -> Times {
    match clock {
        Clock::Epoch(epoch) | Clock::Exact(epoch) => Times::Exactly(epoch),
        Clock::Preserve { .. } => Times::Preserve,
    }
}

fn read_path(path: &Path) -> Result<Option<DockerfileText>, ContextError> {
    match File::open(path) {
        Ok(file) => read_file(file, path.display().to_string(), path).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

/// The path of a file below the context, if that is where it is.
fn inside(context: &Path, file: &Path) -> Option<RelPath> {
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let is_plain = |path: &Path| !path.components().any(|part| part == std::path::Component::ParentDir);
    let as_typed =
        absolute(file)?.strip_prefix(absolute(context)?).ok().filter(|path| is_plain(path)).map(Path::to_owned);
    let as_found = || {
        let parent = absolute(file)?.parent()?.canonicalize().ok()?;
        Some(parent.strip_prefix(context.canonicalize().ok()?).ok()?.join(file.file_name()?))
    };
    RelPath::clean(as_typed.or_else(as_found)?.as_os_str().as_encoded_bytes()).ok()
}

fn read_named(root: &Dir, path: &Path, name: &RelPath) -> Result<Option<DockerfileText>, ContextError> {
    match root.resolve_file(name).map_err(std::io::Error::from) {
        Ok(file) => read_file(file, path.display().to_string(), path).map(Some),
        Err(error) if !is_absent(&error) => Err(read_error(path)(error)),
        Err(_) if path.exists() => {
            Err(read_error(path)(std::io::Error::other("it is a symbolic link that leads out of the build context")))
        }
        Err(_) => Ok(None),
    }
}

fn read_inside(root: &Dir, context: &Path, name: &str) -> Result<Option<DockerfileText>, ContextError> {
    let path = RelPath::clean(name.as_bytes()).unwrap_or_default();
    match root.resolve_file(&path).map_err(std::io::Error::from) {
        Ok(file) => read_file(file, name.to_owned(), &context.join(name)).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(read_error(&context.join(name))(error)),
    }
}

fn read_file(file: File, name: String, path: &Path) -> Result<DockerfileText, ContextError> {
    let mut bytes = Vec::new();
    // Half a list of what stays out is worse than none.
    file.take(TEXT_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(read_error(path))?;
    if bytes.len() as u64 > TEXT_LIMIT_BYTES {
        return Err(read_error(path)(std::io::Error::other(format!("it is longer than {TEXT_LIMIT_BYTES} bytes"))));
    }
    Ok(DockerfileText { name, bytes })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> ContextError {
    let path = path.to_owned();
    move |source| ContextError::Read { path, source }
}

fn not_found(path: &Path) -> ContextError {
    read_error(path)(rustix::io::Errno::NOENT.into())
}

/// The checksum of a tar header, which all its forms have: the sum of its bytes, its own as blanks.
fn adds_up(header: &[u8; 512]) -> bool {
    let field = header[148..156].iter().copied().filter(u8::is_ascii_digit);
    let stored = field.fold(0_u32, |sum, digit| sum.wrapping_mul(8).wrapping_add(u32::from(digit - b'0')));
    let sum = |value: &dyn Fn(u8) -> i32| -> i32 {
        header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { value(*byte) }).sum()
    };
    let stored = i32::try_from(stored).unwrap_or(-1);
    header.iter().any(|byte| *byte != 0)
        && (stored == sum(&|byte| i32::from(byte)) || stored == sum(&|byte| i32::from(byte.cast_signed())))
}
