//! Pushing to the real registry, with `skopeo` as the witness.

use registry::{BlobState, Cause, Event, Family, PushError, PushOptions, Registry, RequestError, UploadError, Uploads};
use store::compress::Encoding;
use store::oci::{Document, ImageConfig, Manifest, MediaType};
use store::{Digest, ImageId, Platform, Reference, Store, TaggedImage};

use crate::harness::*;
use crate::token_server::TokenServer;

fn silent(_: Event) {}

/// An image that the store has as if it had been built here: no compressed form is known.
fn built(store: &Store, sizes: &[usize]) -> ImageId {
    let layout = Layout::new(sizes);
    for (descriptor, diff_id) in layout.manifest.layers.iter().zip(&layout.config.rootfs.diff_ids) {
        let compressed = layout.blob(descriptor.digest);
        store.import_layer(store::compress::decompress(&compressed[..]).unwrap(), Some(*diff_id)).unwrap();
    }
    store.put_image(&layout.config.to_bytes()).unwrap()
}

fn pushed_manifest(reference: &Reference, more: &[&str]) -> (Digest, Manifest) {
    let bytes = raw_manifest(reference, more);
    let Document::Manifest(manifest) = Document::parse(&bytes, None).unwrap() else { panic!("no manifest") };
    (Digest::of(&bytes), manifest)
}

/// Has `skopeo` fetch an image, which verifies all its digests, and gives its config.
fn fetch_with_skopeo(reference: &Reference, more: &[&str]) -> ImageConfig {
    let directory = tempfile::tempdir().unwrap();
    let to = format!("dir:{}", directory.path().display());
    let from = format!("docker://{reference}");
    run("skopeo", &[&["--insecure-policy", "copy", "--src-tls-verify=false"], more, &[&from, &to]].concat());
    let manifest = std::fs::read(directory.path().join("manifest.json")).unwrap();
    let Document::Manifest(manifest) = Document::parse(&manifest, None).unwrap() else { panic!("no manifest") };
    ImageConfig::parse(&std::fs::read(directory.path().join(manifest.config.digest.hex())).unwrap()).unwrap()
}

#[test]
fn what_was_built_is_pushed_and_pulled_with_the_same_id() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (_directory, store) = store();
    let image = built(&store, &[3_000_000, 100, 0]);
    let reference = server.reference("geektime/helloworld:v1");
    store.tag(&reference, &TaggedImage::now(image)).unwrap();
    let events = Events::default();
    let pushed = anonymous().push(&store, image, &reference, &PushOptions::default(), &events.sink()).unwrap();
    assert!(pushed.sent_bytes > 3_000_000);

    let (digest, manifest) = pushed_manifest(&reference, &[]);
    assert_eq!(digest, pushed.pinned.digest);
    assert_eq!((manifest.media_type.clone(), manifest.config.digest), (MediaType::OciManifest, image.0));
    assert!(manifest.layers.iter().all(|layer| layer.media_type == MediaType::OciLayerGzip));
    let config = fetch_with_skopeo(&reference, &[]);
    assert_eq!(config.id(), image);

    // Into another store, and the image is the same.
    let (_other_directory, other) = crate::harness::store();
    let pulled = anonymous().pull(&other, &reference, &Platform::host(), &silent).unwrap();
    assert_eq!((pulled.image, pulled.manifest), (image, digest));

    // Again: nothing is compressed and nothing is sent.
    let events = Events::default();
    let again = anonymous().push(&store, image, &reference, &PushOptions::default(), &events.sink()).unwrap();
    assert_eq!((again.pinned, again.sent_bytes), (pushed.pinned, 0));
    assert!(events.states().iter().all(|state| *state == BlobState::Present));
    assert!(!events.all().iter().any(|event| matches!(event, Event::Compressing { .. })));
}

