//! Making a container: everything it needs is brought together, and then it is there by one rename.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use store::root::Thing;
use store::{Area, Store, Temporary};

use super::container::Container;
use super::directory::{Directory, Names, lay_out};
use super::error::ContainerError;
use super::id::ContainerId;
use super::inherit;
use super::joined;
use super::mount::{CopyUp, Lifetime, Missing, Mount, MountRequest, MountSource};
use super::name::ContainerName;
use super::options::{After, CreateOptions};
use super::record::{Config, State, VERSION};
use super::remove::pin_name;
use super::resolve;
use super::restart::RestartPolicy;
use super::root;
use super::seed::Seed;
use super::volume::{self, Draft, Volume};

/// Makes a container of an image that is in the store.
///
/// # Errors
/// If the image is not there, the name is another's, or something that was asked for cannot be had.
pub fn create(store: &Store, options: &CreateOptions) -> Result<Container, ContainerError> {
    let missing = || ContainerError::NoSuchImage(options.image_name.clone());
    if options.after == After::Remove && options.restart != RestartPolicy::No {
        return Err(ContainerError::Conflict("--rm", "--restart"));
    }
    let (network, namespaces) = joined::by_id(store, options)?;
    let image = store.image(options.image)?.ok_or_else(missing)?;
    let of_image = &image.config.config;
    let id = ContainerId::random().map_err(ContainerError::io("name a container in", store.dir(Area::Containers)))?;
    let mut config = Config {
        version: VERSION,
        id,
        name: options.name.clone().unwrap_or_else(|| ContainerName::first_candidate(id)),
        created: Timestamp::now(),
        image: image.id,
        image_name: options.image_name.clone(),
        layers: image.layers().to_vec(),
        process: resolve::process(&options.process, of_image)?,
        mounts: Vec::new(),
        volumes_from: options.volumes_from.iter().map(ToString::to_string).collect(),
        network: resolve::network(&network, of_image)?,
        limits: options.limits.clone(),
        isolation: options.isolation.clone(),
        devices: options.devices.clone(),
        namespaces,
        after: options.after,
        labels: resolve::labels(options, of_image),
        restart: options.restart,
        healthcheck: options.healthcheck.over(of_image.healthcheck.as_ref())?,
        shell: of_image.shell.clone(),
    };
    let mut parts = Parts { draft: store.temporary()?, volumes: Vec::new() };
    let mut inherited = inherit::mounts(store, &options.volumes_from)?;
    let own = mounts(store, &image, resolve::mounts(options, of_image, &inherited)?, &mut parts)?;
    inherited.extend(own.into_iter().map(|mount| (mount.target.clone(), mount)));
    config.mounts = inherited.into_values().collect();
    // Unpacked now, so that what cannot be is said now, and starting is quick.
    root::prepare(store, &Directory::at(parts.draft.path().to_owned()), &config)?;
    place(store, options, config, parts)
}

/// What a container will consist of, in `tmp/` still: gone when dropped.
struct Parts {
    draft: Temporary,
    /// Its anonymous volumes.
    volumes: Vec<Draft>,
}

/// Gives the container its name and its place, with all that is its own, or leaves nothing of it.
fn place(
    store: &Store,
    options: &CreateOptions,
    mut config: Config,
    parts: Parts,
) -> Result<Container, ContainerError> {
    let names = Names::lock(store)?;
    if options.name.is_none() {
        let mut candidates = ContainerName::candidates(config.id).filter(|name| names.owner(name).is_none());
        config.name = candidates.next().unwrap_or(config.name);
    }
    lay_out(&Directory::at(parts.draft.path().to_owned()), &config, &State::created(store.boot()))?;
    names.claim(&config.name, config.id)?;
    let directory = Directory::of(store, config.id);
    let own: Vec<String> = parts.volumes.iter().map(|volume| volume.name().to_owned()).collect();
    let placed = place_parts(store, &config, parts, &directory);
    if placed.is_err() {
        names.release(&config.name, config.id);
        // What cannot be taken back is litter; the error that led here is the one to tell.
        let _ = store.unpin(&pin_name(config.id));
        own.iter().for_each(|name| drop(volume::bury(store, name)));
    }
    placed?;
    Ok(Container::new(store.clone(), directory, config))
}

/// The container last: what it needs is there before it is.
fn place_parts(store: &Store, config: &Config, parts: Parts, directory: &Directory) -> Result<(), ContainerError> {
    store.pin(&pin_name(config.id), &[Thing::Image(config.image)])?;
    for volume in parts.volumes {
        volume.place(store)?;
    }
    // Those that were there already may have been removed before the lock was taken.
    for mount in &config.mounts {
        if let MountSource::Volume { name, .. } = &mount.source {
            volume::find(store, name)?;
        }
    }
    store.place_directory(parts.draft, directory.path())?;
    Ok(())
}

fn mounts(
    store: &Store,
    image: &store::image::Image,
    requests: Vec<MountRequest>,
    parts: &mut Parts,
) -> Result<Vec<Mount>, ContainerError> {
    let seed = Seed::of(store, image.layers());
    let mut mounts = Vec::new();
    for request in requests {
        let mount = match request {
            MountRequest::Bind { source, target, access, missing } => {
                check_source(&source, missing)?;
                Mount { target, source: MountSource::Bind(source), access }
            }
            MountRequest::Volume { name, target, access, copy_up } => {
                let seed = (copy_up == CopyUp::Yes).then_some((&seed, target.as_str()));
                let source = provide_volume(store, name, seed, parts)?;
                Mount { target, source, access }
            }
            MountRequest::Tmpfs { target, options } => {
                let access = options.access;
                Mount { target, source: MountSource::Tmpfs(options), access }
            }
        };
        mounts.push(mount);
    }
    Ok(mounts)
}

/// A named volume is there from now on; an anonymous one appears with its container.
fn provide_volume(
    store: &Store,
    name: Option<String>,
    seed: Option<(&Seed<'_>, &str)>,
    parts: &mut Parts,
) -> Result<MountSource, ContainerError> {
    let volume = |name, lifetime| Volume { name, created: Timestamp::now(), lifetime, labels: BTreeMap::new() };
    let Some(name) = name else {
        let volume = volume(volume::fresh_name(store)?, Lifetime::Container);
        parts.volumes.push(volume::draft(store, &volume, seed)?);
        return Ok(MountSource::Volume { name: volume.name, lifetime: Lifetime::Container });
    };
    let volume = volume::provide(store, volume(name, Lifetime::OwnName), seed)?;
    Ok(MountSource::Volume { name: volume.name, lifetime: Lifetime::OwnName })
}

fn check_source(source: &Path, missing: Missing) -> Result<(), ContainerError> {
    match (fs::metadata(source), missing) {
        (Ok(_), _) => Ok(()),
        (Err(error), Missing::Create) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(source).map_err(ContainerError::io("make", source))
        }
        (Err(error), Missing::Refuse) if error.kind() == io::ErrorKind::NotFound => {
            Err(ContainerError::BindSource(source.to_owned()))
        }
        (Err(error), _) => Err(ContainerError::io("examine", source)(error)),
    }
}
