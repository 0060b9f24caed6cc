//! Layers read back byte for byte, mean what unpackers take them to mean, and stay within their root.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::Digest;
use crate::tree::strategy::{change, content};

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn generated() -> Contents {
    Contents::of_bytes((0u8..16).map(content))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_what_is_read(change in change()) {
        let (_directory, store) = store();
        let layer = store.write_layer(&change, &generated()).unwrap();
        let tar = all(layer.read().unwrap());
        prop_assert_eq!(Digest::of(&tar), layer.diff_id().0);
        prop_assert_eq!(tar.len() as u64, layer.size_bytes());
        prop_assert!(layer.verify().unwrap());

        let (_other_directory, other) = self::store();
        let imported = other.import_layer(&tar[..], Some(layer.diff_id())).unwrap();
        prop_assert_eq!(imported.change().unwrap(), layer.change().unwrap());
        prop_assert_eq!(all(imported.read().unwrap()), tar);

        // From the imported layer's own contents the same layer can be written again.
        let again = other.write_layer(&imported.change().unwrap(), &imported.contents().unwrap()).unwrap();
        prop_assert_eq!(again.diff_id(), layer.diff_id());
    }
}
