//! Feeds the claim `headers` with whatever libFuzzer thinks of.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kiln_fuzz::layers::headers(input));
