//! The corpora of the fuzz targets, replayed: what once was worth a look stays so.

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets")]
mod claims;

#[test]
fn every_claim_holds_for_its_corpus() {
    for (name, claim) in claims::CLAIMS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = std::fs::read_dir(&corpus).expect("a corpus").map(|entry| entry.expect("an entry").path());
        let inputs: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).expect("an input")).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        inputs.iter().for_each(|input| claim(input));
    }
}
