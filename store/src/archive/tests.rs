//! Archives of every form, whole and damaged, by our own hand and by the peers.

mod hostile;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::oci::{Descriptor, ImageConfig, Index, Manifest, MediaType};
use crate::{DiffId, Store};

/// The parts of an archive, to be written as a tar or a directory.
type Parts = BTreeMap<String, Vec<u8>>;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

/// A layer with one small and one large file.
fn layer(text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("small", text.to_owned()), ("large", text.repeat(20_000))] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let mut config = ImageConfig::empty(&crate::Platform::new("linux", architecture, ""));
    config.rootfs.diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    config.to_bytes()
}

fn put(parts: &mut Parts, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(media_type, &bytes);
    parts.insert(blob_name(descriptor.digest), bytes);
    descriptor
}

/// Adds an image with gzipped layers to a layout; gives its manifest's descriptor.
fn add_image(parts: &mut Parts, layers: &[Vec<u8>], architecture: &str) -> Descriptor {
    let config = put(parts, MediaType::OciConfig, config(layers, architecture));
    let layers = layers.iter().map(|layer| put(parts, MediaType::OciLayerGzip, gzip(layer))).collect();
    let manifest = Manifest::new(MediaType::OciManifest, config, layers).to_bytes();
    let mut descriptor = put(parts, MediaType::OciManifest, manifest);
    descriptor.platform = Some(crate::Platform::new("linux", architecture, ""));
    descriptor
}

fn named(mut descriptor: Descriptor, name: &str) -> Descriptor {
    descriptor.annotations.insert(NAME_ANNOTATION.into(), name.into());
    descriptor
}

