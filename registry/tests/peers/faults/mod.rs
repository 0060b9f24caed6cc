//! A registry that misbehaves in one way at a time.

mod http;
mod registry;

pub(crate) use http::{Answer, Http, Request};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::registry::{Cause, Credentials, Event, Options, PullError, PushOptions, Registry, RequestError, ResolveError};
use store::{Cancel, Cancelled, ImageId, Platform, Store};

pub(crate) use self::registry::Fake;
use crate::harness::*;

fn silent(_: Event) {}

fn first_time(counter: &AtomicUsize) -> bool {
    counter.fetch_add(1, Ordering::Relaxed) == 0
}

/// Whether a request fetches a layer of some size, not a config.
fn is_blob(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("/blobs/sha256:")
}

/// Pulls an image of one large layer through a rule, and says what came of it.
fn pull_through(
    rule: impl Fn(&Request, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static,
) -> (Fake, Store, tempfile::TempDir, Layout, Result<ImageId, PullError>) {
    pull_with(&anonymous(), rule)
}

fn pull_with(
    registry: &Registry,
    rule: impl Fn(&Request, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static,
) -> (Fake, Store, tempfile::TempDir, Layout, Result<ImageId, PullError>) {
    let layout = Layout::new(&[3 << 20]);
    let layer = layout.manifest.layers[0].digest.to_string();
    let fake = Fake::start(move |request, honest| match is_blob(request) && request.target.ends_with(&layer) {
        true => rule(request, honest),
        false => honest(),
    });
    fake.hold("v1", &layout);
    let (directory, store) = store();
    let pulled = registry.pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent);
    (fake, store, directory, layout, pulled.map(|pulled| pulled.image))
}

#[test]
fn a_cut_is_resumed_where_it_was() {
    let cuts = AtomicUsize::new(0);
    let (fake, _, _directory, layout, image) =
        pull_through(
            move |_, honest| {
                if cuts.fetch_add(1, Ordering::Relaxed) < 3 { honest().cut_at(700_000) } else { honest() }
            },
        );
    assert_eq!(image.unwrap().0, layout.config_digest);
    let layer = layout.manifest.layers[0].digest.to_string();
    let ranges: Vec<_> =
        fake.requests("GET", &layer).iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[0], None);
    assert!(ranges[1..].windows(2).all(|pair| pair[0] != pair[1]), "{ranges:?}");
    assert_eq!(ranges[1].as_deref(), Some("bytes=700000-"));
}

#[test]
fn a_server_without_ranges_starts_again() {
    let whole: Mutex<Option<Answer>> = Mutex::default();
    let (_, _, _directory, layout, image) = pull_through(move |_, honest| {
        let mut whole = whole.lock().unwrap();
        match &*whole {
            None => whole.insert(honest()).clone().cut_at(100_000),
            Some(answer) => answer.clone(),
        }
    });
    assert_eq!(image.unwrap().0, layout.config_digest);
}

#[test]
fn a_lying_content_range_is_not_believed() {
    let count = AtomicUsize::new(0);
    let (fake, _, _directory, layout, image) = pull_through(move |request, honest| {
        if first_time(&count) {
            return honest().cut_at(100_000);
        }
        match request.header("range") {
            Some(_) => Answer::new(206).header("Content-Range", "bytes 5-9/10").body(vec![0; 5]),
            None => honest(),
        }
    });
    assert_eq!(image.unwrap().0, layout.config_digest);
    assert_eq!(fake.requests("GET", &layout.manifest.layers[0].digest.to_string()).len(), 3);
}

/// However a pull is ended, what came of it is nothing: while it asks, while it waits, in the middle of a layer.
#[test]
fn a_pull_ends_when_somebody_asks() {
    let layout = Layout::new(&[3 << 20, 1 << 20]);
    let layer = layout.manifest.layers[0].digest.to_string();
    let fake = Fake::start(move |request, honest| match is_blob(request) && request.target.ends_with(&layer) {
        true => honest().stalled(100_000, Duration::from_secs(3600)),
        false => honest(),
    });
    fake.hold("v1", &layout);
    let (_directory, store) = store();
    let reference = fake.reference("a/b:v1");
    // The last ones are spent on a server that has fallen silent.
    for looks in [0, 1, 2, 3, 5, 8, 20, 60] {
        let ending = store.ending_with(&Cancel::after_looks(looks));
        let ended = anonymous().pull(&ending, &reference, &Platform::host(), &silent).unwrap_err();
        assert!(Cancelled::is_cause_of(&ended), "{looks}: {ended:?}");
        assert_eq!(store.tags().unwrap(), [], "{looks}");
        assert_eq!(store.image_ids().unwrap(), [], "{looks}");
    }
}

