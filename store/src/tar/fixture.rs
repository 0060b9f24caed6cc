//! Entries as somebody might write them who means no good, or did not read the standard.

use super::{BLOCK_BYTES, padding};

/// One header with its body; the path is cut to what the header holds.
pub(crate) fn entry(path: &[u8], kind: u8, link: &[u8], body: &[u8]) -> Vec<u8> {
    edited(path, kind, link, body, |_| {})
}

/// One whose header is edited before its checksum is made.
pub(crate) fn edited(path: &[u8], kind: u8, link: &[u8], body: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block[..path.len()].copy_from_slice(path);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
    block[136..148].copy_from_slice(b"00000000001\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(body);
    block.resize(block.len() + padding(body.len() as u64), 0);
    block
}

/// A PAX extended header for the next entry.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        super::pax::put_record(&mut body, key.as_bytes(), value);
    }
    entry(b"PaxHeaders/x", b'x', b"", &body)
}

/// Entries with the end of an archive.
pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 2 * BLOCK_BYTES]].concat()
}
