//! A house for builds with fakes on both seams: images that are made up, and commands that are functions.
//!
//! No network and no root is needed: what a fake command writes goes straight into the directory in
//! which a root filesystem shows changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use builder::executor::{Ended, ExecuteError, Execution, Exit, Output};
use builder::progress::{Quiet, Stream, Transfer};
use builder::request::{ContextDirectory, DockerfileText};
use builder::source::{Answer, Download, Validators};
use builder::{BuildError, BuildRequest, Built, Cancel, Executor, ImageSource, ResolvedImage, SourceError};
use store::oci::ImageConfig;
use store::tree::{Leaf, Metadata, Timestamp};
use store::{Contents, ObjectId, Platform, Reference, RelPath, SnapshotRoot, Store};

/// A base image `base` with a few files, and files by their URL.
pub(crate) struct FakeSource {
    pub config: ImageConfig,
    pub asked: AtomicUsize,
}

impl FakeSource {
    pub(crate) fn new(store: &Store) -> Self {
        let passwd: &[u8] = b"root:x:0:0::/root:/bin/sh\napp:x:1500:50::/home/app:/bin/sh\n";
        let mut builder = store::tree::ChangeBuilder::new();
        let time = Timestamp::from_secs(1_000_000_000);
        builder.put_directory(&path("etc"), Metadata::root_owned(0o755, time));
        builder.put_directory(&path("data"), Metadata::root_owned(0o700, time));
        let leaf = Leaf::File { content: ObjectId::of(passwd), size_bytes: passwd.len() as u64 };
        builder.put_leaf(&path("etc/passwd"), Metadata::root_owned(0o644, time), leaf);
        let layer = store.write_layer(&builder.build(), &Contents::of_bytes([passwd])).unwrap();
        let mut config = ImageConfig::empty(&Platform::host());
        config.config.cmd = vec!["sh".into()];
        config.config.on_build = Vec::new();
        config.rootfs.diff_ids = vec![layer.diff_id()];
        Self { config, asked: AtomicUsize::new(0) }
    }
}

impl ImageSource for FakeSource {
    fn resolve(&self, reference: &Reference, _: &Platform, _: &Cancel) -> Result<ResolvedImage, SourceError> {
        if reference.familiar() != "base:latest" {
            return Err(SourceError::NotFound { reference: reference.familiar() });
        }
        Ok(ResolvedImage { reference: reference.clone(), manifest: None, config: self.config.clone() })
    }

    fn note(&self, _: &ResolvedImage) -> Result<(), SourceError> {
        unreachable!("the base is in the store")
    }

    fn fetch(&self, _: &ResolvedImage, _: &Cancel, _: &(dyn Fn(Transfer) + Sync)) -> Result<(), SourceError> {
        unreachable!("the base is in the store")
    }

    /// Has every URL's path as its file; one that says `ever` never changes.
    fn download(
        &self,
        wanted: &Download<'_>,
        into: &mut std::fs::File,
        _: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Answer, SourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if wanted.known.is_some_and(|known| known.etag.as_deref() == Some("ever")) {
            return Ok(Answer::Unchanged);
        }
        std::io::Write::write_all(into, wanted.url.as_bytes()).unwrap();
        let etag = wanted.url.contains("ever").then(|| "ever".to_owned());
        let validators = Validators { etag, modified: None };
        Ok(Answer::Received { validators, modified: Some(Timestamp::from_secs(1_234_567_890)) })
    }
}

/// Understands `write PATH TEXT`, `env NAME PATH`, `count PATH`, `fail`, and `sleep`.
#[derive(Default)]
pub(crate) struct FakeExecutor {
    pub runs: AtomicUsize,
    pub seen: Mutex<Vec<Vec<(String, String)>>>,
}

impl Executor for FakeExecutor {
    fn execute(&self, execution: &Execution<'_>, output: &Output<'_>, cancel: &Cancel) -> Result<Ended, ExecuteError> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(execution.env.clone());
        let (SnapshotRoot::Overlay { upper: top, .. } | SnapshotRoot::Copy { path: top }) = execution.root;
        let command = execution.argv.last().unwrap();
        let words: Vec<&str> = command.trim_end().split(' ').collect();
        output(Stream::Stdout, format!("{command}\n").as_bytes());
        let put = |path: &str, text: &str| {
            let path = top.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let exit = match words[..] {
            ["write", path, text] => {
                put(path, text);
                Exit::Code(0)
            }
            ["env", name, path] => {
                let value = execution.env.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value);
                put(path, value);
                Exit::Code(0)
            }
            ["count", path] => {
                put(path, &run.to_string());
                Exit::Code(0)
            }
            ["sleep"] => {
                while !cancel.is_cancelled() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Exit::Cancelled
            }
            ["true"] => Exit::Code(0),
            _ => Exit::Code(3),
        };
        Ok(Ended { exit, stubs: Vec::new(), shared_network: None })
    }
}

pub(crate) struct House {
    _directory: tempfile::TempDir,
    pub context: PathBuf,
    pub store: Store,
    pub source: FakeSource,
    pub executor: FakeExecutor,
}

impl House {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let context = directory.path().join("context");
        std::fs::create_dir(&context).unwrap();
        let source = FakeSource::new(&store);
        Self { _directory: directory, context, store, source, executor: FakeExecutor::default() }
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.context.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        let mut request =
            BuildRequest::new(DockerfileText { name: "Dockerfile".into(), bytes: dockerfile.as_bytes().to_vec() });
        request.context = Some(ContextDirectory { path: self.context.clone(), ignore_file: None }.into());
        request
    }

    pub(crate) fn try_build(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        builder::build(request, &self.store, &self.source, &self.executor, &Quiet)
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Built {
        self.try_build(&self.request(dockerfile)).unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    pub(crate) fn runs(&self) -> usize {
        self.executor.runs.swap(0, Ordering::SeqCst)
    }

    /// All paths of an image, with mode, owner and a file's text or a link's target.
    pub(crate) fn files(&self, built: &Built) -> BTreeMap<String, String> {
        let tree = self.store.root_tree(&built.layers).unwrap();
        let mut contents = Contents::of_objects(&self.store);
        for layer in &built.layers {
            contents = contents.merge(self.store.layer(*layer).unwrap().unwrap().contents().unwrap());
        }
        let describe = |entry: &store::tree::Entry| {
            let Metadata { mode, uid, gid, .. } = entry.metadata;
            let what = match &entry.node {
                store::tree::Node::Directory(_) => "/".to_owned(),
                store::tree::Node::Leaf(Leaf::File { content, size_bytes }) => {
                    String::from_utf8(contents.read(*content, *size_bytes).unwrap()).unwrap()
                }
                store::tree::Node::Leaf(other) => format!("{other:?}"),
            };
            format!("{mode:o} {uid}:{gid} {what}")
        };
        tree.walk().map(|(path, entry)| (path.to_string(), describe(entry))).collect()
    }
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::clean(text.as_bytes()).unwrap()
}