/// No request is made once nobody wants the answer, and the next push does what is left.
#[test]
fn a_push_ends_when_somebody_asks() {
    let fake = Fake::honest();
    let layout = Layout::new(&[3 << 20]);
    fake.hold("v1", &layout);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image;
    let other = Fake::honest();
    let mut ended = 0;
    for looks in (0..).map(|exponent| (1 << exponent) - 1) {
        let ending = store.ending_with(&Cancel::after_looks(looks));
        match anonymous().push(&ending, image, &other.reference("c/d:v1"), &PushOptions::default(), &silent) {
            Ok(_) => break,
            Err(error) => assert!(Cancelled::is_cause_of(&error), "{looks}: {error:?}"),
        }
        assert!(looks > 0 || other.held.lock().unwrap().requests.is_empty());
        ended += 1;
    }
    assert!(ended > 3, "nobody looked more than {ended} times");
}

#[test]
fn a_stall_is_noticed() {
    let count = AtomicUsize::new(0);
    let mut options = options();
    options.timeouts.stall = Duration::from_secs(3);
    let registry = Registry::new(options, Credentials::none()).unwrap();
    // It goes on for longer than anybody would wait.
    let (_, _, _directory, layout, image) = pull_with(&registry, move |_, honest| match first_time(&count) {
        true => honest().stalled(100_000, Duration::from_secs(3600)),
        false => honest(),
    });
    assert_eq!(image.unwrap().0, layout.config_digest);
}

#[test]
fn a_flipped_bit_is_fetched_again_once() {
    let flip = |answer: Answer| answer.map_body(|body| body[1_000_000] ^= 1);
    let count = AtomicUsize::new(0);
    let (_, _, _directory, layout, image) =
        pull_through(move |_, honest| if first_time(&count) { flip(honest()) } else { honest() });
    assert_eq!(image.unwrap().0, layout.config_digest);

    let (fake, store, _directory, layout, image) = pull_through(move |_, honest| flip(honest()));
    let error = image.unwrap_err();
    assert!(matches!(error, PullError::Blob(_)), "{error:?}");
    assert_eq!(fake.requests("GET", &layout.manifest.layers[0].digest.to_string()).len(), 2);
    assert!(store.tags().unwrap().is_empty());
    assert!(store.layer(layout.config.rootfs.diff_ids[0]).unwrap().is_none());
}

#[test]
fn lengths_that_lie_are_caught() {
    // Short for good: the connection ends well, but too early, every time.
    let (_, _, _directory, _, image) = pull_through(|_, honest| honest().map_body(|body| body.truncate(10_000)));
    assert!(image.is_err());
    // Long: more than the manifest says.
    let (_, _, _directory, _, image) = pull_through(|_, honest| honest().map_body(|body| body.extend([0; 100_000])));
    assert!(matches!(image.unwrap_err(), PullError::Blob(_)));
    // Announced longer than it is.
    let count = AtomicUsize::new(0);
    let (_, _, _directory, _, image) =
        pull_through(move |_, honest| if first_time(&count) { honest().length(9 << 20) } else { honest() });
    image.unwrap();
}

#[test]
fn the_servers_pause_is_kept() {
    let calls: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let (_, _, _directory, _, image) = pull_through(move |_, honest| {
        let mut calls = seen.lock().unwrap();
        calls.push(Instant::now());
        if calls.len() == 1 { Answer::new(429).header("Retry-After", 2) } else { honest() }
    });
    image.unwrap();
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 2);
    assert!(calls[1] - calls[0] >= Duration::from_secs(2), "{:?}", calls[1] - calls[0]);
}

#[test]
fn trouble_that_passes_is_waited_out_and_trouble_that_stays_is_told() {
    let count = AtomicUsize::new(0);
    let (_, _, _directory, _, image) = pull_through(move |_, honest| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::new(500),
        1 => Answer::new(502),
        2 => Answer::new(503),
        3 => Answer::new(504),
        _ => honest(),
    });
    image.unwrap();

    let (fake, _, _directory, layout, image) = pull_through(|_, _| Answer::new(503));
    let error = image.unwrap_err().to_string();
    assert!(error.contains("HTTP 503") && error.contains("pull blob"), "{error}");
    let asked = fake.requests("GET", &layout.manifest.layers[0].digest.to_string()).len();
    assert!(asked <= options().patience.attempts as usize, "{asked}");
}

