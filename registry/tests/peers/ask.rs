//! What is only asked of a registry: tags, documents, and the preflight of a push.

use registry::{Aspect, Credentials, Event, Finding, PushOptions, Registry, Verdict};
use serde_json::json;
use store::Repository;

use crate::faults::{Answer, Fake, Http, Request};
use crate::harness::*;
use crate::token_server::TokenServer;

fn silent(_: Event) {}

fn repository(host: &registry::Host, path: &str) -> Repository {
    format!("{host}/{path}").parse().unwrap()
}

#[test]
fn the_tags_of_the_real_registry_are_listed() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[100]);
    for tag in ["v2", "v10", "latest"] {
        layout.push_with_skopeo(&server.reference(&format!("project/app:{tag}")), &[]);
    }
    let tags = anonymous().tags(&repository(&server.host, "project/app"), &silent).unwrap();
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["latest", "v10", "v2"]);
    let error = anonymous().tags(&repository(&server.host, "project/none"), &silent).unwrap_err();
    assert_eq!(
        error.request().and_then(|error| error.advice()),
        Some("check the name; some registries also say this when a log-in is missing")
    );
}

/// G013: pages are linked, by relative or absolute URLs.
#[test]
fn pages_of_tags_are_followed_on_the_registry_alone() {
    let page = |tags: serde_json::Value, link: &str| {
        Answer::json(200, &json!({"name": "a/b", "tags": tags})).header("Link", format!("<{link}>; rel=\"next\""))
    };
    let elsewhere = Http::start(|_| Answer::json(200, &json!({"tags": ["stolen"]})));
    let away = format!("http://{}/v2/a/away/tags/list", elsewhere.address);
    let fake = Fake::start(move |request, honest| match request.target.as_str() {
        "/v2/a/b/tags/list?n=1000" => page(json!(["a", "c"]), "/v2/a/b/tags/list?n=1000&last=c"),
        "/v2/a/b/tags/list?n=1000&last=c" => Answer::json(200, &json!({"tags": ["b"]})),
        "/v2/a/null/tags/list?n=1000" => Answer::json(200, &json!({"tags": null})),
        "/v2/a/away/tags/list?n=1000" => page(json!(["a"]), &away),
        target if target.starts_with("/v2/a/round/") => page(json!(["a"]), "/v2/a/round/tags/list?n=1000"),
        _ => honest(),
    });
    let tags = |path: &str| anonymous().tags(&repository(&fake.host, path), &silent);
    assert_eq!(tags("a/b").unwrap().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(tags("a/null").unwrap().is_empty());
    assert_eq!(tags("a/round").unwrap().len(), 1);
    assert!(tags("a/away").unwrap_err().to_string().contains("links its next page to somewhere else"));
}

#[test]
fn a_document_comes_byte_for_byte() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let layout = Layout::new(&[100]);
    let reference = server.reference("project/app:v1");
    layout.push_with_skopeo(&reference, &[]);
    let document = anonymous().document(&reference, &silent).unwrap();
    assert_eq!((document.digest, document.bytes), (layout.manifest_digest, raw_manifest(&reference, &[])));
    assert_eq!(document.media_type, Some(layout.manifest.media_type.clone()));
}

/// The verdict on each aspect, in a letter, in the order in which they were told.
fn preflight(registry: &Registry, repository: &Repository) -> (bool, Vec<(Aspect, String)>) {
    let mut findings = Vec::new();
    let may_push = registry.check(repository, &silent, &mut |finding: Finding| findings.push(finding)).unwrap();
    let told = findings.into_iter().map(|finding| {
        let text = match finding.verdict {
            Verdict::Good(text) => format!("good: {text}"),
            Verdict::Lacking(text) => format!("lacking: {text}"),
            Verdict::Unknown(text) => format!("unknown: {text}"),
            Verdict::Bad(error) => format!("bad: {error}"),
        };
        (finding.aspect, text)
    });
    (may_push, told.collect())
}

fn of(told: &[(Aspect, String)], aspect: Aspect) -> &str {
    told.iter().find(|(found, _)| *found == aspect).map_or("", |(_, text)| text)
}

