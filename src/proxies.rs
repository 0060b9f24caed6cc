//! The proxies that the user's `config.json` names, as build arguments.
//!
//! The file is docker's (`$DOCKER_CONFIG`, else `~/.docker`), and of it only `proxies.default` is read here; what the
//! environment or the command line says comes before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// Names of the file and of the build argument.
const NAMES: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

/// The proxies, by name of the build argument; none where there is no such file, or none that can be read.
pub(crate) fn of_configuration() -> BTreeMap<String, String> {
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let read = |directory: PathBuf| std::fs::read(directory.join("config.json")).ok();
    directory.or_else(home).and_then(read).map(|bytes| parse(&bytes)).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> BTreeMap<String, String> {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let proxies = &file["proxies"]["default"];
    let named = |(field, name): (&str, &str)| Some((name.to_owned(), proxies[field].as_str()?.to_owned()));
    NAMES.into_iter().filter_map(named).filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_proxies_are_read() {
        let found =
            parse(br#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":"a,b","ftpProxy":""},"tcp://x":{}}}"#);
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "a,b")]);
        for text in ["", "[]", r#"{"proxies":[]}"#, r#"{"proxies":{"default":{"httpProxy":1}}}"#] {
            assert!(parse(text.as_bytes()).is_empty(), "{text}");
        }
    }
}
