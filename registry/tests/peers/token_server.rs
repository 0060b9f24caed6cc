//! A token service as Harbor's and Docker Hub's are: passwords in, signed tokens out.
//!
//! The tokens are real: `docker-registry` checks their RS256 signatures and their scopes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;

use crate::faults::{Answer, Http, Request};
use crate::harness::{Auth, PASSWORD, Server, Transport, USER, all_installed, run};

/// The identity token that a login gets.
const IDENTITY: &str = "identity-of-the-robot";

/// A running token service.
pub(crate) struct TokenServer {
    _directory: TempDir,
    _http: Http,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// Starts one and a registry that believes it.
    pub(crate) fn with_registry() -> Option<(Self, Server)> {
        Self::with_lifetime(300)
    }

    /// The same, with tokens that are good for so many seconds.
    pub(crate) fn with_lifetime(seconds: u64) -> Option<(Self, Server)> {
        if !all_installed(&["openssl", "docker-registry"]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let signer = Signer::new(directory.path(), seconds);
        let certificate = signer.certificate.clone();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let http = Http::start(move |request| {
            seen.lock().unwrap().push(format!("{} {}", request.target, String::from_utf8_lossy(&request.body)));
            signer.answer(request)
        });
        let realm = format!("http://{}/service/token", http.address);
        let server = Server::start(&Auth::Token { realm, certificate }, Transport::Plain)?;
        Some((Self { _directory: directory, _http: http, requests }, server))
    }

    /// Targets and bodies of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

struct Signer {
    key: PathBuf,
    certificate: PathBuf,
    lifetime: u64,
}

impl Signer {
    fn new(directory: &Path, lifetime: u64) -> Self {
        let (key, certificate) = (directory.join("token.key"), directory.join("token.crt"));
        let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=token service", "-x509", "-days", "2"];
        let files = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
        run("openssl", &[&request[..], &files].concat());
        Self { key, certificate, lifetime }
    }

    fn answer(&self, request: &Request) -> Answer {
        let query = match request.method.as_str() {
            "POST" => String::from_utf8_lossy(&request.body).into_owned(),
            _ => request.target.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default(),
        };
        let parameters: Vec<(String, String)> =
            reqwest::Url::parse(&format!("http://x/?{query}")).unwrap().query_pairs().into_owned().collect();
        let all = |name: &str| {
            parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let known = match (request.header("authorization"), all("refresh_token").first()) {
            (Some(shown), _) if shown == basic => true,
            (None, Some(token)) if token == IDENTITY => true,
            (None, None) => false,
            _ => return Answer::json(401, &json!({"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})),
        };
        // Everybody may pull; the robot may push into `project` and `a`.
        let scopes = all("scope")
            .iter()
            .flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        let access: Vec<_> = scopes
            .iter()
            .filter_map(|scope| {
                let (_, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let may_push = known && (name.starts_with("project/") || name.starts_with("a/"));
                let granted: Vec<_> = actions.split(',').filter(|action| *action == "pull" || may_push).collect();
                Some(json!({"type": "repository", "name": name, "actions": granted}))
            })
            .collect();
        let token = self.sign(access);
        let mut body = json!({"token": token, "expires_in": self.lifetime});
        if !all("offline_token").is_empty() && known {
            body["refresh_token"] = json!(IDENTITY);
        }
        Answer::json(200, &body)
    }

    fn sign(&self, access: Vec<serde_json::Value>) -> String {
        let pem = std::fs::read_to_string(&self.certificate).unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
        let claims = json!({
            "iss": "kiln-test", "sub": USER, "aud": "test", "exp": now + self.lifetime, "nbf": now - 10, "iat": now,
            "jti": format!("{:?}", std::time::Instant::now()), "access": access,
        });
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let signature =
            run("openssl", &["dgst", "-sha256", "-sign", self.key.to_str().unwrap(), file.path().to_str().unwrap()]);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
