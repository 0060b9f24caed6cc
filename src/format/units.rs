//! Sizes, durations and ages for people, worded as Docker words them.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use builder::dockerfile::go_duration;
use run::container::options::Ulimit;

/// `1.23GB`: powers of 1000, at most four significant digits, as `docker images` prints sizes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

/// `3 minutes`, `About an hour`: as `docker ps` words how long something has been.
pub(crate) fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago, with `ago`.
pub(crate) fn ago(time: SystemTime) -> String {
    format!("{} ago", rough(SystemTime::now().duration_since(time).unwrap_or_default()))
}

/// `2026-11-23 18:00:00 +0000 UTC`: as Docker prints times in full.
pub(crate) fn timestamp(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => "N/A".to_owned(),
    }
}

/// A moment as the standard library has it.
pub(crate) fn system_time(time: jiff::Timestamp) -> SystemTime {
    let since = time.as_nanosecond();
    let distance = Duration::from_nanos_u128(since.unsigned_abs());
    if since < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// A moment in seconds since 1970; never before.
pub(crate) fn unix_time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned())
}

/// Reads RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Option<SystemTime> {
    text.parse().ok().map(system_time)
}

/// `0.4s`, `12.3s`, `3m04s`: how long a step took.
pub(crate) fn elapsed(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 60 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{:.1}s", duration.as_secs_f64()),
    }
}

/// A duration as Docker reads it; for argument parsers.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    go_duration(text).ok_or_else(|| format!("invalid duration {text:?}: as 1m30s, 1.5s or 500ms, and not negative"))
}

/// Reads a size as Docker's flags have it; for argument parsers.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    run::container::options::parse_bytes(text)
        .ok_or_else(|| format!("invalid size {text:?}: a number with b, k, m, g or t behind it"))
}

/// Reads `NAME:IP` or `NAME=IP`, the value of `--add-host`; for argument parsers.
pub(crate) fn parse_host(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || format!("invalid host {text:?}: NAME:IP");
    let (name, address) = text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())?;
    Ok((name.to_owned(), address))
}

/// Reads `NAME=SOFT[:HARD]`, the value of `--ulimit`; -1 is unlimited. For argument parsers.
pub(crate) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("invalid limit {text:?}: NAME=SOFT[:HARD]");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let value = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        number => number.parse().map(Some).map_err(|_| wrong()),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(format!("invalid limit {text:?}: the soft limit is above the hard one"));
    }
    Ok(Ulimit { name: name.to_ascii_lowercase(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(parse_host("db:10.0.0.1"), Ok(("db".into(), "10.0.0.1".parse().unwrap())));
        assert_eq!(parse_host("db=[::1]"), Ok(("db".into(), "::1".parse().unwrap())));
        for text in ["db", ":1.2.3.4", "db:nowhere"] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits() {
        let limit = |soft, hard| Ok(Ulimit { name: "nofile".into(), soft, hard });
        assert_eq!(parse_ulimit("nofile=7"), limit(Some(7), Some(7)));
        assert_eq!(parse_ulimit("NOFILE=7:-1"), limit(Some(7), None));
        for text in ["nofile", "nofile=x", "nofile=8:7", "nofile=-1:7"] {
            assert!(parse_ulimit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in
            [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234, "1.23kB"), (77_860_000, "77.9MB"), (123_456_789, "123MB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86400, "3 days"),
            (15 * 86400, "2 weeks"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(elapsed(Duration::from_millis(340)), "0.3s");
        assert_eq!(elapsed(Duration::from_secs(184)), "3m04s");
    }
}
