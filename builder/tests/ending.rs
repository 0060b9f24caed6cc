//! A build that somebody ends, at every look that it takes: in the scan of its context, between its steps, within
//! the writing of a layer, within an archive.

mod house;

use std::path::Path;

use builder::progress::Quiet;
use builder::{BuildError, Cancel};
use store::tree::{ChangeBuilder, Leaf, Metadata, Timestamp};
use store::{Contents, ObjectId};

use house::{House, path};

/// Files, and an archive with large ones.
fn house() -> House {
    let house = House::new();
    for number in 0..60 {
        house.file(&format!("files/{}/{number}", number % 5), &format!("{number} ").repeat(500 * number));
    }
    let large: Vec<Vec<u8>> = (0..8).map(|number| vec![number; 300_000]).collect();
    let mut archive = ChangeBuilder::new();
    for (number, bytes) in large.iter().enumerate() {
        let leaf = Leaf::File { content: ObjectId::of(bytes), size_bytes: bytes.len() as u64 };
        archive.put_leaf(&path(&format!("unpacked{number}")), Metadata::root_owned(0o644, Timestamp::default()), leaf);
    }
    let file = std::fs::File::create(house.context.join("archive.tar")).unwrap();
    store::layer::write_tar(&archive.build(), &Contents::of_bytes(large), file).unwrap();
    house
}

const DOCKERFILE: &str = "FROM base\nCOPY files /files\nADD archive.tar /archive/\nRUN write /out done\nWORKDIR /w\n";

/// What is in the store's `tmp/`, but for the directory of this process.
fn litter(directory: &Path) -> Vec<String> {
    let sessions = std::fs::read_dir(directory.join("tmp")).into_iter().flatten();
    let files = sessions.flat_map(|session| std::fs::read_dir(session.unwrap().path()).into_iter().flatten());
    files.map(|file| file.unwrap().path().display().to_string()).collect()
}

#[test]
fn a_build_ends_wherever_it_is_and_leaves_nothing_half_made() {
    let undisturbed = house();
    let expected = undisturbed.build(DOCKERFILE);
    let house = house();
    let mut ended = 0;
    for looks in (0..8).map(|few| few * 30).chain((8..).map(|exponent| 1 << exponent)) {
        let mut request = house.request(DOCKERFILE);
        request.jobs = std::num::NonZeroUsize::MIN;
        request.cancel = Cancel::after_looks(looks);
        match builder::build(&request, &house.store, &house.source, &house.executor, &Quiet) {
            Ok(built) => {
                assert_eq!(built.image, expected.image);
                assert_eq!(house.files(&built), undisturbed.files(&expected));
                break;
            }
            Err(error) => assert!(matches!(error, BuildError::Cancelled), "{looks}: {error:?}"),
        }
        ended += 1;
        assert_eq!(litter(house.store.path()), [""; 0], "{looks}");
        let faults: Vec<String> = house.store.verify().unwrap().faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, [""; 0], "{looks}");
    }
    assert!(ended > 4, "nobody looked more than {ended} times");
    assert!((1..=ended + 1).contains(&house.runs()), "a command that ran is not run for nothing");
}
