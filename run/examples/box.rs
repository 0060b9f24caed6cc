//! Runs the box that a JSON file describes, as whoever calls it: `box SPEC.json [REPETITIONS]`.
//!
//! The command has the caller's output; notices and the outcome go to standard error. With repetitions it
//! prints only how long one took.

use std::process::ExitCode;
use std::time::Instant;

use run::sandbox::{Spec, Stdio, start};

fn main() -> ExitCode {
    run::intercept();
    match run_box() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{}", chain(&*error));
            ExitCode::from(125)
        }
    }
}

fn run_box() -> Result<u8, Box<dyn std::error::Error>> {
    let entered = run::identity::enter()?;
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("no file is named")?;
    let spec: Spec = serde_json::from_slice(&std::fs::read(path)?)?;
    if let Some(repetitions) = arguments.next() {
        return measure(&spec, repetitions.to_string_lossy().parse()?);
    }
    let process = start(&spec, Stdio::inherit()?)?;
    eprintln!("{entered:?}");
    process.notices().iter().for_each(|notice| eprintln!("{notice}"));
    let outcome = process.wait()?;
    eprintln!("{outcome:?}");
    Ok(outcome.exit.code())
}

fn measure(spec: &Spec, repetitions: u32) -> Result<u8, Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for _ in 0..repetitions {
        let begin = Instant::now();
        start(spec, Stdio::null()?)?.wait()?;
        times.push(begin.elapsed());
    }
    times.sort();
    eprintln!("median {:?}, best {:?}", times[times.len() / 2], times[0]);
    Ok(0)
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
