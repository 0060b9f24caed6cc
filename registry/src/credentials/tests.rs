//! Rows of credentials files as tools write them.

use std::os::unix::fs::PermissionsExt as _;

use super::helper::Helper;
use super::*;

fn password(username: &str, password: &str) -> Option<Credential> {
    Some(Credential::Password { username: username.to_owned(), password: Secret::new(password) })
}

fn token(token: &str) -> Option<Credential> {
    Some(Credential::IdentityToken(Secret::new(token)))
}

fn find(json: &str, host: &str, repository: &str) -> Option<Credential> {
    let credentials = Credentials { inline: Some(json.to_owned()), ..Credentials::none() };
    credentials.find(&Host::new(host).unwrap(), repository).unwrap()
}

#[test]
fn entries_are_found_under_every_key_that_tools_write() {
    // "dTpw" is "u:p", "cjpz" is "r:s".
    for (json, host, repository, expected) in [
        (r#"{}"#, "h.example", "a/b", None),
        (r#"{"auths":null}"#, "h.example", "a/b", None),
        ("", "h.example", "a/b", None),
        (r#"{"auths":{"h.example":{"auth":"dTpw"}}}"#, "h.example", "a/b", password("u", "p")),
        (r#"{"auths":{"https://h.example/v2/":{"auth":"dTpw"}}}"#, "h.example", "a/b", password("u", "p")),
        (r#"{"auths":{"H.example":{"auth":"dTpw"}}}"#, "h.example", "a/b", password("u", "p")),
        (r#"{"auths":{"h.example":{"auth":"dTpw"}}}"#, "h.example:444", "a/b", None),
        (r#"{"auths":{"h.example:444":{"auth":"dTpw"}}}"#, "h.example", "a/b", None),
        (r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#, "docker.io", "library/x", password("u", "p")),
        (r#"{"auths":{"docker.io":{"auth":"dTpw"}}}"#, "docker.io", "library/x", password("u", "p")),
        (r#"{"auths":{"h.example":{}}}"#, "h.example", "a/b", None),
        (r#"{"auths":{"h.example":{"username":"u","password":"p"}}}"#, "h.example", "a/b", password("u", "p")),
        (r#"{"auths":{"h.example":{"auth":"dTpw","identitytoken":"t"}}}"#, "h.example", "a/b", token("t")),
        // The longest prefix of the repository wins.
        (
            r#"{"auths":{"h.example":{"auth":"dTpw"},"h.example/a":{"auth":"cjpz"}}}"#,
            "h.example",
            "a/b",
            password("r", "s"),
        ),
        (
            r#"{"auths":{"h.example":{"auth":"dTpw"},"h.example/a":{"auth":"cjpz"}}}"#,
            "h.example",
            "ab",
            password("u", "p"),
        ),
        // `robot$p+n:s:t` without padding.
        (r#"{"auths":{"h.example":{"auth":"cm9ib3QkcCtuOnM6dA"}}}"#, "h.example", "a/b", password("robot$p+n", "s:t")),
    ] {
        assert_eq!(find(json, host, repository), expected, "{json} {host}/{repository}");
    }
}

#[test]
fn bad_files_are_refused_without_quoting_them() {
    for json in [r#"{"auths":{"h.example":{"auth":"hunter2!"}}}"#, r#"{"auths":"hunter2"}"#, "hunter2"] {
        let credentials = Credentials { inline: Some(json.to_owned()), ..Credentials::none() };
        let error = credentials.find(&Host::new("h.example").unwrap(), "a").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn saving_keeps_other_keys_and_erasing_takes_only_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/config.json");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, r#"{"HttpHeaders":{"X":"y"},"auths":{"other":{"auth":"dTpw","email":"e"}},"zoo":[1,2.5]}"#)
        .unwrap();
    let credentials = Credentials::in_file(&path);
    let host = Host::new("h.example:5000").unwrap();

    let secret = password("u", "hunter2").unwrap();
    assert_eq!(credentials.save(&host, &secret).unwrap(), Kept::File(path.clone()));
    assert_eq!(credentials.find(&host, "a/b").unwrap(), Some(secret));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    assert_eq!(credentials.erase(&host).unwrap(), Erased::Credentials);
    assert_eq!(credentials.erase(&host).unwrap(), Erased::Nothing);
    let left: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let expected = serde_json::json!({
        "HttpHeaders": {"X": "y"}, "auths": {"other": {"auth": "dTpw", "email": "e"}}, "zoo": [1, 2.5]
    });
    assert_eq!(left, expected);
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["config.json"], "no litter");
}

#[test]
fn a_given_credential_is_for_its_host_alone() {
    let (mine, other) = (Host::new("h.example").unwrap(), Host::new("i.example").unwrap());
    let credentials = Credentials::none().with(mine.clone(), password("u", "p").unwrap());
    assert_eq!(credentials.find(&mine, "a").unwrap(), password("u", "p"));
    assert_eq!(credentials.find(&other, "a").unwrap(), None);
}

#[test]
fn helper_names_do_not_leave_the_search_path() {
    for name in ["../x", "a/b", "a b", "a;b"] {
        assert!(Helper::new(name).is_err(), "{name}");
    }
    assert_eq!(Helper::new("ecr-login").unwrap().program(), "docker-credential-ecr-login");
}

#[test]
fn secrets_do_not_print() {
    assert_eq!(format!("{:?}", password("u", "hunter2").unwrap()), r#"Password { username: "u", password: *** }"#);
}
