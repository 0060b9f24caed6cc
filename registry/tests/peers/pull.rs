//! Pulling from the real registry what `skopeo` has put there.

use registry::{BlobState, Cause, Event, News, PullError, RequestError, ResolveError};
use store::Platform;
use store::oci::{Descriptor, Index, MediaType};

use crate::harness::*;
use crate::token_server::TokenServer;

fn silent(_: Event) {}

#[test]
fn what_skopeo_pushed_is_pulled_with_the_same_digests() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[2_000_000, 500, 0, 70_000]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &[]);

    let (_directory, store) = store();
    let (registry, events) = (anonymous(), Events::default());
    let pulled = registry.pull(&store, &reference, &Platform::host(), &events.sink()).unwrap();
    assert_eq!(
        (pulled.image.0, pulled.manifest, pulled.news),
        (layout.config_digest, layout.manifest_digest, News::Newer)
    );
    assert_eq!(pulled.pinned.digest, layout.manifest_digest);
    let image = store.image(pulled.image).unwrap().unwrap();
    assert_eq!(image.config, layout.config);
    assert_eq!(store.tagged(&reference).unwrap().unwrap().image, pulled.image);
    assert_eq!(events.states().iter().filter(|state| **state == BlobState::Unpacked).count(), 4);
    for (at, size) in [2_000_000, 500, 0, 70_000].into_iter().enumerate() {
        let layer = store.layer(image.layers()[at]).unwrap().unwrap();
        let mut tar = Vec::new();
        std::io::Read::read_to_end(&mut layer.read().unwrap(), &mut tar).unwrap();
        assert_eq!(store::Digest::of(&tar), image.layers()[at].0);
        assert!(tar.len() >= size);
    }

    // Again: nothing is fetched, nothing changes.
    let (again, events) = (anonymous(), Events::default());
    let pulled = again.pull(&store, &reference, &Platform::host(), &events.sink()).unwrap();
    assert_eq!((pulled.news, pulled.downloaded_bytes), (News::UpToDate, 0));
    assert!(events.states().iter().all(|state| *state == BlobState::Present));
}

#[test]
fn a_digest_is_pulled_without_a_tag() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[1000]);
    layout.push_with_skopeo(&server.reference("project/app:v1"), &[]);
    let (_directory, store) = store();
    let pinned = server.reference(&format!("project/app@{}", layout.manifest_digest));
    let pulled = anonymous().pull(&store, &pinned, &Platform::host(), &silent).unwrap();
    assert_eq!(pulled.image.0, layout.config_digest);
    assert!(store.tags().unwrap().is_empty());
}

#[test]
fn what_was_resolved_is_fetched_without_a_tag() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[1000, 2000]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &[]);
    let (_directory, store) = store();
    let registry = anonymous();
    assert_eq!(registry.pin(&reference, &silent).unwrap().digest, layout.manifest_digest);
    let remote = registry.resolve(&store, &reference, &Platform::host(), &silent).unwrap();
    assert_eq!((remote.pinned.digest, &remote.config), (layout.manifest_digest, &layout.config));
    assert!(store.layer(layout.config.rootfs.diff_ids[0]).unwrap().is_none());
    assert_eq!(registry.fetch(&store, &remote, &silent).unwrap().news, News::Newer);
    assert!(store.tags().unwrap().is_empty());
    assert_eq!(store.image(store::ImageId(layout.config_digest)).unwrap().unwrap().config, layout.config);
    assert_eq!(registry.fetch(&store, &remote, &silent).unwrap().news, News::UpToDate);
}

#[test]
fn a_platform_is_chosen_from_an_index() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (mine, other) = (Layout::new(&[1000]), Layout::new(&[2000]));
    for (layout, tag) in [(&mine, "mine"), (&other, "other")] {
        layout.push_with_skopeo(&server.reference(&format!("project/app:{tag}")), &[]);
    }
    let offer = |layout: &Layout, platform: Platform| {
        let size = layout.manifest.to_bytes().len() as u64;
        Descriptor { platform: Some(platform), ..Descriptor::new(MediaType::OciManifest, layout.manifest_digest, size) }
    };
    let host = Platform::host();
    let index = Index::new(
        MediaType::OciIndex,
        vec![offer(&other, "linux/s390x".parse().unwrap()), offer(&mine, host.clone())],
    );
    let url = format!("http://{}/v2/project/app/manifests/all", server.host);
    let file = server.directory.path().join("index.json");
    std::fs::write(&file, index.to_bytes()).unwrap();
    run(
        "curl",
        &[
            "-sf",
            "-X",
            "PUT",
            "-H",
            &format!("Content-Type: {}", MediaType::OciIndex),
            "--data-binary",
            &format!("@{}", file.display()),
            &url,
        ],
    );

    let (_directory, store) = store();
    let pulled = anonymous().pull(&store, &server.reference("project/app:all"), &host, &silent).unwrap();
    assert_eq!(pulled.image.0, mine.config_digest);
    assert_eq!(pulled.pinned.digest, store::Digest::of(&index.to_bytes()));
    let error = anonymous()
        .pull(&store, &server.reference("project/app:all"), &"linux/arm64".parse().unwrap(), &silent)
        .unwrap_err();
    assert!(error.to_string().contains("has no image for linux/arm64; it has linux/s390x"), "{error}");
}

#[test]
fn tls_and_a_password_are_no_hindrance() {
    let Some(server) = Server::start(&Auth::Password, Transport::Tls) else { return };
    let layout = Layout::new(&[100_000]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    let (_directory, store) = store();
    let options = || registry::Options { certificates: vec![server.certificates()], ..options() };
    let known = registry::Credentials::none().with(server.host.clone(), password(PASSWORD));
    let pull = |credentials| {
        registry::Registry::new(options(), credentials).unwrap().pull(&store, &reference, &Platform::host(), &silent)
    };
    let refused = pull(registry::Credentials::none()).unwrap_err();
    assert_eq!(cause(&refused), Some(Cause::NotLoggedIn), "{refused}");
    let wrong = registry::Credentials::none().with(server.host.clone(), password("wrong"));
    assert_eq!(cause(&pull(wrong).unwrap_err()), Some(Cause::CredentialsRefused));
    assert_eq!(pull(known.clone()).unwrap().image.0, layout.config_digest);
    // Rule C034: one directory of certificates for every registry.
    let certificate_directory = Some(server.certificates().join(server.host.as_str()));
    let options = registry::Options { certificate_directory, ..self::options() };
    let registry = registry::Registry::new(options, known).unwrap();
    assert!(registry.pull(&store, &reference, &Platform::host(), &silent).is_ok());
}

#[test]
fn tokens_are_got_for_anybody_and_renewed() {
    let Some((tokens, server)) = TokenServer::with_lifetime(2) else { return };
    let layout = Layout::new(&[1000, 100_000]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    let registry = anonymous();
    for _ in 0..2 {
        let (_directory, store) = store();
        assert_eq!(
            registry.pull(&store, &reference, &Platform::host(), &silent).unwrap().image.0,
            layout.config_digest
        );
        // The token of the first pull is over by the second.
        std::thread::sleep(std::time::Duration::from_secs(3));
    }
    assert!(tokens.requests().iter().any(|request| request.contains("scope=repository%3Aproject%2Fapp%3Apull")));
}

fn cause(error: &PullError) -> Option<Cause> {
    match error {
        PullError::Resolve(ResolveError::Request(RequestError::Refused(refusal))) => Some(refusal.cause),
        _ => None,
    }
}
