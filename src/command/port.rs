//! `kiln port`

use std::net::IpAddr;
use std::process::ExitCode;

use run::container::Container;
use run::container::port::{ContainerPort, PublishedPort};

use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Show which ports of the host lead into a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container: its name, or the beginning of its id
    container: String,
    /// Only what leads to this port
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<ContainerPort>,
}

/// One line for each: `80/tcp -> 0.0.0.0:4000`, or the address alone for one port.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let container = Container::find(&store, &args.container)?;
    let state = container.state()?;
    let mut published = state.running().map(|running| running.ports.clone()).unwrap_or_default();
    published.sort();
    let Some(port) = args.port else {
        for found in &published {
            context.print(format!("{} -> {}", found.container, address(found)))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    published.retain(|found| found.container == port);
    if published.is_empty() {
        let name = container.name();
        return Err(UsageError::wrong(format!("no public port '{port}' published for {name}")));
    }
    for found in &published {
        context.print(address(found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn address(port: &PublishedPort) -> String {
    match port.host_ip {
        IpAddr::V4(ip) => format!("{ip}:{}", port.host_port),
        IpAddr::V6(ip) => format!("[{ip}]:{}", port.host_port),
    }
}
