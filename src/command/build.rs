//! `kiln build`

mod call;
mod place;
mod request;
mod steps;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use builder::build::{BuildRequest, Built};
use builder::error::BuildError;
use builder::executor::sandbox::SandboxExecutor;
use store::refs::TaggedImage;
use store::{Reference, Store};

use super::steps::foretell;
use super::wire::{TlsArgs, registry};
use crate::context::{Context, fancy_stderr};
use crate::report::Failure;
use crate::sources::{Images, Refresh};
use crate::ui::images_only::ImagesOnly;
use crate::ui::sanitize::{self, Colours};
use crate::ui::{Style, excerpt};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build context: a directory, a git repository (`URL.git#REF:DIRECTORY`), the URL of an archive or of a
    /// Dockerfile, or `-` for either on standard input
    #[arg(value_name = "PATH|URL|-")]
    context: PathBuf,
    /// Name the result, `name[:tag]`; may be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<Reference>,
    /// The Dockerfile [default: PATH/Dockerfile, else PATH/Containerfile]: a file, a URL, or `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set an ARG; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// A directory, git repository, archive's URL, `docker-image://NAME` or `oci-layout://PATH:TAG` that FROM, COPY
    /// and mounts can name
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    build_contexts: Vec<String>,
    /// Stop at this stage, by name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Build for this platform
    #[arg(long, value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM")]
    platform: Option<store::Platform>,
    /// Run every step, whatever is cached
    #[arg(long)]
    no_cache: bool,
    /// Run every step of this stage, whatever is cached
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Ask registries for newer base images
    #[arg(long)]
    pull: bool,
    /// Add a label to the image
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// A secret for RUN --mount=type=secret: `id=NAME[,src=FILE|,env=VARIABLE]`
    #[arg(long = "secret", value_name = "SPEC")]
    secrets: Vec<String>,
    #[command(flatten)]
    steps: steps::StepArgs,
    /// What becomes of file times: clamp makes the image reproducible, preserve is Docker's way
    #[arg(long, value_enum, value_name = "HOW", default_value = "clamp")]
    timestamps: request::TimestampsArg,
    /// How many steps may run at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Push the result to the registries that its names say
    #[arg(long)]
    push: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Accepted for docker's sake: the result is in the store anyway
    #[arg(long)]
    load: bool,
    /// Accepted for docker's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Say nothing but the image id
    #[arg(short, long)]
    quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, value_name = "STYLE", env = "BUILDKIT_PROGRESS", default_value = "auto")]
    progress: Style,
    #[command(flatten)]
    call: call::CallArgs,
    /// Tell which steps would run and why, and run none
    #[arg(long)]
    dry_run: bool,
}

/// Builds, tags, and says what came of it.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = if args.quiet { Style::Quiet } else { args.progress };
    let cancel = builder::Cancel::default();
    crate::interrupt::cancel_on_signals(&cancel)?;
    let images =
        Images::new(store.clone(), if args.pull { Refresh::Always } else { Refresh::Missing }, args.tls.verify());
    let request = match args.request(&store, &images, &cancel) {
        Err(_) if cancel.is_cancelled() => return Ok(ExitCode::from(130)),
        other => other?,
    };
    if !args.call.is_build() {
        return args.call.answer(&request, &store, &images).map_err(|failure| match failure {
            call::CallFailure::Build(error) => explain(error, &request),
            call::CallFailure::Other(failure) => failure,
        });
    }
    let progress = style.build_progress(&request.dockerfile);
    if args.dry_run {
        let reports = builder::dry_run(&request, &store, &images, &ImagesOnly::new(progress.as_ref()));
        let reports = reports.map_err(|error| explain(error, &request))?;
        drop(progress);
        return foretell(&reports, args.progress, &store).map(|()| ExitCode::SUCCESS);
    }
    let built = builder::build(&request, &store, &images, &SandboxExecutor, progress.as_ref());
    drop(progress);
    match built {
        Ok(built) => args.finish(&built, &store, context),
        Err(error) => Err(explain(error, &request)),
    }
}

impl Args {
    /// Makes the result durable, names it, and prints what scripts wait for.
    fn finish(&self, built: &Built, store: &Store, context: &Context) -> Result<ExitCode, Failure> {
        store.sync()?;
        for tag in &self.tags {
            store.tag(tag, &TaggedImage::now(built.image))?;
        }
        if let Some(file) = &self.iidfile {
            std::fs::write(file, built.image.to_string()).map_err(store::StoreError::io("write", file))?;
        }
        if self.quiet {
            context.print(built.image)?;
        } else {
            let names: Vec<String> = self.tags.iter().map(Reference::familiar).collect();
            let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(" ")) };
            crate::context::note(format!("built {}{names}", built.image));
        }
        if self.push {
            let registry = registry(self.tls.verify())?;
            let style = if self.quiet { Style::Quiet } else { self.progress };
            for tag in &self.tags {
                super::push::push(store, &registry, tag, style)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A failed build ends with the line of the Dockerfile, the status, the end of the log, and where all of it is.
fn explain(error: BuildError, request: &BuildRequest) -> Failure {
    let colours = if fancy_stderr() { Colours::Kept } else { Colours::Dropped };
    let source = &request.dockerfile;
    match &error {
        BuildError::Cancelled => {
            eprint_block("cancelled");
            return Failure::Status(130);
        }
        BuildError::Dockerfile(diagnostics) => {
            for found in diagnostics.iter().filter(|found| found.is_error()) {
                eprint_block(&excerpt::diagnostic(source, found, colours));
            }
        }
        BuildError::Checks(diagnostics) => {
            for found in diagnostics {
                eprint_block(&excerpt::diagnostic(source, found, colours));
            }
            eprint_block(&format!("error: {error}"));
        }
        BuildError::Plan(diagnostic) => eprint_block(&excerpt::diagnostic(source, diagnostic, colours)),
        BuildError::Failed { last_lines, log, .. } => {
            eprint_block(&excerpt::error(source, &error.to_string(), error.span(), colours));
            for line in last_lines {
                eprint_block(&format!("  | {}", sanitize::line(line.as_bytes(), Colours::Dropped)));
            }
            eprint_block(&format!("the whole log: {}", log.display()));
            if let Some(hint) = crate::report::hint_at_ids() {
                eprint_block(&format!("hint: {hint}"));
            }
        }
        _ if error.span().is_some() => {
            eprint_block(&excerpt::error(source, &crate::report::with_causes(&error), error.span(), colours));
            if let Some(hint) = crate::report::hint(&error) {
                eprint_block(&format!("hint: {hint}"));
            }
        }
        _ => return error.into(),
    }
    Failure::Status(1)
}

/// Shows text that is clean already; a closed pipe is not worth a panic.
fn eprint_block(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