#[test]
fn a_pulled_image_keeps_its_manifest_and_is_mounted() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[1_000_000, 1000]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &[]);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &reference, &Platform::host(), &silent).unwrap().image;
    let events = Events::default();
    let target = server.reference("other/copy:v2");
    let pushed = anonymous().push(&store, image, &target, &PushOptions::default(), &events.sink()).unwrap();
    assert_eq!(pushed.pinned.digest, layout.manifest_digest);
    let mounted = BlobState::Mounted { from: "project/app".to_owned() };
    assert_eq!(events.states().iter().filter(|state| **state == mounted).count(), 2, "{:?}", events.all());
    assert_eq!(fetch_with_skopeo(&target, &[]), layout.config);
}

#[test]
fn a_pulled_image_streams_from_its_registry_to_another() {
    let Some(from) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let Some(to) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[2_000_000, 1000]);
    layout.push_with_skopeo(&from.reference("project/app:v1"), &[]);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &from.reference("project/app:v1"), &Platform::host(), &silent).unwrap().image;
    let events = Events::default();
    let target = to.reference("project/app:v1");
    let pushed = anonymous().push(&store, image, &target, &PushOptions::default(), &events.sink()).unwrap();
    assert_eq!(pushed.pinned.digest, layout.manifest_digest);
    assert!(!events.all().iter().any(|event| matches!(event, Event::Compressing { .. })));

    // Once the source is gone, layers are compressed again, and that is said.
    drop((from, to));
    let Some(third) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let events = Events::default();
    let target = third.reference("project/app:v1");
    let pushed = anonymous().push(&store, image, &target, &PushOptions::default(), &events.sink()).unwrap();
    assert!(events.all().iter().any(|event| matches!(event, Event::Recompressing { .. })));
    assert_ne!(pushed.pinned.digest, layout.manifest_digest);
    assert_eq!(fetch_with_skopeo(&target, &[]), layout.config);
}

#[test]
fn docker_types_come_and_go_as_docker_types() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[100_000]);
    let reference = server.reference("project/app:docker");
    layout.push_with_skopeo(&reference, &["--format", "v2s2"]);
    let (digest, manifest) = pushed_manifest(&reference, &[]);
    assert_eq!(manifest.media_type, MediaType::DockerManifest);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &reference, &Platform::host(), &silent).unwrap().image;
    let push = |tag: &str, family| {
        let options = PushOptions { family, ..PushOptions::default() };
        anonymous().push(&store, image, &server.reference(&format!("project/other:{tag}")), &options, &silent).unwrap();
        pushed_manifest(&server.reference(&format!("project/other:{tag}")), &[])
    };
    assert_eq!(push("same", Family::AsItCame).0, digest);
    let (_, oci) = push("oci", Family::Oci);
    assert_eq!((oci.media_type, oci.config.media_type), (MediaType::OciManifest, MediaType::OciConfig));
    assert_eq!(oci.layers[0].digest, manifest.layers[0].digest);
    assert_eq!(push("docker", Family::Docker).0, digest);
}

#[test]
fn a_password_and_tls_are_no_hindrance() {
    let Some(server) = Server::start(&Auth::Password, Transport::Tls) else { return };
    let (_directory, store) = store();
    let image = built(&store, &[200_000]);
    let reference = server.reference("project/app:v1");
    let certificates = vec![server.certificates()];
    let credentials = registry::Credentials::none().with(server.host.clone(), password(PASSWORD));
    let options = registry::Options { certificates, ..options() };
    Registry::new(options, credentials)
        .unwrap()
        .push(&store, image, &reference, &PushOptions::default(), &silent)
        .unwrap();
    assert_eq!(fetch_with_skopeo(&reference, &["--src-creds", &format!("{USER}:{PASSWORD}")]).id(), image);
}

