//! `kiln stats`

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use run::container::list::Filter;
use run::container::processes::{self, Process};
use run::container::record::Running;
use run::container::{Container, list};
use run::sandbox::{CgroupController, CgroupVersion};
use serde_json::{Value, json};
use store::Store;

use crate::context::{Context, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units::size;
use crate::report::Failure;

/// Show what containers use
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers: names, or beginnings of ids [default: all that run]
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Show those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Print ids whole
    #[arg(long)]
    no_trunc: bool,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const LISTING: Listing = Listing {
    columns: &[
        Column { field: "ID", heading: "CONTAINER ID" },
        Column { field: "Name", heading: "NAME" },
        Column { field: "CPUPerc", heading: "CPU %" },
        Column { field: "MemUsage", heading: "MEM USAGE / LIMIT" },
        Column { field: "MemPerc", heading: "MEM %" },
        Column { field: "NetIO", heading: "NET I/O" },
        Column { field: "BlockIO", heading: "BLOCK I/O" },
        Column { field: "PIDs", heading: "PIDS" },
        Column { field: "Container", heading: "CONTAINER" },
    ],
    shown: 8,
    id: "ID",
};

/// Over which time the processors' share is measured.
const INTERVAL: Duration = Duration::from_secs(1);

/// Once, or each second until somebody has seen enough.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), false)?;
    loop {
        let rows = rows(args, &store)?;
        if !args.no_stream {
            write!(stdout(), "\u{1b}[2J\u{1b}[H")?;
        }
        LISTING.write(&rows, &style, &mut stdout())?;
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// What a container has used until a moment.
struct Sample {
    at: Instant,
    processes: Vec<Process>,
}

fn rows(args: &Args, store: &Store) -> Result<Vec<Value>, Failure> {
    let containers = if args.containers.is_empty() {
        let found = list(store, &Filter { all: args.all, conditions: Vec::new() })?;
        found.into_iter().map(|found| (found.container.name().to_string(), found.container)).collect()
    } else {
        let find = |name: &String| Ok((name.clone(), Container::find(store, name)?));
        args.containers.iter().map(find).collect::<Result<Vec<_>, Failure>>()?
    };
    let sample = |container: &Container| {
        let running = container.state().ok()?.running()?.clone();
        Some(Sample { at: Instant::now(), processes: processes::of(&running) })
    };
    let before: Vec<Option<Sample>> = containers.iter().map(|(_, container)| sample(container)).collect();
    if before.iter().any(Option::is_some) || !args.no_stream {
        sleep(INTERVAL);
    }
    let row = |((name, container), before): (&(String, Container), &Option<Sample>)| {
        let id = if args.no_trunc { container.id().to_string() } else { container.id().short() };
        let state = container.state().ok();
        let used = match (before, state.as_ref().and_then(|state| state.running())) {
            (Some(before), Some(running)) => usage(container, running, before),
            _ => {
                json!({"CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--"})
            }
        };
        let mut row = json!({"ID": id, "Name": container.name().as_str(), "Container": name});
        if let (Some(row), Value::Object(used)) = (row.as_object_mut(), used) {
            row.extend(used);
        }
        row
    };
    Ok(containers.iter().zip(&before).map(row).collect())
}

fn usage(container: &Container, running: &Running, before: &Sample) -> Value {
    let after = processes::of(running);
    let seconds = before.at.elapsed().as_secs_f64();
    let known =
        |pid: i32| before.processes.iter().find(|process| process.pid == pid).map_or(0, |process| process.ticks);
    let ticks: u64 = after.iter().map(|process| process.ticks.saturating_sub(known(process.pid))).sum();
    let share = 100.0 * ticks as f64 / processes::ticks_per_second() as f64 / seconds;
    let resident = after.iter().map(|process| process.resident_bytes).sum();
    let memory = memory_of_cgroup(running).unwrap_or(resident);
    let limit = container.config().limits.memory_bytes.into_iter().chain(memory_of_host()).min().unwrap_or(0);
    let (received, sent) = processes::network_bytes(running);
    let (read, written) = processes::disk_bytes(&after);
    json!({
        "CPUPerc": format!("{share:.2}%"),
        "MemUsage": format!("{} / {}", binary(memory), binary(limit)),
        "MemPerc": format!("{:.2}%", 100.0 * memory as f64 / limit.max(1) as f64),
        "NetIO": format!("{} / {}", size(received), size(sent)),
        "BlockIO": format!("{} / {}", size(read), size(written)),
        "PIDs": after.iter().map(|process| process.threads).sum::<u64>().to_string(),
    })
}

/// What the cgroup holds, without pages of files that nobody has looked at for long: as Docker counts.
fn memory_of_cgroup(running: &Running) -> Option<u64> {
    let counts = |version| version == CgroupVersion::Two;
    let place =
        running.cgroups.iter().find(|place| counts(place.version) || place.controller == CgroupController::Memory)?;
    let (total, inactive) = match place.version {
        CgroupVersion::One => ("memory.usage_in_bytes", "total_inactive_file "),
        CgroupVersion::Two => ("memory.current", "inactive_file "),
    };
    let total: u64 = fs::read_to_string(place.path.join(total)).ok()?.trim().parse().ok()?;
    let details = fs::read_to_string(place.path.join("memory.stat")).ok()?;
    let inactive = details.lines().find_map(|line| line.strip_prefix(inactive)?.parse::<u64>().ok()).unwrap_or(0);
    Some(total.saturating_sub(inactive))
}

fn memory_of_host() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes: u64 = text.lines().next()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// `1.5MiB`: memory in powers of 1024, four digits, as Docker prints it here.
fn binary(bytes: u64) -> String {
    let (mut value, mut units) = (bytes as f64, ["B", "KiB", "MiB", "GiB", "TiB"].iter());
    let mut unit = units.next();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, Some(next));
    }
    let digits = if value >= 1000.0 { 0 } else { 3 - (value.max(1.0).log10() as usize).min(3) };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::binary;

    #[test]
    fn memory_as_docker_prints_it() {
        for (bytes, expected) in
            [(0, "0B"), (700, "700B"), (1536, "1.5KiB"), (500 << 20, "500MiB"), (25_216_462_848, "23.48GiB")]
        {
            assert_eq!(binary(bytes), expected);
        }
    }
}
