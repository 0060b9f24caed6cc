//! Builds with the real sandbox, from nothing but a static busybox.
//!
//! Needs root and `/bin/busybox` (Debian's busybox-static); without them every test says so and passes.

use std::path::{Path, PathBuf};

use builder::executor::Exit;
use builder::progress::{Outcome, Quiet, Transfer};
use builder::request::{ContextDirectory, DockerfileText, SecretSource};
use builder::source::{Answer, Download};
use builder::{BuildError, BuildRequest, Built, Cancel, ImageSource, ResolvedImage, SandboxExecutor, SourceError};
use store::tree::{Leaf, Node};
use store::{Contents, Platform, Reference, RelPath, Store};

const BUSYBOX: &str = "/bin/busybox";
const BASE: &str =
    "FROM scratch AS base\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\nFROM base\n";

struct NoImages;

impl ImageSource for NoImages {
    fn resolve(&self, reference: &Reference, _: &Platform, _: &Cancel) -> Result<ResolvedImage, SourceError> {
        Err(SourceError::NotFound { reference: reference.familiar() })
    }

    fn note(&self, _: &ResolvedImage) -> Result<(), SourceError> {
        unreachable!("nothing was resolved")
    }

    fn fetch(&self, _: &ResolvedImage, _: &Cancel, _: &(dyn Fn(Transfer) + Sync)) -> Result<(), SourceError> {
        unreachable!("nothing was resolved")
    }

    fn download(
        &self,
        _: &Download<'_>,
        _: &mut std::fs::File,
        _: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Answer, SourceError> {
        unreachable!("no URL is named")
    }
}

struct House {
    directory: tempfile::TempDir,
    store: Store,
}

impl House {
    /// `None` where there is no sandbox to try.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            eprintln!("skipped: needs root and a static {BUSYBOX}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let house = Self { directory, store };
        std::fs::create_dir(house.context()).unwrap();
        std::fs::copy(BUSYBOX, house.context().join("busybox")).unwrap();
        Some(house)
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn request(&self, rest: &str) -> BuildRequest {
        let bytes = format!("{BASE}{rest}").into_bytes();
        let mut request = BuildRequest::new(DockerfileText { name: "Dockerfile".into(), bytes });
        request.context = Some(ContextDirectory { path: self.context(), ignore_file: None }.into());
        request
    }

    fn try_build(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        builder::build(request, &self.store, &NoImages, &SandboxExecutor::default(), &Quiet)
    }

