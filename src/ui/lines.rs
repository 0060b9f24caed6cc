//! Bytes as they come to whole lines.

use std::collections::HashMap;

use builder::progress::{StepId, Stream};

/// What each step has begun to write and not ended with a newline.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: HashMap<StepId, [Vec<u8>; 2]>,
}

/// A line this long is shown in pieces, so that a stream without newlines needs no unbounded memory.
const LONGEST_LINE_BYTES: usize = 64 << 10;

impl Lines {
    /// Adds bytes and returns the lines that they complete.
    pub(super) fn push(&mut self, step: StepId, stream: Stream, bytes: &[u8]) -> Vec<Vec<u8>> {
        let begun = &mut self.begun.entry(step).or_default()[index(stream)];
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || begun.len() > LONGEST_LINE_BYTES {
                whole.push(std::mem::take(begun));
            }
        }
        whole
    }

    /// The last line of each stream of a step, which has no newline.
    pub(super) fn finish(&mut self, step: StepId) -> Vec<Vec<u8>> {
        self.begun.remove(&step).into_iter().flatten().filter(|line| !line.is_empty()).collect()
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole() {
        let mut lines = Lines::default();
        let step = StepId(0);
        assert_eq!(lines.push(step, Stream::Stdout, b"on"), Vec::<Vec<u8>>::new());
        assert_eq!(lines.push(step, Stream::Stderr, b"else\n"), [b"else\n"]);
        assert_eq!(lines.push(step, Stream::Stdout, b"e\ntwo\nth"), [&b"one\n"[..], b"two\n"]);
        assert_eq!(lines.finish(step), [b"th"]);
        assert!(lines.finish(step).is_empty());
    }
}
