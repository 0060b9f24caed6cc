//! Where a build's files come from: a directory, standard input, a repository, a URL; and the Dockerfile in each.
//!
//! What is fetched or unpacked becomes a layer of the store. `.dockerignore` counts in directories of the user only,
//! as with BuildKit (docs/dockerfile.md, A177): whoever made an archive or a repository chose what is in it.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;

use builder::context::{locate, locate_in_layer, newest, unpack};
use builder::progress::Transfer;
use builder::remote::{Fetched, Fetcher, Remote};
use builder::request::{ContextDirectory, DockerfileText, MainContext, NamedContext};
use store::archive::{LayoutImage, LoadOptions, Source};
use store::tree::Timestamp;
use store::{Contents, DiffId, Platform, Reference, Store, StoreError};

use crate::interrupt::stdin;
use crate::report::{Failure, UsageError};
use crate::sources::LAYOUTS;

/// How large a Dockerfile may be.
const DOCKERFILE_LIMIT_BYTES: u64 = 16 << 20;

/// What a context turned out to be.
pub(super) struct Found {
    /// The Dockerfile.
    pub(super) dockerfile: DockerfileText,
    /// The files, if there are any.
    pub(super) context: Option<MainContext>,
    /// When they were made, if they are of a kind that says so.
    pub(super) time: Option<Timestamp>,
}

/// Finds the Dockerfile and the files that a command line names.
pub(super) fn find(
    context: &Path,
    file: Option<&Path>,
    ignore_file: Option<&Path>,
    fetcher: &Fetcher<'_>,
) -> Result<Found, Failure> {
    let mut found = any(context, file, fetcher)?;
    if let Some(path) = ignore_file {
        match &mut found.context {
            Some(MainContext::Directory(directory)) => directory.ignore_file = Some(read(path)?),
            _ => return Err(UsageError::wrong("--ignorefile is for contexts that are a directory of this machine")),
        }
    }
    Ok(found)
}

fn any(context: &Path, file: Option<&Path>, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    let text = context.to_string_lossy();
    let is_ambiguous = text.starts_with("github.com/") && context.exists();
    if is_stdin(context) {
        if file.is_some_and(is_stdin) {
            return Err(UsageError::wrong("standard input cannot be both the build context and the Dockerfile"));
        }
        return on_stdin(file, fetcher);
    }
    match Remote::parse_context(&text)?.filter(|_| !is_ambiguous) {
        None => in_directory(context, file, fetcher),
        Some(remote @ Remote::Git(_)) => {
            let Fetched { layer, time, .. } = fetcher.fetch(&remote)?;
            Ok(Found { time, ..in_layer(layer, remote.to_string(), file, fetcher)? })
        }
        Some(remote @ Remote::Url(_)) => {
            let (mut downloaded, time) = downloaded(fetcher, &remote)?;
            let found = in_file(&mut downloaded, remote.to_string(), file, fetcher)?;
            Ok(Found { time: time.or(found.time), ..found })
        }
    }
}

/// Reads `--build-context name=value`.
pub(super) fn named(text: &str, store: &Store, platform: Option<&Platform>) -> Result<(String, NamedContext), Failure> {
    let (name, place) =
        text.split_once('=').filter(|(name, place)| !name.is_empty() && !place.is_empty()).ok_or_else(|| {
            UsageError::wrong(format!(
                "invalid build context {text:?}: NAME=DIRECTORY, or NAME= a URL, docker-image:// or oci-layout://"
            ))
        })?;
    let platform = name.split_once("::").and_then(|(_, of)| of.parse().ok()).or_else(|| platform.cloned());
    let context = match place.split_once("://") {
        Some(("docker-image" | "container-image", "scratch")) => NamedContext::Scratch,
        Some(("docker-image" | "container-image", reference)) => NamedContext::Image(reference.parse()?),
        Some(("oci-layout", layout)) => NamedContext::Image(layout_image(name, layout, store, platform)?),
        _ => match Remote::parse(place)? {
            Some(remote) => NamedContext::Remote(remote),
            None if place.contains("://") => {
                return Err(UsageError::Unsupported(format!("--build-context {text}")).into());
            }
            None => {
                check_directory(Path::new(place))?;
                NamedContext::Directory(ContextDirectory { path: place.into(), ignore_file: None })
            }
        },
    };
    Ok((name.to_lowercase(), context))
}

/// `PATH[:TAG|@DIGEST]`, taken into the store, under a name that only this build knows.
fn layout_image(name: &str, text: &str, store: &Store, platform: Option<Platform>) -> Result<Reference, Failure> {
    let (path, wanted) = match (text.rsplit_once('@'), text.rsplit_once(':')) {
        (Some((path, digest)), _) => {
            let digest =
                digest.parse().map_err(|_| UsageError::wrong(format!("invalid digest {digest:?} in {text:?}")))?;
            (path, LayoutImage::Digest(digest))
        }
        (None, Some((path, tag))) if !tag.contains('/') => (path, LayoutImage::Tagged(tag.to_owned())),
        _ => (text, LayoutImage::Tagged("latest".to_owned())),
    };
    let options = LoadOptions { platform: Some(platform.unwrap_or_else(Platform::host)) };
    let image = Source::open(store, Path::new(path))
        .and_then(|source| store.load_from_layout(&source, &wanted, &options))
        .map_err(|error| {
            UsageError::wrong(format!("cannot use oci-layout://{text} as build context {name}: {error}"))
        })?;
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    Ok(format!("{LAYOUTS}/x{name}@{image}").parse()?)
}

