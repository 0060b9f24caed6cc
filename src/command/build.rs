//! `kiln build`

mod accepted;
mod annotation;
mod call;
mod edits;
mod finish;
mod output;
mod place;
mod platforms;
mod request;
mod sandbox;
mod steps;
mod times;
mod told;

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use builder::error::BuildError;
use builder::executor::sandbox::SandboxExecutor;
use builder::request::BuildRequest;
use store::{Encoding, Reference};

use super::access::{Access, AccessArgs};
use super::compression::CompressionArgs;
use super::steps::foretell;
use crate::context::{Context, fancy_stderr};
use crate::format::units::parse_duration;
use crate::interrupt::INTERRUPTED;
use crate::report::Failure;
use crate::sources::{Images, Refresh};
use crate::ui::images_only::ImagesOnly;
use crate::ui::sanitize::{self, Colours};
use crate::ui::{Style, excerpt, json};

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
    /// Read further ones from a file, one `NAME=VALUE` a line
    #[arg(long = "build-arg-file", value_name = "FILE")]
    build_arg_files: Vec<PathBuf>,
    /// A directory, git repository, archive's URL, `docker-image://NAME` or `oci-layout://PATH:TAG` that FROM, COPY
    /// and mounts can name
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    build_contexts: Vec<String>,
    /// Use this ignore file instead of the context's .dockerignore
    #[arg(long, value_name = "FILE")]
    ignorefile: Option<PathBuf>,
    /// Stop at this stage, by name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// What the first stage starts from, instead of what its FROM says
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,
    /// Whether stages that the target does not need are left out
    #[arg(long, value_name = "BOOL", hide_possible_values = true, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    skip_unused_stages: bool,
    #[command(flatten)]
    platforms: platforms::PlatformArgs,
    /// How many steps may run at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Say nothing but the image id
    #[arg(short, long)]
    quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, value_name = "STYLE", env = "BUILDKIT_PROGRESS", default_value = "auto")]
    progress: Style,
    /// Write progress, warnings and errors to a file; results stay on standard output
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// What to make of the result: type=local, tar, oci, docker, image or registry, with BuildKit's attributes; a bare
    /// path is a directory, `-` a tar on standard output [default: an image in the store]
    #[arg(short, long = "output", value_name = "SPEC", help_heading = "What becomes of the result")]
    outputs: Vec<String>,
    /// Push the result to the registries that its names say
    #[arg(long, help_heading = "What becomes of the result")]
    push: bool,
    /// Keep the image in the store even if there are other outputs
    #[arg(long, help_heading = "What becomes of the result")]
    load: bool,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE", help_heading = "What becomes of the result")]
    iidfile: Option<PathBuf>,
    /// Write digests and names to a file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "What becomes of the result")]
    metadata_file: Option<PathBuf>,
    #[command(flatten, next_help_heading = "What becomes of the result")]
    compression: CompressionArgs,
    /// The same as --compression-format=uncompressed
    #[arg(long, hide = true, conflicts_with_all = ["compression_format", "compression_level"])]
    disable_compression: bool,
    #[command(flatten, next_help_heading = "What the image says of itself")]
    edits: edits::EditArgs,
    /// Say something about the image where it is listed: `[LEVEL[[PLATFORM]]:]KEY=VALUE`, of which LEVEL is manifest,
    /// index, manifest-descriptor or index-descriptor
    #[arg(long = "annotation", value_name = "ANNOTATION", help_heading = "What the image says of itself")]
    annotations: Vec<String>,
    /// Say in the manifest when the image was made, as the config does
    #[arg(long, help_heading = "What the image says of itself", value_name = "BOOL", hide_possible_values = true, default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    created_annotation: bool,
    /// Whose media types the image has
    #[arg(long, value_enum, value_name = "FAMILY", help_heading = "What the image says of itself")]
    format: Option<request::FormatArg>,
    /// Make one layer of all that the build lays on the base image
    #[arg(long, alias = "single-snapshot", help_heading = "Layers and times")]
    squash: bool,
    /// Make one layer of them and those of the base image
    #[arg(long, help_heading = "Layers and times")]
    squash_all: bool,
    #[command(flatten, next_help_heading = "Layers and times")]
    times: times::TimeArgs,
    /// Run every step, whatever is cached
    #[arg(long, help_heading = "What is used again")]
    no_cache: bool,
    /// Run every step of this stage, whatever is cached
    #[arg(long, value_name = "STAGE", value_delimiter = ',', help_heading = "What is used again")]
    no_cache_filter: Vec<String>,
    /// Run a step again whose result is older
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "What is used again")]
    cache_ttl: Option<Duration>,
    /// Whether registries are asked for base images: always, newer, missing, never [default: missing]
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always", help_heading = "What is used again")]
    pull: Option<request::PullArg>,
    /// A secret for RUN --mount=type=secret: `id=NAME[,src=FILE|,env=VARIABLE]`
    #[arg(long = "secret", value_name = "SPEC", help_heading = "What RUN steps see")]
    secrets: Vec<String>,
    /// Pass the proxies of the environment and of config.json on to RUN steps
    #[arg(long, help_heading = "What RUN steps see", value_name = "BOOL", hide_possible_values = true, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    http_proxy: bool,
    #[command(flatten, next_help_heading = "What RUN steps see")]
    steps: steps::StepArgs,
    #[command(flatten, next_help_heading = "How registries are reached")]
    access: AccessArgs,
    #[command(flatten, next_help_heading = "Instead of building")]
    call: call::CallArgs,
    /// Tell which steps would run and why, and run none
    #[arg(long, help_heading = "Instead of building")]
    dry_run: bool,
    #[command(flatten)]
    accepted: accepted::AcceptedArgs,
    /// Accepted for docker's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
}