#[test]
fn what_does_not_pass_is_asked_once() {
    for status in [401, 403, 404, 412] {
        let (fake, _, _directory, layout, image) = pull_through(move |_, _| Answer::new(status));
        assert!(image.is_err());
        assert_eq!(fake.requests("GET", &layout.manifest.layers[0].digest.to_string()).len(), 1, "{status}");
    }
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let layout = Layout::new(&[100_000]);
    let blob = layout.blob(layout.manifest.layers[0].digest);
    let shown: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let seen = Arc::clone(&shown);
    let elsewhere = Http::start_at("127.0.0.2", move |request| {
        seen.lock().unwrap().push(request.header("authorization").map(str::to_owned));
        Answer::new(200).body(blob.clone())
    });
    let (address, layer) = (elsewhere.address, layout.manifest.layers[0].digest.to_string());
    let fake = Fake::start(move |request, honest| match request.header("authorization") {
        None => Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) if is_blob(request) && request.target.ends_with(&layer) => {
            Answer::new(307).header("Location", format!("http://{address}/signed?sig=hunter2"))
        }
        Some(_) => honest(),
    });
    fake.hold("v1", &layout);
    let (_directory, store) = store();
    known_at(&fake.host).pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap();
    assert_eq!(*shown.lock().unwrap(), [None]);
}

#[test]
fn credentials_do_not_go_to_a_foreign_token_service() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let elsewhere = Http::start_at("127.0.0.2", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Answer::json(200, &serde_json::json!({"token": "stolen"}))
    });
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", elsewhere.address);
    let fake = Fake::start(move |_, _| Answer::new(401).header("WWW-Authenticate", &challenge));
    let (_directory, store) = store();
    let error = known_at(&fake.host).pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap_err();
    let is_told = matches!(&error, PullError::Resolve(ResolveError::Request(RequestError::ForeignRealm { .. })));
    assert!(is_told, "{error:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(!error.to_string().contains(PASSWORD));
}

#[test]
fn a_registry_that_always_challenges_does_not_make_a_loop() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&tokens);
    let fake = Fake::start(move |request, _| match request.target.starts_with("/token") {
        true => Answer::json(200, &serde_json::json!({"token": format!("t{}", given.fetch_add(1, Ordering::Relaxed))})),
        false => {
            let host = request.header("host").unwrap_or_default();
            Answer::new(401).header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"x\""))
        }
    });
    let (_directory, store) = store();
    let error = known_at(&fake.host).pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap_err();
    let PullError::Resolve(ResolveError::Request(RequestError::Refused(refusal))) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.cause, Cause::NoRight);
    assert!(fake.requests("GET", "").len() + fake.requests("HEAD", "").len() <= 10);
    assert!(tokens.load(Ordering::Relaxed) <= 4, "{tokens:?}");
}

