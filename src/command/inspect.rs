//! `kiln inspect`

use std::error::Error;
use std::process::ExitCode;

use run::container::{Container, ContainerError, volume};
use serde_json::{Value, json};
use store::Store;
use store::image::Image;
use store::refs::RefError;

use crate::context::{Context, note};
use crate::format::template::Template;
use crate::report::{Failure, UsageError, with_causes};

/// Show everything about containers, images and volumes as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    /// Only `container`, `image` or `volume`
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,
    /// Tell what containers take, as `SizeRw` and `SizeRootFs`
    #[arg(short, long)]
    size: bool,
}

/// Show everything about images as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    what: What,
}

/// Show everything about containers as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    what: What,
    /// Tell what they take, as `SizeRw` and `SizeRootFs`
    #[arg(short, long)]
    size: bool,
}

#[derive(Debug, clap::Args)]
struct What {
    /// Names, or beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// A Go template, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
    Volume,
}

/// Whether the sizes of containers are told: all their files are looked at for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sizes {
    Told,
    Untold,
}

impl Sizes {
    fn from_flag(flag: bool) -> Self {
        if flag { Self::Told } else { Self::Untold }
    }
}

/// Whatever has the name.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    args.what.show(context, args.kind, Sizes::from_flag(args.size))
}

/// Images alone.
pub(crate) fn run_image(args: &ImageArgs, context: &Context) -> Result<ExitCode, Failure> {
    args.what.show(context, Some(Kind::Image), Sizes::Untold)
}

/// Containers alone.
pub(crate) fn run_container(args: &ContainerArgs, context: &Context) -> Result<ExitCode, Failure> {
    args.what.show(context, Some(Kind::Container), Sizes::from_flag(args.size))
}

impl What {
    fn show(&self, context: &Context, kind: Option<Kind>, sizes: Sizes) -> Result<ExitCode, Failure> {
        let store = context.store()?;
        let (found, errors) = split(self.names.iter().map(|name| find(&store, name, kind, sizes)));
        match self.format.as_deref() {
            None => context.print(serde_json::to_string_pretty(&found)?)?,
            Some("json") => context.print(serde_json::to_string(&found)?)?,
            Some(format) => {
                let template = Template::parse(format)?;
                for one in &found {
                    context.print(template.render(one)?)?;
                }
            }
        }
        for error in &errors {
            note(format!("error: {}", with_causes(error.as_ref())));
        }
        Ok(ExitCode::from(u8::from(!errors.is_empty())))
    }
}

/// What was found, and why the rest was not: one missing name does not hide the others.
fn split(results: impl Iterator<Item = Result<Value, Failure>>) -> (Vec<Value>, Vec<Box<dyn Error + Send + Sync>>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => found.push(value),
            Err(Failure::Error(error)) => errors.push(error),
            Err(Failure::Status(_)) => {}
        }
    }
    (found, errors)
}

/// Containers come first, then images, then volumes.
fn find(store: &Store, name: &str, kind: Option<Kind>, sizes: Sizes) -> Result<Value, Failure> {
    let wants = |this: Kind| kind.is_none_or(|kind| kind == this);
    let absent = || UsageError::wrong(format!("no such object: {name}"));
    if wants(Kind::Container) {
        match Container::find(store, name) {
            Ok(container) => return describe_container(&container, sizes),
            Err(ContainerError::NoSuchContainer(_)) if kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if wants(Kind::Image) {
        match store.resolve(name) {
            Ok(id) => return describe(store, &store.image(id)?.ok_or(RefError::MissingImage(id))?),
            Err(RefError::NotFound(_)) if kind.is_none() => {}
            // What can be no image's name may still be a volume's.
            Err(RefError::Reference(_)) if kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match volume::find(store, name) {
        Ok(found) => Ok(super::volume::describe(store, &found)),
        Err(_) if kind.is_none() => Err(absent()),
        Err(error) => Err(error.into()),
    }
}

/// A container under Docker's keys.
fn describe_container(container: &Container, sizes: Sizes) -> Result<Value, Failure> {
    let mut value = container.inspect()?;
    if sizes == Sizes::Told {
        let sizes = container.sizes()?;
        value["SizeRw"] = sizes.writable_bytes.into();
        value["SizeRootFs"] = sizes.root_bytes.into();
    }
    Ok(value)
}

/// An image under Docker's keys.
fn describe(store: &Store, image: &Image) -> Result<Value, Failure> {
    let config: Value = serde_json::from_slice(&image.config.to_bytes())?;
    let tags: Vec<String> = store.tags_of(image.id)?.iter().map(|name| name.familiar()).collect();
    let digests: Vec<String> = image
        .record
        .repo_digests
        .iter()
        .map(|pinned| format!("{}@{}", pinned.repository.familiar(), pinned.digest))
        .collect();
    let text = |key: &str| config.get(key).cloned().unwrap_or_else(|| "".into());
    Ok(json!({
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": image.config.history.last().map_or("", |entry| entry.comment.as_str()),
        "Created": text("created"),
        "Author": text("author"),
        "Config": container_config(config.get("config")),
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "Size": image.record.size_bytes,
        "VirtualSize": image.record.size_bytes,
        "RootFS": {"Type": "layers", "Layers": image.layers()},
        "Metadata": {"LastTagTime": null},
    }))
}

/// The config of a container of the image, with every key that Docker's has: templates ask for them.
fn container_config(config: Option<&Value>) -> Value {
    let mut whole = json!({
        "User": "", "ExposedPorts": null, "Env": null, "Cmd": null, "Entrypoint": null, "Volumes": null, "WorkingDir": "",
        "Labels": null, "StopSignal": "", "OnBuild": null, "Shell": null, "Healthcheck": null,
    });
    for (key, value) in config.and_then(Value::as_object).into_iter().flatten() {
        whole[key] = value.clone();
    }
    whole
}
