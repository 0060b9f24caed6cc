//! Compressed bytes are read back, and are the same on any machine.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;
use crate::Digest;

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Text that compresses, with long repetitions across blocks.
fn sample(size: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|number| format!("{} ", number.wrapping_mul(2_654_435_761) >> 20).into_bytes())
        .take(size)
        .collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// B043, B046: the same bytes on every machine.
#[test]
fn gzip_is_the_same_on_any_number_of_threads_and_pinned() {
    let input = sample(3 * 1024 * 1024 + 17);
    let once = with_threads(1, || all(Gzip::new(&input[..], 6)));
    for threads in [2, 4, 7] {
        assert_eq!(with_threads(threads, || all(Gzip::new(&input[..], 6))), once, "{threads} threads");
    }
    assert_eq!(all(decompress(&once[..]).unwrap()), input);
    // A new version of zlib-rs may change this, and then `Encoding::encoder` has to name it.
    let pinned = "sha256:b5a794b4f35c694ddcab72070904d69b179cdeee5518619c13bfd1c03a556343";
    assert_eq!(Digest::of(&once).to_string(), pinned);
    assert_eq!(all(Gzip::new(&b""[..], 6)), b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0");
}

#[test]
fn the_encoder_names_the_library_that_is_used() {
    let lock = include_str!("../../../Cargo.lock");
    let version = lock.split("name = \"zlib-rs\"\nversion = \"").nth(1).unwrap();
    let (major, minor) = version.split_once('.').map(|(major, rest)| (major, rest.split('.').next().unwrap())).unwrap();
    assert!(Encoding::Gzip(6).encoder().ends_with(&format!(" zlib-rs-{major}.{minor}")), "{major}.{minor}");
}

#[test]
fn gzip_at_the_edges_of_blocks() {
    for size in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 2 << 20] {
        let input = sample(size);
        assert!(all(decompress(Gzip::new(&input[..], 9)).unwrap()) == input, "{size} bytes");
    }
}

#[test]
fn zstd_is_the_same_whatever_the_reads() {
    let input = sample(3 << 20);
    let once = all(Encoding::Zstd(3).compress(&input[..]).unwrap());
    let mut again = Encoding::Zstd(3).compress(&input[..]).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 777];
    while let count @ 1.. = again.read(&mut chunk).unwrap() {
        bytes.extend_from_slice(&chunk[..count]);
    }
    assert!(bytes == once);
    assert!(all(decompress(&once[..]).unwrap()) == input);
}

/// Rule B065.
#[test]
fn every_compression_is_recognised() {
    let text = sample(100_000);
    let half = text.len() / 2;
    let gzip = |part: &[u8]| all(flate2::read::GzEncoder::new(part, flate2::Compression::fast()));
    let zstd = |part: &[u8]| zstd::encode_all(part, 1).unwrap();
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for (name, compressed) in [
        ("plain", text.clone()),
        ("gzip of two members", [gzip(&text[..half]), gzip(&text[half..])].concat()),
        ("zstd of two frames", [zstd(&text[..half]), skippable.clone(), zstd(&text[half..])].concat()),
        ("zstd after a skippable frame", [skippable, zstd(&text)].concat()),
        ("bzip2", all(bzip2::read::BzEncoder::new(&text[..], bzip2::Compression::fast()))),
        ("xz", all(liblzma::read::XzEncoder::new(&text[..], 1))),
    ] {
        assert!(all(decompress(&compressed[..]).unwrap()) == text, "{name}");
    }
    assert_eq!(all(decompress(&b"ab"[..]).unwrap()), b"ab");
}

/// E046, for what is damaged.
#[test]
fn damaged_and_cut_streams_are_errors() {
    let good = all(Gzip::new(&sample(100_000)[..], 6));
    for bytes in [&good[..good.len() - 1], &good[..good.len() / 2], &good[..4]] {
        assert!(decompress(bytes).unwrap().read_to_end(&mut Vec::new()).is_err(), "{} bytes", bytes.len());
    }
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    assert!(decompress(&flipped[..]).unwrap().read_to_end(&mut Vec::new()).is_err());
}

/// E046, for what expands.
#[test]
fn a_bomb_is_stopped_on_the_side_of_the_output() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..1024 {
        bomb.write_all(&[0; 1 << 16]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let limit = Expansion { free_bytes: 1 << 20, bytes_per_byte: 200 };
    let mut out = Vec::new();
    let error = decompress(&bomb[..]).unwrap().limit(limit).read_to_end(&mut out).unwrap_err();
    assert_eq!(error.to_string(), "compressed data expands more than 200 times");
    assert!(out.len() < 32 << 20);
    assert_eq!(all(decompress(&bomb[..]).unwrap()).len(), 64 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn everything_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..2000), repeat in 1usize..400, level in 1u32..10) {
        let input = bytes.repeat(repeat);
        prop_assert!(all(decompress(Encoding::Gzip(level).compress(&input[..]).unwrap()).unwrap()) == input);
        prop_assert!(all(decompress(Encoding::Zstd(1).compress(&input[..]).unwrap()).unwrap()) == input);
    }
}
