//! HEALTHCHECK and its durations (rule A160).

use std::time::Duration;

use super::arguments::Arguments;
use super::error::{Fault, SyntaxError};
use super::flags::{Flags, Takes};
use super::instruction::{CommandLine, HealthCommand, Healthcheck, Word};
use super::parser::split_keyword;
use crate::diagnostic::Diagnostic;

pub(super) fn healthcheck(arguments: Arguments<'_>, notes: &mut Vec<Diagnostic>) -> Result<Healthcheck, Fault> {
    let (kind, rest) = split_keyword(arguments.rest);
    match kind.text().to_ascii_uppercase().as_str() {
        "" => Err(arguments.fault(SyntaxError::NoArguments { keyword: "HEALTHCHECK" })),
        "NONE" if rest.is_empty() => {
            arguments.ignored_flags("HEALTHCHECK NONE", notes);
            Ok(Healthcheck::None)
        }
        "NONE" => Err(Fault::new(SyntaxError::HealthcheckNone, rest.span())),
        "CMD" => Arguments { rest, ..arguments }.command().map(Healthcheck::Cmd),
        word => Err(Fault::new(SyntaxError::HealthcheckType { word: word.to_owned() }, kind.span())),
    }
}

impl Arguments<'_> {
    fn command(self) -> Result<HealthCommand, Fault> {
        const FLAGS: &[(&str, Takes)] = &[
            ("interval", Takes::Value),
            ("timeout", Takes::Value),
            ("start-period", Takes::Value),
            ("start-interval", Takes::Value),
            ("retries", Takes::Value),
        ];
        let command = self.command_line()?;
        if matches!(&command, CommandLine::Shell(text) if text.is_empty())
            || matches!(&command, CommandLine::Exec(argv) if argv.is_empty())
        {
            return Err(self.fault(SyntaxError::HealthcheckCommand));
        }
        let flags = self.flags.check(FLAGS)?;
        Ok(HealthCommand {
            command,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: retries(&flags)?,
        })
    }
}

/// Zero, or a millisecond and more.
fn interval(flags: &Flags, name: &'static str) -> Result<Duration, Fault> {
    let Some(word) = given(flags, name) else { return Ok(Duration::ZERO) };
    let long_enough = |time: &Duration| time.is_zero() || *time >= Duration::from_millis(1);
    let time = go_duration(&word.text).filter(long_enough);
    time.ok_or_else(|| Fault::new(SyntaxError::Duration { name, value: word.text }, word.span))
}

fn retries(flags: &Flags) -> Result<u32, Fault> {
    let Some(word) = given(flags, "retries") else { return Ok(0) };
    let number = word.text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| Fault::new(SyntaxError::Retries { value: word.text }, word.span))
}

fn given(flags: &Flags, name: &str) -> Option<Word> {
    flags.value(name).filter(|word| !word.text.is_empty())
}

/// A duration as Go writes them: `1h30m`, `1.5s`, `0`. Negative ones are none here.
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.trim_start_matches('-') == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|length| *length > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanoseconds += number * unit(&rest[..length])?;
        rest = &rest[length..];
        if rest.is_empty() {
            break;
        }
    }
    (nanoseconds < i64::MAX as f64).then(|| Duration::from_nanos(nanoseconds.round() as u64))
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a160_durations_as_go_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("+0", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("1h2m3s", Some(3_723_000_000_000)),
            ("1.5ms", Some(1_500_000)),
            (".5s", Some(500_000_000)),
            ("1us", Some(1_000)),
            ("100", None),
            ("s", None),
            ("", None),
            ("1d", None),
            ("-1s", None),
            ("1..2s", None),
            ("9999999h", None),
        ] {
            assert_eq!(go_duration(text).map(|time| time.as_nanos()), expected, "{text}");
        }
    }
}