#[test]
fn manifests_that_cannot_be_used_are_refused_by_name() {
    let layout = Layout::new(&[1000]);
    let fake = Fake::honest();
    fake.hold("good", &layout);
    let mut held = fake.held.lock().unwrap();
    held.put_manifest(
        "old",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        br#"{"schemaVersion":1,"name":"a/b","tag":"old","fsLayers":[],"history":[]}"#.to_vec(),
    );
    let manifest = String::from_utf8(layout.manifest.to_bytes()).unwrap();
    let oci = layout.manifest.media_type.as_str();
    held.put_manifest("large", oci, format!("{manifest}{}", " ".repeat(5 << 20)).into_bytes());
    held.put_manifest("both", oci, manifest.replacen('{', r#"{"manifests":[],"#, 1).into_bytes());
    held.put_manifest("chart", oci, manifest.replace("oci.image.config", "cncf.helm.config").into_bytes());
    held.put_manifest("path", oci, manifest.replacen("sha256:", "sha256:../../", 1).into_bytes());
    drop(held);
    let (_directory, store) = store();
    let registry = anonymous();
    for (tag, expected) in [
        ("old", "schema 1"),
        ("large", "longer than 4194304 bytes"),
        ("both", "cannot be used"),
        ("chart", "is no image"),
        ("path", "cannot be used"),
        ("none", "HTTP 404"),
    ] {
        let error =
            registry.pull(&store, &fake.reference(&format!("a/b:{tag}")), &Platform::host(), &silent).unwrap_err();
        let text = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(text.contains(expected), "{tag}: {text}");
    }
    assert!(store.tags().unwrap().is_empty());
    registry.pull(&store, &fake.reference("a/b:good"), &Platform::host(), &silent).unwrap();
}

#[test]
fn other_bytes_than_the_tags_digest_are_refused() {
    let layout = Layout::new(&[1000]);
    let fake = Fake::start(|request, honest| match request.method == "GET" && request.target.contains("/manifests/") {
        true => honest().map_body(|body| body.push(b' ')),
        false => honest(),
    });
    fake.hold("v1", &layout);
    let (_directory, store) = store();
    let error = anonymous().pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap_err();
    assert!(matches!(error, PullError::Resolve(ResolveError::WrongBytes { .. })), "{error:?}");
}

#[test]
fn text_of_a_registry_is_printable() {
    let fake = Fake::start(|request, honest| match request.target.contains("/manifests/") {
        true => Answer::json(
            403,
            &serde_json::json!({"errors": [{"code": "DENIED", "message": "\u{1b}]0;pwn\u{7}\nforged"}]}),
        ),
        false => honest(),
    });
    let (_directory, store) = store();
    let error =
        anonymous().pull(&store, &fake.reference("a/b:v1"), &Platform::host(), &silent).unwrap_err().to_string();
    assert!(error.contains("pwn") && !error.contains(['\u{1b}', '\u{7}', '\n']), "{error:?}");
}

#[test]
fn pushes_survive_what_passes() {
    for (method, part, broken) in [
        ("PUT", "/uploads/", Answer::new(500)),
        ("PUT", "/uploads/", Answer::new(404)),
        ("POST", "/uploads/", Answer::new(429).header("Retry-After", 1)),
        ("PUT", "/manifests/", Answer::new(500)),
        ("HEAD", "/blobs/", Answer::new(503)),
    ] {
        let layout = Layout::new(&[600_000, 10_000]);
        let honest = Fake::honest();
        honest.hold("v1", &layout);
        let (_directory, store) = store();
        let image = anonymous().pull(&store, &honest.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image;

        let count = AtomicUsize::new(0);
        let answer = broken.clone();
        let target = Fake::start(move |request, honest| {
            let hit = request.method == method && request.target.contains(part);
            if hit && first_time(&count) { answer.clone() } else { honest() }
        });
        let pushed = anonymous().push(&store, image, &target.reference("c/d:v1"), &Default::default(), &silent);
        let pushed = pushed.unwrap_or_else(|error| panic!("{method} {part} {broken:?}: {error}"));
        assert_eq!(pushed.pinned.digest, layout.manifest_digest);
        let held = target.held.lock().unwrap();
        assert_eq!(held.manifests["v1"].1, layout.manifest.to_bytes());
        assert!(layout.manifest.layers.iter().all(|layer| held.blobs.contains_key(&layer.digest.to_string())));
    }
}

/// As nginx before a registry does when nobody has configured it.
#[test]
fn what_is_too_large_goes_in_chunks_and_a_broken_chunk_is_resumed() {
    let layout = Layout::new(&[3_500_000]);
    let honest = Fake::honest();
    honest.hold("v1", &layout);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &honest.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image;
    let patches = AtomicUsize::new(0);
    let target = Fake::start(move |request, honest| {
        if request.body.len() > 1 << 20 {
            return Answer::new(413).body(b"<html>413 Request Entity Too Large</html>".to_vec());
        }
        if request.method != "PATCH" {
            return honest();
        }
        match patches.fetch_add(1, Ordering::Relaxed) {
            // Lost before the registry saw it; then lost after.
            1 => Answer::new(502),
            3 => {
                honest();
                Answer::new(504)
            }
            _ => honest(),
        }
    });
    let registry = Registry::new(Options { parallel: 1, ..options() }, Credentials::none()).unwrap();
    registry.push(&store, image, &target.reference("c/d:v1"), &Default::default(), &silent).unwrap();
    let layer = layout.manifest.layers[0].digest;
    assert_eq!(target.held.lock().unwrap().blobs[&layer.to_string()], layout.blob(layer));
    let sent: usize = target.requests("PATCH", "/uploads/").iter().map(|patch| patch.body.len()).sum();
    assert!(sent <= layout.blob(layer).len() + (11 << 20), "{sent}");
}

#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    let layout = Layout::new(&[1000]);
    let honest = Fake::honest();
    honest.hold("v1", &layout);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &honest.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image;

    let shown: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let seen = Arc::clone(&shown);
    let elsewhere = Http::start_at("127.0.0.2", move |request| {
        seen.lock().unwrap().push(request.header("authorization").map(str::to_owned));
        Answer::new(201)
    });
    let address = elsewhere.address;
    let target = Fake::start(move |request, honest| match (request.header("authorization"), request.method.as_str()) {
        (None, _) => Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        (_, "POST") => Answer::new(202).header("Location", format!("http://{address}/upload?sig=x")),
        _ => honest(),
    });
    let credentials = Credentials::none().with(target.host.clone(), password(PASSWORD));
    let registry = Registry::new(Options { parallel: 1, ..options() }, credentials).unwrap();
    registry.push(&store, image, &target.reference("c/d:v1"), &Default::default(), &silent).unwrap();
    assert_eq!(*shown.lock().unwrap(), [None, None]);
}

#[test]
fn a_push_that_fails_moves_no_tag() {
    let layout = Layout::new(&[1000, 2000]);
    let honest = Fake::honest();
    honest.hold("v1", &layout);
    let (_directory, store) = store();
    let image = anonymous().pull(&store, &honest.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image;
    let layer = layout.manifest.layers[1].digest.to_string().replace(':', "%3A");
    let target = Fake::start(move |request, honest| match request.method == "PUT" && request.target.contains(&layer) {
        true => Answer::json(
            403,
            &serde_json::json!({"errors": [{"code": "DENIED", "message": "adding 1 KiB of storage resource, which when updated to current usage of 9 will exceed"}]}),
        ),
        false => honest(),
    });
    let error = anonymous().push(&store, image, &target.reference("c/d:v1"), &Default::default(), &silent).unwrap_err();
    assert!(error.request().and_then(|error| error.advice()).is_some_and(|advice| advice.contains("quota")), "{error}");
    assert!(target.held.lock().unwrap().manifests.is_empty());
}

/// Any request may fail in any way. A pull or push ends well or says what went wrong, and what is
/// visible under a tag is whole.
#[test]
fn random_faults_never_leave_half_an_image() {
    let layout = Layout::new(&[400_000, 30_000, 10]);
    let (mut pulls, mut pushes, mut failures) = (0, 0, Vec::new());
    for seed in 0..SEEDS {
        let source = Fake::start(faulty(seed));
        source.hold("v1", &layout);
        let (_directory, store) = store();
        let name = source.reference("a/b:v1");
        let mut image = match anonymous().pull(&store, &name, &Platform::host(), &silent) {
            Ok(pulled) => {
                pulls += 1;
                Some(pulled.image)
            }
            Err(error) => {
                failures.push(format!("seed {seed}: pull: {error}"));
                assert!(store.tagged(&name).unwrap().is_none(), "seed {seed}: a tag after {error}");
                None
            }
        };
        let good = Fake::honest();
        good.hold("v1", &layout);
        let image = match image.take() {
            Some(image) => image,
            None => anonymous().pull(&store, &good.reference("a/b:v1"), &Platform::host(), &silent).unwrap().image,
        };
        assert_eq!(image.0, layout.config_digest);
        let target = Fake::start(faulty(seed + 1000));
        let pushed = anonymous().push(&store, image, &target.reference("c/d:v1"), &Default::default(), &silent);
        pushes += usize::from(pushed.is_ok());
        failures.extend(pushed.as_ref().err().map(|error| format!("seed {seed}: push: {error}")));
        let held = target.held.lock().unwrap();
        if let Some((_, bytes)) = held.manifests.get("v1") {
            let Ok(store::oci::Document::Manifest(manifest)) = store::oci::Document::parse(bytes, None) else {
                panic!()
            };
            let parts = manifest.layers.iter().chain([&manifest.config]);
            assert!(
                parts.map(|part| part.digest.to_string()).all(|digest| held.blobs.contains_key(&digest)),
                "seed {seed}"
            );
        }
        assert!(pushed.is_err() || held.manifests.contains_key("v1"));
    }
    assert!(
        pulls * 20 >= SEEDS * 19 && pushes as u64 * 20 >= SEEDS * 19,
        "{pulls} pulls and {pushes} pushes of {SEEDS}: {failures:#?}"
    );
}

const SEEDS: u64 = 40;

/// Breaks about every sixth answer.
fn faulty(seed: u64) -> impl Fn(&Request, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static {
    let state = Mutex::new(noise(seed, 1 << 16).into_iter());
    move |_, honest| {
        let mut state = state.lock().unwrap();
        let mut next = || usize::from(state.next().unwrap_or(255));
        let (kind, much) = (next() % 72, next() * 1500);
        match kind {
            0 => Answer::new(500),
            1 => Answer::new(502).body(b"<html>bad gateway".to_vec()),
            2 => Answer::new(503).header("Retry-After", 0),
            3 => Answer::new(429).header("Retry-After", 0),
            4 | 5 => honest().cut_at(much),
            6 => honest().length(much + 1),
            7 => honest().map_body(|body| body.truncate(much)),
            8 => honest().map_body(|body| body.iter_mut().skip(much).take(1).for_each(|byte| *byte ^= 4)),
            9 => Answer::new(200).cut_at(0).length(100),
            10 => honest().stalled(much, Duration::from_millis(50)),
            _ => honest(),
        }
    }
}
