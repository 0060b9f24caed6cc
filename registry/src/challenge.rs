//! Reading `WWW-Authenticate` (RFC 9110, section 11.6.1; distribution-spec, "Token authentication").
//!
//! Registries send one challenge or several, in one header or several. A parser of text only: it
//! does not know what a challenge is good for.

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of the realm.
    Bearer { realm: String, service: Option<String>, scope: Option<String>, error: Option<String> },
    /// User name and password with every request.
    Basic,
}

impl Challenge {
    /// The best challenge of some headers: a token is better than a password. `None` if there is
    /// none that a registry may use.
    pub(crate) fn best<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in headers.into_iter().flat_map(challenges) {
            let parameter = |name: &str| {
                parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => {
                    if let Some(realm) = parameter("realm") {
                        let (service, scope, error) = (parameter("service"), parameter("scope"), parameter("error"));
                        return Some(Self::Bearer { realm, service, scope, error });
                    }
                }
                "basic" => basic = Some(Self::Basic),
                _ => {}
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// Splits a header into schemes with their parameters. What does not parse ends the list.
fn challenges(header: &str) -> Vec<(String, Parameters)> {
    let mut rest = header;
    let mut found: Vec<(String, Parameters)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return found;
        }
        match (after.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = parameter_value(value.trim_start());
                parameters.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
}

fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// A token of RFC 9110, or the characters of base64 that some servers put behind a scheme.
fn token(text: &str) -> (&str, &str) {
    let end =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: Some(service.to_owned()),
            scope: scope.map(str::to_owned),
            error: None,
        })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (headers, expected) in [
            (vec![r#"Basic realm="harbor""#], Some(Challenge::Basic)),
            (vec![r#"BASIC"#], Some(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                ],
                bearer("https://auth.docker.io/token", "registry.docker.io", Some("repository:a/b:pull,push")),
            ),
            (vec![r#"bearer Realm = "https://h/t" , Service=s"#], bearer("https://h/t", "s", None)),
            (vec![r#"Basic realm="a, b", Bearer realm="https://h/t",service="s""#], bearer("https://h/t", "s", None)),
            (
                vec!["Basic realm=x", r#"Bearer realm="https://h/t",service="q\"s""#],
                bearer("https://h/t", "q\"s", None),
            ),
            (vec!["Negotiate", "Digest realm=x"], None),
            (vec!["Bearer service=s"], None),
            (
                vec!["", ",,", "=", "\"", "Bearer realm=\"unclosed"],
                Some(Challenge::Bearer { realm: "unclosed".into(), service: None, scope: None, error: None }),
            ),
        ] {
            assert_eq!(Challenge::best(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
