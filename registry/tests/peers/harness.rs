//! Registries, images and stores for the tests. Everything lives in temporary directories and on
//! loopback, and dies with the test.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use registry::{Credential, Credentials, Event, Host, Options, Patience, Registry, Secret};
use store::oci::{Descriptor, ImageConfig, Manifest, MediaType};
use store::{DiffId, Digest, Platform, Reference, Store};
use tempfile::TempDir;

/// Who may use a registry.
pub(crate) enum Auth {
    Anonymous,
    Password,
    Token { realm: String, certificate: PathBuf },
}

/// How a registry is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
    /// TLS, and the client must have a certificate of the same authority.
    MutualTls,
}

/// The user that `Auth::Password` and the token server know.
pub(crate) const USER: &str = "robot$project+builder";
/// Their password.
pub(crate) const PASSWORD: &str = "correct horse";

/// A running `docker-registry`.
pub(crate) struct Server {
    child: Child,
    pub(crate) directory: TempDir,
    pub(crate) host: Host,
}

impl Server {
    /// Starts one on a free port; `None`, with a printed reason, where it is not installed.
    pub(crate) fn start(auth: &Auth, transport: Transport) -> Option<Self> {
        if !all_installed(&["docker-registry", "openssl", "htpasswd", "tar", "gzip"]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (config, log) = (directory.path().join("config.yml"), directory.path().join("log"));
        std::fs::write(&config, configuration(directory.path(), auth, transport)).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let port = port_in(&log);
        Some(Self { child, directory, host: Host::new(&format!("127.0.0.1:{port}")).unwrap() })
    }

    /// A directory like `/etc/docker/certs.d` in which the registry's authority stands.
    pub(crate) fn certificates(&self) -> PathBuf {
        let certificates = self.directory.path().join("certs.d");
        let of_host = certificates.join(self.host.as_str());
        std::fs::create_dir_all(&of_host).unwrap();
        std::fs::copy(self.directory.path().join("ca.crt"), of_host.join("ca.crt")).unwrap();
        certificates
    }

    /// The same, with the server's own certificate for the client too.
    pub(crate) fn client_certificates(&self) -> PathBuf {
        let certificates = self.certificates();
        for (from, to) in [("server.crt", "client.cert"), ("server.key", "client.key")] {
            std::fs::copy(self.directory.path().join(from), certificates.join(self.host.as_str()).join(to)).unwrap();
        }
        certificates
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(directory: &Path, auth: &Auth, transport: Transport) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    let auth = match auth {
        Auth::Anonymous => String::new(),
        Auth::Password => {
            let hash = run("htpasswd", &["-nbB", USER, PASSWORD]);
            std::fs::write(directory.join("htpasswd"), hash).unwrap();
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd"))
        }
        Auth::Token { realm, certificate } => format!(
            "auth:\n  token:\n    realm: {realm}\n    service: test\n    issuer: kiln-test\n    rootcertbundle: {}\n",
            certificate.display()
        ),
    };
    let tls = match transport {
        Transport::Plain => String::new(),
        Transport::Tls => {
            make_certificates(directory);
            server_tls(&path)
        }
        Transport::MutualTls => {
            make_certificates(directory);
            let tls = server_tls(&path);
            format!("{tls}    clientcas:\n      - {}\n", path("ca.crt"))
        }
    };
    format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: 127.0.0.1:0\n  secret: test\n{tls}{auth}",
        path("data")
    )
}

fn server_tls(path: &dyn Fn(&str) -> String) -> String {
    format!("  tls:\n    certificate: {}\n    key: {}\n", path("server.crt"), path("server.key"))
}

/// A private authority and a certificate of it for 127.0.0.1.
fn make_certificates(directory: &Path) {
    let path = |name: &str| directory.join(name).display().to_string();
    std::fs::write(path("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test authority", "-x509", "-days", "2"];
    run("openssl", &[&request[..], &["-keyout", &path("ca.key"), "-out", &path("ca.crt")]].concat());
    let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"];
    run("openssl", &[&request[..], &["-keyout", &path("server.key"), "-out", &path("server.csr")]].concat());
    let sign = ["x509", "-req", "-days", "2", "-CAcreateserial"];
    let files =
        ["-in", &path("server.csr"), "-CA", &path("ca.crt"), "-CAkey", &path("ca.key"), "-extfile", &path("san")];
    run("openssl", &[&sign[..], &files, &["-out", &path("server.crt")]].concat());
}

/// Runs a program that must succeed, and gives its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Whether all of these can be run; prints what is missing.
pub(crate) fn all_installed(programs: &[&str]) -> bool {
    let missing = |program: &&&str| {
        let found =
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(program).exists());
        !found
    };
    match programs.iter().find(missing) {
        Some(program) => {
            eprintln!("skipped: {program} is not installed");
            false
        }
        None => true,
    }
}

/// A port of 127.0.0.1 that nobody listens on, and nobody can take: one end of a connection has it.
pub(crate) struct ClosedPort {
    end: TcpStream,
    _listener: TcpListener,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { end: TcpStream::connect(listener.local_addr().unwrap()).unwrap(), _listener: listener }
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(&self.end.local_addr().unwrap().to_string()).unwrap()
    }
}

