//! When a container that has ended is started again, and after how long.
//!
//! The monitor keeps to it. Without a daemon nobody does after the machine was restarted, so that
//! `always` and `unless-stopped` come to the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first wait; each is twice the one before.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Who has run that long is taken for healthy, and begins with the shortest wait again.
const HEALTHY: Duration = Duration::from_secs(10);

/// Docker's restart policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum RestartPolicy {
    /// It stays as it is.
    #[default]
    No,
    /// If its exit code is not 0, so many times at most.
    OnFailure(Option<u32>),
    /// Unless it was stopped.
    Always,
    /// The same, under its other name.
    UnlessStopped,
}

/// The text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid restart policy {0:?}: no, on-failure[:NUMBER], always, unless-stopped")]
pub struct ParseRestartPolicyError(String);

impl RestartPolicy {
    /// Docker's name of it, without the number.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// How often it restarts at most; `None` is without end.
    pub fn most(self) -> Option<u32> {
        if let Self::OnFailure(most) = self { most } else { None }
    }

    /// Whether it restarts a container that ended with this code after that many restarts.
    fn holds(self, code: u8, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = ParseRestartPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRestartPolicyError(text.to_owned());
        Ok(match text {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure(None),
            _ => {
                let most: u32 = text.strip_prefix("on-failure:").ok_or_else(error)?.parse().map_err(|_| error())?;
                // As with Docker 0 is no limit.
                Self::OnFailure(Some(most).filter(|most| *most > 0))
            }
        })
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = ParseRestartPolicyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How often a container was restarted, and how long the next time has to wait.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    pub(super) count: u32,
    wait: Option<Duration>,
}

impl Restarts {
    /// How long to wait before the container is started again; `None` if it is not.
    pub(super) fn next(&mut self, policy: RestartPolicy, code: u8, ran: Duration) -> Option<Duration> {
        if !policy.holds(code, self.count) {
            return None;
        }
        let wait = match self.wait {
            Some(before) if ran < HEALTHY => (before * 2).min(LONGEST),
            _ => SHORTEST,
        };
        self.count += 1;
        self.wait = Some(wait);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_as_docker_writes_them() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("on-failure:0".parse(), Ok(RestartPolicy::OnFailure(None)));
        for text in ["never", "on-failure:", "on-failure:x", "on-failure:-1", "always:3"] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn waits_double_and_begin_anew_after_a_healthy_run() {
        let mut restarts = Restarts::default();
        let mut next = |code, seconds| {
            let wait = restarts.next(RestartPolicy::Always, code, Duration::from_secs(seconds));
            wait.map(|wait| wait.as_millis())
        };
        assert_eq!([next(1, 0), next(0, 1), next(1, 9), next(1, 10), next(1, 0)], [100, 200, 400, 100, 200].map(Some));
        let last = (0..20).map(|_| next(1, 0)).last().flatten();
        assert_eq!(last, Some(60_000));
    }

    #[test]
    fn policies_end() {
        let mut restarts = Restarts::default();
        let mut next = |policy, code| restarts.next(policy, code, Duration::ZERO).is_some();
        assert!(!next(RestartPolicy::No, 1));
        assert!(!next(RestartPolicy::OnFailure(None), 0));
        assert!(next(RestartPolicy::OnFailure(Some(2)), 1) && next(RestartPolicy::OnFailure(Some(2)), 1));
        assert!(!next(RestartPolicy::OnFailure(Some(2)), 1));
        assert!(next(RestartPolicy::UnlessStopped, 0));
    }
}
