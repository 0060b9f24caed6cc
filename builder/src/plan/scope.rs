//! Variables: which are in scope, what they are, and what a word becomes with them.

use std::collections::BTreeMap;

use store::Platform;
use store::tree::Timestamp;

use super::{PlanError, error_at};
use crate::diagnostic::Span;
use crate::dockerfile::{Dockerfile, Escape, Word};
use crate::expand::{Expanded, Lookup, expand};
use crate::graph::Clock;
use crate::request::{BuildRequest, Timestamps};

/// The build's clock when nobody sets one: 1980-01-01, since ZIP archives hold no earlier time.
pub const DEFAULT_EPOCH: Timestamp = Timestamp::from_secs(315_532_800);

/// Arguments that exist without being declared, and are in no key (docs/dockerfile.md, A077).
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Variables in the order in which they were last set, as a command sees them.
///
/// Setting one takes logarithmic time, so that a file of nothing but ARG does no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, (u64, String)>,
    order: BTreeMap<u64, String>,
    last: u64,
}

impl Variables {
    /// Sets a variable; it stands last from now on, as in the field.
    pub fn set(&mut self, name: &str, value: &str) {
        self.last += 1;
        if let Some((before, _)) = self.values.insert(name.to_owned(), (self.last, value.to_owned())) {
            self.order.remove(&before);
        }
        self.order.insert(self.last, name.to_owned());
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    /// All of them, with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order.values().map(|name| (name.as_str(), self.values[name].1.as_str()))
    }
}

impl Lookup for Variables {
    fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }
}

/// The ARGs of a stage in the order in which they were first declared. Declaring one takes logarithmic time.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    declared: Vec<(String, Option<String>)>,
    places: BTreeMap<String, usize>,
}

impl Arguments {
    /// Declares one, with the value that it has now; one that stands already keeps its place.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        match self.places.get(name) {
            Some(place) => self.declared[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.declared.len());
                self.declared.push((name.to_owned(), value));
            }
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.declared.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// What a word becomes.
pub(super) fn expanded(word: &Word, variables: &dyn Lookup, escape: Escape) -> Result<Expanded, PlanError> {
    expand(&word.text, variables, escape).map_err(|error| error_at(word.span, error.to_string()))
}

/// The variables of FROM lines: what is predefined, and the ARGs before the first FROM.
pub(super) fn globals(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Variables, PlanError> {
    let last = dockerfile.stages.last().and_then(|stage| stage.name.as_deref());
    let mut globals = predefined(request, last.unwrap_or("default"));
    let escape = dockerfile.directives.escape;
    for statement in &dockerfile.global_args {
        for variable in &statement.value.variables {
            let name = &variable.key.text;
            let value = match (request.build_args.get(name), &variable.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(expanded(default, &globals, escape)?.text),
                (None, None) => None,
            };
            if let Some(value) = value {
                globals.set(name, &value);
            }
        }
    }
    Ok(globals)
}

/// The platform and stage arguments (docs/dockerfile.md, A078); a build argument of the same name wins.
fn predefined(request: &BuildRequest, last_stage: &str) -> Variables {
    let host = Platform::host();
    let target = request.platform.clone().unwrap_or_else(Platform::host);
    let mut variables = Variables::default();
    for (prefix, platform) in [("BUILD", &host), ("TARGET", &target)] {
        let Platform { os, architecture, variant, os_version, .. } = platform;
        variables.set(&format!("{prefix}PLATFORM"), &platform.to_string());
        for (name, value) in [("OS", os), ("OSVERSION", os_version), ("ARCH", architecture), ("VARIANT", variant)] {
            variables.set(&format!("{prefix}{name}"), value);
        }
    }
    variables.set("TARGETSTAGE", request.target.as_deref().unwrap_or(last_stage));
    let names: Vec<String> = variables.pairs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        if let Some(given) = request.build_args.get(&name) {
            variables.set(&name, given);
        }
    }
    variables
}

/// Proxy variables for every RUN, both in upper and in lower case.
pub(super) fn proxies(request: &BuildRequest) -> Vec<(String, String)> {
    let given: BTreeMap<String, &String> =
        request.build_args.iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect();
    let both = |name: &&str| {
        let value = (*given.get(*name)?).clone();
        Some([((*name).to_owned(), value.clone()), (name.to_ascii_lowercase(), value)])
    };
    PROXIES.iter().filter_map(both).flatten().collect()
}

/// Whether an argument needs no ARG to be of use.
pub(super) fn is_predefined(name: &str) -> bool {
    let is_platform = ["BUILD", "TARGET"].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| matches!(rest, "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT" | "STAGE"))
    });
    is_platform
        || name.starts_with("BUILDKIT_")
        || name == "SOURCE_DATE_EPOCH"
        || PROXIES.contains(&name.to_ascii_uppercase().as_str())
}

/// Whether an argument asks BuildKit for something that kiln does not do (docs/dockerfile.md, A079).
pub(super) fn is_ineffective(name: &str, value: &str) -> bool {
    match name {
        "BUILDKIT_SYNTAX" => !value.contains("docker/dockerfile"),
        "BUILDKIT_SANDBOX_HOSTNAME" | "BUILDKIT_CACHE_MOUNT_NS" | "BUILDKIT_DOCKERFILE_CHECK" => false,
        name => name.starts_with("BUILDKIT_") && !matches!(value, "" | "0" | "false"),
    }
}

/// What the build takes for the time: `SOURCE_DATE_EPOCH`, or the constant (docs/cache.md).
pub(super) fn clock(request: &BuildRequest, epoch: Option<Timestamp>, now: Timestamp) -> Clock {
    match request.timestamps {
        Timestamps::Clamp => Clock::Epoch(epoch.unwrap_or(DEFAULT_EPOCH)),
        Timestamps::Exact => Clock::Exact(epoch.unwrap_or(DEFAULT_EPOCH)),
        Timestamps::Preserve => Clock::Preserve { epoch, now },
    }
}

/// A platform given in the Dockerfile.
pub(super) fn platform(text: &str, span: Span) -> Result<Platform, PlanError> {
    text.parse().map_err(|error: store::platform::ParsePlatformError| error_at(span, error.to_string()))
}
