//! The user's terminal while a container has it: raw mode, size, detach keys.
//!
//! [`RawMode`] gives the terminal back as it was on every way out, panics included. [`DetachKeys`] is
//! text turned into bytes once; [`DetachMatcher`] holds back a sequence that has begun until it is known
//! whether it completes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use serde::{Deserialize, Serialize};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Size {
    /// The size of the terminal behind a descriptor; `None` if it is none, or does not know.
    pub fn of(terminal: impl AsFd) -> Option<Self> {
        let size = tcgetwinsize(terminal).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some(Self { rows: size.ws_row, columns: size.ws_col })
    }

    /// Gives a terminal this size; whoever runs in it gets SIGWINCH.
    ///
    /// # Errors
    /// If it is no terminal.
    pub fn apply(self, terminal: impl AsFd) -> io::Result<()> {
        let size = Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(terminal, size)?)
    }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    isatty(fd)
}

/// A terminal in raw mode: every byte passes, until this is dropped.
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Makes a terminal raw.
    ///
    /// # Errors
    /// If it is no terminal.
    pub fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// The text names no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach key {0:?}: a single character, or ctrl- and one of a-z @ [ \\ ] ^ _")]
pub struct ParseDetachKeysError(String);

/// The keys that leave a container without ending it, in Docker's notation: `ctrl-p,ctrl-q`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// No keys: every byte is the container's.
    pub fn none() -> Self {
        Self(Vec::new())
    }
}

impl Default for DetachKeys {
    /// Control-P, Control-Q.
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl FromStr for DetachKeys {
    type Err = ParseDetachKeysError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::none());
        }
        text.split(',')
            .map(|key| parse_key(key).ok_or_else(|| ParseDetachKeysError(key.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Looks for the detach keys in what is typed.
#[derive(Debug)]
pub struct DetachMatcher {
    keys: Vec<u8>,
    matched: usize,
}

/// What the typed bytes amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// Nothing special.
    Input,
    /// The keys were complete; bytes after them are dropped.
    Detach,
}

impl DetachMatcher {
    /// Starts with none of the keys typed.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, matched: 0 }
    }

    /// Appends to `output` what the container shall get of `input`. A beginning of the keys is held
    /// back until a byte comes that does not belong to them.
    pub fn feed(&mut self, input: &[u8], output: &mut Vec<u8>) -> Typed {
        for byte in input {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Typed::Detach;
                }
                continue;
            }
            output.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte));
            if self.matched == 0 {
                output.push(*byte);
            }
        }
        Typed::Input
    }
}

fn parse_key(key: &str) -> Option<u8> {
    let one = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    };
    let Some(letter) = key.strip_prefix("ctrl-").and_then(one) else {
        return one(key);
    };
    match letter.to_ascii_uppercase() {
        upper @ b'@'..=b'_' => Some(upper - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn keys_in_dockers_notation() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            ("ctrl-@", &[0]),
            ("ctrl-[", &[27]),
            ("ctrl-_", &[31]),
            ("a", b"a"),
            ("ctrl-a,x", &[1, b'x']),
            ("", &[]),
        ] {
            assert_eq!(text.parse(), Ok(DetachKeys(bytes.to_vec())), "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ab", "é", "a,,b", "CTRL-a"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_found_wherever_reads_end() {
        let typed = |pieces: &[&[u8]]| {
            let mut matcher = DetachMatcher::new(DetachKeys::default());
            let mut output = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                if matcher.feed(piece, &mut output) == Typed::Detach {
                    return (output, Some(index));
                }
            }
            (output, None)
        };
        assert_eq!(typed(&[b"abc"]), (b"abc".to_vec(), None));
        assert_eq!(typed(&[b"a\x10\x11b"]), (b"a".to_vec(), Some(0)));
        assert_eq!(typed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), Some(1)));
        assert_eq!(typed(&[b"\x10", b"x"]), (b"\x10x".to_vec(), None));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), Some(0)));
        assert_eq!(typed(&[b"\x11\x10"]), (b"\x11".to_vec(), None));
        let mut output = Vec::new();
        assert_eq!(DetachMatcher::new(DetachKeys::none()).feed(b"\x10\x11", &mut output), Typed::Input);
        assert_eq!(output, b"\x10\x11");
    }

    #[test]
    fn a_terminal_is_given_back_as_it_was() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let echoes = || tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(is_terminal(&terminal) && echoes());
        let raw = RawMode::enter(terminal.as_fd()).unwrap();
        assert!(!echoes());
        drop(raw);
        assert!(echoes());
        assert_eq!(Size::of(&terminal), None);
        Size { rows: 24, columns: 80 }.apply(&master).unwrap();
        assert_eq!(Size::of(&terminal), Some(Size { rows: 24, columns: 80 }));
    }
}
