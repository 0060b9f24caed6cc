//! `config.json` of Docker and `auth.json` of containers, which share a shape
//! (containers-auth.json(5); docker/cli, cli/config).
//!
//! Only what kiln understands is typed; everything else is kept as it was and written back.
//! Writing is a new file of mode 0600 beside the old one and a rename.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize};

use super::helper::Helper;
use super::{Credential, CredentialsError, Secret};
use crate::Host;
use crate::host::{is_hub, without_scheme};

/// A credentials file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigFile {
    #[serde(default, deserialize_with = "null_is_empty")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creds_store: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

#[derive(Default, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identitytoken: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registrytoken: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl ConfigFile {
    /// Larger files are nobody's credentials.
    const LIMIT_BYTES: u64 = 4 << 20;

    /// Reads a file; one that is absent or empty has nothing in it.
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let io = |source| CredentialsError::Io { doing: "read", path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if absent(&error) => return Ok(Self::default()),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        file.take(Self::LIMIT_BYTES).read_to_end(&mut bytes).map_err(io)?;
        Self::parse(&bytes, &path.display().to_string())
    }

    /// Reads the text of a file that came from `place`.
    pub(super) fn parse(bytes: &[u8], place: &str) -> Result<Self, CredentialsError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map_err(|error| CredentialsError::Syntax {
            place: place.to_owned(),
            line: error.line(),
            column: error.column(),
        })
    }

    /// Replaces the file at a path, or what a symbolic link there leads to.
    pub(super) fn write(&self, path: &Path) -> Result<(), CredentialsError> {
        let io = |source| CredentialsError::Io { doing: "write", path: path.to_owned(), source };
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        create_private(directory).map_err(io)?;
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|error| io(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(io)?;
        file.persist(&path).map(drop).map_err(|error| io(error.error))
    }

    /// The helper that keeps the credentials of a host.
    pub(super) fn helper(&self, host: &Host) -> Result<Option<Helper>, CredentialsError> {
        let of_host = self.cred_helpers.iter().find(|(key, _)| names(key, host.as_str())).map(|(_, helper)| helper);
        of_host.or(self.creds_store.as_ref()).filter(|name| !name.is_empty()).map(|name| Helper::new(name)).transpose()
    }

    /// The entry whose key is the longest prefix of the repository on that host.
    pub(super) fn entry(
        &self,
        host: &Host,
        repository: &str,
        place: &str,
    ) -> Result<Option<Credential>, CredentialsError> {
        let mut wanted = format!("{host}/{repository}");
        loop {
            for (key, entry) in self.auths.iter().filter(|(key, _)| names(key, &wanted)) {
                let bad = || CredentialsError::Entry { place: place.to_owned(), host: key.clone() };
                if let Some(credential) = entry.credential().map_err(|NotUserAndPassword| bad())? {
                    return Ok(Some(credential));
                }
            }
            match wanted.rfind('/') {
                Some(end) => wanted.truncate(end),
                None => return Ok(None),
            }
        }
    }

    /// Puts a credential under the key that Docker would use.
    pub(super) fn insert(&mut self, host: &Host, credential: &Credential) {
        self.remove(host);
        self.auths.insert(host.credentials_key().to_owned(), Entry::of(credential));
    }

    /// Leaves an empty entry, by which Docker knows that a helper has the credential.
    pub(super) fn mark(&mut self, host: &Host) {
        self.remove(host);
        self.auths.insert(host.credentials_key().to_owned(), Entry::default());
    }

    /// Drops every entry of the host itself; says whether there was one.
    pub(super) fn remove(&mut self, host: &Host) -> bool {
        let before = self.auths.len();
        self.auths.retain(|key, _| !names(key, host.as_str()));
        self.auths.len() < before
    }
}

struct NotUserAndPassword;

impl Entry {
    fn of(credential: &Credential) -> Self {
        let mut entry = Self::default();
        match credential {
            Credential::Password { username, password } => {
                entry.auth = Some(BASE64.encode(format!("{username}:{}", password.expose())));
            }
            Credential::IdentityToken(token) => {
                entry.auth = Some(BASE64.encode("<token>:"));
                entry.identitytoken = Some(token.expose().to_owned());
            }
            Credential::RegistryToken(token) => entry.registrytoken = Some(token.expose().to_owned()),
        }
        entry
    }

    fn credential(&self) -> Result<Option<Credential>, NotUserAndPassword> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret(token))));
        }
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(Secret(token))));
        }
        let (username, password) = match filled(&self.auth) {
            Some(auth) => user_and_password(&auth)?,
            None => match (filled(&self.username), filled(&self.password)) {
                (Some(username), Some(password)) => (username, password),
                _ => return Ok(None),
            },
        };
        Ok(Some(Credential::Password { username, password: Secret(password) }))
    }
}

/// Padding may be missing, as some tools write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn user_and_password(auth: &str) -> Result<(String, String), NotUserAndPassword> {
    let bytes = BASE64.decode(auth.trim()).map_err(|_| NotUserAndPassword)?;
    let text = String::from_utf8(bytes).map_err(|_| NotUserAndPassword)?;
    let (username, password) = text.split_once(':').ok_or(NotUserAndPassword)?;
    // Docker once filled the end with NUL bytes, and still takes them off.
    Ok((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// Whether a key of a file names what is wanted (`host` or `host/path`): keys may have a scheme,
/// the path of an interface version, and any of Docker Hub's names.
fn names(key: &str, wanted: &str) -> bool {
    let bare = without_scheme(key);
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = if is_hub(host) { "docker.io" } else { host };
    match (wanted.split_once('/'), path) {
        (None, None) => host.eq_ignore_ascii_case(wanted),
        (Some((wanted_host, wanted_path)), Some(path)) => host.eq_ignore_ascii_case(wanted_host) && path == wanted_path,
        _ => false,
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn create_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
