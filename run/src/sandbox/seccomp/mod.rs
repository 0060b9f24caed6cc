//! Docker's default system call policy as a filter for the kernel.
//!
//! The policy (`policy.txt`) and the numbers of system calls (`numbers.txt`) are data. [`filter`] puts
//! them together for the architecture kiln is built for and its siblings: 32-bit programs are held to
//! the same policy, by their own numbers.

mod assemble;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::assemble::{Section, Verdict};
use self::policy::{Policy, Scope};
use super::capabilities::CapabilitySet;
use crate::sys::BpfInstruction;

const NUMBERS: &str = include_str!("numbers.txt");

/// Numbers of arm from here on are private to it, and say nothing about how new a kernel is.
const PRIVATE: u32 = 0xf_0000;

/// An architecture as the kernel names it to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    /// Its column in `numbers.txt`.
    column: &'static str,
    /// Its name in `policy.txt`.
    docker: &'static str,
    /// `AUDIT_ARCH_*` of `include/uapi/linux/audit.h`.
    audit: u32,
    /// What its numbers have set beyond those in the table: x32 has bit 30.
    flag: u32,
}

const X32_BIT: u32 = 0x4000_0000;

const fn architecture(column: &'static str, docker: &'static str, audit: u32) -> Architecture {
    Architecture { column, docker, audit, flag: 0 }
}

/// Which architectures' programs a kernel runs, by what kiln is built for.
const FAMILIES: [(&str, &[Architecture]); 6] = [
    (
        "x86_64",
        &[
            architecture("x86_64", "amd64", 0xc000_003e),
            Architecture { column: "x32", docker: "x32", audit: 0xc000_003e, flag: X32_BIT },
            architecture("x86", "x86", 0x4000_0003),
        ],
    ),
    ("aarch64", &[architecture("aarch64", "arm64", 0xc000_00b7), architecture("arm", "arm", 0x4000_0028)]),
    ("riscv64", &[architecture("riscv64", "riscv64", 0xc000_00f3)]),
    ("s390x", &[architecture("s390x", "s390x", 0x8000_0016)]),
    ("loongarch64", &[architecture("loongarch64", "loong64", 0xc000_0102)]),
    ("powerpc64", &[architecture("powerpc64", "ppc64le", 0xc000_0015)]),
];

/// The filter for a process with `capabilities`; none without a table for this architecture.
pub(super) fn filter(capabilities: CapabilitySet) -> Option<Vec<BpfInstruction>> {
    filter_for(std::env::consts::ARCH, capabilities)
}

fn filter_for(host: &str, capabilities: CapabilitySet) -> Option<Vec<BpfInstruction>> {
    let (_, family) = FAMILIES.iter().find(|(name, _)| *name == host)?;
    let policy = Policy::default_of_docker();
    let sections: Vec<Section> = family.iter().map(|member| section(&policy, *member, capabilities)).collect();
    Some(assemble::program(&sections))
}

fn section(policy: &Policy, architecture: Architecture, capabilities: CapabilitySet) -> Section {
    let numbers = numbers(architecture.column);
    let scope = Scope { architecture: architecture.docker, capabilities };
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    for rule in policy.rules.iter().filter(|rule| rule.applies_to(scope)) {
        for number in rule.names.iter().filter_map(|name| numbers.get(name)) {
            let verdict = verdicts.entry(architecture.flag | number).or_insert_with(Verdict::denied);
            *verdict = std::mem::replace(verdict, Verdict::Allow).or(rule);
        }
    }
    let named = policy.rules.iter().flat_map(|rule| &rule.names).filter_map(|name| numbers.get(name));
    let newest = named.copied().filter(|number| *number < PRIVATE).max().unwrap_or(0);
    Section { audit: architecture.audit, flag: architecture.flag, newest: architecture.flag | newest, verdicts }
}

fn numbers(column: &str) -> BTreeMap<&'static str, u32> {
    let mut lines = NUMBERS.lines().filter(|line| !line.starts_with('#'));
    let header = lines.next().unwrap_or_default();
    let Some(index) = header.split_ascii_whitespace().position(|name| name == column) else { return BTreeMap::new() };
    let entry = |line: &'static str| {
        let name = line.split_ascii_whitespace().next()?;
        Some((name, line.split_ascii_whitespace().nth(index)?.parse().ok()?))
    };
    lines.filter_map(entry).collect()
}
