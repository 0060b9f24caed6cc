//! `kiln pull`

use std::process::ExitCode;

use store::{Platform, Reference};

use super::wire::{TlsArgs, announce, registry, wanted_platform, warn_of_platform};
use crate::context::Context;
use crate::report::Failure;
use crate::ui::Style;
use crate::ui::transfer::TransferView;

/// Fetch an image from its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, `[HOST/]name[:tag|@digest]`
    #[arg(value_name = "NAME")]
    name: Reference,
    /// Of an image for several platforms, that for this one [default: DOCKER_DEFAULT_PLATFORM]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Say nothing but the name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Pulls and prints the full name.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let style = if args.quiet { Style::Quiet } else { Style::Auto };
    let view = TransferView::new(style);
    let platform = wanted_platform(args.platform.as_ref())?.unwrap_or_else(Platform::host);
    let pulled = registry(args.tls.verify())?.pull(&store, &args.name, &platform, &|event| view.show(event))?;
    drop(view);
    if !args.quiet {
        announce(&pulled, &args.name);
    }
    warn_of_platform(&store, pulled.image, &platform)?;
    context.print(&args.name)?;
    Ok(ExitCode::SUCCESS)
}
