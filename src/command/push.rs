//! `kiln push`

use std::process::ExitCode;

use registry::{PushOptions, Pushed, Registry};
use store::{Reference, Store};

use super::wire::{TlsArgs, registry};
use crate::context::{Context, note};
use crate::report::{Failure, UsageError};
use crate::ui::Style;
use crate::ui::transfer::TransferView;

/// Send an image to its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, `[HOST/]name[:tag]`
    #[arg(value_name = "NAME")]
    name: Reference,
    /// Push all tags of the name's repository
    #[arg(short, long)]
    all_tags: bool,
    /// Say nothing but the name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Pushes one tag, or all of a repository.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let registry = registry(args.tls.verify())?;
    let style = if args.quiet { Style::Quiet } else { Style::Auto };
    let names = if args.all_tags { all_tags(&store, &args.name)? } else { vec![args.name.clone()] };
    for name in &names {
        push(&store, &registry, name, &PushOptions::default(), style)?;
        if args.quiet {
            context.print(name)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pushes the image that a name stands for, with all its platforms.
pub(crate) fn push(
    store: &Store,
    registry: &Registry,
    name: &Reference,
    options: &PushOptions,
    style: Style,
) -> Result<Pushed, Failure> {
    let target = store.target_of(name)?.ok_or_else(|| store::refs::RefError::NotFound(name.familiar()))?;
    let view = TransferView::new(style);
    let pushed = registry.push_bundle(store, &store.bundle(&target)?, name, options, &|event| view.show(event))?;
    drop(view);
    if !matches!(style, Style::Quiet | Style::Json) {
        let tag = name.tag().unwrap_or("latest");
        note(format!("{tag}: digest: {} size: {}", pushed.pinned.digest, pushed.manifest_bytes));
    }
    Ok(pushed)
}

fn all_tags(store: &Store, name: &Reference) -> Result<Vec<Reference>, Failure> {
    let tags = store.tags()?.into_iter().map(|(tag, _)| tag);
    let names: Vec<Reference> = tags.filter(|tag| tag.repository() == name.repository()).collect();
    if names.is_empty() {
        return Err(UsageError::wrong(format!("the store has no image of {}", name.repository().familiar())));
    }
    Ok(names)
}
