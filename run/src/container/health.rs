//! Whether a container is well: what is looked at, how often, and what follows from what was seen.
//!
//! Pure: the monitor runs the probe and brings the clock. The rules are Docker's (reference of HEALTHCHECK):
//! a container is `starting` until a probe has succeeded or enough in a row have failed; a failure that began in
//! the start period does not count while it is starting; one success makes it `healthy`, and `retries` failures in a
//! row make it `unhealthy`. During the start period a container that is starting is looked at every start
//! interval. One that is not looked at any more, because it ended or is paused, is told as `unhealthy`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::oci;

use super::error::ContainerError;

/// How many results are kept.
const KEPT_RESULTS: usize = 5;

/// How much of a probe's output is kept.
const KEPT_BYTES: usize = 4096;

const LEAST_TIME: Duration = Duration::from_millis(1);

/// How to find out whether a container is well. A time or number of zero is Docker's default; in a wish, the image's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ..]` or `["CMD-SHELL", ".."]`; empty is none, and in a wish the image's.
    pub test: Vec<String>,
    /// From the end of one probe to the beginning of the next, and before the first; 30 s.
    pub interval: Duration,
    /// How long a probe may take; 30 s.
    pub timeout: Duration,
    /// How long failures do not count at first; none.
    pub start_period: Duration,
    /// The interval during that; 5 s.
    pub start_interval: Duration,
    /// How many failures in a row make it unhealthy; 3.
    pub retries: u32,
}

/// How well a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is not known yet.
    Starting,
    /// The last probe succeeded, or not enough have failed since.
    Healthy,
    /// Several in a row have failed, or nobody looks any more.
    Unhealthy,
}

/// What is known of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How well it is.
    pub status: Status,
    /// How many probes in a row have failed and counted.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<ProbeResult>,
}

/// What came of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When it was begun.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit code; -1 if it has none, since it was killed or could not be executed.
    pub exit_code: i32,
    /// What it said, or why it has no exit code.
    pub output: String,
}

impl Healthcheck {
    /// A wish over what an image says: what is not wished is the image's.
    ///
    /// # Errors
    /// If a time is under a millisecond.
    pub(super) fn over(&self, image: Option<&oci::Healthcheck>) -> Result<Option<Self>, ContainerError> {
        let of_image = image.map(Self::of_image).unwrap_or_default();
        let time = |own: Duration, image: Duration| if own.is_zero() { image } else { own };
        let merged = Self {
            test: if self.test.is_empty() { of_image.test } else { self.test.clone() },
            interval: time(self.interval, of_image.interval),
            timeout: time(self.timeout, of_image.timeout),
            start_period: time(self.start_period, of_image.start_period),
            start_interval: time(self.start_interval, of_image.start_interval),
            retries: if self.retries == 0 { of_image.retries } else { self.retries },
        };
        let times = [self.interval, self.timeout, self.start_period, self.start_interval];
        match times.into_iter().find(|time| !time.is_zero() && *time < LEAST_TIME) {
            Some(time) => Err(ContainerError::Value {
                what: "time of a health check, which must be 1ms or more",
                value: format!("{time:?}"),
            }),
            None => Ok((merged != Self::default()).then_some(merged)),
        }
    }

