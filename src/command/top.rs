//! `kiln top`

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

use run::container::{Container, ContainerError, processes};

use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Show the processes of a running container, as the host's `ps` does
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// Options of `ps` [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

/// The lines of `ps` that are about the container, under its heading.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let state = container.state()?;
    let running = state.running().ok_or_else(|| ContainerError::NotRunning(container.name().clone()))?;
    let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options.clone() };
    let pids: BTreeSet<i32> = processes::of(running).iter().map(|process| process.pid).collect();
    // Some options, as -e, do not go with a list of processes, and others show nothing without one.
    let chosen = format!("-q{}", pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let listed = ps(&[&options[..], &[chosen]].concat()).or_else(|_| ps(&options))?;
    for line in pick(&listed, &pids).ok_or_else(|| UsageError::wrong("ps shows no PID column with these options"))? {
        context.print(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ps(options: &[String]) -> Result<String, Failure> {
    let ran = Command::new("ps").args(options).env("LC_ALL", "C").output();
    let output = ran.map_err(|error| UsageError::wrong(format!("cannot run the host's ps: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(UsageError::wrong(format!("ps: {}", said.trim().lines().next().unwrap_or("it failed"))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading, and the lines whose process is one of these.
fn pick<'a>(listed: &'a str, pids: &BTreeSet<i32>) -> Option<Vec<&'a str>> {
    let heading = listed.lines().next()?;
    let column = heading.split_ascii_whitespace().position(|title| title == "PID")?;
    let is_meant = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Some(std::iter::once(heading).chain(listed.lines().skip(1).filter(is_meant)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_picked_by_their_process() {
        let listed = "UID  PID CMD\nroot   1 init 7\nroot   7 sh 1\nroot  17 x\n";
        assert_eq!(pick(listed, &BTreeSet::from([7])), Some(vec!["UID  PID CMD", "root   7 sh 1"]));
        assert_eq!(pick("CMD\ninit\n", &BTreeSet::from([7])), None);
    }
}
