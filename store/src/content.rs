//! Where the bytes of a tree's files can be read.
//!
//! A tree says what its files hold ([`ObjectId`]); [`Contents`] says where that is: objects of the
//! store, parts of layer files, files below a directory. What is read is what was asked for only if
//! whoever reads hashes it: a build context may change under us.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::layer::InlineContents;
use crate::{DiffId, ObjectId, RelPath, Store, StoreError};

/// A content cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// None of the places has it.
    #[error("the content {0} is nowhere to be found")]
    Missing(ObjectId),
    /// The store does not have a layer.
    #[error("the layer {0} is not in the store")]
    MissingLayer(DiffId),
    /// The file that held it cannot be read.
    #[error("cannot {doing} {path}")]
    File {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file, below the directory that was scanned.
        path: RelPath,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is there now is not what was there when the tree was made.
    #[error("{0} has changed since it was hashed")]
    Changed(RelPath),
    /// A file of the store does not hold what its name promises.
    #[error("the store's copy of the content {0} is damaged")]
    Damaged(ObjectId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where contents can be read; asked in the order in which the places were added.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    places: Vec<Place>,
}

#[derive(Debug, Clone)]
enum Place {
    Objects(Store),
    Layer(Arc<InlineContents>),
    Files(Arc<Files>),
    Bytes(Arc<HashMap<ObjectId, Arc<[u8]>>>),
}

#[derive(Debug)]
struct Files {
    directory: Arc<OwnedFd>,
    paths: HashMap<ObjectId, RelPath>,
}

impl Contents {
    /// The objects of a store.
    pub fn of_objects(store: &Store) -> Self {
        Self { places: vec![Place::Objects(store.clone())] }
    }

    /// The small contents within a layer's file.
    pub fn of_inline(inline: Arc<InlineContents>) -> Self {
        Self { places: vec![Place::Layer(inline)] }
    }

    /// Files below a directory, by path. A file that is replaced by a symbolic link later is not followed.
    pub fn of_files(directory: Arc<OwnedFd>, files: impl IntoIterator<Item = (ObjectId, RelPath)>) -> Self {
        let paths = files.into_iter().collect();
        Self { places: vec![Place::Files(Arc::new(Files { directory, paths }))] }
    }

    /// Contents that are in memory.
    pub fn of_bytes<B: Into<Arc<[u8]>>>(contents: impl IntoIterator<Item = B>) -> Self {
        let named = contents.into_iter().map(Into::into).map(|bytes| (ObjectId::of(&bytes), bytes));
        Self { places: vec![Place::Bytes(Arc::new(named.collect()))] }
    }

    /// Everything that layers of a store hold, whether within their files or as objects.
    pub fn of_layers(store: &Store, layers: &[DiffId]) -> Result<Self, ContentError> {
        let mut contents = Self::of_objects(store);
        for id in layers {
            let layer = store.layer(*id)?.ok_or(ContentError::MissingLayer(*id))?;
            contents.places.push(Place::Layer(Arc::new(layer.inline()?)));
        }
        Ok(contents)
    }

    /// Adds the places of another.
    pub fn merge(mut self, other: Self) -> Self {
        self.places.extend(other.places);
        self
    }

    /// Opens a content in the first place that has it.
    pub fn open(&self, id: ObjectId) -> Result<Content, ContentError> {
        open_in(self.places.iter(), id)
    }

    /// Reads a small content whole and verifies it. Objects are large: they are asked last.
    pub fn read(&self, id: ObjectId, size_bytes: u64) -> Result<Vec<u8>, ContentError> {
        let (objects, others): (Vec<&Place>, Vec<&Place>) = self.places.iter().partition(|place| place.holds_objects());
        let mut content = open_in(others.into_iter().chain(objects), id)?;
        let mut bytes = Vec::with_capacity(size_bytes as usize + 1);
        let read = (&mut content).take(size_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|error| content.failed(id, error))?;
        if bytes.len() as u64 != size_bytes || ObjectId::of(&bytes) != id {
            return Err(content.changed(id));
        }
        Ok(bytes)
    }
}

fn open_in<'p>(places: impl Iterator<Item = &'p Place>, id: ObjectId) -> Result<Content, ContentError> {
    if id == ObjectId::of(b"") {
        return Ok(Content::memory([].into(), None));
    }
    for place in places {
        if let Some(content) = place.open(id)? {
            return Ok(content);
        }
    }
    Err(ContentError::Missing(id))
}

impl Place {
    fn holds_objects(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    fn open(&self, id: ObjectId) -> Result<Option<Content>, ContentError> {
        match self {
            Self::Objects(store) => Ok(store.object(id)?.map(Content::of_store)),
            Self::Layer(inline) => Ok(inline.read(id)?.map(|bytes| Content::memory(bytes.into(), None))),
            Self::Bytes(contents) => Ok(contents.get(&id).map(|bytes| Content::memory(Arc::clone(bytes), None))),
            Self::Files(files) => files.open(id),
        }
    }
}

impl Files {
    fn open(&self, id: ObjectId) -> Result<Option<Content>, ContentError> {
        let Some(path) = self.paths.get(&id) else { return Ok(None) };
        // Not blocking, should a pipe stand there by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.directory, path.as_os_str(), flags, Mode::empty(), resolve);
        let file =
            file.map_err(|error| ContentError::File { doing: "open", path: path.clone(), source: error.into() })?;
        Ok(Some(Content { bytes: Bytes::File(File::from(file)), from: Some(path.clone()) }))
    }
}

/// An open content.
#[derive(Debug)]
pub struct Content {
    bytes: Bytes,
    from: Option<RelPath>,
}

#[derive(Debug)]
enum Bytes {
    Memory(Cursor<Arc<[u8]>>),
    File(File),
}

impl Content {
    pub(crate) fn of_store(file: File) -> Self {
        Self { bytes: Bytes::File(file), from: None }
    }

    fn memory(bytes: Arc<[u8]>, from: Option<RelPath>) -> Self {
        Self { bytes: Bytes::Memory(Cursor::new(bytes)), from }
    }

    /// The error for bytes that are not what was asked for.
    pub fn changed(&self, id: ObjectId) -> ContentError {
        self.from.clone().map_or(ContentError::Damaged(id), ContentError::Changed)
    }

    /// The error for bytes that could not be read.
    pub fn failed(&self, id: ObjectId, source: io::Error) -> ContentError {
        match &self.from {
            Some(path) => ContentError::File { doing: "read", path: path.clone(), source },
            None => StoreError::io("read the content", id.hex())(source).into(),
        }
    }

    /// The file behind it, if there is one: for a reflink or a copy within the kernel.
    pub fn file(&self) -> Option<&File> {
        match &self.bytes {
            Bytes::File(file) => Some(file),
            Bytes::Memory(_) => None,
        }
    }
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes.read(out),
            Bytes::File(file) => file.read(out),
        }
    }
}
