//! The messages byte by byte, and what the kernel makes of them.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;

use super::*;
use crate::network::program;
use crate::sys;

const RULE: Masquerade<'static> =
    Masquerade { interface: "kilntest", network: Ipv4Addr::new(10, 231, 0, 0), prefix: 30 };

/// What a user would have `nft` read for the same table.
const RULES: &str = "table ip kilntest {\n chain out {\n  type nat hook postrouting priority 100;\n  \
                     ip saddr 10.231.0.0/30 oifname != \"kilntest\" masquerade\n }\n}\n";

/// The attributes are those that nft 1.0.6 sends for [`RULES`], but for the owner.
#[cfg(target_endian = "little")]
#[test]
fn a_batch_is_what_the_kernel_reads() {
    let expected = "
        14000000 1000 0100 00000000 00000000 0000000a
        2c000000 000a 0506 01000000 00000000 02000000
            0d000100 6b696c6e 74657374 00000000  08000200 00000002
        48000000 030a 0506 02000000 00000000 02000000
            0d000100 6b696c6e 74657374 00000000  08000300 6f757400  08000700 6e617400
            14000480 08000100 00000004 08000200 00000064
        44010000 060a 050c 03000000 00000000 02000000
            0d000100 6b696c6e 74657374 00000000  08000200 6f757400
            18010480
                34000180 0c000100 7061796c 6f616400
                    24000280 08000100 00000001 08000200 00000001 08000300 0000000c 08000400 00000004
                44000180 0c000100 62697477 69736500
                    34000280 08000100 00000001 08000200 00000001 08000300 00000004
                    0c000480 08000100 fffffffc 0c000580 08000100 00000000
                2c000180 08000100 636d7000
                    20000280 08000100 00000001 08000200 00000000 0c000380 08000100 0ae70000
                24000180 09000100 6d657461 00000000
                    14000280 08000200 00000007 08000100 00000001
                38000180 08000100 636d7000
                    2c000280 08000100 00000001 08000200 00000001
                    18000380 14000100 6b696c6e 74657374 00000000 00000000
                14000180 09000100 6d617371 00000000 04000280
        14000000 1100 0100 04000000 00000000 0000000a";
    let hex: String = batch(&masquerade(RULE, Owner::Socket)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.split_whitespace().collect::<String>());
}

#[test]
fn the_kernel_shows_the_table_as_if_nft_had_made_it() {
    let Some(nft) = alone() else { return };
    let table = Table::masquerade(RULE).expect("a table");
    let ours = nft("list ruleset\n");
    drop(table);
    assert_eq!(nft("list ruleset\n"), "");
    nft(RULES);
    // nft makes its own without an owner, as its socket closes; of ours it says whose it is.
    let unowned = |line: &&str| !line.is_empty() && line.trim() != "flags owner";
    let shown = |listing: &str| -> Vec<String> {
        let lines = listing.lines().filter(unowned);
        lines.map(|line| line.split(" # progname").next().unwrap_or(line).to_owned()).collect()
    };
    assert_eq!(shown(&ours), shown(&nft("list ruleset\n")));
}

#[test]
fn what_is_left_behind_is_replaced() {
    let Some(nft) = alone() else { return };
    nft(RULES);
    let _table = Table::masquerade(RULE).expect("a table");
    assert_eq!(nft("list ruleset\n").matches("masquerade").count(), 1);
}

#[test]
fn a_table_without_an_owner_is_deleted() {
    let Some(nft) = alone() else { return };
    let table = Table { socket: open().expect("a socket"), name: "kilntest".to_owned() };
    send(&table.socket, &masquerade(RULE, Owner::Nobody)).expect("a table");
    assert_eq!(nft("list tables\n"), "table ip kilntest\n");
    drop(table);
    assert_eq!(nft("list tables\n"), "");
}

#[test]
fn a_table_goes_with_its_socket() {
    let Some(nft) = alone() else { return };
    let socket = open().expect("a socket");
    if let Err(refused) = send(&socket, &masquerade(RULE, Owner::Socket)) {
        eprintln!("skipped: tables have no owners: {:?}", refused.source);
        return;
    }
    assert_eq!(nft("list tables\n"), "table ip kilntest\n");
    drop(socket);
    assert_eq!(nft("list tables\n"), "");
}

#[test]
fn a_refusal_names_the_message() {
    let Some(_nft) = alone() else { return };
    let table = Table::masquerade(RULE).expect("a table");
    let refused = send(&table.socket, &[delete_table("another")]).expect_err("there is no such table");
    assert_eq!(refused.to_string(), "NFT_MSG_DELTABLE");
    assert_eq!(refused.source.kind(), io::ErrorKind::NotFound);
    let mut messages = masquerade(Masquerade { interface: "kiln2", ..RULE }, Owner::Nobody);
    messages[2].body = attribute(NFTA_RULE_TABLE, b"kiln2\0");
    assert_eq!(send(&table.socket, &messages).expect_err("a rule needs a chain").to_string(), "NFT_MSG_NEWRULE");
}

#[test]
fn a_batch_can_follow_one_that_is_refused() {
    let Some(nft) = alone() else { return };
    let table = Table::masquerade(RULE).expect("a table");
    let refused = send(&table.socket, &masquerade(RULE, Owner::Nobody)).expect_err("it is there");
    assert_eq!(refused.to_string(), "NFT_MSG_NEWTABLE");
    let another = Masquerade { interface: "kiln2", ..RULE };
    send(&table.socket, &masquerade(another, Owner::Nobody)).expect("another table");
    assert_eq!(nft("list ruleset\n").matches("masquerade").count(), 2);
}

/// Puts the test's thread into a network namespace of its own, and gives `nft` for it.
fn alone() -> Option<impl Fn(&str) -> String> {
    let Some(nft) = program::find("nft") else {
        eprintln!("skipped: nft is not installed");
        return None;
    };
    if let Err(error) = sys::unshare(UnshareFlags::NEWNET) {
        eprintln!("skipped: no network namespace: {error}");
        return None;
    }
    Some(move |script: &str| {
        let mut child = Command::new(&nft)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nft starts");
        child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("a script");
        let output = child.wait_with_output().expect("nft ends");
        assert!(output.status.success(), "nft refuses {script}");
        String::from_utf8(output.stdout).expect("text")
    })
}
