//! What a request changes in an image's config beside the Dockerfile.
//!
//! Variables are there from the first instruction on, so commands see them and ENV wins over them.
//! What is taken away is taken from the finished image alone. Nothing of this is in the history.

use std::collections::BTreeMap;

use store::oci::{ContainerConfig, ImageConfig};

/// Changes of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// `--unsetlabel`; wins over everything that sets it.
    pub unset_labels: Vec<String>,
    /// `--inherit-labels`
    pub labels_of_base: Inheritance,
    /// `--env`, in order.
    pub env: Vec<(String, String)>,
    /// `--unsetenv`
    pub unset_env: Vec<String>,
    /// `--omit-history`
    pub history: HistoryUse,
}

/// Whether a stage takes over what its base has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inheritance {
    /// It does.
    #[default]
    Kept,
    /// It does not.
    Dropped,
}

/// Whether an image says how it came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HistoryUse {
    /// It does.
    #[default]
    Written,
    /// It does not, nor does it say so of its base.
    Omitted,
}

impl Edits {
    /// Changes what a stage begins with.
    pub(crate) fn begin(&self, config: &mut ContainerConfig) {
        if self.labels_of_base == Inheritance::Dropped {
            config.labels.clear();
        }
    }

    /// Changes the finished image.
    pub(crate) fn finish(&self, config: &mut ContainerConfig) {
        config.labels.extend(self.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        config.labels.retain(|name, _| !self.unset_labels.contains(name));
        let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
        config.env.retain(|pair| !self.unset_env.contains(&name(pair)));
    }

    /// Takes away what the finished image is not to say of itself.
    pub(crate) fn history(&self, config: &mut ImageConfig) {
        match self.history {
            HistoryUse::Written => {}
            HistoryUse::Omitted => config.history.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule C059.
    #[test]
    fn what_is_unset_is_gone() {
        let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let env = vec!["A=1".to_owned(), "AB=1".to_owned()];
        let labels = pairs(&[("a", "1"), ("b", "1")]);
        let mut config = ContainerConfig { env, labels, ..ContainerConfig::default() };
        let edits = Edits {
            labels: pairs(&[("b", "2"), ("c", "2"), ("d", "2")]),
            unset_labels: vec!["a".to_owned(), "c".to_owned(), "e".to_owned()],
            unset_env: vec!["A".to_owned()],
            ..Edits::default()
        };
        edits.finish(&mut config);
        assert_eq!((config.labels, config.env), (pairs(&[("b", "2"), ("d", "2")]), vec!["AB=1".to_owned()]));
    }
}
