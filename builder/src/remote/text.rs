//! A URL as text: its parts, its escapes, and what of it nobody is to see.

/// A text in which every name and password of an http(s) URL is crossed out, for people and for history.
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace());
        let (authority, tail) = after.split_at(end.unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            // The user of an ssh URL is no secret.
            Some((user, _)) if before.ends_with("ssh://") && !user.contains(':') => out.push_str(authority),
            Some((_, host)) => {
                out.push_str("xxxxx:xxxxx@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out + rest
}

/// The parts of a URL that count here.
pub(super) struct UrlParts<'t> {
    pub(super) scheme: &'t str,
    /// Name and password.
    pub(super) user: Option<&'t str>,
    /// Host and port.
    pub(super) host: &'t str,
    pub(super) path: &'t str,
}

/// Takes a URL apart; `None` for what is none.
pub(super) fn split_url(text: &str) -> Option<UrlParts<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    Some(UrlParts { scheme, user, host, path })
}

/// A text with its `%41`s taken for what they stand for.
pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_crossed_out() {
        for (text, expected) in [
            ("ADD https://u:p@h/x /y", "ADD https://xxxxx:xxxxx@h/x /y"),
            ("https://token@h/x https://h/a@b", "https://xxxxx:xxxxx@h/x https://h/a@b"),
            ("ssh://git@h/x git@h:x", "ssh://git@h/x git@h:x"),
            ("ADD a b", "ADD a b"),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }
}
