//! Work is ended at every look that it takes, and leaves nothing half made.

use std::path::Path;

use super::*;
use crate::archive::{ArchiveError, ArchiveFormat, Import, LayerForm, LoadOptions, Save, SavedImage, Source};
use crate::compress::Encoding;
use crate::export::{Export, Others};
use crate::layer::ImportError;
use crate::tree::{ChangeBuilder, Leaf, Metadata, Timestamp, Tree};
use crate::{Area, Change, Contents, ImageId, Layer, ObjectId, Platform, RelPath, Store, StoreError};

#[test]
fn a_branch_is_set_with_its_parents_and_alone() {
    let (root, other) = (Cancel::default(), Cancel::default());
    let leaf = root.branch().branch();
    assert!(!leaf.is_cancelled());
    root.cancel();
    assert!(leaf.is_cancelled() && root.clone().is_cancelled());
    let branch = other.branch();
    branch.cancel();
    assert!(branch.is_cancelled() && !other.is_cancelled());
}

#[test]
fn the_cause_is_found_behind_every_kind_of_error() {
    let io = || io::Error::from(Cancelled);
    let cut: Vec<Box<dyn Error>> = vec![
        Box::new(Cancelled),
        Box::new(io()),
        Box::new(StoreError::io("write", "x")(io())),
        Box::new(ImportError::Store(StoreError::io("write", "x")(io()))),
        Box::new(ImportError::Store(Cancelled.into())),
        Box::new(ImportError::Tar(crate::tar::ReadTarError::Read(io()))),
    ];
    for error in cut {
        assert!(Cancelled::is_cause_of(error.as_ref()), "{error:?}");
    }
    let other = StoreError::io("write", "x")(io::Error::other("cancelled"));
    assert!(!Cancelled::is_cause_of(&other));
}

#[test]
fn a_reader_fails_and_is_not_asked_again() {
    let cancel = Cancel::after_looks(2);
    let mut read = Vec::new();
    let mut bytes = cancel.reader(io::Cursor::new([7; 30]).chain(io::repeat(7)));
    let mut chunk = [0; 10];
    let error = loop {
        match bytes.read(&mut chunk) {
            Ok(count) => read.extend_from_slice(&chunk[..count]),
            Err(error) => break error,
        }
    };
    assert!(Cancelled::is_cause_of(&error));
    assert_eq!(read.len(), 20);
}

/// Some small files in directories, and two large ones of two sizes.
fn change() -> (Change, Contents) {
    let mut change = ChangeBuilder::new();
    let mut bytes: Vec<Vec<u8>> = (0..120).map(|number| vec![number; 900 + usize::from(number)]).collect();
    bytes.extend([vec![b'a'; 3 << 20], vec![b'b'; 40_000]]);
    for (number, content) in bytes.iter().enumerate() {
        let path = RelPath::new(format!("dir{}/{number}", number % 7).as_bytes()).unwrap();
        let leaf = Leaf::File { content: ObjectId::of(content), size_bytes: content.len() as u64 };
        change.put_leaf(&path, Metadata::root_owned(0o644, Timestamp::from_secs(1)), leaf);
    }
    (change.build(), Contents::of_bytes(bytes))
}

fn layer(store: &Store) -> Layer {
    let (change, contents) = change();
    store.write_layer(&change, &contents).unwrap()
}

fn tar() -> Vec<u8> {
    let (_base, store) = store();
    let mut tar = Vec::new();
    layer(&store).read().unwrap().read_to_end(&mut tar).unwrap();
    tar
}

fn image(store: &Store) -> ImageId {
    let import = Import {
        config: Default::default(),
        platform: Platform::host(),
        created: "1980-01-01T00:00:00Z".to_owned(),
        comment: String::new(),
    };
    store.import(&*tar(), &import).unwrap()
}

fn archive() -> Vec<u8> {
    let (_base, store) = store();
    let save = saved(image(&store), ArchiveFormat::Docker);
    let mut bytes = Vec::new();
    store.save(&save, &mut bytes).unwrap();
    bytes
}