/// The port that the kernel chose for a server, which says it once it listens.
fn port_in(log: &Path) -> u16 {
    let started = Instant::now();
    loop {
        let said = std::fs::read_to_string(log).unwrap();
        let after = said.split_once("listening on 127.0.0.1:").map(|(_, after)| after);
        let digits = after.and_then(|after| after.split_once(|character: char| !character.is_ascii_digit()));
        if let Some((port, _)) = digits {
            return port.parse().unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the server does not start: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Options that do not wait long.
pub(crate) fn options() -> Options {
    let mut options = Options { certificates: Vec::new(), ..Options::default() };
    options.patience = Patience { first_wait: Duration::from_millis(20), ..Patience::default() };
    options.timeouts.stall = Duration::from_secs(30);
    options
}

pub(crate) fn anonymous() -> Registry {
    Registry::new(options(), Credentials::none()).unwrap()
}

pub(crate) fn password(password: &str) -> Credential {
    Credential::Password { username: USER.to_owned(), password: Secret::new(password) }
}

/// Somebody who shows the right password to one host.
pub(crate) fn known_at(host: &Host) -> Registry {
    Registry::new(options(), Credentials::none().with(host.clone(), password(PASSWORD))).unwrap()
}

/// Collects events.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Events {
    pub(crate) fn sink(&self) -> impl Fn(Event) + Sync + '_ {
        |event| self.0.lock().unwrap().push(event)
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn states(&self) -> Vec<registry::BlobState> {
        let state = |event| match event {
            Event::Blob { state, .. } => Some(state),
            _ => None,
        };
        self.all().into_iter().filter_map(state).collect()
    }
}

pub(crate) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| step().to_le_bytes()).flatten().take(count).collect()
}

/// An image as an OCI layout on disk, made with GNU tar and gzip.
pub(crate) struct Layout {
    pub(crate) directory: TempDir,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_digest: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) config_digest: Digest,
}

impl Layout {
    /// An image whose layers hold one file each, of those sizes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        let mut config = ImageConfig::empty(&Platform::host());
        let mut layers = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let (diff_id, compressed) = layer(directory.path(), number, *size);
            config.rootfs.diff_ids.push(diff_id);
            layers.push(put(directory.path(), MediaType::OciLayerGzip, &compressed));
        }
        let descriptor = put(directory.path(), MediaType::OciConfig, &config.to_bytes());
        let config_digest = descriptor.digest;
        let manifest = Manifest::new(MediaType::OciManifest, descriptor, layers);
        let pointer = put(directory.path(), MediaType::OciManifest, &manifest.to_bytes());
        let index = store::oci::Index::new(MediaType::OciIndex, vec![pointer.clone()]);
        std::fs::write(directory.path().join("index.json"), index.to_bytes()).unwrap();
        std::fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { directory, manifest, manifest_digest: pointer.digest, config, config_digest }
    }

    pub(crate) fn blob(&self, digest: Digest) -> Vec<u8> {
        std::fs::read(self.directory.path().join("blobs/sha256").join(digest.hex())).unwrap()
    }

    /// Has `skopeo` push the image.
    pub(crate) fn push_with_skopeo(&self, reference: &Reference, more: &[&str]) {
        let from = format!("oci:{}", self.directory.path().display());
        let to = format!("docker://{reference}");
        run("skopeo", &[&["--insecure-policy", "copy", "--dest-tls-verify=false"], more, &[&from, &to]].concat());
    }
}

fn layer(directory: &Path, number: usize, size: usize) -> (DiffId, Vec<u8>) {
    let files = directory.join(format!("files{number}"));
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join(format!("file{number}")), noise(number as u64 + 1, size)).unwrap();
    let tar = directory.join(format!("{number}.tar"));
    let (tar, files) = (tar.display().to_string(), files.display().to_string());
    run("tar", &["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf", &tar, "-C", &files, "."]);
    let diff_id = DiffId(Digest::of(&std::fs::read(&tar).unwrap()));
    (diff_id, run("gzip", &["-nc", &tar]))
}

fn put(directory: &Path, media_type: MediaType, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    std::fs::write(directory.join("blobs/sha256").join(descriptor.digest.hex()), bytes).unwrap();
    descriptor
}

/// What `skopeo inspect --raw` sees.
pub(crate) fn raw_manifest(reference: &Reference, more: &[&str]) -> Vec<u8> {
    let name = format!("docker://{reference}");
    run("skopeo", &[&["--insecure-policy", "inspect", "--raw", "--tls-verify=false"], more, &[&name]].concat())
}
