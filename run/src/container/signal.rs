//! Signals by name and number, the real-time ones included (systemd stops by `SIGRTMIN+3`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct ParseSignalError(String);

/// A signal of Linux, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Signal(u8);

/// The numbers that glibc leaves to programs.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// The terminal is gone.
    pub const HUP: Self = Self(1);
    /// Control-C.
    pub const INT: Self = Self(2);
    /// Control-backslash.
    pub const QUIT: Self = Self(3);
    /// Ends the process whether it likes it or not.
    pub const KILL: Self = Self(9);
    /// Means what the program says it means.
    pub const USR1: Self = Self(10);
    /// Means what the program says it means.
    pub const USR2: Self = Self(12);
    /// A timer has run out.
    pub const ALRM: Self = Self(14);
    /// Asks the process to end: what `stop` sends by default.
    pub const TERM: Self = Self(15);
    /// Goes on after a stop.
    pub const CONT: Self = Self(18);
    /// Control-Z.
    pub const TSTP: Self = Self(20);
    /// Reads from a terminal in the background.
    pub const TTIN: Self = Self(21);
    /// Writes to a terminal in the background.
    pub const TTOU: Self = Self(22);
    /// The terminal has another size.
    pub const WINCH: Self = Self(28);

    /// The number that the kernel knows it by.
    pub fn number(self) -> i32 {
        self.0.into()
    }

    /// The signal of a number; `None` outside 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=RTMAX).contains(number)).map(Self)
    }

    /// The exit code that shells and Docker give a process which this signal ended.
    pub fn exit_code(self) -> u8 {
        128 + self.0
    }
}

impl FromStr for Signal {
    type Err = ParseSignalError;

    /// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = match name.parse() {
            Ok(number) => Some(number),
            Err(_) => real_time(name).or_else(|| named(name)),
        };
        number.and_then(|number: u8| Self::from_number(number.into())).ok_or_else(|| ParseSignalError(text.to_owned()))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.number()) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

impl TryFrom<String> for Signal {
    type Error = ParseSignalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn named(name: &str) -> Option<u8> {
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    u8::try_from(signal as i32).ok()
}

fn real_time(name: &str) -> Option<u8> {
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok(),
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => RTMIN.checked_add(offset(rest, '+')?)?,
        None => RTMAX.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_spellings() {
        for (text, number, name) in [
            ("TERM", 15, "SIGTERM"),
            ("SIGTERM", 15, "SIGTERM"),
            ("sigusr1", 10, "SIGUSR1"),
            ("9", 9, "SIGKILL"),
            ("RTMIN+3", 37, "SIGRTMIN+3"),
            ("SIGRTMIN", 34, "SIGRTMIN+0"),
            ("SIGRTMAX-1", 63, "SIGRTMIN+29"),
            ("32", 32, "32"),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, name), "{text}");
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        for text in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+31", "RTMAX-40", "RTMIN3"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
