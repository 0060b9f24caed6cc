//! The flags of `kiln run` about what is mounted.

use run::container::VolumesFrom;
use run::container::mount::MountRequest;

use crate::format::units::parse_size;
use crate::report::{Failure, UsageError};

#[derive(Debug, clap::Args)]
pub(super) struct MountArgs {
    /// Mount a directory or file of the host, or a volume
    #[arg(short, long = "volume", value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    volumes: Vec<String>,
    /// Mount a bind, volume or tmpfs: `type=bind,source=…,target=…`
    #[arg(long = "mount", value_name = "SPEC")]
    mounts: Vec<String>,
    /// Mount the volumes and binds of another container, too
    #[arg(long = "volumes-from", value_name = "CONTAINER[:ro|rw]")]
    pub(super) volumes_from: Vec<VolumesFrom>,
    /// Mount memory
    #[arg(long = "tmpfs", value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) shm_size: Option<u64>,
}

impl MountArgs {
    /// What the flags ask for, apart from other containers' mounts.
    pub(super) fn requests(&self) -> Result<Vec<MountRequest>, Failure> {
        let mut requests = Vec::new();
        for text in &self.volumes {
            requests.push(MountRequest::parse_volume(&absolute_volume(text)?)?);
        }
        for text in &self.mounts {
            requests.push(MountRequest::parse_mount(&absolute_mount(text)?)?);
        }
        for text in &self.tmpfs {
            requests.push(MountRequest::parse_tmpfs(text)?);
        }
        Ok(requests)
    }
}

/// `./sub:/target` with the directory that is meant; other texts as they are.
pub(crate) fn absolute_volume(text: &str) -> Result<String, Failure> {
    match text.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => Ok(format!("{}:{rest}", absolute(source)?)),
        _ => Ok(text.to_owned()),
    }
}

/// The same for `type=bind,source=./sub,target=/target`.
fn absolute_mount(text: &str) -> Result<String, Failure> {
    let field = |field: &str| match field.split_once('=') {
        Some((key @ ("source" | "src"), path)) if path == "." || path.starts_with("./") || path.starts_with("../") => {
            Ok(format!("{key}={}", absolute(path)?))
        }
        _ => Ok(field.to_owned()),
    };
    Ok(text.split(',').map(field).collect::<Result<Vec<_>, Failure>>()?.join(","))
}

fn absolute(path: &str) -> Result<String, Failure> {
    let whole = std::path::absolute(path).map_err(store::StoreError::io("find", path))?;
    whole.into_os_string().into_string().map_err(|_| UsageError::wrong(format!("{path:?} is not valid UTF-8")))
}
