//! The flags of `kiln build` as a request to the builder.

use std::collections::BTreeMap;
use std::path::Path;

use builder::ImageSource;
use builder::graph::Lookup;
use builder::remote::Fetcher;
use builder::request::{BuildRequest, CacheUse, NamedContext, SecretSource, StageChoice};
use builder::squash::Squash;
use registry::Family;
use store::{Platform, Reference, Store, StoreError};

use super::times::CLOCK;
use super::{Args, place};
use crate::report::{Failure, UsageError};
use crate::sources::Refresh;

/// `--pull`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PullArg {
    /// Ask, and fail if they cannot be asked.
    #[value(alias = "true")]
    Always,
    /// Ask, and take what the store has if they cannot be asked.
    Newer,
    /// Only for what the store lacks.
    #[value(alias = "false")]
    Missing,
    /// What the store lacks is an error.
    Never,
}

impl From<PullArg> for Refresh {
    fn from(pull: PullArg) -> Self {
        match pull {
            PullArg::Always => Self::Always,
            PullArg::Newer => Self::Newer,
            PullArg::Missing => Self::Missing,
            PullArg::Never => Self::Never,
        }
    }
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FormatArg {
    /// OCI's.
    Oci,
    /// Docker's.
    Docker,
}

impl From<FormatArg> for Family {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Oci => Self::Oci,
            FormatArg::Docker => Self::Docker,
        }
    }
}

/// Variables of kiln's own environment that are build arguments without being given.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

impl Args {
    /// What the flags ask for.
    pub(super) fn request(&self, store: &Store, sources: &dyn ImageSource) -> Result<BuildRequest, Failure> {
        self.accepted.check()?;
        self.times.check(&self.build_args)?;
        let build_args = self.arguments()?;
        let secrets = self.secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?;
        let fetcher = Fetcher {
            store,
            sources,
            secrets: &secrets,
            clock: self.times.clock(&build_args),
            lookup: if self.no_cache { Lookup::Fresh } else { Lookup::Cached },
            cancel: store.cancel(),
            report: &place::untold,
        };
        let found = place::find(&self.context, self.file.as_deref(), self.ignorefile.as_deref(), &fetcher)?;
        let mut request = BuildRequest::new(found.dockerfile);
        request.context = found.context;
        request.context_time = found.time;
        request.cancel = store.cancel().clone();
        request.target = self.target.clone();
        request.build_args = build_args;
        request.edits = self.edits.edits()?;
        request.first_base = self.from.as_deref().map(base).transpose()?;
        request.squash = match (self.squash, self.squash_all) {
            (_, true) => Squash::All,
            (true, false) => Squash::New,
            (false, false) => Squash::None,
        };
        if !self.skip_unused_stages {
            request.stages = StageChoice::All;
        }
        request.secrets = secrets;
        self.steps.fill(&mut request)?;
        request.timestamps = self.times.timestamps();
        request.cache = match (self.no_cache, &self.no_cache_filter[..]) {
            (true, _) => CacheUse::None,
            (false, []) => CacheUse::All,
            (false, stages) => CacheUse::NotStages(stages.to_vec()),
        };
        request.cache_ttl = self.cache_ttl;
        if let Some(jobs) = self.jobs {
            request.jobs = jobs;
        }
        Ok(request)
    }

    /// The named contexts; of what holds several platforms' files, those for one.
    pub(super) fn contexts(
        &self,
        store: &Store,
        platform: Option<&Platform>,
    ) -> Result<BTreeMap<String, NamedContext>, Failure> {
        self.build_contexts.iter().map(|text| place::named(text, store, platform)).collect()
    }

    /// `--build-arg`, over `--build-arg-file`, over the proxies of `config.json`, over what the environment passes on by itself.
    fn arguments(&self) -> Result<BTreeMap<String, String>, Failure> {
        let from_environment = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
        let mut arguments: BTreeMap<String, String> = from_environment(CLOCK).into_iter().collect();
        if self.http_proxy {
            arguments.extend(PROXIES.into_iter().filter_map(from_environment));
            for (name, value) in crate::proxies::of_configuration() {
                arguments.remove(&name.to_ascii_lowercase());
                arguments.insert(name, value);
            }
        }
        arguments.extend(self.times.argument());
        for file in &self.build_arg_files {
            arguments.extend(of_file(file)?);
        }
        arguments.extend(self.build_args.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => from_environment(text),
        }));
        Ok(arguments)
    }
}

/// `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`; without a source a variable of that name, else a file.
fn secret(text: &str) -> Result<(String, SecretSource), Failure> {
    let mut fields = BTreeMap::new();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| UsageError::wrong(format!("invalid secret {text:?}: {field:?} has no value")))?;
        match key.to_lowercase().as_str() {
            known @ ("id" | "type" | "env") => drop(fields.insert(known.to_owned(), value.to_owned())),
            "src" | "source" => drop(fields.insert("src".to_owned(), value.to_owned())),
            _ => return Err(UsageError::wrong(format!("invalid secret {text:?}: unknown field {key:?}"))),
        }
    }
    let id = fields.remove("id").ok_or_else(|| UsageError::wrong(format!("invalid secret {text:?}: no id")))?;
    let source = match (fields.remove("type").as_deref(), fields.remove("src"), fields.remove("env")) {
        (Some("env"), source, variable) => SecretSource::Environment(variable.or(source).unwrap_or_else(|| id.clone())),
        (None | Some("file"), Some(file), _) => SecretSource::File(file.into()),
        (None, None, Some(variable)) => SecretSource::Environment(variable),
        (None, None, None) if std::env::var_os(&id).is_some() => SecretSource::Environment(id.clone()),
        (None | Some("file"), None, _) => SecretSource::File(id.clone().into()),
        (Some(other), _, _) => {
            return Err(UsageError::wrong(format!("invalid secret {text:?}: unknown type {other:?}")));
        }
    };
    Ok((id, source))
}

/// What a stage can start from: an image, or nothing.
fn base(text: &str) -> Result<String, Failure> {
    if text != "scratch" {
        text.parse::<Reference>()?;
    }
    Ok(text.to_owned())
}

/// `--build-arg-file`: empty lines and comments aside, a line is an argument.
fn of_file(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = std::fs::read_to_string(path).map_err(StoreError::io("read the build arguments", path))?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let argument = |(number, line): (usize, &str)| match line.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(UsageError::wrong(format!("{}:{number}: {line:?} is no NAME=VALUE", path.display()))),
    };
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(argument).collect()
}
