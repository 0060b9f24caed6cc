//! `kiln info`

mod lacks;

use std::process::ExitCode;

use run::container::list::Filter;
use run::identity::{self, Standing};
use run::probe::{Isolation, Probe};
use run::sandbox::CgroupLayout;
use serde_json::{Value, json};
use store::Store;

use self::lacks::{Lack, lacks};
use crate::context::Context;
use crate::format::template::Template;
use crate::report::{Failure, with_causes};

/// Show what this machine offers, what it lacks, and what would help
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Tries out what the kernel allows and tells.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let entered = identity::enter()?;
    let store = context.store()?;
    let trial = store.temporary()?;
    let probe = run::probe::probe(trial.path());
    let lacks = lacks(&probe, entered, store.mechanism()?);
    let facts = facts(&store, &probe, &lacks)?;
    match args.format.as_deref() {
        Some("json") => context.print(&facts)?,
        Some(format) => context.print(Template::parse(format)?.render(&facts)?)?,
        None => print(context, &facts, &lacks)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, facts: &Value, lacks: &[Lack]) -> Result<(), Failure> {
    for (name, field) in LINES {
        let value = &facts[field];
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        context.print(format!("{name:<16} {text}"))?;
    }
    for lack in lacks {
        context.print(format!("\nmissing: {}\n    try: {}", lack.what, lack.remedy))?;
    }
    Ok(())
}

/// What people read, in the order of a user's questions; templates have the same fields.
const LINES: [(&str, &str); 14] = [
    ("kiln", "Version"),
    ("platform", "Platform"),
    ("kernel", "Kernel"),
    ("processors", "Processors"),
    ("store", "Root"),
    ("images", "Images"),
    ("containers", "Containers"),
    ("root filesystems", "RootFilesystems"),
    ("kiln runs as", "Standing"),
    ("root in a box is", "Isolation"),
    ("ids in a box", "Ids"),
    ("system calls", "SystemCalls"),
    ("limits", "Limits"),
    ("ways out", "Egress"),
];

fn facts(store: &Store, probe: &Probe, lacks: &[Lack]) -> Result<Value, Failure> {
    let containers = run::container::list(store, &Filter { all: true, conditions: Vec::new() })?;
    Ok(json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Platform": store::Platform::host().to_string(),
        "Kernel": probe.kernel,
        "Processors": std::thread::available_parallelism().map_or(1, usize::from),
        "Root": store.path(),
        "Images": store.image_ids()?.len(),
        "Containers": containers.len(),
        "RootFilesystems": store.mechanism()?.name(),
        "Standing": standing(probe.tier.standing),
        "Isolation": isolation(&probe.isolation),
        "Ids": probe.ids,
        "SystemCalls": if probe.filters_system_calls { "filtered" } else { "not filtered" },
        "Landlock": probe.tier.landlock_abi,
        "Limits": limits(probe),
        "Egress": if probe.egress.is_empty() { "none".to_owned() } else { probe.egress.join(", ") },
        "Missing": lacks.iter().map(|lack| json!({"What": lack.what, "Remedy": lack.remedy})).collect::<Vec<_>>(),
    }))
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Root => "root",
        Standing::NamespaceRoot => "an ordinary user, root of a user namespace",
        Standing::Unprivileged => "an ordinary user without a user namespace",
    }
}

fn isolation(isolation: &Isolation) -> String {
    match isolation {
        Isolation::Mapped => "nobody outside".to_owned(),
        Isolation::Host { .. } => "root outside".to_owned(),
        Isolation::Impossible { why } => format!("no box can be made: {}", with_causes(why)),
    }
}

/// Which limits can be set, and by which cgroups.
fn limits(probe: &Probe) -> String {
    let version = match &probe.tier.cgroups {
        CgroupLayout::Absent => return "none: no cgroups are mounted".to_owned(),
        CgroupLayout::Unified { .. } => "v2",
        CgroupLayout::Legacy { .. } => "v1",
    };
    let names = if probe.limits.is_empty() { "none".to_owned() } else { probe.limits.join(", ") };
    format!("{names} (cgroup {version})")
}
