//! The flags of `kiln build` that change an image's config beside the Dockerfile.

use builder::edits::{Edits, HistoryUse, Inheritance};

use crate::report::{Failure, UsageError};

/// What of the config is said here.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// Add a label to the image
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Take a label away from the image, whoever sets it
    #[arg(long = "unsetlabel", value_name = "KEY", value_delimiter = ',')]
    unset_labels: Vec<String>,
    /// Whether stages have the labels of their bases
    #[arg(long, value_name = "BOOL", hide_possible_values = true, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    inherit_labels: bool,
    /// Set a variable before the first instruction, as ENV would; without a value it is taken from the environment
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Take a variable away from the image; steps still see it
    #[arg(long = "unsetenv", value_name = "NAME", value_delimiter = ',')]
    unset_env: Vec<String>,
    /// Leave out how the image and its base came to be
    #[arg(long)]
    omit_history: bool,
}

impl EditArgs {
    /// What the flags ask for.
    pub(super) fn edits(&self) -> Result<Edits, Failure> {
        let env: Vec<_> = self.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?;
        Ok(Edits {
            labels: self.labels.iter().map(|text| pair(text)).collect(),
            unset_labels: self.unset_labels.clone(),
            labels_of_base: if self.inherit_labels { Inheritance::Kept } else { Inheritance::Dropped },
            env: env.into_iter().flatten().collect(),
            unset_env: self.unset_env.clone(),
            history: if self.omit_history { HistoryUse::Omitted } else { HistoryUse::Written },
        })
    }
}

/// A variable with its value; one that is set nowhere is none.
fn variable(text: &str) -> Result<Option<(String, String)>, Failure> {
    match text.split_once('=') {
        Some(("", _)) => Err(UsageError::wrong(format!("invalid variable {text:?}: it has no name"))),
        Some((name, value)) => Ok(Some((name.to_owned(), value.to_owned()))),
        None => Ok(std::env::var(text).ok().map(|value| (text.to_owned(), value))),
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}