    fn build(&self, rest: &str) -> Built {
        self.try_build(&self.request(rest)).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn read(&self, built: &Built, path: &str) -> Option<String> {
        let tree = self.store.root_tree(&built.layers).unwrap();
        let entry = tree.get(&RelPath::clean(path.as_bytes()).unwrap())?.clone();
        let Node::Leaf(Leaf::File { content, size_bytes }) = entry.node else { return Some(String::new()) };
        let contents = built.layers.iter().fold(Contents::of_objects(&self.store), |contents, layer| {
            contents.merge(self.store.layer(*layer).unwrap().unwrap().contents().unwrap())
        });
        Some(String::from_utf8(contents.read(content, size_bytes).unwrap()).unwrap())
    }
}

#[test]
fn a_command_runs_and_leaves_a_layer_of_what_it_changed() {
    let Some(house) = House::new() else { return };
    let built =
        house.build("WORKDIR /w\nRUN echo hello > file && rm /bin/false\nRUN true\nRUN true\nRUN cat file > again\n");
    assert_eq!(house.read(&built, "w/again").as_deref(), Some("hello\n"));
    assert_eq!(house.read(&built, "bin/false"), None);
    for made_for_mounts in ["etc/hosts", "etc/resolv.conf"] {
        assert_eq!(house.read(&built, made_for_mounts), None, "{made_for_mounts}");
    }
    for kept in ["proc", "sys", "dev"] {
        assert_eq!(house.read(&built, kept).as_deref(), Some(""), "{kept} is kept, as the reference has it");
    }
    let again =
        house.build("WORKDIR /w\nRUN echo hello > file && rm /bin/false\nRUN true\nRUN true\nRUN cat file > again\n");
    assert_eq!(again.image, built.image);
    assert!(again.steps.iter().all(|step| step.outcome != Outcome::Built));
}

#[test]
fn mounts_are_seen_and_leave_nothing() {
    let Some(house) = House::new() else { return };
    std::fs::write(house.context().join("token"), "t0ken").unwrap();
    let mut request = house.request(
        "RUN --mount=type=bind,target=/ctx,rw cat /ctx/token > /bound && echo x > /ctx/new\n\
         RUN --mount=type=cache,target=/cache echo one >> /cache/log; cat /cache/log > /cached\n\
         RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /secret\n\
         RUN --mount=type=secret,id=s,env=S test -n \"$S\" && test ! -e /run/secrets\n\
         RUN --mount=type=tmpfs,target=/t touch /t/x\n\
         RUN <<EOF\n#!/bin/sh\necho script > /script\nEOF\n\
         RUN echo out > /dev/stdout\n",
    );
    request.secrets.insert("s".into(), SecretSource::File(house.context().join("token")));
    let built = house.try_build(&request).unwrap_or_else(|error| panic!("{error:?}"));
    for (path, text) in [("bound", "t0ken"), ("cached", "one\n"), ("secret", "5\n"), ("script", "script\n")] {
        assert_eq!(house.read(&built, path).as_deref(), Some(text), "{path}");
    }
    for path in ["ctx", "cache", "run/secrets", "t", "dev/stdout"] {
        assert_eq!(house.read(&built, path), None, "{path}");
    }
    assert!(!house.context().join("new").exists());
}

#[test]
fn a_cache_sees_edited_files_as_newer_than_what_it_keeps() {
    let Some(house) = House::new() else { return };
    let make = "COPY src /src\nRUN --mount=type=cache,target=/cache \
                for f in a b; do if [ ! -e /cache/$f ] || [ /src/$f -nt /cache/$f ]; then cp /src/$f /cache/$f; echo $f >> /made; fi; done; touch /made\n";
    std::fs::create_dir(house.context().join("src")).unwrap();
    std::fs::write(house.context().join("src/a"), "1").unwrap();
    std::fs::write(house.context().join("src/b"), "1").unwrap();
    assert_eq!(house.read(&house.build(make), "made").as_deref(), Some("a\nb\n"));
    // Busybox compares whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::write(house.context().join("src/b"), "2").unwrap();
    let built = house.build(make);
    assert_eq!(house.read(&built, "made").as_deref(), Some("b\n"), "only what was edited is made again");
    let layer = house.store.layer(*built.layers.last().unwrap()).unwrap().unwrap();
    let change = layer.change().unwrap();
    assert!(change.get(&RelPath::clean(b"src").unwrap()).is_none(), "the touched files are no content");
}

#[test]
fn exit_codes_are_told_with_the_last_words() {
    let Some(house) = House::new() else { return };
    let error = house.try_build(&house.request("RUN echo last words; exit 7\n")).unwrap_err();
    let BuildError::Failed { exit, last_lines, .. } = error else { panic!("{error:?}") };
    assert_eq!((exit, last_lines), (Exit::Code(7), vec!["last words".to_owned()]));
}

#[test]
fn a_cancelled_build_kills_its_command() {
    let Some(house) = House::new() else { return };
    house.build("RUN true\n");
    let request = house.request("RUN sleep 600\n");
    let cancel = request.cancel.clone();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| house.try_build(&request));
        std::thread::sleep(std::time::Duration::from_millis(300));
        cancel.cancel();
        assert!(matches!(build.join().unwrap(), Err(BuildError::Cancelled)));
    });
}
