//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`: `*`, `?`, and
//! `\` before these, itself, `/` and `}` (rules A044, A045). No brackets, no anchors.

use super::lexer::LONGEST;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Any text.
    Star,
    /// Any character.
    Question,
    /// This character.
    Literal(char),
}

/// Which of several matches is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

impl Pattern {
    /// `None` if a backslash escapes what needs no escape.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::Star,
                '?' => Token::Question,
                '\\' => Token::Literal(characters.next().filter(|c| matches!(c, '*' | '?' | '\\' | '/' | '}'))?),
                c => Token::Literal(c),
            });
        }
        Some(Self(tokens))
    }

    pub(super) fn without_prefix(&self, value: &str, reach: Reach) -> String {
        let characters: Vec<char> = value.chars().collect();
        let length = self.match_length(&characters, reach).unwrap_or(0);
        characters[length..].iter().collect()
    }

    pub(super) fn without_suffix(&self, value: &str, reach: Reach) -> String {
        let reversed = Self(self.0.iter().rev().copied().collect());
        let backwards: Vec<char> = value.chars().rev().collect();
        let length = reversed.match_length(&backwards, reach).unwrap_or(0);
        backwards[length..].iter().rev().collect()
    }

    /// Replaces up to `count` matches, leftmost and longest first; `None` if that comes to too much.
    pub(super) fn replace(&self, value: &str, replacement: &str, count: usize) -> Option<String> {
        let characters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let (mut at, mut done) = (0, 0);
        while at <= characters.len() {
            let found = self.match_length(&characters[at..], Reach::Longest).filter(|_| done < count);
            if found.is_some() {
                if result.len() + replacement.len() > LONGEST {
                    return None;
                }
                result.push_str(replacement);
                done += 1;
            }
            let length = found.unwrap_or(0);
            if length == 0 {
                result.extend(characters.get(at));
            }
            at += length.max(1);
            if length > 0 && at == characters.len() {
                break;
            }
        }
        Some(result)
    }

    /// How much of the text's start it matches: all ways at once, one character after the other.
    fn match_length(&self, text: &[char], reach: Reach) -> Option<usize> {
        let mut alive = vec![false; self.0.len() + 1];
        alive[0] = true;
        self.skip_stars(&mut alive);
        let mut best = None;
        for at in 0..=text.len() {
            if alive.last() == Some(&true) {
                best = Some(at);
                if reach == Reach::Shortest {
                    break;
                }
            }
            match text.get(at) {
                Some(character) if alive.contains(&true) => alive = self.step(&alive, *character),
                _ => break,
            }
        }
        best
    }

    /// Which places in the pattern are reached by one more character.
    fn step(&self, alive: &[bool], character: char) -> Vec<bool> {
        let mut next = vec![false; alive.len()];
        for (index, token) in self.0.iter().enumerate().filter(|(index, _)| alive[*index]) {
            match token {
                Token::Star => next[index] = true,
                Token::Question => next[index + 1] = true,
                Token::Literal(literal) => next[index + 1] |= *literal == character,
            }
        }
        self.skip_stars(&mut next);
        next
    }

    /// A star may match nothing.
    fn skip_stars(&self, alive: &mut [bool]) {
        for (index, token) in self.0.iter().enumerate() {
            alive[index + 1] |= alive[index] && *token == Token::Star;
        }
    }
}