fn layout(mut parts: Parts, manifests: Vec<Descriptor>) -> Parts {
    parts.insert(LAYOUT_FILE.into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    parts.insert(INDEX_FILE.into(), Index::new(MediaType::OciIndex, manifests).to_bytes());
    parts
}

fn docker(layers: &[Vec<u8>], tags: &str) -> Parts {
    let config = config(layers, "amd64");
    let name = format!("{}.json", Digest::of(&config).hex());
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = format!(r#"[{{"Config":{name:?},"RepoTags":{tags},"Layers":{names:?}}}]"#);
    let mut parts: Parts = names.into_iter().zip(layers.iter().cloned()).collect();
    parts.insert(DOCKER_FILE.into(), manifest.into_bytes());
    parts.insert(name, config);
    parts
}

fn as_tar(parts: &Parts) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, &**bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn write_directory(parts: &Parts, path: &Path) {
    for (name, bytes) in parts {
        let path = path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn load(store: &Store, archive: &[u8]) -> Result<Vec<Loaded>, ArchiveError> {
    store.load(&Source::read(store, archive)?, &LoadOptions::default())
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.tags.iter().map(|tag| tag.familiar()).collect()
}

fn is_whole(store: &Store, image: ImageId, layers: &[Vec<u8>]) {
    let image = store.image(image).unwrap().unwrap();
    for (id, layer) in image.layers().iter().zip(layers) {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut store.layer(*id).unwrap().unwrap().read().unwrap(), &mut bytes).unwrap();
        assert!(bytes == *layer);
    }
}

#[test]
fn every_form_and_compression_is_read() {
    let layers = [layer("one"), layer("two")];
    let mut parts = Parts::new();
    let image = named(add_image(&mut parts, &layers, "amd64"), "docker.io/library/x:1");
    let options = LoadOptions { platform: Some("linux/amd64".parse().unwrap()) };
    for (parts, names_there) in [(layout(parts, vec![image]), "x:1"), (docker(&layers, r#"["y:2"]"#), "y:2")] {
        let tar = as_tar(&parts);
        for archive in [tar.clone(), gzip(&tar), zstd::encode_all(&*tar, 1).unwrap()] {
            let (directory, store) = store();
            let file = directory.path().join("archive");
            std::fs::write(&file, &archive).unwrap();
            for source in [Source::read(&store, &*archive).unwrap(), Source::open(&store, &file).unwrap()] {
                let loaded = store.load(&source, &options).unwrap();
                assert_eq!(names(&loaded[0]), [names_there]);
                assert_eq!(store.resolve(names_there).unwrap(), loaded[0].image);
                is_whole(&store, loaded[0].image, &layers);
            }
        }
        let (directory, store) = store();
        write_directory(&parts, &directory.path().join("unpacked"));
        let source = Source::open(&store, &directory.path().join("unpacked")).unwrap();
        is_whole(&store, store.load(&source, &options).unwrap()[0].image, &layers);
    }
}

#[test]
fn several_images_keep_their_names_and_blobs() {
    let layers = [layer("one"), layer("two")];
    let mut parts = Parts::new();
    let first = add_image(&mut parts, &layers[..1], "amd64");
    let second = add_image(&mut parts, &layers, "amd64");
    let digest = first.digest;
    let manifests = vec![named(first.clone(), "a:1"), named(first, "localhost:5000/b:2"), named(second, "c")];
    let (_directory, store) = store();
    let loaded = load(&store, &as_tar(&layout(parts, manifests))).unwrap();
    let names: Vec<_> = loaded.iter().map(names).collect();
    assert_eq!(names, [vec!["a:1", "localhost:5000/b:2"], vec!["c:latest"]]);
    let blobs = store.blobs_of(DiffId(Digest::of(&layers[0]))).unwrap();
    assert_eq!(blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [Digest::of(&gzip(&layers[0]))]);
    assert!(store.blob(blobs[0].digest).unwrap().is_some(), "a blob that came from a file is kept");
    let record = store.image_record(loaded[0].image).unwrap().unwrap();
    assert_eq!(
        (record.manifests.into_iter().collect::<Vec<_>>(), record.size_bytes),
        (vec![digest], layers[0].len() as u64)
    );
}

#[test]
fn of_several_platforms_one_is_chosen() {
    let (amd64, arm64) = ([layer("amd64")], [layer("arm64")]);
    let mut parts = Parts::new();
    let mut offers = vec![add_image(&mut parts, &arm64, "arm64"), add_image(&mut parts, &amd64, "amd64")];
    let flat = layout(parts.clone(), offers.clone());
    let absent = Descriptor {
        platform: Some("linux/s390x".parse().unwrap()),
        ..Descriptor::of(MediaType::OciManifest, b"absent")
    };
    offers.push(absent);
    let index = put(&mut parts, MediaType::OciIndex, Index::new(MediaType::OciIndex, offers).to_bytes());
    let nested = layout(parts, vec![named(index, "x")]);
    for parts in [flat, nested] {
        let (_directory, store) = store();
        let source = Source::read(&store, &*as_tar(&parts)).unwrap();
        let loaded = |platform: &str| store.load(&source, &LoadOptions { platform: Some(platform.parse().unwrap()) });
        is_whole(&store, loaded("linux/arm64").unwrap()[0].image, &arm64);
        is_whole(&store, loaded("linux/amd64").unwrap()[0].image, &amd64);
        let error = loaded("linux/s390x").unwrap_err().to_string();
        assert_eq!(error, "archive has no image for linux/s390x, only for linux/arm64, linux/amd64");
    }
}

#[test]
fn what_is_not_what_it_is_called_is_refused_and_named_nowhere() {
    let layers = [layer("one")];
    let refused = |parts: &Parts, part: &str| {
        let (_directory, store) = store();
        let error = load(&store, &as_tar(parts)).unwrap_err();
        assert_eq!(store.tags().unwrap(), [], "{part}: {error}");
        assert_eq!(store.images().unwrap(), [], "{part}: {error}");
        error
    };
    let mut parts = Parts::new();
    let image = named(add_image(&mut parts, &layers, "amd64"), "x");
    let whole = layout(parts, vec![image.clone()]);
    for name in whole.keys().filter(|name| name.starts_with("blobs/")) {
        let mut flipped = whole.clone();
        let bytes = flipped.get_mut(name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let error = refused(&flipped, name);
        assert!(matches!(error, ArchiveError::WrongBlob { expected, .. } if blob_name(expected) == *name), "{error}");
        let mut missing = whole.clone();
        missing.remove(name);
        assert!(matches!(refused(&missing, name), ArchiveError::Missing(part) if part == *name));
    }
    let lying = Descriptor { size_bytes: image.size_bytes + 1, ..image };
    assert!(matches!(refused(&layout(whole.clone(), vec![lying]), "size"), ArchiveError::WrongSize { .. }));
    let mut wrong = docker(&layers, r#"["x"]"#);
    wrong.insert("0/layer.tar".into(), layer("other"));
    assert!(matches!(refused(&wrong, "layer"), ArchiveError::Layer { layer, .. } if layer.0 == Digest::of(&layers[0])));
    let mut fewer = docker(&layers, "null");
    let text = String::from_utf8(fewer[DOCKER_FILE].clone()).unwrap().replace(r#"["0/layer.tar"]"#, "[]");
    fewer.insert(DOCKER_FILE.into(), text.into_bytes());
    assert!(matches!(refused(&fewer, "layers"), ArchiveError::LayerCount { config: 1, manifest: 0, .. }));
    assert!(matches!(refused(&Parts::from([("x".into(), vec![])]), "x"), ArchiveError::Unknown { .. }));
    assert!(matches!(refused(&Parts::from([("repositories".into(), vec![])]), "x"), ArchiveError::Ancient { .. }));
}

fn saved(store: &Store, image: ImageId, format: ArchiveFormat, form: LayerForm) -> Vec<u8> {
    let images =
        vec![SavedImage { image, document: None, tags: vec!["x:1".parse().unwrap()], annotations: Default::default() }];
    let mut bytes = Vec::new();
    store.save(&Save { images, format, layers: form }, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_saved_loads_again_as_the_same_image_and_bytes() {
    let layers = [layer("one"), layer("two"), layer("one")];
    let (_directory, first) = store();
    let image = load(&first, &as_tar(&docker(&layers, r#"["x:1"]"#))).unwrap()[0].image;
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let archive = saved(&first, image, format, LayerForm::Plain);
        let (_directory, second) = store();
        let loaded = load(&second, &archive).unwrap();
        assert_eq!((loaded.len(), loaded[0].image), (1, image));
        assert_eq!(names(&loaded[0]), ["x:1"]);
        is_whole(&second, image, &layers);
        assert!(saved(&second, image, format, LayerForm::Plain) == archive, "the same image is the same archive");
    }
}

#[test]
fn what_was_received_can_be_saved_as_it_was() {
    let layers = [layer("one")];
    let mut parts = Parts::new();
    let manifest = add_image(&mut parts, &layers, "amd64");
    let (directory, store) = store();
    let image = load(&store, &as_tar(&layout(parts.clone(), vec![manifest.clone()]))).unwrap()[0].image;
    let save = Save {
        images: vec![SavedImage { image, document: None, tags: vec![], annotations: Default::default() }],
        format: ArchiveFormat::Oci,
        layers: LayerForm::Received,
    };
    let path = directory.path().join("out");
    store.save_directory(&save, &path).unwrap();
    for (name, bytes) in parts {
        assert!(std::fs::read(path.join(&name)).unwrap() == bytes, "{name}");
    }
}

/// An OCI layout is a place for many images: saving another into it takes none away.
#[test]
fn a_layout_keeps_its_other_images() {
    let (directory, store) = store();
    let path = directory.path().join("layout");
    let image = |text: &str| {
        let mut parts = Parts::default();
        let manifest = add_image(&mut parts, &[layer(text)], "amd64");
        load(&store, &as_tar(&layout(parts, vec![manifest]))).unwrap()[0].image
    };
    let save = |image: ImageId, name: &str| {
        let tags = vec![name.parse().unwrap()];
        let images = vec![SavedImage { image, document: None, tags, annotations: Default::default() }];
        let save = Save { images, format: ArchiveFormat::Oci, layers: LayerForm::Plain };
        store.save_directory(&save, &path).unwrap();
    };
    let (first, second, third) = (image("one"), image("two"), image("three"));
    save(first, "app:1");
    save(second, "app:2");
    save(third, "app:1");
    let (_other_directory, other) = self::store();
    let loaded = other.load(&Source::open(&other, &path).unwrap(), &LoadOptions::default()).unwrap();
    let found: Vec<(ImageId, Vec<String>)> = loaded.iter().map(|loaded| (loaded.image, names(loaded))).collect();
    assert_eq!(found, [(second, vec!["app:2".to_owned()]), (third, vec!["app:1".to_owned()])]);
    std::fs::write(path.join("index.json"), "{").unwrap();
    let save = Save { images: Vec::new(), format: ArchiveFormat::Oci, layers: LayerForm::Plain };
    assert!(matches!(store.save_directory(&save, &path), Err(ArchiveError::Document { .. })));
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let (_directory, store) = store();
    let import = Import {
        config: crate::oci::ContainerConfig { cmd: vec!["sh".into()], ..Default::default() },
        platform: "linux/amd64".parse().unwrap(),
        created: "1980-01-01T00:00:00Z".into(),
        comment: "Imported from -".into(),
    };
    let image = store.import(&*gzip(&layer("one")), &import).unwrap();
    assert_eq!(image, store.import(&*layer("one"), &import).unwrap());
    is_whole(&store, image, &[layer("one")]);
}

/// Runs a program that may not be installed; `None`, with the reason printed, if it is not.
fn peer(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: {program}: {error}");
            None
        }
    }
}

#[test]
fn peers_read_what_is_saved_and_write_what_is_loaded() {
    let layers = [layer("one"), layer("two")];
    let (directory, first) = store();
    let image = load(&first, &as_tar(&docker(&layers, r#"["x:1"]"#))).unwrap()[0].image;
    let at = |name: &str| directory.path().join(name).display().to_string();
    for (format, transport) in [(ArchiveFormat::Docker, "docker-archive"), (ArchiveFormat::Oci, "oci-archive")] {
        let file = at(transport);
        std::fs::write(&file, saved(&first, image, format, LayerForm::Plain)).unwrap();
        let Some(text) = peer("skopeo", &["inspect", "--raw", "--config", &format!("{transport}:{file}")]) else {
            return;
        };
        assert_eq!(Digest::of(text.as_bytes()), image.0, "{transport}");
        for (back, name) in [("oci", "layout"), ("docker-archive", "again.tar")] {
            let target = at(&format!("{transport}-{name}"));
            peer(
                "skopeo",
                &["--insecure-policy", "copy", &format!("{transport}:{file}"), &format!("{back}:{target}:name/x:1")],
            );
            let (_directory, second) = store();
            let source = Source::open(&second, target.as_ref()).unwrap();
            let loaded = second.load(&source, &LoadOptions { platform: Some("linux/amd64".parse().unwrap()) }).unwrap();
            is_whole(&second, loaded[0].image, &layers);
        }
    }
    let save = Save {
        images: vec![SavedImage { image, document: None, tags: vec![], annotations: Default::default() }],
        format: ArchiveFormat::Oci,
        layers: LayerForm::Plain,
    };
    first.save_directory(&save, at("umoci").as_ref()).unwrap();
    peer("umoci", &["list", "--layout", &at("umoci")]);
}
