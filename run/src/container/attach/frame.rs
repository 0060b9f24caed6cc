//! What a monitor and its clients say to each other over `containers/<id>/socket`.
//!
//! ```text
//!   frame := kind (1 byte) | length of body (4 bytes, little-endian) | body
//!
//!   1 request  JSON, first from the client      4 resize   rows, columns (u16 each, little-endian)
//!   2 stdin    bytes                            5 stdout   bytes
//!   3 stdin has ended                           6 stderr   bytes
//!                                               7 report   JSON, from the monitor
//! ```
//!
//! Output is bytes, whatever they are. A body is at most [`BODY_LIMIT`] long; longer ones are cut by the
//! sender and refused by the receiver. Both ends are the same program or one of its versions: requests
//! and reports are JSON so that a newer client meets an older monitor with a clear answer.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::boot::BootId;

use crate::container::exec::ExecOptions;
use crate::container::id::ContainerId;
use crate::container::log::Stream;
use crate::container::record::Exited;
use crate::container::signal::Signal;
use crate::container::terminal::Size;
use crate::sandbox::{Rootfs, VisitId};

/// The longest body.
pub(crate) const BODY_LIMIT: usize = 1 << 20;

const HEAD_BYTES: usize = 5;

/// What a client wants of the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Be the monitor of this container; said once, over the socket that the monitor is born with.
    Start(Start),
    /// Output from now on, and input if asked for.
    Attach(Input),
    /// The exit, when it comes.
    Wait,
    /// A signal for the first process.
    Signal(Signal),
    /// The stop signal, and SIGKILL when the time is over; then the exit.
    Stop(Option<Duration>),
    /// The same with another signal, and without a time's end if none is given.
    StopWith {
        /// What is sent first; the container's stop signal if `None`.
        signal: Option<Signal>,
        /// How long it may take; the container's own time if `None`.
        timeout: Option<Patience>,
    },
    /// A further command in the container.
    Exec(Exec),
    /// A signal for such a command.
    SignalVisitor(VisitId, Signal),
    /// Every process stands still.
    Pause,
    /// They go on.
    Unpause,
}

/// How long `stop` waits before it kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patience {
    /// So long.
    Limited(Duration),
    /// As long as it takes.
    Endless,
}

/// A further command and its streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exec {
    /// What runs, and how.
    pub(crate) options: ExecOptions,
    /// Whether the client gives it input.
    pub(crate) stdin: bool,
    /// Whether nobody listens to it.
    pub(crate) detached: bool,
    /// The size of its terminal at the start.
    pub(crate) size: Option<Size>,
}

/// Which container to be the monitor of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Where the store is, as bytes, since a path need not be text.
    pub(crate) store: Vec<u8>,
    /// The boot in which the store was opened.
    pub(crate) boot: BootId,
    /// The container.
    pub(crate) id: ContainerId,
    /// Its root file system, ready to be mounted.
    pub(crate) rootfs: Rootfs,
    /// Whether who starts it is attached from the first byte on.
    pub(crate) attached: Option<Input>,
    /// The size of the terminal at the start.
    pub(crate) size: Option<Size>,
}

/// What becomes of a client's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Input {
    /// It has none.
    None,
    /// It is the container's; when the client goes, others may go on with it.
    Shared,
    /// It is the container's; when the client goes, it ends.
    Own,
}

/// What the monitor has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The container runs.
    Started {
        /// What it does not have although it was asked for.
        notices: Vec<String>,
    },
    /// The container could not be started.
    Failed(Failure),
    /// The request is done.
    Done,
    /// The request cannot be done.
    Refused(String),
    /// The further command is executing.
    Entered {
        /// What it is called in further requests.
        visit: VisitId,
    },
    /// The further command could not be executed.
    NotEntered(Failure),
    /// The further command has ended.
    Left {
        /// Its exit code.
        code: u8,
    },
    /// The container has ended, and what was to be cleaned up is.
    Exited(Exited),
}

/// Why a container could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// 125, 126 or 127.
    pub(crate) code: u8,
    /// The error with its causes.
    pub(crate) message: String,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Request(Request),
    Stdin(Vec<u8>),
    StdinEnd,
    Resize(Size),
    Output(Stream, Vec<u8>),
    Report(Report),
}

