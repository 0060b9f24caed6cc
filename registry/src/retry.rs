//! When to try again, and how long to wait first.
//!
//! Waits grow exponentially and have jitter, so that a farm of builders does not come back as one;
//! a server that names a time (`Retry-After`) is taken at its word up to a ceiling. What will not
//! pass (401, 403, 404, 412) is not repeated.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use crate::event::{Event, Progress};
use crate::net::Waiter;
use crate::request::RequestError;

/// How patient to be.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How often something is tried in all.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// No wait is longer, except by `Retry-After`.
    pub longest_wait: Duration,
    /// The longest `Retry-After` that is waited for; a server that wants more gets no further request.
    pub longest_retry_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(16),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

/// Whether a failure may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Trying again would give the same.
    Hopeless,
    /// It may pass by itself.
    MayPass,
    /// The server says when.
    After(Duration),
}

impl Patience {
    /// How long to wait after the given failure, of which there were `failures` in a row by now;
    /// `None` to give up.
    pub(crate) fn wait(&self, failures: u32, outlook: Outlook) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        match outlook {
            Outlook::Hopeless => None,
            Outlook::After(wait) if wait > self.longest_retry_after => None,
            Outlook::After(wait) => Some(wait + jitter(self.first_wait) / 2),
            Outlook::MayPass => {
                let doubled = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(16));
                Some(jitter(doubled.min(self.longest_wait)))
            }
        }
    }

    /// Does something until it succeeds, fails for good, or patience ends.
    pub(crate) fn retry<T>(
        &self,
        net: Waiter<'_>,
        progress: Progress<'_>,
        mut attempt: impl FnMut() -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let mut failures = 0;
        loop {
            let error = match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            let Some(wait) = self.wait(failures, error.outlook()) else { return Err(error) };
            progress(Event::Retrying { doing: error.doing().to_owned(), because: error.to_string(), wait });
            net.sleep(wait)?;
        }
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let now = jiff::Timestamp::try_from(now).ok()?;
    Some(Duration::try_from(date.timestamp().duration_since(now)).unwrap_or_default())
}

/// Between half of a duration and all of it.
fn jitter(whole: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) >> 32;
    whole / 2 + Duration::from_secs_f64(whole.as_secs_f64() / 2.0 * random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let patience = Patience::default();
        for failures in 1..patience.attempts {
            let wait = patience.wait(failures, Outlook::MayPass).unwrap();
            let most = patience.first_wait * (1 << (failures - 1));
            assert!(wait >= most / 2 && wait <= most.min(patience.longest_wait), "{failures}: {wait:?}");
        }
        assert_eq!(patience.wait(patience.attempts, Outlook::MayPass), None);
        assert_eq!(patience.wait(1, Outlook::Hopeless), None);
    }

    #[test]
    fn the_servers_word_counts() {
        let patience = Patience::default();
        assert!(patience.wait(1, Outlook::After(Duration::from_secs(7))).unwrap() >= Duration::from_secs(7));
        assert_eq!(patience.wait(1, Outlook::After(Duration::from_secs(3600))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
