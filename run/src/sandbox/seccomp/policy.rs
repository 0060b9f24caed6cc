//! The policy file: rules of names, with the architectures, capabilities and arguments they are for.

use super::super::capabilities::CapabilitySet;

const DEFAULT: &str = include_str!("policy.txt");

/// A list of rules. What no rule allows is denied.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
}

/// What happens to calls of some names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verdict: RuleVerdict,
    pub(super) on: Vec<&'static str>,
    pub(super) off: Vec<&'static str>,
    pub(super) with: Option<&'static str>,
    pub(super) without: Option<&'static str>,
    pub(super) condition: Option<Condition>,
    pub(super) names: Vec<&'static str>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleVerdict {
    Allow,
    Errno(u16),
}

/// What an argument must be.
///
/// Only its lower 32 bits count, because that is all that the kernel's own functions look at in the calls
/// concerned (`socket`, `personality` and the flags of `clone`): a comparison of 64 bits could be
/// passed by setting one that the call then ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) test: Test,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Less(u32),
    Equal(u32),
    Greater(u32),
    Masked { mask: u32, value: u32 },
}

/// What rules are picked by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) architecture: &'static str,
    pub(super) capabilities: CapabilitySet,
}

impl Policy {
    /// Docker's default. The file is part of the program, and a test reads all of it.
    pub(super) fn default_of_docker() -> Self {
        Self::parse(DEFAULT).expect("the policy file is well-formed")
    }

    fn parse(text: &'static str) -> Option<Self> {
        let mut rules: Vec<Rule> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix(' ') {
                Some(more) => rules.last_mut()?.names.extend(more.split_ascii_whitespace()),
                None => rules.push(Rule::parse(line)?),
            }
        }
        Some(Self { rules })
    }
}

impl Rule {
    /// Whether it holds for an architecture and a process with some capabilities.
    pub(super) fn applies_to(&self, scope: Scope) -> bool {
        (self.on.is_empty() || self.on.contains(&scope.architecture))
            && !self.off.contains(&scope.architecture)
            && self.with.is_none_or(|capability| scope.capabilities.has(capability))
            && !self.without.is_some_and(|capability| scope.capabilities.has(capability))
    }

    fn parse(line: &'static str) -> Option<Self> {
        let (head, names) = line.split_once(':')?;
        let (head, condition) = match head.split_once(" if ") {
            Some((head, condition)) => (head, Some(Condition::parse(condition)?)),
            None => (head, None),
        };
        let mut words = head.split(' ');
        let verdict = match words.next()? {
            "allow" => RuleVerdict::Allow,
            "errno" => RuleVerdict::Errno(words.next()?.parse().ok()?),
            _ => return None,
        };
        let names = names.split_ascii_whitespace().collect();
        let mut rule = Self { verdict, on: Vec::new(), off: Vec::new(), with: None, without: None, condition, names };
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word {
                "on" => rule.on = value.split(',').collect(),
                "off" => rule.off = value.split(',').collect(),
                "with" => rule.with = Some(value),
                "without" => rule.without = Some(value),
                _ => return None,
            }
        }
        Some(rule)
    }
}

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |text: &str| text.parse().ok();
        let (argument, test) = match words[..] {
            [argument, "<", value] => (argument, Test::Less(number(value)?)),
            [argument, "=", value] => (argument, Test::Equal(number(value)?)),
            [argument, ">", value] => (argument, Test::Greater(number(value)?)),
            [argument, "&", mask, "=", value] => {
                (argument, Test::Masked { mask: number(mask)?, value: number(value)? })
            }
            _ => return None,
        };
        Some(Self { argument: argument.strip_prefix("arg")?.parse().ok()?, test })
    }
}
