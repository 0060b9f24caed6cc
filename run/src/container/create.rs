//! Making a container: everything it needs is brought together, and then it is there by one rename.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use store::root::Thing;
use store::{Area, Store};

use super::container::Container;
use super::directory::{Directory, Names, lay_out};
use super::error::ContainerError;
use super::id::ContainerId;
use super::mount::{CopyUp, Lifetime, Missing, Mount, MountRequest, MountSource};
use super::name::ContainerName;
use super::options::CreateOptions;
use super::record::{Config, State, VERSION};
use super::remove::pin_name;
use super::resolve;
use super::seed::Seed;
use super::volume::{self, Volume};

/// Makes a container of an image that is in the store.
///
/// # Errors
/// If the image is not there, the name is another's, or something that was asked for cannot be had.
pub fn create(store: &Store, options: &CreateOptions) -> Result<Container, ContainerError> {
    let missing = || ContainerError::NoSuchImage(options.image_name.clone());
    let image = store.image(options.image)?.ok_or_else(missing)?;
    let of_image = &image.config.config;
    let id = ContainerId::random().map_err(ContainerError::io("name a container in", store.dir(Area::Containers)))?;
    let mut config = Config {
        version: VERSION,
        id,
        name: first_name(options, id),
        created: Timestamp::now(),
        image: image.id,
        image_name: options.image_name.clone(),
        layers: image.layers().to_vec(),
        process: resolve::process(&options.process, of_image)?,
        mounts: Vec::new(),
        network: resolve::network(&options.network, of_image)?,
        limits: options.limits.clone(),
        isolation: options.isolation.clone(),
        after: options.after,
        labels: resolve::labels(options, of_image),
    };
    let requests = resolve::mounts(options, of_image)?;
    let mut undo = Undo { store, config: Some(config.clone()) };
    config.mounts = mounts(store, &image, requests, &mut undo)?;
    store.pin(&pin_name(&config), &[Thing::Image(image.id)])?;
    let container = place(store, options, config)?;
    undo.config = None;
    Ok(container)
}

/// Gives the container its name and its place, both or neither.
fn place(store: &Store, options: &CreateOptions, mut config: Config) -> Result<Container, ContainerError> {
    let draft = store.temporary()?;
    let names = Names::lock(store)?;
    if options.name.is_none() {
        let mut candidates = ContainerName::candidates(config.id).filter(|name| names.owner(name).is_none());
        config.name = candidates.next().unwrap_or(config.name);
    }
    lay_out(&Directory::at(draft.path().to_owned()), &config, &State::created(store.boot()))?;
    names.claim(&config.name, config.id)?;
    let directory = Directory::of(store, config.id);
    store.place_directory(draft, directory.path())?;
    Ok(Container::new(store.clone(), directory, config))
}

fn first_name(options: &CreateOptions, id: ContainerId) -> ContainerName {
    let made_up = || ContainerName::candidates(id).next();
    options.name.clone().or_else(made_up).unwrap_or_else(|| unreachable!("candidates never end"))
}

fn mounts(
    store: &Store,
    image: &store::image::Image,
    requests: Vec<MountRequest>,
    undo: &mut Undo<'_>,
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
                let source = provide_volume(store, name, (copy_up == CopyUp::Yes).then_some((&seed, &target)))?;
                Mount { target, source, access }
            }
            MountRequest::Tmpfs { target, options } => {
                let access = options.access;
                Mount { target, source: MountSource::Tmpfs(options), access }
            }
        };
        undo.note(&mount);
        mounts.push(mount);
    }
    Ok(mounts)
}

fn provide_volume(
    store: &Store,
    name: Option<String>,
    seed: Option<(&Seed, &String)>,
) -> Result<MountSource, ContainerError> {
    let lifetime = if name.is_some() { Lifetime::OwnName } else { Lifetime::Container };
    let name = name.map_or_else(|| volume::fresh_name(store), Ok)?;
    let volume = Volume { name, created: Timestamp::now(), lifetime, labels: Default::default() };
    let volume = volume::provide(store, volume, seed.map(|(seed, target)| (seed, target.as_str())))?;
    Ok(MountSource::Volume { name: volume.name, lifetime })
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

/// Takes back what was made for a container that did not come to be.
struct Undo<'a> {
    store: &'a Store,
    config: Option<Config>,
}

impl Undo<'_> {
    fn note(&mut self, mount: &Mount) {
        if let Some(config) = &mut self.config {
            config.mounts.push(mount.clone());
        }
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let Some(config) = &self.config else { return };
        // What cannot be taken back is litter; the error that led here is the one to tell.
        let _ = self.store.unpin(&pin_name(config));
        for mount in &config.mounts {
            if let MountSource::Volume { name, lifetime: Lifetime::Container } = &mount.source {
                let _ = volume::discard(self.store, name);
            }
        }
    }
}