#[test]
fn tokens_have_the_scopes_of_push_and_mount() {
    let Some((tokens, server)) = TokenServer::with_registry() else { return };
    let (_directory, store) = store();
    let image = built(&store, &[200_000, 10]);
    let robot = known_at(&server.host);
    robot.push(&store, image, &server.reference("project/app:v1"), &PushOptions::default(), &silent).unwrap();
    let events = Events::default();
    robot.push(&store, image, &server.reference("a/copy:v1"), &PushOptions::default(), &events.sink()).unwrap();
    assert!(events.states().contains(&BlobState::Mounted { from: "project/app".to_owned() }), "{:?}", events.all());
    let both = "scope=repository%3Aa%2Fcopy%3Apull%2Cpush&scope=repository%3Aproject%2Fapp%3Apull";
    assert!(tokens.requests().iter().any(|request| request.contains(both)), "{:?}", tokens.requests());

    // Where the robot has no right, the answer says what to look at, and is not repeated.
    let error =
        robot.push(&store, image, &server.reference("foreign/app:v1"), &PushOptions::default(), &silent).unwrap_err();
    assert_eq!(cause(&error), Some(Cause::NoRight), "{error}");
    let error = anonymous()
        .push(&store, image, &server.reference("project/app:v1"), &PushOptions::default(), &silent)
        .unwrap_err();
    assert_eq!(cause(&error), Some(Cause::NotLoggedIn), "{error}");
}

#[test]
fn zstd_is_pushed_when_it_is_wanted() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (_directory, store) = store();
    let image = built(&store, &[300_000]);
    let reference = server.reference("project/app:zstd");
    let options = PushOptions { encoding: Encoding::Zstd(3), ..PushOptions::default() };
    anonymous().push(&store, image, &reference, &options, &silent).unwrap();
    assert_eq!(pushed_manifest(&reference, &[]).1.layers[0].media_type, MediaType::OciLayerZstd);
    let docker = PushOptions { family: Family::Docker, ..options };
    let error = anonymous().push(&store, image, &reference, &docker, &silent).unwrap_err();
    assert!(matches!(error, PushError::NoDockerName(MediaType::OciLayerZstd)), "{error:?}");
    let (_other_directory, other) = crate::harness::store();
    assert_eq!(anonymous().pull(&other, &reference, &Platform::host(), &silent).unwrap().image, image);
}

#[test]
fn chunks_arrive_as_one_blob() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (_directory, store) = store();
    let image = built(&store, &[20_000_000, 10]);
    let reference = server.reference("project/app:chunks");
    let options = registry::Options { uploads: Uploads::InChunks, ..options() };
    let registry = Registry::new(options, registry::Credentials::none()).unwrap();
    registry.push(&store, image, &reference, &PushOptions::default(), &silent).unwrap();
    assert_eq!(fetch_with_skopeo(&reference, &[]).id(), image);
}

#[test]
fn another_client_pulls_what_was_pushed() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (_directory, store) = store();
    let image = built(&store, &[300_000, 10]);
    let reference = server.reference("project/app:witness");
    let pushed = anonymous().push(&store, image, &reference, &PushOptions::default(), &silent).unwrap();

    use oci_client::client::{Client, ClientConfig, ClientProtocol};
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let (client, name) = (Client::try_from(config).unwrap(), reference.to_string().parse().unwrap());
    let gzip = vec![MediaType::OciLayerGzip.as_str()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pulled = runtime.block_on(client.pull(&name, &oci_client::secrets::RegistryAuth::Anonymous, gzip)).unwrap();
    assert_eq!(pulled.digest, Some(pushed.pinned.digest.to_string()));
    assert_eq!(Digest::of(&pulled.config.data), image.0);
    assert_eq!(pulled.layers.len(), 2);
}

#[test]
fn a_push_to_a_digest_makes_no_sense() {
    let (_directory, store) = store();
    let reference = format!("localhost:1/a@{}", Digest::of(b"")).parse().unwrap();
    let error =
        anonymous().push(&store, ImageId(Digest::of(b"")), &reference, &PushOptions::default(), &silent).unwrap_err();
    assert!(matches!(error, PushError::ToDigest(_)));
}

fn cause(error: &PushError) -> Option<Cause> {
    match error {
        PushError::Request(RequestError::Refused(refusal))
        | PushError::Upload(UploadError::Request(RequestError::Refused(refusal))) => Some(refusal.cause),
        _ => None,
    }
}
