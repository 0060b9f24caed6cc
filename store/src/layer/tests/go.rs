//! Layers that Go's archive/tar wrote, as Docker and as the tools of containers/storage use it: loaded,
//! read back byte for byte, saved, and taken back under the same id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::ImageId;
use crate::archive::{ArchiveFormat, LayerForm, LoadOptions, Save, SavedImage, Source};

/// Everything that a file system can hold and a tar has trouble with.
const PLANT: &str = r#"
    umask 022; mkdir -p "$1/d/empty" "$1/gone/below" "$1/again"; cd "$1"
    printf small > d/small; head -c 400000 /dev/urandom > d/large; : > d/nothing
    ln d/small d/twin; ln d/large gone/hard; ln -s ../d/./small d/link; mkfifo pipe
    printf name > "$(printf 'raw\377name')"; printf utf > 'naïve'; printf old > again/old
    l=$(printf '%0120d' 0); mkdir -p "$l/$l"; printf long > "$l/$l/$l"; ln -s "$l/$l/$l" far; ln "$l/$l/$l" "$l/hard"
    printf start > sparse; truncate -s 3000000 sparse; printf end >> sparse
    mknod null c 1 3; mknod block b 7 200; chown 1000:2000 d/large; chown 3000000:4000000 d/nothing
    chmod 4755 d/large; chmod 1777 d/empty; setfattr -n user.color -v blue d/small; setcap cap_net_raw+ep d/nothing
    touch -h -d @1000000000.123456789 d/link; touch -d @1234567890.5 d/large
"#;

/// What a second layer takes away, hides and changes.
const UPROOT: &str = r#"
    cd "$1"; rm -r gone pipe d/twin; rm -r again; mkdir again; printf new > again/new
    chmod 700 d/large; printf more >> d/small; rm far; mkdir far
"#;

fn program(name: &str) -> bool {
    let is_there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        eprintln!("skipped: {name} is not installed");
    }
    is_there
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn shell(script: &str, directory: &Path) {
    run(Command::new("sh").args(["-ec", script, "sh"]).arg(directory));
}

/// Loads an archive, proves that each layer reads back to the bytes that its id stands for, and that what
/// they hold is what was planted; saves the image again.
fn round_trip(archive: &Path, again: &Path) -> ImageId {
    let (_directory, store) = store();
    let loaded = store.load(&Source::open(&store, archive).unwrap(), &LoadOptions::default()).unwrap();
    let image = store.image(loaded[0].image).unwrap().unwrap();
    for id in image.layers() {
        let layer = store.layer(*id).unwrap().unwrap();
        assert_eq!(DiffId(Digest::of(&all(layer.read().unwrap()))), *id);
        assert!(layer.verify().unwrap());
    }
    let tree = store.root_tree(image.layers()).unwrap();
    let at = |text: &str| tree.get(&path(text)).unwrap_or_else(|| panic!("no {text}"));
    assert_eq!((at("d/large").metadata.uid, at("d/large").metadata.gid), (1000, 2000));
    assert_eq!(at("d/nothing").metadata.uid, 3_000_000);
    let attributes = |text: &str| at(text).metadata.xattrs.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
    assert!(attributes("d/nothing").contains(&b"security.capability".to_vec()), "{:?}", attributes("d/nothing"));
    assert!(matches!(at("block").node, Node::Leaf(Leaf::Device { major: 7, minor: 200, .. })));
    assert!(matches!(at("sparse").node, Node::Leaf(Leaf::File { size_bytes: 3_000_003, .. })));
    assert!(tree.get(&RelPath::new(*b"raw\xffname").unwrap()).is_some());
    for gone in ["gone", "pipe", "d/twin", "again/old"] {
        assert!(tree.get(&path(gone)).is_none(), "{gone} is still there");
    }
    assert!(matches!(at("far").node, Node::Directory(_)) && tree.get(&path("again/new")).is_some());
    let long = "0".repeat(120);
    let twins = [path(&format!("{long}/hard")), path(&format!("{long}/{long}/{long}"))];
    assert!(tree.hard_links().groups().iter().any(|group| twins.iter().all(|path| group.contains(path))));
    let images = vec![SavedImage {
        image: image.id,
        document: None,
        tags: vec!["kiln.test/again:1".parse().unwrap()],
        annotations: Default::default(),
    }];
    let save = Save { images, format: ArchiveFormat::Docker, layers: LayerForm::Plain };
    store.save(&save, std::fs::File::create(again).unwrap()).unwrap();
    image.id
}