fn on_stdin(file: Option<&Path>, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    let mut spool = spool(fetcher.store)?;
    let mut stdin = stdin(fetcher.cancel);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stdin.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        spool.write_all(&buffer[..count])?;
    }
    in_file(&mut spool, "<stdin>".to_owned(), file, fetcher)
}

/// An archive is a context, a text a Dockerfile without one.
fn in_file(bytes: &mut File, name: String, file: Option<&Path>, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    if let Some(layer) = unpack(fetcher.store, bytes)? {
        let time = newest(fetcher.store, layer)?;
        return Ok(Found { time, ..in_layer(layer, name, file, fetcher)? });
    }
    if let Some(file) = file.filter(|file| !is_stdin(file) && !is_url(file)) {
        return Err(UsageError::wrong(format!(
            "{} cannot be looked for in {name}: that is no archive",
            file.display()
        )));
    }
    let dockerfile = match file {
        Some(file) => elsewhere(file, fetcher)?,
        None => text_of(bytes, name)?,
    };
    Ok(Found { dockerfile, context: None, time: None })
}

fn in_layer(layer: DiffId, name: String, file: Option<&Path>, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    let dockerfile = match file {
        Some(file) if is_stdin(file) || is_url(file) => elsewhere(file, fetcher)?,
        Some(file) => locate_in_layer(fetcher.store, layer, Some(&file.to_string_lossy()))?,
        None => locate_in_layer(fetcher.store, layer, None)?,
    };
    Ok(Found { dockerfile, context: Some(MainContext::Layer { layer, name }), time: None })
}

/// The Dockerfile, and the ignore file that stands beside it under its name.
fn in_directory(context: &Path, file: Option<&Path>, fetcher: &Fetcher<'_>) -> Result<Found, Failure> {
    check_directory(context)?;
    let path = match file {
        Some(file) if is_stdin(file) || is_url(file) => {
            let context = ContextDirectory { path: context.to_owned(), ignore_file: None };
            return Ok(Found { dockerfile: elsewhere(file, fetcher)?, context: Some(context.into()), time: None });
        }
        Some(file) if file.exists() || file.is_absolute() => Some(file.to_owned()),
        Some(file) => {
            Some(Some(context.join(file)).filter(|inside| inside.exists()).unwrap_or_else(|| file.to_owned()))
        }
        // Whoever wrote the context chose what its Dockerfile is: a link must not show a file outside of it.
        None => None,
    };
    let (mut dockerfile, mut ignore_file) = locate(context, path.as_deref())?;
    if path.is_none() {
        for text in std::iter::once(&mut dockerfile).chain(&mut ignore_file) {
            text.name = context.join(&text.name).display().to_string();
        }
    }
    let context = ContextDirectory { path: context.to_owned(), ignore_file };
    Ok(Found { dockerfile, context: Some(context.into()), time: None })
}

/// A Dockerfile on standard input or by its URL.
fn elsewhere(file: &Path, fetcher: &Fetcher<'_>) -> Result<DockerfileText, Failure> {
    if is_stdin(file) {
        return short(stdin(fetcher.cancel), "<stdin>".into());
    }
    match Remote::parse(&file.to_string_lossy())? {
        Some(remote @ Remote::Url(_)) => text_of(&mut downloaded(fetcher, &remote)?.0, remote.to_string()),
        _ => Err(UsageError::wrong(format!("{} is no URL of a file", file.display()))),
    }
}

/// The one file of what was fetched, and its time if the server says it.
fn downloaded(fetcher: &Fetcher<'_>, remote: &Remote) -> Result<(File, Option<Timestamp>), Failure> {
    let Fetched { layer, time, .. } = fetcher.fetch(remote)?;
    let tree = fetcher.store.root_tree(&[layer])?;
    let mut file = spool(fetcher.store)?;
    if let Some((_, entry)) = tree.directory().entries().first()
        && let store::tree::Node::Leaf(store::tree::Leaf::File { content, .. }) = &entry.node
    {
        let contents = Contents::of_layers(fetcher.store, &[layer])?;
        std::io::copy(&mut contents.open(*content)?, &mut file)?;
    }
    Ok((file, time))
}

fn text_of(file: &mut File, name: String) -> Result<DockerfileText, Failure> {
    file.rewind()?;
    short(file, name)
}

/// A whole text, not its beginning.
fn short(text: impl Read, name: String) -> Result<DockerfileText, Failure> {
    let mut bytes = Vec::new();
    text.take(DOCKERFILE_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCKERFILE_LIMIT_BYTES {
        return Err(UsageError::wrong(format!("{name} is neither an archive nor a Dockerfile: it is too long")));
    }
    Ok(DockerfileText { name, bytes })
}

/// A file without a name.
fn spool(store: &Store) -> Result<File, Failure> {
    Ok(store.temporary_file()?.file().try_clone()?)
}

fn read(path: &Path) -> Result<DockerfileText, Failure> {
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    Ok(DockerfileText { name: path.display().to_string(), bytes })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn is_url(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.starts_with("http://") || text.starts_with("https://")
}

fn check_directory(path: &Path) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(UsageError::wrong(format!("the build context {text} is not a directory"))),
        Err(error) => Err(StoreError::io("read the build context", path)(error).into()),
    }
}

/// Nobody is told how much has arrived before there are steps.
pub(super) fn untold(_: Transfer) {}
