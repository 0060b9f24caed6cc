//! `kiln version`

use std::process::ExitCode;

use serde_json::json;

use crate::context::Context;
use crate::format::template::Template;
use crate::report::Failure;

/// Show the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints what this binary is.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let platform = store::Platform::host();
    let version = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "StoreFormat": store::store::FORMAT_VERSION,
        "Os": platform.os,
        "Arch": platform.architecture,
    });
    match args.format.as_deref() {
        Some("json") => context.print(&version)?,
        Some(format) => {
            // Docker's scripts ask for `.Client.Version` and `.Server.Version`; here both are the same program.
            let whole = json!({"Client": &version, "Server": &version, "Version": version["Version"]});
            context.print(Template::parse(format)?.render(&whole)?)?;
        }
        None => {
            context.print(format!("kiln {}", env!("CARGO_PKG_VERSION")))?;
            context.print(format!("  store format  {}", store::store::FORMAT_VERSION))?;
            context.print(format!("  platform      {}/{}", platform.os, platform.architecture))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
