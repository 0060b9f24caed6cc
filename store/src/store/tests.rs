//! What a store promises to whoever opens it, crashes in it, or finds it full of litter.

use super::*;
use crate::Digest;

const EARLIER: &str = "00000000000000000000000000000001";
const LATER: &str = "00000000000000000000000000000002";

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

#[test]
fn a_store_is_private_and_opens_again() {
    let (_directory, store) = store();
    assert_eq!(fs::metadata(store.path()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(store.path().join("format")).unwrap(), "kiln-store 1\n");
    Store::open(store.path()).unwrap();
}

#[test]
fn strangers_and_newer_formats_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("precious"), "").unwrap();
    assert!(matches!(Store::open(directory.path()), Err(OpenError::NotAStore { .. })));
    let (_directory, store) = store();
    fs::write(store.path().join("format"), "kiln-store 2\n").unwrap();
    assert!(matches!(Store::open(store.path()), Err(OpenError::Newer { found: 2, .. })));
}

#[test]
fn blobs_are_kept_once_and_verified() {
    let (_directory, store) = store();
    let digest = store.put_blob(b"hello").unwrap();
    assert_eq!(store.read_blob(digest, 5).unwrap().unwrap(), b"hello");
    assert!(matches!(store.read_blob(digest, 4), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.read_blob(Digest::of(b"absent"), 9).unwrap(), None);
    let write = |bytes: &[u8]| {
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(bytes).unwrap();
        writer
    };
    let announced = Digest::of(b"other");
    assert!(matches!(write(b"OTHER").finish_as(announced, 5), Err(StoreError::Mismatch { .. })));
    assert!(matches!(write(b"oth").finish_as(announced, 5), Err(StoreError::WrongSize { .. })));
    assert!(store.blob(announced).unwrap().is_none());
    write(b"other").finish_as(announced, 5).unwrap();
    assert!(store.blob(announced).unwrap().is_some());
}

#[test]
fn a_sync_seals_what_was_written() {
    let (_directory, store) = store();
    let path = store.blob_path(store.put_blob(b"hello").unwrap());
    assert_eq!(store.presence(&path).unwrap(), Presence::Fresh);
    assert_eq!(Store::open(store.path()).unwrap().presence(&path).unwrap(), Presence::Unproven);
    store.sync().unwrap();
    assert_eq!(Store::open(store.path()).unwrap().presence(&path).unwrap(), Presence::Sealed);
}

#[test]
fn bytes_lost_in_a_power_cut_are_not_served() {
    let (_directory, store) = store();
    let before = Store::open_in_boot(store.path(), EARLIER.parse().unwrap()).unwrap();
    let digest = before.put_blob(b"hello").unwrap();
    fs::write(before.blob_path(digest), "").unwrap();
    let after = Store::open_in_boot(store.path(), LATER.parse().unwrap()).unwrap();
    assert!(after.blob(digest).unwrap().is_none());
    after.put_blob(b"hello").unwrap();
    assert_eq!(after.read_blob(digest, 5).unwrap().unwrap(), b"hello");
}

#[test]
fn dropping_the_store_leaves_neither_lease_nor_litter() {
    let (_directory, store) = store();
    let kept = store.temporary().unwrap();
    fs::write(kept.path().join("file"), "").unwrap();
    let path = store.path().to_owned();
    let entries = |area: Area| fs::read_dir(path.join(area.name())).unwrap().count();
    assert_eq!((entries(Area::Leases), entries(Area::Temporary)), (1, 1));
    Store::open(&path).unwrap();
    assert_eq!((entries(Area::Leases), entries(Area::Temporary)), (1, 1), "the living keep theirs");
    drop(store);
    assert_eq!((entries(Area::Leases), entries(Area::Temporary)), (0, 0));
}

#[test]
fn the_next_command_clears_after_the_dead() {
    let (_directory, store) = store();
    let litter = store.dir(Area::Temporary).join("1-dead-0");
    let locked_out = litter.join("upper");
    fs::create_dir_all(locked_out.join("below")).unwrap();
    fs::set_permissions(&locked_out, fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir_all(litter.join("trash")).unwrap();
    fs::write(litter.join("trash/objects%ab%cd"), "set aside").unwrap();
    fs::create_dir(store.dir(Area::Objects).join("ab")).unwrap();
    fs::write(store.dir(Area::Leases).join("2-dead-0"), "").unwrap();
    let next = Store::open(store.path()).unwrap();
    assert!(!litter.exists() && !next.dir(Area::Leases).join("2-dead-0").exists());
    assert_eq!(fs::read(next.dir(Area::Objects).join("ab/cd")).unwrap(), b"set aside");
}