/// Builds, delivers, and says what came of it.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if let Some(file) = &args.logfile {
        speak_to(file)?;
    }
    let style = if args.quiet { Style::Quiet } else { args.progress };
    match build(args, style, context) {
        Err(Failure::Error(error)) if style == Style::Json => {
            let (message, status) = match context.is_interrupted() {
                true => ("cancelled".to_owned(), INTERRUPTED),
                false => (crate::report::with_causes(error.as_ref()), 1),
            };
            json::write(&serde_json::json!({"event": "error", "message": message}));
            Err(Failure::Status(status))
        }
        ended => ended,
    }
}

/// From now on standard error is a file.
fn speak_to(path: &Path) -> Result<(), Failure> {
    let write = store::StoreError::io("write", path);
    let opened = File::options().create(true).append(true).open(path);
    let dup = |file: File| Ok(rustix::stdio::dup2_stderr(file)?);
    Ok(opened.and_then(dup).map_err(write)?)
}

fn build(args: &Args, style: Style, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store_until_interrupted()?;
    let images = Images::new(store.clone(), args.pull.map_or(Refresh::Missing, Into::into), args.access()?);
    let mut request = args.request(&store, &images)?;
    if !args.call.is_build() {
        request.platform = args.platforms.each()?.swap_remove(0);
        request.contexts = args.contexts(&store, request.platform.as_ref())?;
        return args.call.answer(&request, &store, &images).map_err(|failure| match failure {
            call::CallFailure::Build(error) => explain(error, &request, style),
            call::CallFailure::Other(failure) => failure,
        });
    }
    request.contexts = args.contexts(&store, None)?;
    let platforms = args.platforms.of_request(&request, &images)?;
    let are_several = platforms.len() > 1;
    let wishes = args.wishes(style, platforms.len())?;
    let deliveries = if args.dry_run { None } else { Some(finish::Deliveries::prepare(&wishes)?) };
    let mut built = Vec::new();
    for platform in platforms {
        request.contexts = args.contexts(&store, platform.as_ref())?;
        request.platform = platform;
        if style == Style::Json && are_several {
            json::write(
                &serde_json::json!({"event": "platform", "platform": request.platform.as_ref().map(ToString::to_string)}),
            );
        }
        if let Some(platform) = request.platform.as_ref().filter(|_| are_several)
            && !matches!(style, Style::Quiet | Style::Json)
        {
            crate::context::note(format!("building for {platform}"));
        }
        let progress = style.build_progress(&request.dockerfile);
        let failed = |error| explain(error, &request, style);
        if deliveries.is_none() {
            let shown = ImagesOnly::new(progress.as_ref());
            let reports = builder::dry_run(&request, &store, &images, &shown).map_err(failed)?;
            drop(progress);
            foretell(&reports, args.progress, &store)?;
            continue;
        }
        let ended = builder::build(&request, &store, &images, &SandboxExecutor::default(), progress.as_ref());
        drop(progress);
        built.push(ended.map_err(failed)?);
    }
    let Some(deliveries) = deliveries else { return Ok(ExitCode::SUCCESS) };
    store.sync()?;
    let epoch = built.first().and_then(|built| built.epoch);
    deliveries.deliver(&finish::Made { store: &store, built: &built, epoch }, context)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// How registries are reached.
    fn access(&self) -> Result<Access, Failure> {
        self.access.access(self.tags.iter().map(|tag| tag.repository().host()))
    }

    fn wishes(&self, style: Style, platforms: usize) -> Result<finish::Wishes<'_>, Failure> {
        let annotations: Vec<Vec<_>> =
            self.annotations.iter().map(|text| annotation::Annotation::parse(text)).collect::<Result<_, _>>()?;
        Ok(finish::Wishes {
            outputs: &self.outputs,
            tags: &self.tags,
            push: self.push,
            load: self.load,
            family: self.format.map(Into::into),
            annotations: annotations.concat(),
            created: if self.created_annotation { output::Created::Said } else { output::Created::Unsaid },
            timestamps: self.times.timestamps(),
            encoding: if self.disable_compression { Some(Encoding::Plain) } else { self.compression.encoding()? },
            reuse: self.compression.reuse(),
            platforms,
            iidfile: self.iidfile.as_deref(),
            metadata: self.metadata_file.as_deref(),
            access: self.access()?,
            style,
        })
    }
}

/// A failed build ends with the line of the Dockerfile, the status, the end of the log, and where all of it is.
fn explain(error: BuildError, request: &BuildRequest, style: Style) -> Failure {
    if style == Style::Json {
        json::write(&json::error(&error, &request.dockerfile));
        return Failure::Status(if matches!(error, BuildError::Cancelled) { INTERRUPTED } else { 1 });
    }
    let colours = if fancy_stderr() { Colours::Kept } else { Colours::Dropped };
    let source = &request.dockerfile;
    match &error {
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
            eprint_block(&excerpt::error(source, &error.to_string(), error.span(), &[], colours));
            for line in last_lines {
                eprint_block(&format!("  | {}", sanitize::line(line.as_bytes(), Colours::Dropped)));
            }
            eprint_block(&format!("the whole log: {}", log.display()));
            if let Some(hint) = crate::report::hint_at_ids() {
                eprint_block(&format!("hint: {hint}"));
            }
        }
        _ if error.span().is_some() => {
            let message = crate::report::with_causes(&error);
            eprint_block(&excerpt::error(source, &message, error.span(), &error.notes(), colours));
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
