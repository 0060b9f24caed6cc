//! `--chmod`: what becomes of a file's permission bits.
//!
//! Octal numbers replace the bits; symbolic lists (`u=rwX,go=rX`, as in chmod(1)) change them one
//! clause after the other. Which mode a new parent directory gets is decided here too, since only
//! an octal value says so.

use std::fmt;

/// The value of `--chmod` is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// A number that is not octal or greater than 07777.
    #[error("invalid chmod parameter: '{0}': it should be an octal number between 0 and 07777")]
    Octal(String),
    /// Neither a number nor a list of symbolic clauses.
    #[error(
        "invalid chmod parameter: '{0}': it is neither an octal number nor a list of clauses such as `u=rwX,go=rX`"
    )]
    Symbolic(String),
}

/// A parsed `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModeChange {
    /// The bits as they shall be.
    Octal(u16),
    /// Clauses that are applied in turn.
    Symbolic(Vec<Clause>),
}

/// One part of a symbolic mode: whose bits, and what happens to them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Clause {
    /// Bits of the classes named before the operator: of 0o700, 0o070 and 0o007.
    who: u16,
    actions: Vec<(Operator, Permissions)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Permissions {
    /// Letters of `rwxXst`.
    Letters(String),
    /// The bits that another class has: the shift of that class.
    CopyOf(u16),
}

/// Whether a mode is applied to a directory or to anything else; `X` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A file that is not a directory.
    Other,
}

impl ModeChange {
    /// Reads the value of `--chmod`.
    pub fn parse(text: &str) -> Result<Self, ModeError> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return match u16::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Self::Octal(mode)),
                _ => Err(ModeError::Octal(text.to_owned())),
            };
        }
        let clauses = text.split(',').map(parse_clause).collect::<Option<Vec<_>>>();
        clauses.map(Self::Symbolic).ok_or_else(|| ModeError::Symbolic(text.to_owned()))
    }

    /// The bits of a file after the change.
    pub fn apply(&self, mode: u16, kind: FileKind) -> u16 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, kind)),
        }
    }

    /// The bits of a directory that is made because the destination needs it; never special ones.
    pub fn of_new_parent(change: Option<&Self>) -> u16 {
        match change {
            Some(Self::Octal(mode)) => *mode & 0o777,
            Some(Self::Symbolic(_)) | None => 0o755,
        }
    }
}

impl fmt::Display for ModeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octal(mode) => write!(f, "{mode:04o}"),
            Self::Symbolic(clauses) => {
                for (index, clause) in clauses.iter().enumerate() {
                    write!(f, "{}{clause}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, bits) in CLASSES {
            if self.who & bits != 0 {
                write!(f, "{letter}")?;
            }
        }
        for (operator, permissions) in &self.actions {
            let operator = match operator {
                Operator::Add => '+',
                Operator::Remove => '-',
                Operator::Set => '=',
            };
            match permissions {
                Permissions::Letters(letters) => write!(f, "{operator}{letters}")?,
                Permissions::CopyOf(shift) => write!(f, "{operator}{}", CLASSES[2 - usize::from(shift / 3)].0)?,
            }
        }
        Ok(())
    }
}

const CLASSES: [(char, u16); 3] = [('u', 0o700), ('g', 0o070), ('o', 0o007)];

impl Clause {
    fn apply(&self, mode: u16, kind: FileKind) -> u16 {
        self.actions.iter().fold(mode, |mode, (operator, permissions)| {
            let bits = permissions.bits(mode, kind, self.who);
            match operator {
                Operator::Add => mode | bits,
                Operator::Remove => mode & !bits,
                Operator::Set => mode & !self.replaced() | bits,
            }
        })
    }

    /// What `=` clears: the permissions of the classes, and the special bit of each.
    fn replaced(&self) -> u16 {
        let special = [(0o700, 0o4000), (0o070, 0o2000), (0o007, 0o1000)];
        special.iter().filter(|(class, _)| self.who & class != 0).fold(self.who, |all, (_, bit)| all | bit)
    }
}

impl Permissions {
    fn bits(&self, mode: u16, kind: FileKind, who: u16) -> u16 {
        let letters = match self {
            Self::CopyOf(shift) => return (((mode >> shift) & 7) * 0o111) & who,
            Self::Letters(letters) => letters,
        };
        letters.chars().fold(0, |bits, letter| {
            bits | match letter {
                'r' => 0o444 & who,
                'w' => 0o222 & who,
                'x' => 0o111 & who,
                'X' if kind == FileKind::Directory || mode & 0o111 != 0 => 0o111 & who,
                's' => (if who & 0o700 != 0 { 0o4000 } else { 0 }) | (if who & 0o070 != 0 { 0o2000 } else { 0 }),
                't' if who & 0o007 != 0 => 0o1000,
                _ => 0,
            }
        })
    }
}

fn parse_clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let who = text[..at].chars().try_fold(0, |who, letter| match letter {
        'a' => Some(0o777),
        _ => CLASSES.iter().find(|(class, _)| *class == letter).map(|(_, bits)| who | bits),
    })?;
    let mut actions = Vec::new();
    let mut rest = &text[at..];
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        actions.push((operator, parse_permissions(&rest[1..end])?));
        rest = &rest[end..];
    }
    Some(Clause { who: if who == 0 { 0o777 } else { who }, actions })
}

fn parse_permissions(text: &str) -> Option<Permissions> {
    match text {
        "u" => Some(Permissions::CopyOf(6)),
        "g" => Some(Permissions::CopyOf(3)),
        "o" => Some(Permissions::CopyOf(0)),
        letters if letters.chars().all(|letter| "rwxXst".contains(letter)) => {
            Some(Permissions::Letters(letters.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        use FileKind::{Directory, Other};
        for (text, before, kind, after) in [
            ("644", 0o755, Other, 0o644),
            ("0", 0o755, Other, 0),
            ("07777", 0, Other, 0o7777),
            ("u=rwX,go=rX", 0o600, Other, 0o644),
            ("u=rwX,go=rX", 0o700, Other, 0o755),
            ("u=rwX,go=rX", 0o600, Directory, 0o755),
            ("a+x", 0o644, Other, 0o755),
            ("+x", 0o644, Other, 0o755),
            ("go-rwx", 0o777, Other, 0o700),
            ("u+s", 0o755, Other, 0o4755),
            ("g=s", 0o755, Other, 0o2705),
            ("+t", 0o777, Directory, 0o1777),
            ("g=u", 0o640, Other, 0o660),
            ("u=rw+x", 0, Other, 0o700),
            ("a=", 0o777, Other, 0),
        ] {
            assert_eq!(ModeChange::parse(text).unwrap().apply(before, kind), after, "{text}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "99", "10000", "77x", "rw", "u~r", "x=r", "u=q", "u"] {
            assert!(ModeChange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_print_as_they_parse() {
        for text in ["0644", "u=rwX,go=rX", "ugo+x", "g=u,o=g,u=o", "u=rw+x"] {
            let change = ModeChange::parse(text).unwrap();
            assert_eq!(change.to_string(), text);
            assert_eq!(ModeChange::parse(&change.to_string()), Ok(change));
        }
    }
}
