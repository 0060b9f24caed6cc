//! From verdicts by number to classic BPF: one binary search an architecture.
//!
//! A conditional jump of BPF reaches 255 instructions, so a branch to the far half goes through an
//! unconditional one, which reaches everything.

use std::collections::BTreeMap;

use super::policy::{Condition, Rule, RuleVerdict, Test};
use crate::sys::BpfInstruction;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Errno(u16),
    /// Allowed if one of them holds, else denied.
    AllowIf(Vec<Condition>),
}

/// All verdicts of one architecture.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) audit: u32,
    /// What all its numbers have set, if it shares `audit` with another.
    pub(super) flag: u32,
    /// Numbers above it do not exist for the policy.
    pub(super) newest: u32,
    pub(super) verdicts: BTreeMap<u32, Verdict>,
}

impl Verdict {
    /// What holds where no rule does.
    pub(super) fn denied() -> Self {
        Self::Errno(EPERM)
    }

    /// This verdict with another rule beside it: what either allows is allowed.
    pub(super) fn or(self, rule: &Rule) -> Self {
        match (self, rule.verdict, rule.condition) {
            (Self::Allow, _, _) | (_, RuleVerdict::Allow, None) => Self::Allow,
            (Self::AllowIf(mut conditions), RuleVerdict::Allow, Some(condition)) => {
                conditions.push(condition);
                Self::AllowIf(conditions)
            }
            (Self::Errno(_), RuleVerdict::Allow, Some(condition)) => Self::AllowIf(vec![condition]),
            (Self::Errno(_), RuleVerdict::Errno(number), _) => Self::Errno(number),
            (conditions @ Self::AllowIf(_), RuleVerdict::Errno(_), _) => conditions,
        }
    }
}

/// The whole program.
pub(super) fn program(sections: &[Section]) -> Vec<BpfInstruction> {
    // Sections that share an architecture are told apart by their flag, the flagged first.
    let mut code = vec![unknown()];
    let mut audits: Vec<u32> = sections.iter().map(|section| section.audit).collect();
    audits.dedup();
    for audit in audits.into_iter().rev() {
        let mut own: Vec<&Section> = sections.iter().filter(|section| section.audit == audit).collect();
        own.sort_by_key(|section| section.flag);
        code = [unless(JUMP_IF_EQUAL, audit, numbered(&own)), code].concat();
    }
    [vec![load(ARCHITECTURE)], code].concat()
}

/// Code for one architecture's sections, sorted by flag.
fn numbered(sections: &[&Section]) -> Vec<BpfInstruction> {
    let mut intervals = BTreeMap::new();
    for section in sections {
        intervals.insert(section.flag, Verdict::denied());
        for (number, verdict) in &section.verdicts {
            intervals.insert(*number, verdict.clone());
            intervals.entry(number + 1).or_insert_with(Verdict::denied);
        }
        intervals.retain(|number, _| *number <= section.newest || section.verdicts.contains_key(number));
        // Private numbers lie above the newest; what is between does not exist.
        let beyond: Vec<u32> = section.verdicts.range(section.newest + 1..).map(|(number, _)| number + 1).collect();
        for number in beyond.into_iter().chain([section.newest + 1]) {
            if !section.verdicts.contains_key(&number) {
                intervals.insert(number, Verdict::Errno(ENOSYS));
            }
        }
    }
    let mut merged: Vec<(u32, Verdict)> = Vec::new();
    for (number, verdict) in intervals {
        if merged.last().is_none_or(|(_, last)| *last != verdict) {
            merged.push((number, verdict));
        }
    }
    [vec![load(NUMBER)], search(&merged)].concat()
}

/// A binary search among the starts of intervals.
fn search(intervals: &[(u32, Verdict)]) -> Vec<BpfInstruction> {
    match intervals {
        [] => vec![give(RETURN_ERRNO | u32::from(EPERM))],
        [(_, verdict)] => leaf(verdict),
        _ => {
            let (lower, upper) = intervals.split_at(intervals.len() / 2);
            [unless_below(upper[0].0, search(lower)), search(upper)].concat()
        }
    }
}

fn leaf(verdict: &Verdict) -> Vec<BpfInstruction> {
    match verdict {
        Verdict::Allow => vec![give(RETURN_ALLOW)],
        Verdict::Errno(number) => vec![give(RETURN_ERRNO | u32::from(*number))],
        Verdict::AllowIf(conditions) => {
            let tests = conditions.iter().flat_map(|condition| allow_if(*condition));
            tests.chain([give(RETURN_ERRNO | u32::from(EPERM))]).collect()
        }
    }
}

fn allow_if(condition: Condition) -> Vec<BpfInstruction> {
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    let argument = load(ARGUMENTS + 8 * u32::from(condition.argument) + low_half);
    let allow = give(RETURN_ALLOW);
    let test = |code, value, skip_if, skip_unless| BpfInstruction { code, jt: skip_if, jf: skip_unless, k: value };
    match condition.test {
        Test::Less(value) => vec![argument, test(JUMP_IF_AT_LEAST, value, 1, 0), allow],
        Test::Equal(value) => vec![argument, test(JUMP_IF_EQUAL, value, 0, 1), allow],
        Test::Greater(value) => vec![argument, test(JUMP_IF_GREATER, value, 0, 1), allow],
        Test::Masked { mask, value } => {
            let mask = BpfInstruction { code: AND, jt: 0, jf: 0, k: mask };
            vec![argument, mask, test(JUMP_IF_EQUAL, value, 0, 1), allow]
        }
    }
}

/// `body` if the accumulator passes the test; else what follows it. `body` must end in returns.
fn unless(code: u16, value: u32, body: Vec<BpfInstruction>) -> Vec<BpfInstruction> {
    let test = BpfInstruction { code, jt: 1, jf: 0, k: value };
    [vec![test, jump(body.len())], body].concat()
}

/// `body` if the accumulator is below `value`; else what follows it. `body` must end in returns.
fn unless_below(value: u32, body: Vec<BpfInstruction>) -> Vec<BpfInstruction> {
    match u8::try_from(body.len()) {
        Ok(length) => [vec![BpfInstruction { code: JUMP_IF_AT_LEAST, jt: length, jf: 0, k: value }], body].concat(),
        Err(_) => {
            let test = BpfInstruction { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: value };
            [vec![test, jump(body.len())], body].concat()
        }
    }
}

fn load(offset: u32) -> BpfInstruction {
    BpfInstruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(over: usize) -> BpfInstruction {
    BpfInstruction { code: JUMP, jt: 0, jf: 0, k: u32::try_from(over).unwrap_or(u32::MAX) }
}

fn give(value: u32) -> BpfInstruction {
    BpfInstruction { code: RETURN, jt: 0, jf: 0, k: value }
}

/// A program of an architecture that the policy does not know finds no kernel to talk to.
fn unknown() -> BpfInstruction {
    give(RETURN_ERRNO | u32::from(ENOSYS))
}
