//! The flags of `kiln run` that say how to find out whether the container is well.

use std::time::Duration;

use run::container::health::Healthcheck;

use crate::format::units::parse_duration;
use crate::report::{Failure, UsageError};

#[derive(Debug, clap::Args)]
pub(super) struct HealthArgs {
    /// The shell command that succeeds while the container is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// The time between two health checks, as 1m30s; 30s if nobody says it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_interval: Option<Duration>,
    /// How long a health check may take; 30s if nobody says it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_timeout: Option<Duration>,
    /// How many failures in a row make it unhealthy; 3 if nobody says it
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// How long failures do not count after the start
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_period: Option<Duration>,
    /// The time between two health checks during that; 5s if nobody says it
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    health_start_interval: Option<Duration>,
    /// Do not look, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthArgs {
    /// What is to override the image's health check.
    pub(super) fn healthcheck(&self) -> Result<Healthcheck, Failure> {
        let command = self.health_cmd.as_ref().filter(|command| !command.is_empty());
        let check = Healthcheck {
            test: command.map(|command| vec!["CMD-SHELL".to_owned(), command.clone()]).unwrap_or_default(),
            interval: self.health_interval.unwrap_or_default(),
            timeout: self.health_timeout.unwrap_or_default(),
            start_period: self.health_start_period.unwrap_or_default(),
            start_interval: self.health_start_interval.unwrap_or_default(),
            retries: self.health_retries.unwrap_or_default(),
        };
        match self.no_healthcheck {
            false => Ok(check),
            true if check != Healthcheck::default() => {
                Err(UsageError::wrong("--no-healthcheck conflicts with --health-* options"))
            }
            true => Ok(Healthcheck { test: vec!["NONE".to_owned()], ..check }),
        }
    }
}
