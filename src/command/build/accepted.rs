//! Flags of other builders that ask for what kiln does anyway.

use crate::report::{Failure, UsageError};

/// Flags of docker's and buildah's that are taken with the value that kiln has anyway, and refused with any other.
#[derive(Debug, clap::Args)]
pub(super) struct AcceptedArgs {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    provenance: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    layers: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    identity_label: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    inherit_annotations: Option<String>,
    #[arg(long, hide = true)]
    unsetannotation: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compress: Option<bool>,
}

impl AcceptedArgs {
    /// Whether each asks for nothing: kiln makes no attestations, keeps no containers of steps, keeps layers, checks no
    /// signatures, puts no label of its own into images, and takes over no annotations of bases, so that there is none
    /// to unset. It sends no context that could be compressed.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let flags = [
            ("provenance", &self.provenance, "false"),
            ("sbom", &self.sbom, "false"),
            ("rm", &self.rm, "true"),
            ("force-rm", &self.force_rm, "true"),
            ("layers", &self.layers, "true"),
            ("disable-content-trust", &self.disable_content_trust, "true"),
            ("identity-label", &self.identity_label, "false"),
            ("inherit-annotations", &self.inherit_annotations, "false"),
        ];
        for (name, given, done) in flags {
            if let Some(given) = given.as_ref().filter(|given| *given != done) {
                return Err(UsageError::Unsupported(format!("--{name}={given}")).into());
            }
        }
        match self.attest.iter().find(|text| !text.split(',').any(|field| field == "disabled=true")) {
            Some(text) => Err(UsageError::Unsupported(format!("--attest {text}")).into()),
            None => Ok(()),
        }
    }
}