/// As `buildah commit` writes them, and `podman load` takes them.
#[test]
fn layers_of_containers_storage() {
    if !rustix::process::geteuid().is_root() || !program("buildah") || !program("podman") {
        return eprintln!("skipped: needs root, buildah and podman");
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tool = |name: &str, storage: &str| {
        let mut command = Command::new(name);
        command.arg("--root").arg(at(storage)).arg("--runroot").arg(at("run")).args(["--storage-driver", "vfs"]);
        command
    };
    let buildah = |arguments: &[&str]| run(tool("buildah", "storage").args(arguments));
    let change = |base: &str, script: &str, name: &str| {
        let container = buildah(&["from", "--pull-never", base]);
        shell(script, Path::new(&buildah(&["mount", &container])));
        buildah(&["umount", &container]);
        buildah(&["commit", "-q", &container, name]);
        buildah(&["rm", &container]);
    };
    change("scratch", PLANT, "localhost/first:1");
    change("localhost/first:1", UPROOT, "localhost/second:1");
    let archive = at("written.tar");
    buildah(&["push", "-q", "localhost/second:1", &format!("docker-archive:{}:second:1", archive.display())]);
    let id = round_trip(&archive, &at("again.tar"));
    let podman = |arguments: &[&str]| run(tool("podman", "other").arg("--cgroup-manager=cgroupfs").args(arguments));
    podman(&["load", "-q", "-i", at("again.tar").to_str().unwrap()]);
    assert_eq!(podman(&["images", "-q", "--no-trunc"]), id.to_string());
}

/// A Docker daemon of the test's own.
struct Docker {
    daemon: Child,
    home: PathBuf,
}

impl Docker {
    fn start(home: &Path) -> Self {
        let at = |name: &str| home.join(name);
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec")).arg("--pidfile").arg(at("pid"));
        command.arg("--config-file").arg(at("none.json")).arg("--host").arg(format!("unix://{}", at("s").display()));
        std::fs::write(at("none.json"), "{}").unwrap();
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]);
        let log = std::fs::File::create(at("log")).unwrap();
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let docker = Self { daemon, home: home.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !docker.command().arg("version").output().unwrap().status.success() {
            let log = || std::fs::read_to_string(at("log")).unwrap();
            assert!(Instant::now() < deadline, "the daemon does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        docker
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        // The classic builder writes its layers with Go's archive/tar; it needs no containerd worker.
        command.env("DOCKER_HOST", format!("unix://{}", self.home.join("s").display())).env("DOCKER_BUILDKIT", "0");
        command.env("HOME", &self.home);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(process) = rustix::process::Pid::from_raw(self.daemon.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}

/// As `docker build` and `docker save` write them, and `docker load` takes them.
#[test]
fn layers_of_docker() {
    if !rustix::process::geteuid().is_root() || !program("dockerd") || !program("docker") {
        return eprintln!("skipped: needs root and dockerd");
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shell(PLANT, &at("context"));
    // A context cannot carry everything; a tar in it that ADD unpacks can.
    let pack = r#"mkdir "$1/../build"; cd "$1/../build"; printf 'FROM scratch\nADD all.tar /\n' > Dockerfile
        tar --format=posix --sparse --xattrs --xattrs-include='*' -C "$1" -cf all.tar ."#;
    shell(pack, &at("context"));
    let docker = Docker::start(directory.path());
    docker.run(&["build", "-q", "-t", "first:1", at("build").to_str().unwrap()]);
    // Nothing in it could run; its files are a directory that can be changed all the same.
    let container = docker.run(&["create", "first:1", "nothing"]);
    let mount = at("data/image/vfs/layerdb/mounts").join(&container).join("mount-id");
    shell(UPROOT, &at("data/vfs/dir").join(std::fs::read_to_string(mount).unwrap()));
    let id = docker.run(&["commit", &container, "second:1"]);
    docker.run(&["rm", &container]);
    let archive = at("written.tar");
    docker.run(&["save", "-o", archive.to_str().unwrap(), "second:1"]);
    docker.run(&["rmi", "-f", "second:1", "first:1"]);
    assert_eq!(round_trip(&archive, &at("again.tar")).to_string(), id);
    docker.run(&["load", "-q", "-i", at("again.tar").to_str().unwrap()]);
    assert_eq!(docker.run(&["images", "-q", "--no-trunc"]), id);
}
