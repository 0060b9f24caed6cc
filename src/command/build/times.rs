//! The flags of `kiln build` about time: what the build takes for it, and what becomes of times of files.
//!
//! Several tools have each its own words for the same few ways; all come to one [`Timestamps`].

use std::collections::BTreeMap;

use builder::graph::Clock;
use builder::plan::epoch;
use builder::plan::scope::DEFAULT_EPOCH;
use builder::request::Timestamps;

use crate::report::{Failure, UsageError};

/// The variable of kiln's own environment, and build argument, that is the build's clock.
pub(super) const CLOCK: &str = "SOURCE_DATE_EPOCH";

/// `--timestamps`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TimestampsArg {
    /// The build's clock: SOURCE_DATE_EPOCH, else 1980-01-01
    Clamp,
    /// Times are kept, clocks are read
    Preserve,
}

/// What time it is.
#[derive(Debug, clap::Args)]
pub(super) struct TimeArgs {
    /// What becomes of file times: clamp makes the image reproducible, preserve is Docker's way [default: clamp]
    #[arg(long, value_enum, value_name = "HOW")]
    timestamps: Option<TimestampsArg>,
    /// The build's clock, in seconds since 1970, as SOURCE_DATE_EPOCH
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// The build's clock, which every new file has as its time, older ones too
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["source_date_epoch", "timestamps"])]
    timestamp: Option<i64>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rewrite_timestamp: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reproducible: Option<bool>,
}

impl TimeArgs {
    /// What becomes of times.
    pub(super) fn timestamps(&self) -> Timestamps {
        match (self.timestamp, self.timestamps) {
            (Some(_), _) => Timestamps::Exact,
            (None, Some(TimestampsArg::Preserve)) => Timestamps::Preserve,
            (None, Some(TimestampsArg::Clamp) | None) => Timestamps::Clamp,
        }
    }

    /// Whether the other tools' words say the same.
    pub(super) fn check(&self, build_args: &[String]) -> Result<(), Failure> {
        for (name, given) in [("--rewrite-timestamp", self.rewrite_timestamp), ("--reproducible", self.reproducible)] {
            if let Some(rewritten) = given {
                agree(name, Rewriting::of(rewritten), self.timestamps())?;
            }
        }
        let sets_clock = |text: &String| text.split('=').next() == Some(CLOCK);
        if self.timestamp.is_some() && build_args.iter().any(sets_clock) {
            return Err(UsageError::wrong(format!("--timestamp and --build-arg {CLOCK} both set the clock: give one")));
        }
        Ok(())
    }

    /// The time that the flags set, as the build argument.
    pub(super) fn argument(&self) -> Option<(String, String)> {
        self.timestamp.or(self.source_date_epoch).map(|seconds| (CLOCK.to_owned(), seconds.to_string()))
    }

    /// What the times of a fetched context are cut to.
    pub(super) fn clock(&self, build_args: &BTreeMap<String, String>) -> Clock {
        let epoch = build_args.get(CLOCK).and_then(|text| epoch::seconds(text));
        match self.timestamps() {
            Timestamps::Clamp => Clock::Epoch(epoch.unwrap_or(DEFAULT_EPOCH)),
            Timestamps::Exact => Clock::Exact(epoch.unwrap_or(DEFAULT_EPOCH)),
            Timestamps::Preserve => Clock::Preserve { epoch, now: epoch.unwrap_or_default() },
        }
    }
}

/// Whether times are other than those on disk, as a flag or an attribute asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rewriting {
    Wanted,
    Unwanted,
}

impl Rewriting {
    /// What a truth value of other tools says.
    pub(super) fn of(wanted: bool) -> Self {
        if wanted { Self::Wanted } else { Self::Unwanted }
    }
}

/// Whether what a flag asks for is what happens: times are settled in the store, and not when an image leaves it.
pub(super) fn agree(flag: &str, asked: Rewriting, actual: Timestamps) -> Result<(), Failure> {
    match (asked, actual) {
        (Rewriting::Wanted, Timestamps::Clamp | Timestamps::Exact) | (Rewriting::Unwanted, Timestamps::Preserve) => {
            Ok(())
        }
        (Rewriting::Wanted, Timestamps::Preserve) => Err(UsageError::wrong(format!(
            "{flag}: --timestamps=preserve keeps times as they are; leave one of them out"
        ))),
        (Rewriting::Unwanted, _) => Err(UsageError::wrong(format!(
            "{flag}=false: times are settled in the store; build with --timestamps=preserve to keep them"
        ))),
    }
}