fn saved(image: ImageId, format: ArchiveFormat) -> Save {
    let layers = LayerForm::Plain;
    Save {
        images: vec![SavedImage { image, document: None, tags: Vec::new(), annotations: Default::default() }],
        format,
        layers,
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let base = tempfile::tempdir().unwrap();
    let store = Store::open(&base.path().join("store")).unwrap();
    (base, store)
}

/// What of the store counts: all files but whole objects, which are what their names say, what locks, and what
/// is found out again.
fn visible(store: &Store) -> Vec<std::path::PathBuf> {
    let counts = |area: &&Area| !matches!(area, Area::Objects | Area::Locks | Area::Leases);
    let mut found = Vec::new();
    for area in Area::ALL.iter().filter(counts) {
        files(&store.dir(*area), &mut found);
    }
    found
}

/// Files of a layout that are not what their names say.
fn half_written(layout: &Path) -> Vec<String> {
    let mut found = Vec::new();
    files(&layout.join("blobs"), &mut found);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let is_half = |path: &std::path::PathBuf| crate::Digest::of(&std::fs::read(path).unwrap()).hex() != name(path);
    found.into_iter().filter(is_half).map(|path| name(&path)).collect()
}

fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        let is_derived = path.ends_with("mechanism") || path.extension().is_some_and(|suffix| suffix == "roots");
        match std::fs::symlink_metadata(&path).unwrap().is_dir() {
            true => files(&path, found),
            false => found.extend((!is_derived).then_some(path)),
        }
    }
}

/// Does something that is ended after so many looks, for more and more of them, until it is through. Each time that
/// it was ended the error says so, and the store shows what it showed before.
fn end_everywhere<T, E: Error + 'static>(store: &Store, work: impl Fn(&Store) -> Result<T, E>) -> T {
    let before = visible(store);
    let mut ended = 0;
    for looks in (0..6).chain((3..).map(|exponent| 1 << exponent)) {
        match work(&store.ending_with(&Cancel::after_looks(looks))) {
            Ok(result) => {
                assert!(ended > 6, "nobody looked more than {ended} times");
                return result;
            }
            Err(error) => {
                assert!(Cancelled::is_cause_of(&error), "{looks}: {error:?}");
                assert_eq!(visible(store), before, "{looks}");
                ended += 1;
            }
        }
    }
    unreachable!("the work looks without end");
}

#[test]
fn taking_in_a_layer_ends() {
    let ((_base, store), tar) = (store(), tar());
    let layer = end_everywhere(&store, |store| store.import_layer(&*tar, None));
    assert!(layer.verify().unwrap());
}

#[test]
fn writing_a_layer_ends() {
    let ((_base, store), (change, contents)) = (store(), change());
    let layer = end_everywhere(&store, |store| store.write_layer(&change, &contents));
    assert!(layer.verify().unwrap());
}

#[test]
fn unpacking_a_layer_ends() {
    let (_base, store) = store();
    let id = layer(&store).diff_id();
    let checkout = end_everywhere(&store, |store| store.checkout(&[id])).unwrap();
    assert_eq!(std::fs::read(checkout.path.join("dir0/0")).unwrap(), vec![0; 900]);
}

#[test]
fn compressing_a_layer_ends() {
    for encoding in [Encoding::Gzip(1), Encoding::Zstd(1)] {
        let (_base, store) = store();
        let id = layer(&store).diff_id();
        end_everywhere(&store, |store| store.compressed(&store.layer(id)?.unwrap(), encoding));
    }
}

#[test]
fn saving_and_loading_end() {
    let ((_base, store), (_other_base, other)) = (store(), store());
    let image = image(&store);
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        end_everywhere(&store, |store| store.save(&saved(image, format), io::sink()));
    }
    let layout = store.path().with_file_name("layout");
    let save = |store: &Store| store.save_directory(&saved(image, ArchiveFormat::Oci), &layout);
    end_everywhere(&store, |store| save(store).inspect_err(|_| assert_eq!(half_written(&layout), [""; 0])));
    let archive = archive();
    let loaded = end_everywhere(&other, |store| -> Result<_, ArchiveError> {
        store.load(&Source::read(store, &*archive)?, &LoadOptions::default())
    });
    assert_eq!(loaded[0].image, image);
}

#[test]
fn exporting_ends() {
    let (change, contents) = change();
    let tree = change.apply(&Tree::empty(Timestamp::default())).unwrap();
    let (base, store) = store();
    let export = |store: &Store| {
        let export = Export { tree: &tree, contents: &contents, time: None, cancel: store.cancel() };
        export.to_tar(io::sink())?;
        export.to_directory(&base.path().join("out"), Others::Remove)
    };
    assert_eq!(end_everywhere(&store, export), []);
}
