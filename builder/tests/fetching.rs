//! What a build fetches, from a fake that has a file at every URL.

mod house;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use builder::progress::Outcome;
use builder::{BuildError, Built};
use store::{Platform, RelPath};

use house::House;

fn path(text: &str) -> RelPath {
    RelPath::clean(text.as_bytes()).unwrap()
}

fn line_of(error: &BuildError, dockerfile: &str) -> usize {
    dockerfile[..error.span().unwrap().start].matches('\n').count() + 1
}

#[test]
fn a122_a_file_by_its_url_is_root_s_alone() {
    let house = House::new();
    let built = house.build("FROM base\nADD http://h/d/f%20x?q /in/\nADD --chmod=644 http://h/ /named\n");
    let files = house.files(&built);
    assert_eq!(files["/in/f x"], "600 0:0 http://h/d/f%20x?q");
    assert_eq!(files["/named"], "644 0:0 http://h/");
    let mtime = |timestamps| {
        let mut request = house.request("FROM scratch\nADD http://h/f /\n");
        request.timestamps = timestamps;
        let built = house.try_build(&request).unwrap();
        house.store.root_tree(&built.layers).unwrap().get(&path("f")).unwrap().metadata.mtime.secs
    };
    assert_eq!(mtime(builder::request::Timestamps::Clamp), 315_532_800);
    assert_eq!(mtime(builder::request::Timestamps::Preserve), 1_234_567_890);
}

#[test]
fn a_file_by_its_url_is_asked_for_once_a_build_and_kept_if_the_server_says_so() {
    let house = House::new();
    let asked = || house.source.asked.swap(0, Ordering::SeqCst);
    let twice = "FROM base AS a\nADD http://h/ever /\nFROM base\nADD http://h/ever /\nCOPY --from=a /ever /b\n";
    let first = house.build(twice);
    assert_eq!(asked(), 1);
    let second = house.build(twice);
    assert_eq!(asked(), 1);
    assert_eq!(first.image, second.image);
    let fetched = second.steps.iter().find(|step| step.step.text.starts_with("fetch")).unwrap();
    assert!(matches!(fetched.outcome, Outcome::Hit { .. }));
    assert_eq!(house.runs(), 0);
}

#[test]
fn a123_a_checksum_spares_the_request_and_refuses_another_file() {
    let house = House::new();
    let asked = || house.source.asked.swap(0, Ordering::SeqCst);
    let hex = "d56ef09bd20c3d25e8a0b59f3d9c37e3ac4a0d7f7c8f0f2a0d1a8d6d5b2c7e11";
    let wrong = format!("FROM base\nARG SUM={hex}\nADD --checksum=sha256:$SUM http://h/f /\n");
    let error = house.try_build(&house.request(&wrong)).unwrap_err();
    assert_eq!(line_of(&error, &wrong), 3);
    let BuildError::Step { source, .. } = &error else { panic!("{error:?}") };
    let text = source.to_string();
    let actual = text.split("sha256:").nth(2).unwrap().split(' ').next().unwrap().to_owned();
    assert!(text.contains("http://h/f") && text.contains(hex), "{text}");
    asked();
    let right = wrong.replace(hex, &actual);
    house.build(&right);
    house.build(&right);
    assert_eq!(asked(), 1);
    for (dockerfile, expected) in [
        ("FROM base\nADD --checksum=md5:00 http://h/f /\n", "invalid checksum"),
        ("FROM base\nADD --checksum=sha256:00 f /\n", "checksum requires HTTP(S) or Git sources"),
        ("FROM base\nADD --checksum=sha256:00 http://h/f http://h/g /\n", "for multiple sources"),
        ("FROM base\nCOPY http://h/f /\n", "source can't be a URL for COPY"),
        ("FROM base\nCOPY git@h:f /\n", "source can't be a git ref for COPY"),
        ("FROM base\nADD git://h/f?x=1 /\n", "unexpected query"),
    ] {
        let error = house.try_build(&house.request(dockerfile)).unwrap_err();
        assert!(error.to_string().contains(expected), "{dockerfile}: {error}");
        assert_eq!(line_of(&error, dockerfile), 2, "{dockerfile}");
    }
}

#[test]
fn names_and_passwords_of_urls_are_in_no_history_and_no_title() {
    let house = House::new();
    let built = house.build("FROM base\nADD https://me:secret@h/f /\n");
    let texts: Vec<String> = built.config.history.iter().map(|entry| entry.created_by.clone()).collect();
    assert_eq!(texts.last().unwrap(), "ADD https://xxxxx:xxxxx@h/f / # buildkit");
    assert!(built.steps.iter().all(|step| !step.step.text.contains("secret")), "{:?}", built.steps);
}

#[test]
fn c027_a_named_context_may_be_for_one_platform() {
    let house = House::new();
    let mut request = house.request("FROM what\n");
    let here = Platform::host().to_string();
    let scratch = builder::request::NamedContext::Scratch;
    request.contexts.insert(format!("what::{here}"), scratch.clone());
    assert_eq!(house.try_build(&request).unwrap().layers, []);
    request.contexts = BTreeMap::from([("what::windows/arm".to_owned(), scratch)]);
    assert!(matches!(house.try_build(&request), Err(BuildError::Image { .. })));
}

#[test]
fn an_archive_and_its_files_are_two_steps() {
    let house = House::new();
    let mut header = [0_u8; 1536];
    header[..1].copy_from_slice(b"f");
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(b"00000000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    house.file("a.tar", std::str::from_utf8(&header).unwrap());
    let unpacked = house.build("FROM base\nADD a.tar /d/\n");
    let kept = house.build("FROM base\nADD --unpack=false a.tar /d/\n");
    let paths = |built: &Built| house.store.root_tree(&built.layers).unwrap().get(&path("d/f")).is_some();
    assert!(paths(&unpacked) && !paths(&kept));
}
