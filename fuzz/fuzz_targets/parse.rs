//! Feeds the claim `parse` with whatever libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kiln_fuzz::language::parse(input));
