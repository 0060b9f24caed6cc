//! What goes, what stays, and that builds and collections do not disturb each other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::action::{ActionResult, ActionState, KeyRecord, Part};
use crate::oci::ImageConfig;
use crate::refs::TaggedImage;
use crate::root::Thing;
use crate::{ActionKey, Area, Layer, Platform, Reference};

fn open(path: &Path) -> Store {
    Store::open(path).unwrap()
}

/// A layer with a small file and one of so many kibibytes, filled with a byte.
fn layer(store: &Store, byte: u8, large_kib: usize) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("small", vec![byte; 10]), ("large", vec![byte; large_kib * 1024])] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &*content).unwrap();
    }
    store.import_layer(&*builder.into_inner().unwrap(), None).unwrap()
}

fn image(store: &Store, layers: &[DiffId]) -> ImageId {
    let mut config = ImageConfig::empty(&Platform::host());
    config.rootfs.diff_ids = layers.to_vec();
    store.put_image(&config.to_bytes()).unwrap()
}

fn tag(store: &Store, name: &str, image: ImageId) {
    store.tag(&name.parse::<Reference>().unwrap(), &TaggedImage::now(image)).unwrap();
}

fn act(store: &Store, byte: u8, layer: DiffId, seconds: u64) -> ActionKey {
    let key = ActionKey::from_bytes([byte; 32]);
    let record =
        KeyRecord { step: byte.to_string(), description: "RUN x".into(), parts: vec![Part::text("argument", "x")] };
    store.put_action(key, &record, &ActionResult::now(Some(layer), Duration::from_secs(seconds))).unwrap();
    key
}

fn collect(store: &Store, max_size_bytes: Option<u64>) -> Gc {
    store.gc(GcOptions { max_size_bytes, mode: GcMode::Collect }).unwrap()
}

fn layers_of(gc: &Gc) -> Vec<DiffId> {
    gc.collected.iter().filter_map(|(what, _)| if let Collected::Layer(id) = what { Some(*id) } else { None }).collect()
}

#[test]
fn what_nothing_needs_goes_and_all_else_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, gone, pinned) = {
        let store = open(directory.path());
        let kept = layer(&store, b'k', 64).diff_id();
        let gone = layer(&store, b'g', 64).diff_id();
        let pinned = layer(&store, b'p', 64).diff_id();
        tag(&store, "kept", image(&store, &[kept]));
        image(&store, &[kept, gone]);
        store.pin("container-x", &[Thing::Layer(pinned)]).unwrap();
        act(&store, 1, kept, 1);
        act(&store, 2, gone, 1);
        store.put_blob(b"orphan").unwrap();
        store.sync().unwrap();
        (kept, gone, pinned)
    };
    let store = open(directory.path());
    let dry = store.gc(GcOptions { max_size_bytes: None, mode: GcMode::DryRun }).unwrap();
    let gc = collect(&store, None);
    assert_eq!(gc, dry, "a dry run says what would happen");
    assert_eq!(layers_of(&gc), [gone]);
    assert!(store.layer(gone).unwrap().is_none());
    assert!(store.layer(kept).unwrap().is_some() && store.layer(pinned).unwrap().is_some());
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(store.action(ActionKey::from_bytes([1; 32])).unwrap().is_some());
    let buried = store.action_record(ActionKey::from_bytes([2; 32])).unwrap().unwrap();
    assert!(matches!(buried.state, ActionState::Collected(_)), "a tombstone explains the miss");
    assert_eq!(store.action(buried.key).unwrap(), None);
    assert_eq!(store.verify().unwrap().faults, []);
    assert_eq!(collect(&store, None).collected, [], "there is nothing left to collect");
}

#[test]
fn reported_bytes_are_the_bytes_that_come_free() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        layer(&store, b'a', 300);
        tag(&store, "x", image(&store, &[layer(&store, b'b', 300).diff_id()]));
        store.sync().unwrap();
    }
    let store = open(directory.path());
    let before = store.usage().unwrap();
    let gc = collect(&store, None);
    let after = store.usage().unwrap();
    let areas = [Area::Objects, Area::Layers, Area::Blobs, Area::Checkouts];
    let sum = |usage: &crate::usage::Usage| areas.iter().map(|area| usage.areas[area]).sum::<u64>();
    let freed: u64 = gc.collected.iter().map(|(_, bytes)| bytes).sum();
    assert!(freed > 300 * 1024);
    assert_eq!(sum(&before) - sum(&after), freed);
}