    /// The command of its probe, if there is one. `shell` is the image's, `/bin/sh -c` if that is empty.
    pub fn argv(&self, shell: &[String]) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        let default = ["/bin/sh".to_owned(), "-c".to_owned()];
        let shell = if shell.is_empty() { &default } else { shell };
        match kind.as_str() {
            "CMD" if !words.is_empty() => Some(words.to_vec()),
            "CMD-SHELL" if !words.is_empty() => Some(shell.iter().chain(words).cloned().collect()),
            _ => None,
        }
    }

    /// As an image's config has it.
    pub fn to_image(&self) -> oci::Healthcheck {
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        oci::Healthcheck {
            test: self.test.clone(),
            interval: nanoseconds(self.interval),
            timeout: nanoseconds(self.timeout),
            start_period: nanoseconds(self.start_period),
            start_interval: nanoseconds(self.start_interval),
            retries: self.retries.into(),
            ..oci::Healthcheck::default()
        }
    }

    fn of_image(image: &oci::Healthcheck) -> Self {
        // What an image says against the rules is as if it had not been said.
        let time = |nanoseconds: i64| u64::try_from(nanoseconds).map(Duration::from_nanos).unwrap_or_default();
        Self {
            test: image.test.clone(),
            interval: time(image.interval),
            timeout: time(image.timeout),
            start_period: time(image.start_period),
            start_interval: time(image.start_interval),
            retries: u32::try_from(image.retries).unwrap_or_default(),
        }
    }

    /// How long a probe may take.
    pub(super) fn time_limit(&self) -> Duration {
        or(self.timeout, Duration::from_secs(30))
    }

    /// How long to wait for the next probe of a container that is so and started that long ago.
    pub(super) fn wait(&self, status: Status, alive: Duration) -> Duration {
        if status == Status::Starting && alive < self.start_period {
            return or(self.start_interval, Duration::from_secs(5));
        }
        or(self.interval, Duration::from_secs(30))
    }

    fn most_failures(&self) -> u32 {
        if self.retries == 0 { 3 } else { self.retries }
    }
}

impl Health {
    /// Of a container that starts; what was seen in an earlier life is still told.
    pub(super) fn starting(before: Option<Self>) -> Self {
        let log = before.map(|before| before.log).unwrap_or_default();
        Self { status: Status::Starting, failing_streak: 0, log }
    }

    /// The same when nobody looks any more.
    pub(super) fn unwatched(self) -> Self {
        Self { status: Status::Unhealthy, ..self }
    }

    /// Takes the result of a probe of a container that was started then.
    pub(super) fn take(&mut self, result: ProbeResult, check: &Healthcheck, started: Timestamp) {
        let age = Duration::try_from(result.start.duration_since(started)).unwrap_or_default();
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Status::Healthy;
        } else if self.status != Status::Starting || age >= check.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= check.most_failures() {
                self.status = Status::Unhealthy;
            }
        }
        self.log.push(result);
        self.log.drain(..self.log.len().saturating_sub(KEPT_RESULTS));
    }
}

impl Status {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The first bytes of what a probe says.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.bytes.len();
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    /// As text, with dots where some is missing.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.is_cut { format!("{text}...") } else { text.into_owned() }
    }
}

