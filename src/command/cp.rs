//! `kiln cp`: where files go, by Docker's table; how they get there is `run::container::files`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use run::container::Container;
use run::container::files::{Door, FilesError, Found, Kind, Links, Owner, Side};
use store::{RelPath, Store, StoreError};

use crate::context::Context;
use crate::report::{Failure, UsageError};

/// Copy files between a container and this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CONTAINER:PATH, a path, or `-` for a tar archive on standard input
    source: String,
    /// CONTAINER:PATH, a path, or `-` for a tar archive on standard output
    destination: String,
    /// Keep who the files belong to
    #[arg(short, long)]
    archive: bool,
    /// Copy what the source leads to if it is a symlink
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing but errors, which is what it does anyway
    #[arg(short, long)]
    quiet: bool,
}

/// One end of a copy as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Stream,
    Host(String),
    Container(String, String),
}

impl End {
    fn parse(text: &str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
                Self::Container(container.to_owned(), path.to_owned())
            }
            _ => Self::Host(text.to_owned()),
        }
    }
}

/// A path on one side, and how it was written.
struct Place<'a> {
    side: &'a Side,
    path: PathBuf,
    /// It ended in a slash: it has to be a directory.
    is_directory: bool,
    /// It ended in `/.`: what is in it is meant.
    contents: bool,
}

/// Copies.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let ends = (End::parse(&args.source), End::parse(&args.destination));
    let name = match &ends {
        (End::Container(..), End::Container(..)) => {
            return Err(UsageError::wrong("copying between containers is not supported"));
        }
        (End::Container(name, _), _) | (_, End::Container(name, _)) => name.clone(),
        _ => return Err(UsageError::wrong("must specify at least one container source or destination")),
    };
    // Before this process moves into a user namespace.
    let door = Door::open()?;
    let store = context.store()?;
    let inside = inside(door, &store, &name)?;
    let host = Side::host()?;
    let owner = if args.archive { Owner::Archive } else { Owner::Writer };
    let links = if args.follow_link { Links::Followed } else { Links::Kept };
    match ends {
        (End::Stream, End::Container(_, path)) => {
            let to = Place::new(&inside, &path)?;
            let directory = to.existing_directory()?;
            inside.unpack(&directory, copy_of(&io::stdin())?, Owner::Archive)?;
        }
        (End::Container(_, path), End::Stream) => {
            let from = Place::new(&inside, &path)?;
            let found = from.source(links)?;
            let name = if from.contents { RelPath::root() } else { base_name(&found.path) };
            inside.pack(&found.path, &name, copy_of(&io::stdout())?)?;
        }
        (End::Container(_, from), End::Host(to)) => copy((&inside, &from), (&host, &to), links, owner)?,
        (End::Host(from), End::Container(_, to)) => copy((&host, &from), (&inside, &to), links, owner)?,
        _ => unreachable!("one end is a container"),
    }
    Ok(ExitCode::SUCCESS)
}

fn inside(door: Door, store: &Store, name: &str) -> Result<Side, Failure> {
    Ok(Side::Container(Box::new(door.enter(&Container::find(store, name)?)?)))
}

fn copy(from: (&Side, &str), to: (&Side, &str), links: Links, owner: Owner) -> Result<(), Failure> {
    let from = Place::new(from.0, from.1)?;
    let source = from.source(links)?;
    let to = Place::new(to.0, to.1)?;
    let (directory, name) = target(&from, &source, &to)?;
    let (reader, writer) = io::pipe().map_err(StoreError::io("make a pipe for", &source.path))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| from.side.pack(&source.path, &name, writer.into()));
        let unpacked = to.side.unpack(&directory, reader.into(), owner);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        first_cause(packed, unpacked)
    })?;
    Ok(())
}