/// Appends `frame` as bytes.
pub(crate) fn encode(frame: &Frame, output: &mut Vec<u8>) {
    match frame {
        Frame::Request(request) => put(output, 1, &json(request)),
        Frame::Stdin(bytes) => encode_bytes(output, 2, bytes),
        Frame::StdinEnd => put(output, 3, &[]),
        Frame::Resize(size) => {
            let [rows, columns] = [size.rows.to_le_bytes(), size.columns.to_le_bytes()];
            put(output, 4, &[rows, columns].concat());
        }
        Frame::Output(stream, bytes) => encode_output(*stream, bytes, output),
        Frame::Report(report) => put(output, 7, &json(report)),
    }
}

/// Appends output of a container as bytes, without a copy in between.
pub(crate) fn encode_output(stream: Stream, bytes: &[u8], output: &mut Vec<u8>) {
    let kind = match stream {
        Stream::Stdout => 5,
        Stream::Stderr => 6,
    };
    encode_bytes(output, kind, bytes);
}

/// Reads the frame that `input` begins with, and how long it is; `None` if it is not all there yet.
///
/// # Errors
/// If the other end does not speak this language.
pub(crate) fn decode(input: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let Some((head, rest)) = input.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > BODY_LIMIT {
        return Err(malformed());
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((parse(head[0], body)?, HEAD_BYTES + length)))
}

fn parse(kind: u8, body: &[u8]) -> io::Result<Frame> {
    Ok(match (kind, body) {
        (1, json) => Frame::Request(serde_json::from_slice(json).map_err(|_| malformed())?),
        (2, _) => Frame::Stdin(body.to_vec()),
        (3, []) => Frame::StdinEnd,
        (4, [a, b, c, d]) => {
            Frame::Resize(Size { rows: u16::from_le_bytes([*a, *b]), columns: u16::from_le_bytes([*c, *d]) })
        }
        (5, _) => Frame::Output(Stream::Stdout, body.to_vec()),
        (6, _) => Frame::Output(Stream::Stderr, body.to_vec()),
        (7, json) => Frame::Report(serde_json::from_slice(json).map_err(|_| malformed())?),
        _ => return Err(malformed()),
    })
}

fn encode_bytes(output: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    bytes.chunks(BODY_LIMIT).for_each(|chunk| put(output, kind, chunk));
}

fn put(output: &mut Vec<u8>, kind: u8, body: &[u8]) {
    // Only JSON can be longer, and none of it is: it holds paths and messages.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    output.push(kind);
    output.extend_from_slice(&length.to_le_bytes());
    output.extend_from_slice(body);
}

fn json(message: &impl Serialize) -> Vec<u8> {
    // Plain data with string keys always has a JSON form.
    serde_json::to_vec(message).unwrap_or_default()
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other end of the container's socket is not a kiln of this version")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let (mut frames, mut start) = (Vec::new(), 0);
        while let Some((frame, length)) = decode(&bytes[start..])? {
            frames.push(frame);
            start += length;
        }
        Ok(frames)
    }

    #[test]
    fn frames_survive_the_wire_in_any_pieces() {
        let frames = [
            Frame::Request(Request::Attach(Input::Own)),
            Frame::Stdin(b"\x00\xff\n".to_vec()),
            Frame::StdinEnd,
            Frame::Resize(Size { rows: 24, columns: 300 }),
            Frame::Output(Stream::Stderr, b"x".to_vec()),
            Frame::Report(Report::Done),
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        for end in 0..bytes.len() {
            assert!(decode_all(&bytes[..end]).unwrap().len() < frames.len());
        }
        assert_eq!(decode_all(&bytes).unwrap(), frames);
    }

    #[test]
    fn long_output_is_several_frames() {
        let mut bytes = Vec::new();
        encode_output(Stream::Stdout, &vec![7; BODY_LIMIT + 1], &mut bytes);
        let lengths: Vec<usize> = decode_all(&bytes)
            .unwrap()
            .into_iter()
            .map(|frame| match frame {
                Frame::Output(Stream::Stdout, bytes) => bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [BODY_LIMIT, 1]);
    }

    proptest! {
        #[test]
        fn strange_bytes_are_refused_and_never_believed(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_all(&bytes);
        }
    }
}
