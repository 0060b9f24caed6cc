//! What a command wrote: all of it in a file, the end of it for the error.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::StepError;

/// How many lines an error shows.
const LAST_LINES: usize = 20;

/// How much of one line an error shows; the file has all of it.
const LINE_LIMIT_BYTES: usize = 4096;

/// The log of one step while it runs.
#[derive(Debug)]
pub(super) struct StepLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    lines: VecDeque<Vec<u8>>,
    /// The line that has not ended.
    open: Vec<u8>,
    failure: Option<std::io::Error>,
}

impl StepLog {
    /// Starts a log in a file.
    pub(super) fn create(path: PathBuf) -> Result<Self, StepError> {
        let file = File::create(&path).map_err(|source| StepError::Log { path: path.clone(), source })?;
        let state = State { file, lines: VecDeque::new(), open: Vec::new(), failure: None };
        Ok(Self { path, state: Mutex::new(state) })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends what a command wrote. What cannot be written is said by [`StepLog::finish`].
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.file.write_all(bytes) {
            state.failure.get_or_insert(error);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            state.add(part);
        }
    }

    /// The end of the log, for people.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = (!state.open.is_empty()).then_some(&state.open);
        state.lines.iter().chain(open).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// Ends the log; an error if not all of it could be written.
    pub(super) fn finish(&self) -> Result<(), StepError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.failure.take() {
            Some(source) => Err(StepError::Log { path: self.path.clone(), source }),
            None => Ok(()),
        }
    }
}

impl State {
    fn add(&mut self, part: &[u8]) {
        let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
        let room = LINE_LIMIT_BYTES.saturating_sub(self.open.len());
        self.open.extend_from_slice(&text[..text.len().min(room)]);
        if ended {
            let mut line = std::mem::take(&mut self.open);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.lines.push_back(line);
            if self.lines.len() > LAST_LINES {
                self.lines.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_all_and_the_error_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = StepLog::create(directory.path().join("log")).unwrap();
        for number in 0..30 {
            log.write(format!("line {number}\r\npart").as_bytes());
        }
        let last = log.last_lines();
        assert_eq!((last.len(), last[0].as_str(), last[20].as_str()), (21, "partline 10", "part"));
        log.finish().unwrap();
        assert!(std::fs::read_to_string(log.path()).unwrap().starts_with("line 0\r\npartline 1"));
    }
}
