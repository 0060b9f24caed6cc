//! What the verbs that speak to registries share: how registries are dealt with, and finding an image
//! for a container.

use registry::{News, Pulled, Registry, TlsVerify};
use store::refs::RefError;
use store::{ImageId, Platform, Reference, Store};

use super::access::Access;
use super::run::Pull;
use crate::context::note;
use crate::report::{Failure, UsageError};
use crate::ui::Style;
use crate::ui::transfer::TransferView;

/// `--tls-verify`
#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {
    /// Check certificates; `--tls-verify=false` takes any, and plain HTTP
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: bool,
}

impl TlsArgs {
    pub(crate) fn verify(&self) -> TlsVerify {
        if self.tls_verify { TlsVerify::Always } else { TlsVerify::Never }
    }
}

/// All registries, with the user's credentials.
pub(crate) fn registry(tls: TlsVerify) -> std::io::Result<Registry> {
    Access::from(tls).registry()
}

/// The platforms that Docker's variable names; an empty one names none.
pub(crate) fn default_platforms() -> Result<Vec<Platform>, Failure> {
    let named = std::env::var(DEFAULT_PLATFORM).unwrap_or_default();
    let platform = |text: &str| {
        text.parse().map_err(|error| UsageError::wrong(format!("{DEFAULT_PLATFORM} is {named:?}: {error}")))
    };
    named.split(',').filter(|text| !text.is_empty()).map(platform).collect()
}

const DEFAULT_PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";

/// The platform of an image: the one that is asked for, else the one that the variable names.
pub(crate) fn wanted_platform(asked: Option<&Platform>) -> Result<Option<Platform>, Failure> {
    match asked {
        Some(asked) => Ok(Some(asked.clone())),
        None => Ok(default_platforms()?.into_iter().next()),
    }
}

/// Finds an image for a container, and pulls it if it may be.
pub(crate) fn image_for(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
    pull: Pull,
    style: Style,
) -> Result<ImageId, Failure> {
    if pull != Pull::Always {
        match chosen(store, name, platform) {
            Ok(image) if suits(store, image, platform)? => {
                bring(store, image, &Access::default(), style)?;
                return Ok(image);
            }
            Ok(_) if pull == Pull::Missing => {}
            Ok(_) => {
                return Err(UsageError::wrong(format!("image {name} is made for another platform than asked for")));
            }
            Err(store::refs::RefError::NotFound(_)) if pull == Pull::Missing => {}
            Err(error) => return Err(error.into()),
        }
        note(format!("the store has no such image {name}: pulling it"));
    }
    let reference: Reference = name.parse()?;
    let view = TransferView::new(style);
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let pulled = registry(TlsVerify::Always)?.pull(store, &reference, &platform, &|event| view.show(event))?;
    drop(view);
    if style != Style::Quiet {
        announce(&pulled, &reference);
    }
    warn_of_platform(store, pulled.image, &platform)?;
    Ok(pulled.image)
}

/// Brings the layers of an image that are not here: those of a base that no build has read.
pub(crate) fn bring(store: &Store, image: ImageId, access: &Access, style: Style) -> Result<(), Failure> {
    let Some(found) = store.image(image)? else { return Ok(()) };
    if store.absent_layers(found.layers())?.is_empty() {
        return Ok(());
    }
    let view = TransferView::new(style);
    access.registry()?.bring(store, found.layers(), &|event| view.show(event))?;
    Ok(store.remeasure(image)?)
}

/// The image that a word means; of one for several platforms that for the one asked for.
fn chosen(store: &Store, name: &str, platform: Option<&Platform>) -> Result<ImageId, RefError> {
    let target = store.resolve_target(name)?;
    let fitting = platform.map(|platform| store.image_for(&target, platform)).transpose()?.flatten();
    Ok(fitting.unwrap_or(target.image))
}

/// Whether an image of the store is for the platform asked for; any is, if none was.
fn suits(store: &Store, image: ImageId, wanted: Option<&Platform>) -> Result<bool, Failure> {
    let Some(wanted) = wanted else { return Ok(true) };
    Ok(store.image_record(image)?.is_none_or(|record| wanted.distance_to(&record.platform).is_some()))
}

/// Says what a pull came to, as Docker does.
pub(crate) fn announce(pulled: &Pulled, name: &Reference) {
    note(format!("Digest: {}", pulled.pinned.digest));
    note(match pulled.news {
        News::Newer => format!("Status: Downloaded newer image for {}", name.familiar()),
        News::UpToDate => format!("Status: Image is up to date for {}", name.familiar()),
    });
}

/// A name that stands for one image, not for one of several, brings whatever that is made for.
pub(crate) fn warn_of_platform(store: &Store, image: ImageId, wanted: &Platform) -> Result<(), Failure> {
    let Some(image) = store.image(image)? else { return Ok(()) };
    let actual = image.config.platform();
    if wanted.distance_to(&actual).is_none() {
        note(format!("warning: the image is made for {actual}, not for {wanted}"));
    }
    Ok(())
}
