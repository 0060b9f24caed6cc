//! The writing end: cuts two byte streams into lines as they come.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{LogError, Stream};

/// The longest piece of a line that is written as one record.
const LINE_BYTES: usize = 16 * 1024;

/// Appends to the log of one container.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Writer {
    /// Opens the log at `path`, which is made if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let open = File::options().append(true).create(true).open(path);
        let file = open.map_err(|source| LogError::Io { doing: "open", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Takes what was read from a stream, and writes the lines that are complete.
    ///
    /// # Errors
    /// If the disk takes no more. The log is still consistent then, and later writes are tried again.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), LogError> {
        let tail = Tail::now(stream);
        let mut records = Vec::with_capacity(bytes.len() + 128);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = self.partial(stream);
            partial.extend_from_slice(piece);
            if partial.ends_with(b"\n") {
                tail.encode(&mut records, partial);
                partial.clear();
            }
            while partial.len() >= LINE_BYTES {
                let rest = partial.split_off(character_boundary(partial, LINE_BYTES));
                tail.encode(&mut records, &std::mem::replace(partial, rest));
            }
        }
        self.append(&records)
    }

    /// Writes what is left of unfinished lines: the container has ended.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub fn finish(&mut self) -> Result<(), LogError> {
        let mut records = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(self.partial(stream));
            if !rest.is_empty() {
                Tail::now(stream).encode(&mut records, &rest);
            }
        }
        self.append(&records)
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn append(&mut self, records: &[u8]) -> Result<(), LogError> {
        let written = self.file.write_all(records);
        written.map_err(|source| LogError::Io { doing: "write", path: self.path.clone(), source })
    }
}

/// What ends every record of one moment: made once, since a chatty container writes a million of them.
struct Tail(String);

impl Tail {
    fn now(stream: Stream) -> Self {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Self(format!(",\"stream\":\"{stream}\",\"time\":\"{}\"}}\n", Timestamp::now()))
    }

    /// A long line may be cut into several records: never more than [`LINE_BYTES`] in one.
    fn encode(&self, records: &mut Vec<u8>, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(character_boundary(rest, LINE_BYTES));
            records.extend_from_slice(b"{\"log\":");
            // Writing text to memory cannot fail.
            let _ = serde_json::to_writer(&mut *records, &String::from_utf8_lossy(piece));
            records.extend_from_slice(self.0.as_bytes());
            rest = after;
        }
    }
}

/// Where to cut at most `limit` bytes off, so that no UTF-8 character is torn if there is one there.
fn character_boundary(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let continues = |index: &usize| bytes[*index] & 0b1100_0000 == 0b1000_0000;
    (limit - 3..=limit).rev().find(|index| !continues(index)).unwrap_or(limit)
}
