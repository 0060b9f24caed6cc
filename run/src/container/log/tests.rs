//! The log through a file: what is written is what is read.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use jiff::Timestamp;

use super::*;

fn texts(path: &Path, options: Options) -> Vec<String> {
    let mut texts = Vec::new();
    let mut reader = Reader::open(path, options).unwrap();
    let ended = reader.read(|line| {
        texts.push(line.text);
        ControlFlow::Continue(())
    });
    assert!(ended.is_ok());
    texts
}

fn tail(path: &Path, lines: u64) -> Vec<String> {
    texts(path, Options { tail: Some(lines), ..Options::default() })
}

#[test]
fn a_line_is_a_record_as_docker_writes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    Writer::open(&path).unwrap().write(Stream::Stderr, b"a \"b\"\n").unwrap();
    let record = std::fs::read_to_string(&path).unwrap();
    let start = r#"{"log":"a \"b\"\n","stream":"stderr","time":"2"#;
    assert!(record.starts_with(start) && record.ends_with("Z\"}\n"), "{record}");
}

#[test]
fn streams_are_cut_into_lines_apart_from_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut writer = Writer::open(&path).unwrap();
    writer.write(Stream::Stdout, b"one\ntw").unwrap();
    writer.write(Stream::Stderr, b"error\n").unwrap();
    writer.write(Stream::Stdout, b"o\nlast \xff").unwrap();
    writer.finish().unwrap();
    assert_eq!(texts(&path, Options::default()), ["one\n", "error\n", "two\n", "last \u{fffd}"]);
}

#[test]
fn long_lines_are_cut_between_characters() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let line = format!("{}\n", "é".repeat(20_000));
    let mut writer = Writer::open(&path).unwrap();
    writer.write(Stream::Stdout, line.as_bytes()).unwrap();
    writer.write(Stream::Stdout, &vec![b'x'; 40_000]).unwrap();
    writer.finish().unwrap();
    let texts = texts(&path, Options::default());
    assert!(texts.iter().all(|text| text.len() <= 16 * 1024));
    assert_eq!(texts.concat(), line + &"x".repeat(40_000));
}

#[test]
fn the_tail_is_found_from_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut writer = Writer::open(&path).unwrap();
    assert!(tail(&path, 3).is_empty());
    for number in 0..500 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
    }
    assert_eq!(tail(&path, 0), [""; 0]);
    assert_eq!(tail(&path, 1), ["line 499\n"]);
    assert_eq!(tail(&path, 3), ["line 497\n", "line 498\n", "line 499\n"]);
    assert_eq!(tail(&path, 400).len(), 400);
    assert_eq!(tail(&path, 500).len(), 500);
    assert_eq!(tail(&path, 501).len(), 500);
}

#[test]
fn times_bound_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut file = std::fs::File::create(&path).unwrap();
    for second in 1..=5 {
        let line =
            Line { text: format!("{second}"), stream: Stream::Stdout, time: Timestamp::from_second(second).unwrap() };
        writeln!(file, "{}", serde_json::to_string(&line).unwrap()).unwrap();
    }
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    assert_eq!(texts(&path, Options { since: at(2), until: at(4), tail: None }), ["2", "3", "4"]);
    let line = Line { text: "x".to_owned(), stream: Stream::Stdout, time: Timestamp::from_second(1).unwrap() };
    assert_eq!(Stamped(&line).to_string(), "1970-01-01T00:00:01.000000000Z x");
}

#[test]
fn torn_records_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, "{\"log\":\"half\n").unwrap();
    Writer::open(&path).unwrap().write(Stream::Stdout, b"whole\n").unwrap();
    assert_eq!(texts(&path, Options::default()), ["whole\n"]);
}

#[test]
fn following_ends_with_the_writer_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (alive, watched) = UnixStream::pair().unwrap();
    let mut writer = Writer::open(&path).unwrap();
    let mut reader = Reader::open(&path, Options::default()).unwrap();
    let producer = std::thread::spawn(move || {
        for number in 0..1000 {
            writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        }
        drop(alive);
    });
    let mut count = 0;
    let sink = |line: Line| {
        assert_eq!(line.text, format!("{count}\n"));
        count += 1;
        ControlFlow::Continue(())
    };
    reader.follow(watched.as_fd(), sink).unwrap();
    producer.join().unwrap();
    assert_eq!(count, 1000);
}

#[test]
fn following_ends_at_until() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    Writer::open(&path).unwrap().write(Stream::Stdout, b"a\n").unwrap();
    let (_alive, watched) = UnixStream::pair().unwrap();
    let until = Timestamp::now() + jiff::SignedDuration::from_millis(50);
    let mut reader = Reader::open(&path, Options { until: Some(until), ..Options::default() }).unwrap();
    reader.follow(watched.as_fd(), |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn points_in_time_as_docker_reads_them() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    for (text, expected) in [
        ("1970-01-01T00:01:00Z", "1970-01-01T00:01:00Z"),
        ("1970-01-01T01:01:00+01:00", "1970-01-01T00:01:00Z"),
        ("1970-01-01T00:01:00", "1970-01-01T00:01:00Z"),
        ("1970-01-02", "1970-01-02T00:00:00Z"),
        ("60", "1970-01-01T00:01:00Z"),
        ("60.5", "1970-01-01T00:01:00.5Z"),
        ("10m", "1970-01-12T13:36:40Z"),
        ("1h30m", "1970-01-12T12:16:40Z"),
    ] {
        assert_eq!(parse_time(text, now).unwrap().to_string(), expected, "{text}");
    }
    for text in ["", "x", "10q", "1970-13-01"] {
        assert!(parse_time(text, now).is_err(), "{text}");
    }
}
