//! The generated filter, run in an interpreter of BPF, against the policy read the plain way.

use super::policy::{Policy, Rule, RuleVerdict, Scope, Test};
use super::*;
use crate::sys::BpfInstruction;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

/// What the kernel shows a filter.
#[derive(Debug, Clone, Copy)]
struct Call {
    audit: u32,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn load(self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            _ => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        }
    }
}

fn execute(program: &[BpfInstruction], call: Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let BpfInstruction { code, jt, jf, k } = program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => accumulator = call.load(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x06 => return k,
            _ => panic!("an instruction that the filter does not use: {code:#x}"),
        }
    }
}

/// The policy for one architecture, its rules one by one.
struct Expected {
    rules: BTreeMap<u32, Vec<Rule>>,
    newest: u32,
}

impl Expected {
    fn new(member: Architecture, capabilities: CapabilitySet) -> Self {
        let (policy, numbers) = (Policy::default_of_docker(), numbers(member.column));
        let scope = Scope { architecture: member.docker, capabilities };
        let mut expected = Self { rules: BTreeMap::new(), newest: 0 };
        for rule in policy.rules {
            for number in rule.names.iter().filter_map(|name| numbers.get(name)) {
                let known = if *number < PRIVATE { *number } else { 0 };
                expected.newest = expected.newest.max(known);
                if rule.applies_to(scope) {
                    expected.rules.entry(*number).or_default().push(rule.clone());
                }
            }
        }
        expected
    }

    fn answer(&self, number: u32, argument: u64) -> u32 {
        let rules = self.rules.get(&number).map(Vec::as_slice).unwrap_or_default();
        let argument = argument as u32;
        let holds = |rule: &&Rule| match rule.condition.map(|condition| condition.test) {
            None => true,
            Some(Test::Less(value)) => argument < value,
            Some(Test::Equal(value)) => argument == value,
            Some(Test::Greater(value)) => argument > value,
            Some(Test::Masked { mask, value }) => argument & mask == value,
        };
        let verdicts: Vec<RuleVerdict> = rules.iter().filter(holds).map(|rule| rule.verdict).collect();
        match verdicts.as_slice() {
            verdicts if verdicts.contains(&RuleVerdict::Allow) => ALLOW,
            [.., RuleVerdict::Errno(errno)] => 0x0005_0000 | u32::from(*errno),
            _ if number > self.newest && rules.is_empty() => ENOSYS,
            _ => EPERM,
        }
    }
}

#[test]
fn every_call_of_every_architecture_is_as_the_policy_says() {
    let arguments =
        [0, 8, 16, 37, 38, 39, 40, 41, 0x2_0000, 0x2_0008, 0x1000_0000, 0x7e02_0000, 0xffff_ffff, 1 << 32 | 38];
    let sets = [CapabilitySet::EMPTY, CapabilitySet::docker_default(), CapabilitySet::all()];
    for (host, family) in FAMILIES {
        for capabilities in sets {
            let program = filter_for(host, capabilities).expect("a table");
            assert!(program.len() < 4096, "{host}: {} instructions", program.len());
            for member in family {
                let expected = Expected::new(*member, capabilities);
                for number in (0..700).chain(PRIVATE - 1..PRIVATE + 8).chain([0x3fff_ffff]) {
                    for argument in arguments {
                        let call = Call { audit: member.audit, number: member.flag | number, arguments: [argument; 6] };
                        let answer = expected.answer(number, argument);
                        assert_eq!(execute(&program, call), answer, "{host} {} {number} {argument:#x}", member.docker);
                    }
                }
            }
        }
    }
}

/// Rule F005, trap 40: `clone3` and unknown calls do not exist, others are not permitted.
#[test]
fn known_answers() {
    let program = filter_for("x86_64", CapabilitySet::docker_default()).expect("a table");
    let x86_64 = |number, argument| execute(&program, Call { audit: 0xc000_003e, number, arguments: [argument; 6] });
    let i386 = |number| execute(&program, Call { audit: 0x4000_0003, number, arguments: [0; 6] });
    let rows = [
        (x86_64(0, 0), ALLOW, "read"),
        (x86_64(41, 2), ALLOW, "socket(AF_INET)"),
        (x86_64(41, 38), EPERM, "socket(AF_ALG)"),
        (x86_64(41, 1 << 32 | 38), EPERM, "socket(AF_ALG) with a bit above those that count"),
        (x86_64(41, 40), EPERM, "socket(AF_VSOCK)"),
        (x86_64(56, 0x1000_0000), EPERM, "clone(CLONE_NEWUSER)"),
        (x86_64(56, 17), ALLOW, "clone(SIGCHLD)"),
        (x86_64(435, 0), ENOSYS, "clone3"),
        (x86_64(272, 0), EPERM, "unshare"),
        (x86_64(250, 0), EPERM, "keyctl"),
        (x86_64(425, 0), EPERM, "io_uring_setup"),
        (x86_64(161, 0), ALLOW, "chroot"),
        (x86_64(600, 0), ENOSYS, "a call of the future"),
        (i386(11), ALLOW, "execve of i386"),
        (i386(310), EPERM, "unshare of i386"),
        (execute(&program, Call { audit: 0xc000_00b7, number: 0, arguments: [0; 6] }), ENOSYS, "another machine's"),
    ];
    for (answer, expected, name) in rows {
        assert_eq!(answer, expected, "{name}");
    }
}

#[test]
fn every_name_of_the_policy_has_a_number_somewhere() {
    let columns = FAMILIES.iter().flat_map(|(_, family)| family.iter()).map(|member| numbers(member.column));
    let known: Vec<_> = columns.collect();
    assert!(known.iter().all(|numbers| numbers.len() > 300));
    for name in Policy::default_of_docker().rules.iter().flat_map(|rule| rule.names.iter().copied()) {
        assert!(known.iter().any(|numbers| numbers.contains_key(name)), "{name}");
    }
}
