//! The reading end: from the tail, from a time, to the end or for as long as the container runs.
//!
//! Following waits in `poll` for two things: inotify's word that the file grew, and the word of the
//! caller's descriptor that the writer is gone (its socket hangs up). The file
//! is drained once more after the latter, so that no last line is lost.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Line, LogError};

/// Which lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only that many of the last lines; all of them if `None`.
    pub tail: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing newer.
    pub until: Option<Timestamp>,
}

/// Reads the log of one container.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    pending: Vec<u8>,
    options: Options,
}

impl Reader {
    /// Opens a log and stands before the first wanted line.
    ///
    /// # Errors
    /// If there is no log, or it cannot be read.
    pub fn open(path: &Path, options: Options) -> Result<Self, LogError> {
        let open = || {
            let mut file = File::open(path)?;
            if let Some(lines) = options.tail {
                let start = tail_start(&mut file, lines)?;
                file.seek(SeekFrom::Start(start))?;
            }
            Ok(BufReader::new(file))
        };
        let file = open().map_err(|source| LogError::Io { doing: "open", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, pending: Vec::new(), options })
    }

    /// Gives what is in the log by now. An unfinished record at the end waits for the next call.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&mut self, mut sink: impl FnMut(Line) -> ControlFlow<()>) -> Result<ControlFlow<()>, LogError> {
        loop {
            let read = self.file.read_until(b'\n', &mut self.pending);
            let length = read.map_err(|source| self.error("read", source))?;
            if length == 0 || self.pending.last() != Some(&b'\n') {
                return Ok(ControlFlow::Continue(()));
            }
            let record = std::mem::take(&mut self.pending);
            // What a power cut left half written is no line any more.
            let Ok(line) = serde_json::from_slice::<Line>(&record) else { continue };
            if self.options.until.is_some_and(|until| line.time > until) {
                return Ok(ControlFlow::Break(()));
            }
            let wanted = self.options.since.is_none_or(|since| line.time >= since);
            if wanted && sink(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Gives what is in the log and what comes, until `writer` hangs up.
    ///
    /// # Errors
    /// If the file cannot be read or watched.
    pub fn follow(
        &mut self,
        writer: BorrowedFd<'_>,
        mut sink: impl FnMut(Line) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let watch = watch(&self.path).map_err(|source| self.error("watch", source))?;
        loop {
            if self.read(&mut sink)?.is_break() {
                return Ok(());
            }
            match self.wait(&watch, writer)? {
                Woken::Grown => {}
                Woken::WriterGone => return self.read(&mut sink).map(drop),
                Woken::UntilPassed => return Ok(()),
            }
        }
    }

    fn wait(&self, watch: &OwnedFd, writer: BorrowedFd<'_>) -> Result<Woken, LogError> {
        let left = self.options.until.map(|until| until.duration_since(Timestamp::now()));
        let timeout = match left.map(Duration::try_from) {
            None => None,
            Some(Ok(left)) => rustix::event::Timespec::try_from(left).ok(),
            Some(Err(_)) => return Ok(Woken::UntilPassed),
        };
        let mut fds = [PollFd::new(watch, PollFlags::IN), PollFd::from_borrowed_fd(writer, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Woken::UntilPassed),
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => return Err(self.error("watch", source.into())),
        }
        if !fds[1].revents().is_empty() && hung_up(writer) {
            return Ok(Woken::WriterGone);
        }
        if !fds[0].revents().is_empty() {
            // What happened does not matter, only that it is taken off the queue.
            let _ = rustix::io::read(watch, &mut [0u8; 4096]);
        }
        Ok(Woken::Grown)
    }

    fn error(&self, doing: &'static str, source: std::io::Error) -> LogError {
        LogError::Io { doing, path: self.path.clone(), source }
    }
}

/// Reads a point in time as `docker logs --since` does: RFC 3339 (with or without zone, down to a
/// date alone), seconds since 1970 with an optional fraction, or a duration before `now` (`1h30m`).
///
/// # Errors
/// If it is none of these.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, LogError> {
    let error = || LogError::Time(text.to_owned());
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let duration = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| error())?;
        return Timestamp::from_duration(duration).map_err(|_| error());
    }
    if let Ok(duration) = text.parse::<jiff::SignedDuration>() {
        return now.checked_sub(duration).map_err(|_| error());
    }
    let local: jiff::civil::DateTime = text.parse().map_err(|_| error())?;
    jiff::tz::TimeZone::UTC.to_timestamp(local).map_err(|_| error())
}

enum Woken {
    Grown,
    WriterGone,
    UntilPassed,
}

fn watch(path: &Path) -> std::io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
    Ok(watch)
}

/// Whether the other end is gone; what it may still have to say is not for us and thrown away.
fn hung_up(writer: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::net::recv(writer.as_fd(), &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
            Ok((0, _)) => return true,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
}

/// The offset of the last `lines` records: read backwards, a block at a time.
fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 8192];
    let (mut position, mut left) = (end, lines);
    while position > 0 {
        let length = position.min(block.len() as u64) as usize;
        position -= length as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block[..length])?;
        for index in (0..length).rev().filter(|index| block[*index] == b'\n') {
            let after = position + index as u64 + 1;
            // The newline at the very end closes the last record and begins none.
            if left == 0 {
                return Ok(after);
            }
            left -= u64::from(after != end || lines == 0);
            if left == 0 && after != end {
                return Ok(after);
            }
        }
    }
    Ok(if lines == 0 { end } else { 0 })
}
