//! `kiln info`

use std::process::ExitCode;

use run::probe::Tier;
use run::sandbox::CgroupLayout;
use serde_json::{Value, json};

use crate::context::Context;
use crate::format::template::Template;
use crate::report::Failure;

/// Show what this machine offers, and what the store holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Tries out what the kernel allows and tells.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let facts = facts(context)?;
    match args.format.as_deref() {
        Some("json") => context.print(&facts)?,
        Some(format) => context.print(Template::parse(format)?.render(&facts)?)?,
        None => {
            for (name, value) in facts.as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                context.print(format!("{name:<20} {value}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Which cgroups there are, and which controllers kiln can use.
fn cgroups(layout: &CgroupLayout) -> String {
    match layout {
        CgroupLayout::Absent => "none".to_owned(),
        CgroupLayout::Unified { .. } => "v2".to_owned(),
        CgroupLayout::Legacy { hierarchies } => {
            let usable = hierarchies.iter().filter(|hierarchy| hierarchy.path.is_some());
            let names: Vec<&str> = usable.flat_map(|hierarchy| hierarchy.options.iter().map(String::as_str)).collect();
            format!("v1: {}", names.join(" "))
        }
    }
}

fn facts(context: &Context) -> Result<Value, Failure> {
    let store = context.store()?;
    let tier = Tier::of_this_process();
    let platform = store::Platform::host();
    let kernel = rustix::system::uname();
    Ok(json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Root": store.path(),
        "OperatingSystem": platform.os,
        "Architecture": platform.architecture,
        "Kernel": kernel.release().to_string_lossy(),
        "Processors": std::thread::available_parallelism().map_or(1, usize::from),
        "Images": store.image_ids()?.len(),
        "Containers": run::container::list(&store, &run::container::list::Filter { all: true, conditions: vec![] })?.len(),
        "RootFilesystems": store.mechanism()?.name(),
        "Standing": tier.standing,
        "UserIds": tier.uids.count(),
        "Landlock": tier.landlock_abi,
        "Cgroups": cgroups(&tier.cgroups),
    }))
}
