//! Logging in to the real registry, by password and by token, in the clear on loopback and by TLS.

use registry::{Cause, Credentials, Erased, Event, Kept, LoginError, Registry, RequestError, TlsVerify};
use store::Platform;

use crate::harness::*;
use crate::token_server::TokenServer;

fn silent(_: Event) {}

#[test]
fn a_password_is_tried_before_it_is_kept() {
    let Some(server) = Server::start(&Auth::Password, Transport::Plain) else { return };
    let file = server.directory.path().join("config.json");
    let registry = Registry::new(options(), Credentials::in_file(&file)).unwrap();

    let error = registry.login(&server.host, &password("wrong"), &silent).unwrap_err();
    let LoginError::Request(RequestError::Refused(refusal)) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.cause, Cause::CredentialsRefused);
    assert!(!file.exists());

    assert_eq!(registry.login(&server.host, &password(PASSWORD), &silent).unwrap(), Kept::File(file.clone()));
    let arguments = ["login", "--get-login", "--authfile", file.to_str().unwrap(), server.host.as_str()];
    assert_eq!(run("skopeo", &arguments).trim_ascii(), USER.as_bytes());
}

#[test]
fn logging_out_forgets() {
    let Some(server) = Server::start(&Auth::Password, Transport::Plain) else { return };
    let registry = Registry::new(options(), Credentials::in_file(server.directory.path().join("config.json"))).unwrap();
    registry.login(&server.host, &password(PASSWORD), &silent).unwrap();
    assert_eq!(registry.logout(&server.host).unwrap(), Erased::Credentials);
    assert_eq!(registry.logout(&server.host).unwrap(), Erased::Nothing);
}

#[test]
fn tls_is_verified_unless_it_is_not_wanted() {
    let Some(server) = Server::start(&Auth::Password, Transport::Tls) else { return };
    let login = |options| {
        let registry =
            Registry::new(options, Credentials::in_file(server.directory.path().join("config.json"))).unwrap();
        registry.login(&server.host, &password(PASSWORD), &silent)
    };
    let error = login(options()).unwrap_err();
    assert!(matches!(error, LoginError::Request(RequestError::Untrusted { .. })), "{error:?}");
    login(registry::Options { certificates: vec![server.certificates()], ..options() }).unwrap();
    login(registry::Options { tls: TlsVerify::Never, ..options() }).unwrap();
}

#[test]
fn a_client_certificate_is_shown_where_there_is_one() {
    let Some(server) = Server::start(&Auth::Password, Transport::MutualTls) else { return };
    let login = |certificates| {
        let credentials = Credentials::in_file(server.directory.path().join("config.json"));
        let options = registry::Options { certificates: vec![certificates], ..options() };
        Registry::new(options, credentials).unwrap().login(&server.host, &password(PASSWORD), &silent)
    };
    let error = login(server.certificates()).unwrap_err();
    assert!(matches!(error, LoginError::Request(RequestError::Tls { .. })), "{error:?}");
    login(server.client_certificates()).unwrap();
}

#[test]
fn a_token_server_is_asked() {
    let Some((tokens, server)) = TokenServer::with_registry() else { return };
    let file = server.directory.path().join("config.json");
    let registry = Registry::new(options(), Credentials::in_file(&file)).unwrap();
    let error = registry.login(&server.host, &password("wrong"), &silent).unwrap_err();
    assert!(
        matches!(&error, LoginError::Request(RequestError::Refused(refusal)) if refusal.cause == Cause::CredentialsRefused),
        "{error:?}"
    );
    registry.login(&server.host, &password(PASSWORD), &silent).unwrap();

    // The token server gave an identity token, which is kept in place of the password and works.
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("identitytoken") && !kept.contains("cm9ib3Q"), "{kept}");
    let (_directory, store) = store();
    let error = registry.resolve(&store, &server.reference("a/b:v1"), &Platform::host(), &silent).unwrap_err();
    assert!(
        error.request().and_then(|error| error.advice()).is_some_and(|advice| advice.contains("check the")),
        "{error}"
    );
    assert!(tokens.requests().iter().any(|request| request.contains("grant_type=refresh_token")));
}

#[test]
fn what_cannot_be_reached_is_said_at_once() {
    let closed = ClosedPort::new();
    let host = closed.host();
    let error = anonymous().login(&host, &password("x"), &silent).unwrap_err();
    assert!(error.to_string().contains("cannot reach 127.0.0.1:"), "{error}");
}

/// Runs itself with a helper on the search path: the path of a running process is not changed.
#[test]
fn a_helper_keeps_what_it_is_given() {
    if std::env::var_os("KILN_TEST_HELPER").is_some() {
        return keep_with_helper();
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("docker-credential-test");
    let script = "#!/bin/sh\ncase $1 in\nstore) cat > \"$0.kept\" ;;\nerase) rm \"$0.kept\" ;;\n\
                  get) cat \"$0.kept\" 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;\nesac\n";
    let text = directory.path().join("script");
    std::fs::write(&text, script).unwrap();
    // By a process of its own: one that another test just forks would hold a program open that is written here.
    let copied = std::process::Command::new("install").args([&text, &program]).status().unwrap();
    assert!(copied.success());
    std::fs::write(directory.path().join("config.json"), r#"{"credsStore":"test"}"#).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "login::a_helper_keeps_what_it_is_given"])
        .env("KILN_TEST_HELPER", directory.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

fn keep_with_helper() {
    let directory = std::path::PathBuf::from(std::env::var_os("KILN_TEST_HELPER").unwrap());
    let file = directory.join("config.json");
    let credentials = Credentials::in_file(&file);
    let host = registry::Host::new("harbor.example.com").unwrap();
    assert_eq!(credentials.find(&host, "a/b").unwrap(), None);
    assert_eq!(
        credentials.save(&host, &password(PASSWORD)).unwrap(),
        Kept::Helper("docker-credential-test".to_owned())
    );
    assert!(!std::fs::read_to_string(&file).unwrap().contains("auth\""));
    assert_eq!(credentials.find(&host, "a/b").unwrap(), Some(password(PASSWORD)));
    assert_eq!(credentials.erase(&host).unwrap(), Erased::Credentials);
    assert_eq!(credentials.find(&host, "a/b").unwrap(), None);
}
