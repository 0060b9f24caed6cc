//! What the verbs that speak to registries share: how registries are dealt with, and finding an image
//! for a container.

use registry::{Credentials, Options, Registry, TlsVerify};
use store::{ImageId, Platform, Reference, Store};

use super::run::Pull;
use crate::report::Failure;
use crate::ui::Style;
use crate::ui::transfer::TransferView;

/// `--tls-verify`
#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {
    /// Check certificates; `--tls-verify=false` takes any, and plain HTTP
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    tls_verify: bool,
}

impl TlsArgs {
    pub(crate) fn verify(&self) -> TlsVerify {
        if self.tls_verify { TlsVerify::Always } else { TlsVerify::Never }
    }
}

/// All registries, with the user's credentials.
pub(crate) fn registry(tls: TlsVerify) -> std::io::Result<Registry> {
    Registry::new(Options { tls, ..Options::default() }, Credentials::from_environment())
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
        match store.resolve(name) {
            Ok(image) => return Ok(image),
            Err(store::refs::RefError::NotFound(_)) if pull == Pull::Missing => {}
            Err(error) => return Err(error.into()),
        }
        crate::context::note(format!("the store has no image {name}: pulling it"));
    }
    let reference: Reference = name.parse()?;
    let view = TransferView::new(style);
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let pulled = registry(TlsVerify::Always)?.pull(store, &reference, &platform, &|event| view.show(event))?;
    Ok(pulled.image)
}
