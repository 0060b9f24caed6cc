//! `kiln logs`

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use jiff::Timestamp;
use run::container::log::{Line, Options, Stamped, Stream, parse_time};
use run::container::{Container, Follow};

use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Show what a container said
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only that many of the last lines
    #[arg(short = 'n', long, value_name = "NUMBER|all", default_value = "all")]
    tail: String,
    /// Nothing before this time, or this long ago
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<String>,
    /// Nothing after this time, or this long ago
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show what a log driver was told to add, which is nothing here
    #[arg(long)]
    details: bool,
}

/// Copies the log: standard output to standard output, standard error to standard error.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
    let options = Options { tail: tail(&args.tail)?, since: time(&args.since)?, until: time(&args.until)? };
    let follow = if args.follow { Follow::UntilExit } else { Follow::No };
    let mut failed = None;
    container.logs(options, follow, |line| match write(&line, args) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

fn write(line: &Line, args: &Args) -> io::Result<()> {
    // Where Docker shows its log driver's additions there is a blank without any.
    let text = if args.details { Line { text: format!(" {}", line.text), ..line.clone() } } else { line.clone() };
    let text = if args.timestamps { Stamped(&text).to_string() } else { text.text };
    match line.stream {
        Stream::Stdout => io::stdout().lock().write_all(text.as_bytes()),
        Stream::Stderr => io::stderr().lock().write_all(text.as_bytes()),
    }
}

fn tail(text: &str) -> Result<Option<u64>, Failure> {
    match text {
        "all" | "-1" => Ok(None),
        number => Ok(Some(
            number.parse().map_err(|_| UsageError::wrong(format!("invalid --tail {number:?}: a number or all")))?,
        )),
    }
}
