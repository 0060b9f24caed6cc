//! The variables that `run` and `exec` are given: from files, and over them those of the command line.

use std::path::PathBuf;

use crate::report::{Failure, UsageError};

/// `-e` and `--env-file`.
#[derive(Debug, clap::Args)]
pub(super) struct EnvironmentArgs {
    /// Set a variable; without a value it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// Read variables from a file, one a line
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
}

impl EnvironmentArgs {
    /// The variables, in order; of several of one name the last counts.
    pub(super) fn variables(&self) -> Result<Vec<String>, Failure> {
        read(&self.env_files, &self.environment)
    }
}

/// The variables of files, and over them those of the command line.
fn read(files: &[PathBuf], own: &[String]) -> Result<Vec<String>, Failure> {
    let mut environment = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(store::StoreError::io("read", file))?;
        environment.extend(lines_of(&text)?);
    }
    environment.extend(own.iter().cloned());
    Ok(environment.into_iter().filter_map(inherited).collect())
}

/// `NAME` alone takes its value from kiln's environment, or is left out if it is not set there.
fn inherited(variable: String) -> Option<String> {
    if variable.contains('=') {
        return Some(variable);
    }
    std::env::var(&variable).ok().map(|value| format!("{variable}={value}"))
}

/// The lines of a file of variables or labels: raw, without quoting, `#` comments in the first column only.
pub(super) fn lines_of(text: &str) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(UsageError::wrong(format!("invalid name {name:?} in a file of variables or labels")));
        }
        variables.push(line.to_owned());
    }
    Ok(variables)
}
