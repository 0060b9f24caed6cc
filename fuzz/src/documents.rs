//! What registries and archives send as JSON.

use store::oci::{Document, ImageConfig};

/// A manifest, an index or a configuration is read or refused, and what is written of it reads the same.
pub fn documents(input: &[u8]) {
    match Document::parse(input, None) {
        Ok(Document::Manifest(manifest)) => {
            let again = Document::parse(&manifest.to_bytes(), None);
            assert!(matches!(&again, Ok(Document::Manifest(same)) if *same == manifest), "{manifest:?}: {again:?}");
        }
        Ok(Document::Index(index)) => {
            let again = Document::parse(&index.to_bytes(), None);
            assert!(matches!(&again, Ok(Document::Index(same)) if *same == index), "{index:?}: {again:?}");
        }
        Err(_) => {}
    }
    if let Ok(config) = ImageConfig::parse(input) {
        let bytes = config.to_bytes();
        let again = ImageConfig::parse(&bytes).expect("what was written can be read");
        assert_eq!(again.to_bytes(), bytes);
    }
}