/// One side fails because the other did: a reader that is gone breaks the pipe, a writer that is gone
/// cuts the archive short.
fn first_cause(packed: Result<(), FilesError>, unpacked: Result<(), FilesError>) -> Result<(), FilesError> {
    match (packed, unpacked) {
        (Err(_), Err(unpacked @ FilesError::System { .. })) => Err(unpacked),
        (Err(packed), _) => Err(packed),
        (Ok(()), unpacked) => unpacked,
    }
}

/// Where the files go: into which directory, and under which name; an empty name stands for what is
/// in the source (Docker reference, `docker container cp`).
fn target(from: &Place<'_>, source: &Found, to: &Place<'_>) -> Result<(PathBuf, RelPath), Failure> {
    let found = to.side.examine(&to.path, Links::Followed)?;
    let is_directory = source.kind == Some(Kind::Directory);
    match found.kind {
        Some(Kind::Directory) if is_directory && from.contents => Ok((found.path, RelPath::root())),
        Some(Kind::Directory) => Ok((found.path, base_name(&source.path))),
        Some(_) if to.is_directory => Err(UsageError::wrong(format!("{} is not a directory", to.path.display()))),
        Some(_) if is_directory => {
            Err(UsageError::wrong(format!("cannot copy a directory to the file {}", to.path.display())))
        }
        None if to.is_directory && !is_directory => {
            Err(UsageError::wrong(format!("no such directory: {}", to.path.display())))
        }
        _ => {
            let parent = found.path.parent().unwrap_or(Path::new("/")).to_owned();
            let parent = to.side.examine(&parent, Links::Followed)?;
            match parent.kind {
                Some(Kind::Directory) => Ok((parent.path, base_name(&found.path))),
                _ => Err(UsageError::wrong(format!("no such directory: {}", parent.path.display()))),
            }
        }
    }
}

impl<'a> Place<'a> {
    fn new(side: &'a Side, text: &str) -> Result<Self, Failure> {
        let path = match side {
            Side::Host(_) => std::path::absolute(text).map_err(StoreError::io("find", text))?,
            Side::Container(_) => Path::new("/").join(text),
        };
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        Ok(Self {
            side,
            // Without the slash at the end, which would follow a link.
            path: path.components().collect(),
            is_directory: text.ends_with('/') || last == ".",
            contents: last == "." || path.file_name().is_none(),
        })
    }

    fn source(&self, links: Links) -> Result<Found, Failure> {
        let links = if self.is_directory || self.contents { Links::Followed } else { links };
        let found = self.side.examine(&self.path, links)?;
        match found.kind {
            None => Err(UsageError::wrong(format!("no such file or directory: {}", self.path.display()))),
            Some(kind) if self.is_directory && kind != Kind::Directory => {
                Err(UsageError::wrong(format!("{} is not a directory", self.path.display())))
            }
            // The name that was typed, not that of what it leads to.
            Some(_) => Ok(found),
        }
    }

    fn existing_directory(&self) -> Result<PathBuf, Failure> {
        let found = self.side.examine(&self.path, Links::Followed)?;
        match found.kind {
            Some(Kind::Directory) => Ok(found.path),
            Some(_) => Err(UsageError::wrong(format!("{} is not a directory", self.path.display()))),
            None => Err(UsageError::wrong(format!("no such directory: {}", self.path.display()))),
        }
    }
}

fn base_name(path: &Path) -> RelPath {
    let name = path.file_name().unwrap_or_default();
    RelPath::clean(name.as_encoded_bytes()).unwrap_or_default()
}

fn copy_of(stream: &impl AsFd) -> Result<OwnedFd, Failure> {
    Ok(stream.as_fd().try_clone_to_owned().map_err(StoreError::io("use", "standard input or output"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_docker_reads_them() {
        for (text, expected) in [
            ("-", End::Stream),
            ("c:/a", End::Container("c".into(), "/a".into())),
            ("c:a:b", End::Container("c".into(), "a:b".into())),
            ("./c:a", End::Host("./c:a".into())),
            ("/c:a", End::Host("/c:a".into())),
            ("a", End::Host("a".into())),
        ] {
            assert_eq!(End::parse(text), expected, "{text}");
        }
    }
}
