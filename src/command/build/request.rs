//! The flags of `kiln build` as a request to the builder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use builder::build::{
    BuildRequest, CacheUse, ContextDirectory, DockerfileText, NamedContext, SecretSource, Timestamps,
};
use builder::graph::{Limits, Network};
use store::StoreError;

use super::Args;
use crate::format::units::parse_size;
use crate::report::{Failure, UsageError};

/// `--timestamps`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum TimestampsArg {
    /// The build's clock: SOURCE_DATE_EPOCH, else 1980-01-01
    Clamp,
    /// Times are kept, clocks are read
    Preserve,
}

/// What a RUN step may use up.
#[derive(Debug, clap::Args)]
pub(super) struct LimitArgs {
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shm_size: Option<u64>,
}

/// Variables of kiln's own environment that are build arguments without being given.
const PASSED_ON: [&str; 11] = [
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
    "SOURCE_DATE_EPOCH",
];

impl Args {
    /// What the flags ask for.
    pub(super) fn request(&self) -> Result<BuildRequest, Failure> {
        if self.push && self.tags.is_empty() {
            return Err(UsageError::wrong("--push needs a name: -t"));
        }
        let (dockerfile, ignore_file) = self.dockerfile()?;
        let mut request = BuildRequest::new(dockerfile);
        if !is_stdin(&self.context) {
            check_directory(&self.context)?;
            request.context = Some(ContextDirectory { path: self.context.clone(), ignore_file });
        }
        request.contexts = self.build_contexts.iter().map(|text| named_context(text)).collect::<Result<_, _>>()?;
        request.target = self.target.clone();
        request.build_args = self.arguments();
        request.labels = self.labels.iter().map(|text| pair(text)).collect();
        request.platform = self.platform.clone();
        request.secrets = self.secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?;
        request.network = match self.network.as_str() {
            "default" => Network::default(),
            "none" => Network::None,
            "host" => Network::Host,
            other => return Err(UsageError::Unsupported(format!("--network {other}")).into()),
        };
        request.hosts = self.add_hosts.clone();
        request.limits = Limits { shm_bytes: self.limits.shm_size, ..Limits::default() };
        request.timestamps = match self.timestamps {
            TimestampsArg::Clamp => Timestamps::Clamp,
            TimestampsArg::Preserve => Timestamps::Preserve,
        };
        request.cache = match (self.no_cache, &self.no_cache_filter[..]) {
            (true, _) => CacheUse::None,
            (false, []) => CacheUse::All,
            (false, stages) => CacheUse::NotStages(stages.to_vec()),
        };
        if let Some(jobs) = self.jobs {
            request.jobs = jobs;
        }
        Ok(request)
    }

    /// `--build-arg`, over what the environment passes on by itself.
    fn arguments(&self) -> BTreeMap<String, String> {
        let from_environment = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
        let mut arguments: BTreeMap<String, String> = PASSED_ON.into_iter().filter_map(from_environment).collect();
        arguments.extend(self.build_args.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => from_environment(text),
        }));
        arguments
    }

    /// The Dockerfile, and the ignore file that stands beside it under its name.
    fn dockerfile(&self) -> Result<(DockerfileText, Option<DockerfileText>), Failure> {
        let path = match &self.file {
            Some(file) if is_stdin(file) => return Ok((from_stdin()?, None)),
            None if is_stdin(&self.context) => return Ok((from_stdin()?, None)),
            Some(file) if file.exists() || file.is_absolute() => file.clone(),
            Some(file) => {
                Some(self.context.join(file)).filter(|inside| inside.exists()).unwrap_or_else(|| file.clone())
            }
            None => {
                check_directory(&self.context)?;
                let names = ["Dockerfile", "Containerfile", "dockerfile"];
                let found = names.iter().map(|name| self.context.join(name)).find(|path| path.exists());
                found.unwrap_or_else(|| self.context.join("Dockerfile"))
            }
        };
        let dockerfile = read(&path)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".dockerignore");
        let beside = PathBuf::from(beside);
        let ignore_file = if beside.exists() { Some(read(&beside)?) } else { None };
        Ok((dockerfile, ignore_file))
    }
}

fn read(path: &Path) -> Result<DockerfileText, Failure> {
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    Ok(DockerfileText { name: path.display().to_string(), bytes })
}

fn from_stdin() -> Result<DockerfileText, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    if bytes.starts_with(&[0x1f, 0x8b]) || bytes.get(257..262) == Some(b"ustar") {
        return Err(UsageError::Unsupported("a context as an archive on standard input".into()).into());
    }
    Ok(DockerfileText { name: "<stdin>".into(), bytes })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn check_directory(path: &Path) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    if ["http://", "https://", "git@", "git://", "ssh://", "github.com/"].iter().any(|start| text.starts_with(start)) {
        return Err(UsageError::Unsupported(format!("a remote context ({text})")).into());
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(UsageError::wrong(format!("the build context {text} is not a directory"))),
        Err(error) => Err(StoreError::io("read the build context", path)(error).into()),
    }
}

fn named_context(text: &str) -> Result<(String, NamedContext), Failure> {
    let (name, place) =
        text.split_once('=').filter(|(name, place)| !name.is_empty() && !place.is_empty()).ok_or_else(|| {
            UsageError::wrong(format!(
                "invalid build context {text:?}: NAME=DIRECTORY or NAME=docker-image://REFERENCE"
            ))
        })?;
    let context = match place.split_once("://") {
        Some(("docker-image", "scratch")) => NamedContext::Scratch,
        Some(("docker-image", reference)) => NamedContext::Image(reference.parse()?),
        Some(_) => return Err(UsageError::Unsupported(format!("--build-context {text}")).into()),
        None => {
            check_directory(Path::new(place))?;
            NamedContext::Directory(ContextDirectory { path: place.into(), ignore_file: None })
        }
    };
    Ok((name.to_lowercase(), context))
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

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}