#[test]
fn a_preflight_at_the_real_registry_leaves_nothing_behind() {
    let Some(server) = Server::start(&Auth::Anonymous, Transport::Plain) else { return };
    let (may_push, told) = preflight(&anonymous(), &repository(&server.host, "project/app"));
    assert!(may_push, "{told:?}");
    assert_eq!(of(&told, Aspect::Reachable), "good: by plain HTTP, wants no credentials");
    assert_eq!(of(&told, Aspect::Chunks), "good: taken");
    assert!(of(&told, Aspect::Mount).starts_with("good"), "{told:?}");
    // The registry keeps the directory of a cancelled upload, but neither its bytes nor its beginning.
    let uploads = server.directory.path().join("data/docker/registry/v2/repositories/project/app/_uploads");
    for upload in std::fs::read_dir(uploads).unwrap() {
        let names = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let left: Vec<_> = std::fs::read_dir(upload.unwrap().path()).unwrap().map(names).collect();
        assert_eq!(left, ["hashstates"]);
    }
    // And a push then does succeed.
    let (_directory, store) = store();
    let layout = Layout::new(&[100]);
    layout.push_with_skopeo(&server.reference("x/y:v1"), &[]);
    let image = anonymous().pull(&store, &server.reference("x/y:v1"), &store::Platform::host(), &silent).unwrap().image;
    anonymous().push(&store, image, &server.reference("project/app:v1"), &PushOptions::default(), &silent).unwrap();
}

#[test]
fn a_preflight_tells_which_right_is_missing() {
    let Some((_tokens, server)) = TokenServer::with_registry() else { return };
    let robot = known_at(&server.host);
    let (may_push, told) = preflight(&robot, &repository(&server.host, "project/app"));
    assert!(may_push, "{told:?}");
    assert_eq!(of(&told, Aspect::Credentials), format!("good: accepted for {USER}"));
    assert_eq!(of(&told, Aspect::Scope), "good: the token grants pull and push");

    let (may_push, told) = preflight(&robot, &repository(&server.host, "foreign/app"));
    assert!(!may_push);
    assert_eq!(of(&told, Aspect::Scope), "lacking: the token grants pull, but no push");
    assert!(of(&told, Aspect::PushRight).starts_with("bad"), "{told:?}");

    let wrong = Credentials::none().with(server.host.clone(), password("wrong"));
    let (may_push, told) =
        preflight(&Registry::new(options(), wrong).unwrap(), &repository(&server.host, "project/app"));
    assert!(!may_push && of(&told, Aspect::Credentials).starts_with("bad"), "{told:?}");
}

#[test]
fn a_host_where_nobody_answers_is_one_finding() {
    let closed = ClosedPort::new();
    let nobody = closed.host();
    let (may_push, told) = preflight(&anonymous(), &repository(&nobody, "a/b"));
    assert!(!may_push);
    assert_eq!(told.len(), 1);
    assert!(of(&told, Aspect::Reachable).starts_with("bad"), "{told:?}");
}

/// A Harbor as far as the preflight asks it: `library` exists and is full, `gone` does not.
fn harbor(request: &Request, honest: &dyn Fn() -> Answer) -> Answer {
    let is_known = request.header("authorization").is_some_and(|shown| shown.starts_with("Basic "));
    let quota = json!({"quota": {"hard": {"storage": 100}, "used": {"storage": 100}}});
    match request.target.split('?').next().unwrap_or_default() {
        "/service/token" => Answer::json(200, &json!({"token": "opaque"})),
        "/api/v2.0/projects/library" if is_known => Answer::json(200, &json!({"name": "library"})),
        "/api/v2.0/projects/library/summary" if is_known => Answer::json(200, &quota),
        target if target.starts_with("/api/") => {
            Answer::json(404, &json!({"errors": [{"code": "NOT_FOUND", "message": "project not found"}]}))
        }
        _ if request.header("authorization").is_none() => {
            Answer::new(401).header("WWW-Authenticate", r#"Bearer realm="/service/token",service="harbor-registry""#)
        }
        _ => honest(),
    }
}

/// G071, G076: Harbor is asked for what the registry protocol does not tell.
#[test]
fn harbor_tells_of_project_and_quota() {
    let fake = Fake::start(harbor);
    let robot = known_at(&fake.host);
    let (_, told) = preflight(&robot, &repository(&fake.host, "library/app"));
    assert_eq!(of(&told, Aspect::Project), "good: library exists");
    assert_eq!(of(&told, Aspect::Quota), "lacking: all of 100 bytes are used");
    let (_, told) = preflight(&robot, &repository(&fake.host, "gone/app"));
    assert_eq!(of(&told, Aspect::Project), "lacking: there is no project gone: have it made, or correct the name");
    let (_, told) = preflight(&robot, &repository(&fake.host, "alone"));
    assert_eq!(of(&told, Aspect::Project), "lacking: Harbor wants PROJECT/REPOSITORY");
}
