//! Text from servers and other programs, made fit for people.

/// The first part of a text in which no control character is left: it can neither move the cursor
/// nor forge a line. Cut at 500 characters.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const LIMIT: usize = 500;
    let text = store::path::display(bytes.trim_ascii()).to_string();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_raw_comes_through() {
        assert_eq!(printable(b"\x1b]0;pwn\x07 a\r\nb \xff\n"), "\\u{1b}]0;pwn\\u{7} a\\r\\nb \\xff");
        assert_eq!(printable("x".repeat(600).as_bytes()).len(), 503);
    }
}