#[test]
fn under_a_ceiling_the_cheapest_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let (cheap, shared, dear, tagged) = {
        let store = open(directory.path());
        let made = [(b'c', 1), (b's', 50), (b'd', 1000), (b't', 1)].map(|(byte, seconds)| {
            let id = layer(&store, byte, 256).diff_id();
            act(&store, byte, id, seconds);
            id
        });
        tag(&store, "x", image(&store, &[made[3]]));
        store.sync().unwrap();
        made.into()
    };
    let store = open(directory.path());
    let all = store.gc(GcOptions { max_size_bytes: Some(u64::MAX), mode: GcMode::DryRun }).unwrap();
    assert_eq!(all.collected, [], "what fits may stay");
    let gc = collect(&store, Some(all.before_bytes - 1));
    assert_eq!((layers_of(&gc), gc.over_bytes), (vec![cheap], 0));
    assert!(gc.after_bytes < all.before_bytes);
    let gc = collect(&store, Some(gc.after_bytes - 300 * 1024));
    assert_eq!((layers_of(&gc), gc.over_bytes), (vec![shared, dear], 0));
    let gc = collect(&store, Some(0));
    assert_eq!(layers_of(&gc), []);
    assert_eq!(gc.over_bytes, gc.after_bytes, "what is tagged stays, and the excess is told");
    assert!(store.layer(tagged).unwrap().is_some());
}

#[test]
fn images_go_alone_with_what_only_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let (doomed, tagged, other, own, cached) = {
        let store = open(directory.path());
        let [own, cached, shared, kept] = [b'o', b'c', b's', b'k'].map(|byte| layer(&store, byte, 64).diff_id());
        act(&store, b'c', cached, 1);
        let doomed = image(&store, &[own, cached, shared]);
        let (tagged, other) = (image(&store, &[shared]), image(&store, &[kept]));
        tag(&store, "x", tagged);
        store.sync().unwrap();
        (doomed, tagged, other, own, cached)
    };
    let store = open(directory.path());
    let gc = store.gc_images(&[doomed, tagged].into()).unwrap();
    assert_eq!(layers_of(&gc), [own]);
    assert_eq!(store.image_ids().unwrap().into_iter().collect::<BTreeSet<_>>(), [tagged, other].into());
    assert!(store.layer(cached).unwrap().is_some(), "a step has made it");
    let gc = store.gc_images(&[other].into()).unwrap();
    assert!(gc.collected.iter().all(|(what, _)| *what != Collected::Image(tagged)));
    assert_eq!(store.image_ids().unwrap(), [tagged]);
}

#[test]
fn what_a_living_process_needs_stays() {
    let directory = tempfile::tempdir().unwrap();
    let builder = open(directory.path());
    let (used, unused) = (layer(&builder, b'u', 64).diff_id(), layer(&builder, b'n', 64).diff_id());
    let key = act(&builder, 1, used, 1);
    builder.sync().unwrap();
    drop(builder);
    let builder = open(directory.path());
    assert!(builder.action(key).unwrap().is_some());
    let working = layer(&builder, b'w', 64).diff_id();
    let gc = collect(&open(directory.path()), None);
    assert_eq!(layers_of(&gc), [unused]);
    assert!(builder.layer(used).unwrap().is_some() && builder.layer(working).unwrap().is_some());
    drop(builder);
    let store = open(directory.path());
    let gone: BTreeSet<DiffId> = layers_of(&collect(&store, None)).into_iter().collect();
    assert_eq!(gone, BTreeSet::from([used, working]), "when it has ended, they go");
}

#[test]
fn builds_and_collections_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path());
    let done = AtomicBool::new(false);
    let build = |worker: u8| {
        for round in 0..25u8 {
            let store = open(directory.path());
            // Contents are shared between workers and rounds, so that what one drops another picks up.
            let layers: Vec<DiffId> = (0..3)
                .map(|n| {
                    let byte = (worker + round + n) % 7;
                    let key = ActionKey::from_bytes([byte; 32]);
                    match store.action(key).unwrap() {
                        Some(result) => result.layer.unwrap(),
                        None => {
                            let made = layer(&store, byte, 32).diff_id();
                            act(&store, byte, made, 1);
                            made
                        }
                    }
                })
                .collect();
            let built = image(&store, &layers);
            tag(&store, &format!("w{worker}"), built);
            for id in layers {
                assert!(store.layer(id).unwrap().unwrap().verify().unwrap(), "{id}");
            }
        }
    };
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                collect(&open(directory.path()), None);
            }
        });
        let builders: Vec<_> = (0..3).map(|worker| scope.spawn(move || build(worker))).collect();
        let results: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        done.store(true, Ordering::Relaxed);
        collector.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
    });
    let store = open(directory.path());
    assert_eq!(store.verify().unwrap().faults, []);
    assert_eq!(store.tags().unwrap().len(), 3);
}

#[test]
fn damage_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let made = layer(&store, b'x', 64);
    let image = image(&store, &[made.diff_id()]);
    tag(&store, "x", image);
    let (object, _) = made.objects().unwrap()[0];
    assert_eq!(store.verify().unwrap().faults, []);
    flip(&store.object_path(object));
    flip(&store.blob_path(image.0));
    let faults = store.verify().unwrap().faults;
    use crate::verify::Fault;
    assert!(faults.contains(&Fault::Object(object)) && faults.contains(&Fault::Layer(made.diff_id())), "{faults:?}");
    assert!(faults.contains(&Fault::Blob(image.0)) && matches!(faults.last(), Some(Fault::Image { .. })), "{faults:?}");
    std::fs::remove_file(store.object_path(object)).unwrap();
    assert!(store.verify().unwrap().faults.contains(&Fault::MissingObject { layer: made.diff_id(), object }));
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
}