/// What stands in the log of a probe that took too long.
pub(super) fn overdue(limit: Duration, output: &Output) -> String {
    let said = output.text();
    let colon = if said.is_empty() { "" } else { ": " };
    format!("Health check exceeded timeout ({}){colon}{said}", go_duration(limit))
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `250ms`.
fn go_duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_nanos() as f64 / 1e6);
    }
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let seconds = seconds as f64 + f64::from(time.subsec_nanos()) / 1e9;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn or(time: Duration, default: Duration) -> Duration {
    if time.is_zero() { default } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Letters after probes that began at second 10, 20 and so on: starting, healthy, unhealthy.
    fn course(check: &Healthcheck, codes: &[i32]) -> String {
        let at = |second: usize| Timestamp::from_second(second as i64).unwrap();
        let mut health = Health::starting(None);
        let mut letters = String::new();
        for (number, code) in codes.iter().enumerate() {
            let (start, end) = (at(10 * (number + 1)), at(10 * (number + 1) + 1));
            health.take(ProbeResult { start, end, exit_code: *code, output: String::new() }, check, at(0));
            letters.push(health.status.word().as_bytes()[0].into());
        }
        letters
    }

    /// H039: starting, healthy and unhealthy by retries and start period.
    #[test]
    fn what_follows_from_probes() {
        let check = |retries, start_period| Healthcheck { retries, start_period, ..Healthcheck::default() };
        for (retries, period, codes, expected) in [
            (0, 0, &[1, 1, 1, 0, 1, 1, 1][..], "ssuhhhu"),
            (1, 0, &[1, 0, -1], "uhu"),
            (2, 0, &[1, 0, 1, 0, 1, 1], "shhhhu"),
            // What begins in the start period does not count, the end of it does.
            (1, 30, &[1, 1, 1], "ssu"),
            (2, 30, &[1, 1, 1, 1], "sssu"),
            // Once healthy, failures count in the start period, too.
            (1, 3600, &[1, 0, 1, 1], "shuu"),
        ] {
            assert_eq!(course(&check(retries, seconds(period)), codes), expected, "{retries} {period} {codes:?}");
        }
    }

    #[test]
    fn five_results_are_kept() {
        let mut health = Health::starting(None);
        for code in 0..7 {
            let now = Timestamp::UNIX_EPOCH;
            let result = ProbeResult { start: now, end: now, exit_code: code, output: String::new() };
            health.take(result, &Healthcheck::default(), now);
        }
        assert_eq!(health.log.iter().map(|result| result.exit_code).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert_eq!(health.failing_streak, 6);
        let again = Health::starting(Some(health.unwatched()));
        assert_eq!((again.status, again.failing_streak, again.log.len()), (Status::Starting, 0, 5));
    }

    #[test]
    fn when_the_next_probe_is_due() {
        let plain = Healthcheck::default();
        let slow = Healthcheck { interval: seconds(60), start_period: seconds(100), ..Healthcheck::default() };
        let quick = Healthcheck { start_interval: seconds(1), ..slow.clone() };
        for (check, status, alive, expected) in [
            (&plain, Status::Starting, 0, 30),
            (&slow, Status::Starting, 99, 5),
            (&slow, Status::Starting, 100, 60),
            (&slow, Status::Healthy, 0, 60),
            (&quick, Status::Starting, 0, 1),
        ] {
            assert_eq!(check.wait(status, seconds(alive)), seconds(expected), "{check:?} {status:?} {alive}");
        }
    }

    #[test]
    fn flags_over_the_image() {
        let image = oci::Healthcheck {
            test: words("CMD true"),
            interval: 7_000_000_000,
            retries: 5,
            ..oci::Healthcheck::default()
        };
        let wish = |test: &str, timeout| Healthcheck { test: words(test), timeout, ..Healthcheck::default() };
        let merged = wish("CMD-SHELL true", seconds(2)).over(Some(&image)).unwrap().unwrap();
        assert_eq!((merged.test, merged.timeout), (words("CMD-SHELL true"), seconds(2)));
        assert_eq!((merged.interval, merged.retries), (seconds(7), 5));
        let inherited = Healthcheck::default().over(Some(&image)).unwrap().unwrap();
        assert_eq!(inherited.to_image(), image);
        assert_eq!(Healthcheck::default().over(None).unwrap(), None);
        assert!(wish("CMD true", Duration::from_micros(999)).over(None).is_err());
    }

    #[test]
    fn what_a_probe_executes() {
        let argv = |test: &str, shell: &[String]| {
            Healthcheck { test: words(test), ..Healthcheck::default() }.argv(shell).map(|argv| argv.join("|"))
        };
        for (test, expected) in [
            ("CMD curl -f x", Some("curl|-f|x")),
            ("CMD-SHELL true", Some("/bin/sh|-c|true")),
            ("CMD", None),
            ("NONE", None),
            ("ODD x", None),
        ] {
            assert_eq!(argv(test, &[]).as_deref(), expected, "{test}");
        }
        assert_eq!(argv("CMD-SHELL x", &words("/bin/bash -ec")).as_deref(), Some("/bin/bash|-ec|x"));
    }

    #[test]
    fn output_is_cut() {
        let mut output = Output::default();
        output.push(&[b'x'; KEPT_BYTES - 1]);
        output.push(b"y");
        assert_eq!(output.text().len(), KEPT_BYTES);
        output.push(b"z");
        assert!(output.text().ends_with("xy..."), "{}", output.text());
        assert_eq!(overdue(seconds(90), &Output::default()), "Health check exceeded timeout (1m30s)");
        for (time, expected) in [(30_000, "30s"), (1500, "1.5s"), (250, "250ms"), (3_600_000, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_millis(time)), expected);
        }
    }
}
